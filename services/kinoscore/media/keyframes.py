"""The online choice of emotion key frames."""

import math
from bisect import bisect, insort

from kinoscore.errors import InvalidRequest

__all__ = ["CANDIDATES_PER_KEY_FRAME", "KeyFrameSelector"]

CANDIDATES_PER_KEY_FRAME = 32


class KeyFrameSelector:
    """Chooses, while frames arrive, the `count` most salient that lie at least `separation_seconds` apart.

    The choice is the greedy one (temporal non-maximum suppression): the most salient frame first, then
    again and again the most salient of those that are far enough from all chosen; of equals, the earlier.
    In which order and in what portions the frames came makes no difference.

    Memory is bounded, our choice: only the CANDIDATES_PER_KEY_FRAME * count most salient frames are kept.
    The result equals the greedy choice among all frames seen while at most CANDIDATES_PER_KEY_FRAME frames,
    itself included, lie nearer than the separation to any frame: at a separation of one second, up to 16
    frames a second. Above that it is the beginning of the greedy choice: perhaps fewer frames, never
    others.

    Args:
        count: how many key frames.
        separation_seconds: the least distance of two key frames.
    """

    def __init__(self, count: int, separation_seconds: float) -> None:
        self._count = count
        self._separation = separation_seconds
        # (salience, -timestamp) in order: the first is the least salient, of equals the latest.
        self._candidates: list[tuple[float, float]] = []

    def offer(self, timestamp: float, salience: float) -> None:
        """Takes a frame.

        Raises:
            InvalidRequest: the timestamp (seconds) or the salience is not a finite number.
        """
        if not (math.isfinite(timestamp) and math.isfinite(salience)):
            raise InvalidRequest(
                f"a key frame needs finite numbers, not {timestamp} s with salience {salience}"
            )
        candidate = (salience, -timestamp)
        insort(self._candidates, candidate)
        if len(self._candidates) > CANDIDATES_PER_KEY_FRAME * self._count:
            del self._candidates[0]

    def selected(self) -> list[tuple[float, float]]:
        """The key frames so far as (timestamp, salience), in order of time."""
        chosen: list[tuple[float, float]] = []
        for salience, negative_timestamp in reversed(self._candidates):
            if len(chosen) == self._count:
                break
            frame = (-negative_timestamp, salience)
            place = bisect(chosen, frame)
            if all(
                abs(frame[0] - other) >= self._separation
                for other, _ in chosen[max(0, place - 1) : place + 1]
            ):
                chosen.insert(place, frame)
        return chosen
