"""Pieces of music one after another, each faded over into the next: plain arrays, no codec."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sound", "Turn", "mixed", "silence", "silent"]

FADE_SECONDS = 1.0
_BLOCK_SAMPLES = 16_384

# Gives the next `n` samples, f32[2, n]; it never ends.
Sound = Callable[[int], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Turn:
    """One piece of music takes over from the one before.

    Attributes:
        start_seconds: when.
        open: begins the piece at its first sample.
    """

    start_seconds: float
    open: Callable[[], Sound]


def silence(count: int) -> NDArray[np.float32]:
    """A sound in which nothing is heard."""
    return np.zeros((2, count), np.float32)


def silent() -> Sound:
    """Opens nothing."""
    return silence


def mixed(turns: Sequence[Turn], seconds: float, sample_rate: int) -> Iterator[NDArray[np.float32]]:
    """The music of all turns, `seconds` long, in blocks f32[2, m].

    From the moment of its turn on, a piece fades in and the one before fades out, at equal power, in one
    second, or less where the next turn follows sooner: never more than two are heard. All of it fades in at
    its beginning and out at its end. A piece is opened at its turn and let go when it has faded out.

    Args:
        turns: in order of time, the first at 0 or later: until then there is silence.
        seconds: 0 or more; turns after that are not heard.
    """
    total = round(seconds * sample_rate)
    fade = min(round(FADE_SECONDS * sample_rate), total // 2)
    heard = [turn for turn in turns if round(turn.start_seconds * sample_rate) < total]
    starts = [round(turn.start_seconds * sample_rate) for turn in heard]
    begins = [0, *starts, max([total - fade, *starts[-1:]])]
    opens = [silent, *(turn.open for turn in heard), silent]
    before: Sound = silence
    for open_sound, begin, end in zip(opens, begins, [*begins[1:], total], strict=True):
        if end <= begin:
            continue
        sound = open_sound()
        faded = min(fade, end - begin)
        yield from _faded_over(before, sound, faded)
        before = sound
        for position in range(begin + faded, end, _BLOCK_SAMPLES):
            yield sound(min(_BLOCK_SAMPLES, end - position))


def _faded_over(before: Sound, sound: Sound, count: int) -> Iterator[NDArray[np.float32]]:
    for position in range(0, count, _BLOCK_SAMPLES):
        size = min(_BLOCK_SAMPLES, count - position)
        angle = ((np.arange(position, position + size) + 0.5) / count * (np.pi / 2)).astype(np.float32)
        yield before(size) * np.cos(angle) + sound(size) * np.sin(angle)
