"""The part of a file that a pair needs, decoded: no more of it than that is kept, or decoded after it."""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dualpath.config import MusicNumbers, VideoNumbers
from kinoscore.errors import KinoscoreError
from kinoscore.media.decoding import iter_audio, iter_frames
from kinoscore.media.types import FrameSpec

__all__ = ["naming", "read_clip", "read_passage"]

Item = TypeVar("Item", np.uint8, np.float32)


def read_clip(path: Path | str, video: VideoNumbers, start_seconds: float = 0.0) -> NDArray[np.uint8]:
    """Up to `window_frames` sampled frames from the one nearest `start_seconds`: uint8 [m, height, width, 3].

    Raises:
        NotFound, InvalidRequest, InvalidMedia, MediaTooLarge: of the file, which the message names.
    """
    first = round(start_seconds * video.frames_per_second)
    last = first + video.window_frames
    spec = FrameSpec(video.frame_width, video.frame_height, video.frames_per_second)
    with naming(path), closing(iter_frames(path, spec)) as batches:
        return _stretch((batch.frames for batch in batches), first, last)


def read_passage(path: Path | str, music: MusicNumbers, start_seconds: float = 0.0) -> NDArray[np.float32]:
    """Up to one passage of mono samples from `start_seconds` on: float32 [m].

    Raises:
        NotFound, InvalidRequest, InvalidMedia, MediaTooLarge: of the file, which the message names.
    """
    first = round(start_seconds * music.sample_rate)
    last = first + music.passage_windows * music.window_samples
    with naming(path), closing(iter_audio(path, music.sample_rate)) as blocks:
        return _stretch((block.samples for block in blocks), first, last)


def _stretch(parts: Iterable[NDArray[Item]], first: int, last: int) -> NDArray[Item]:
    """Rows `first` to `last` of arrays that follow one another, none after the last is asked for."""
    kept: list[NDArray[Item]] = []
    seen = 0
    for part in parts:
        kept.append(part[max(first - seen, 0) : last - seen])
        seen += len(part)
        if seen >= last:
            break
    return np.concatenate(kept)


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Errors of decoding say which file they are about."""
    try:
        yield
    except KinoscoreError as error:
        raise type(error)(f"{path}: {error}") from error
