"""From the frames of a live stream to samples: whatever times they carry, and however fast they come.

Plain numbers and queues. Sample number i stands for i / rate seconds of the stream and takes the frame that
is on the screen then, as in an upload; but a frame that comes just on time is taken at once.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["LiveSampler", "SampleQueue", "Samples", "StreamClock"]

Item = TypeVar("Item")

# A frame comes on time when it is this part of a sampling interval away: timestamps are rounded.
_ROUNDING = 1e-6
# A larger step is a new timeline; a smaller one back is disorder, a smaller one ahead a pause.
_STEP_BACK_SECONDS = 1.0
_STEP_AHEAD_SECONDS = 10.0


@dataclass(slots=True)
class StreamClock:
    """Turns the times that a sender gives into seconds since the beginning of the stream.

    What comes in order keeps its distances. A step back of more than one second, or ahead of more than ten,
    goes on right after the last frame; a smaller step back is no step.

    Attributes:
        offset_seconds: to be added to a given time; None before the first.
        last_seconds: of the last frame.
        repaired: times that were not taken as they came.
    """

    offset_seconds: float | None = None
    last_seconds: float = 0.0
    repaired: int = 0

    def place(self, timestamp: float, step_seconds: float) -> float | None:
        """The seconds of the next frame; None where its time is no number: that frame has no place.

        Args:
            step_seconds: from the last frame to the first of a new timeline.
        """
        if not math.isfinite(timestamp):
            self.repaired += 1
            return None
        if self.offset_seconds is None:
            self.offset_seconds = -timestamp
        seconds = timestamp + self.offset_seconds
        step = seconds - self.last_seconds
        if step < -_STEP_BACK_SECONDS or step > _STEP_AHEAD_SECONDS:
            self.repaired += 1
            self.offset_seconds = self.last_seconds + step_seconds - timestamp
            seconds = self.last_seconds + step_seconds
        elif step < 0:
            self.repaired += 1
            seconds = self.last_seconds
        self.last_seconds = seconds
        return seconds


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples that a frame shows, as it comes: some by the frame before it, perhaps one by itself."""

    before: range
    now: range


class LiveSampler:
    """Tells which samples the frames of a stream give.

    Args:
        rate: samples a second.
        next_sample: the first that is still to be given.
    """

    def __init__(self, rate: float, next_sample: int = 0) -> None:
        self._rate = rate
        self.next_sample = next_sample

    def offer(self, seconds: float) -> Samples:
        """Takes the time of the next frame, not before the last one's."""
        end = math.ceil(seconds * self._rate - _ROUNDING)
        before = self._until(end)
        is_on_time = abs(seconds * self._rate - end) <= _ROUNDING
        return Samples(before, self._until(end + 1) if is_on_time else range(0))

    def _until(self, end: int) -> range:
        samples = range(self.next_sample, max(self.next_sample, end))
        self.next_sample = samples.stop
        return samples


class SampleQueue(Generic[Item]):
    """What waits to be encoded, in order of time; bounded.

    Args:
        capacity: items.
        drops: a full queue gives up an older item for a new one; otherwise it makes the sender wait.
    """

    def __init__(self, capacity: int, *, drops: bool) -> None:
        self._capacity = capacity
        self._drops = drops
        self._items: list[tuple[float, Item]] = []
        self._last_taken = -math.inf
        self._changed = asyncio.Condition()
        self._ended = False
        self.dropped = 0

    async def put(self, seconds: float, item: Item) -> None:
        """Adds an item that is not earlier than the last."""
        async with self._changed:
            if not self._drops:
                await self._changed.wait_for(lambda: len(self._items) < self._capacity)
            self._items.append((seconds, item))
            if len(self._items) > self._capacity:
                times = [self._last_taken, *(time for time, _ in self._items)]
                del self._items[least_missed(times)]
                self.dropped += 1
            self._changed.notify_all()

    async def end(self) -> None:
        """Nothing more will come."""
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def take(self, most: int) -> list[Item]:
        """Waits for items and takes the oldest; none when the queue has ended."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._items) or self._ended)
            taken, self._items = self._items[:most], self._items[most:]
            if taken:
                self._last_taken = taken[-1][0]
            self._changed.notify_all()
            return [item for _, item in taken]


def least_missed(times: Sequence[float]) -> int:
    """Which of the times after the first leaves the smallest gap when it goes; counted from the second.

    Never the last. So a queue that is cut again and again stays spread evenly over the time it covers.
    """
    gaps = [after - before for before, after in zip(times, times[2:], strict=False)]
    return gaps.index(min(gaps))
