"""The part of a file that a pair needs, decoded: no more of it than that is kept, or decoded after it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualpath.config import MusicNumbers, VideoNumbers
from kinoscore.errors import KinoscoreError
from kinoscore.media.decoding import iter_audio, iter_frames
from kinoscore.media.types import FrameSpec

__all__ = ["naming", "read_clip", "read_passage"]


def read_clip(path: Path | str, video: VideoNumbers, start_seconds: float = 0.0) -> NDArray[np.uint8]:
    """Up to `window_frames` sampled frames from the one nearest `start_seconds`: uint8 [m, height, width, 3].

    Raises:
        NotFound, InvalidRequest, InvalidMedia, MediaTooLarge: of the file, which the message names.
    """
    first = round(start_seconds * video.frames_per_second)
    last = first + video.window_frames
    spec = FrameSpec(video.frame_width, video.frame_height, video.frames_per_second)
    kept: list[NDArray[np.uint8]] = []
    seen = 0
    with naming(path):
        batches = iter_frames(path, spec)
        try:
            for batch in batches:
                kept.append(batch.frames[max(first - seen, 0) : last - seen])
                seen += len(batch.frames)
                if seen >= last:
                    break
        finally:
            batches.close()
    return np.concatenate(kept)


def read_passage(path: Path | str, music: MusicNumbers, start_seconds: float = 0.0) -> NDArray[np.float32]:
    """Up to one passage of mono samples from `start_seconds` on: float32 [m].

    Raises:
        NotFound, InvalidRequest, InvalidMedia, MediaTooLarge: of the file, which the message names.
    """
    first = round(start_seconds * music.sample_rate)
    last = first + music.passage_windows * music.window_samples
    kept: list[NDArray[np.float32]] = []
    seen = 0
    with naming(path):
        blocks = iter_audio(path, music.sample_rate)
        try:
            for block in blocks:
                kept.append(block.samples[max(first - seen, 0) : last - seen])
                seen += len(block.samples)
                if seen >= last:
                    break
        finally:
            blocks.close()
    return np.concatenate(kept)


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Errors of decoding say which file they are about."""
    try:
        yield
    except KinoscoreError as error:
        raise type(error)(f"{path}: {error}") from error
