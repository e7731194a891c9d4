"""A file to arrays, in this process.

For trusted files, and for the worker processes of `kinoscore.media.pool`, which is the place for untrusted
ones. Every function raises from `kinoscore.errors` NotFound, InvalidRequest (unreadable), InvalidMedia or
MediaTooLarge. What is damaged in the middle of a file is passed over and told in the summary's warnings.
"""

import os
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Generic, TypeVar

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from kinoscore.errors import InvalidMedia, MediaTooLarge
from kinoscore.media.container import SoundDigest, audio_stream, open_media, read_tags, video_stream
from kinoscore.media.frames import SampledVideo, to_picture
from kinoscore.media.salvage import StreamReader
from kinoscore.media.sound import MonoSound
from kinoscore.media.types import AudioBlock, FrameBatch, FrameSpec, Limits, MediaProbe, MediaSummary

__all__ = [
    "BATCH_FRAMES",
    "BLOCK_SAMPLES",
    "Decoding",
    "iter_audio",
    "iter_frames",
    "probe",
    "read_audio",
    "read_frames",
]

# Small, so that a consumer starts on the first frames while the others are decoded. Not smaller: each call of
# a model costs as much as three frames.
BATCH_FRAMES = 12
# Six seconds at 22050 Hz; half a megabyte.
BLOCK_SAMPLES = 1 << 17

Item = TypeVar("Item")
Media = TypeVar("Media", VideoStream, AudioStream)
DEFAULT_LIMITS = Limits()


class Decoding(Iterator[Item], Generic[Item]):
    """An iterator over what is decoded, with a summary at its end. Closing it early frees the decoder."""

    def __init__(self, items: Generator[Item, None, MediaSummary]) -> None:
        self._items = items
        self._summary: MediaSummary | None = None
        self._seconds = 0.0

    def __next__(self) -> Item:
        started = time.perf_counter()
        try:
            return next(self._items)
        except StopIteration as end:
            self._summary = end.value or self._summary
            raise
        except MemoryError as error:
            raise MediaTooLarge("the file needs more memory to decode than a decoder may use") from error
        except av.FFmpegError as error:
            raise InvalidMedia(f"the file cannot be decoded: {error.strerror}") from error
        finally:
            self._seconds += time.perf_counter() - started

    @property
    def summary(self) -> MediaSummary:
        """Known once the iterator has ended."""
        if self._summary is None:
            raise RuntimeError("the summary is known only after the last item")
        return replace(self._summary, decode_seconds=self._seconds)

    def close(self) -> None:
        self._items.close()


def iter_frames(
    path: str | os.PathLike[str], spec: FrameSpec, limits: Limits = DEFAULT_LIMITS, *, threads: int = 1
) -> Decoding[FrameBatch]:
    """Decodes the video of a file, sampled at `spec.frames_per_second`, in batches of up to BATCH_FRAMES.

    Sample number i takes the frame that is on the screen i / rate seconds after the first frame: the last
    one whose timestamp is not later. There is at least one. A rotation that the file asks for is done.
    Frames that are neither sampled nor referred to by others are not decoded.

    Args:
        threads: of the decoder. More shorten the wait for one file, at some loss when all cores are busy.
    """
    return Decoding(_frame_batches(path, spec, limits, threads))


def iter_audio(
    path: str | os.PathLike[str], sample_rate: int, limits: Limits = DEFAULT_LIMITS
) -> Decoding[AudioBlock]:
    """Decodes the sound of a file, mixed to mono at `sample_rate` Hz, in blocks of up to BLOCK_SAMPLES.

    The mix is scaled so that no channels can add up to more than 1. NaN and infinite samples become 0.
    """
    return Decoding(_audio_blocks(path, sample_rate, limits))


def read_frames(
    path: str | os.PathLike[str], spec: FrameSpec, limits: Limits = DEFAULT_LIMITS
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """All of `iter_frames` at once: timestamps float64 [n] (seconds), frames uint8 [n, height, width, 3]."""
    batches = list(iter_frames(path, spec, limits))
    timestamps = np.concatenate([batch.timestamps for batch in batches])
    return timestamps, np.concatenate([batch.frames for batch in batches])


def read_audio(
    path: str | os.PathLike[str], sample_rate: int, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.float32]:
    """All of `iter_audio` at once: float32 [m]."""
    return np.concatenate([block.samples for block in iter_audio(path, sample_rate, limits)])


def probe(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> MediaProbe:
    """Tells what a file holds. Reads it to its end for the digest of its sound, but decodes nothing."""
    with open_media(path, limits) as container:
        video = _stream_or_none(video_stream, container, limits)
        audio = _stream_or_none(audio_stream, container, limits)
        if video is None and audio is None:
            raise InvalidMedia("the file has neither a video nor an audio stream")
        seconds = (container.duration or 0) / av.time_base
        digest = None
        if audio is not None:
            digest, last_seconds = _read_digest(container, audio)
            seconds = seconds or last_seconds
        return MediaProbe(
            duration_seconds=seconds,
            has_video=video is not None,
            has_audio=audio is not None,
            width=0 if video is None else video.codec_context.width,
            height=0 if video is None else video.codec_context.height,
            tags=read_tags(container),
            digest=digest,
        )


def _frame_batches(
    path: str | os.PathLike[str], spec: FrameSpec, limits: Limits, threads: int
) -> Generator[FrameBatch, None, MediaSummary]:
    with open_media(path, limits) as container:
        video = SampledVideo(container, spec, limits, threads)
        reformatter = VideoReformatter()
        timestamps: list[float] = []
        frames: list[NDArray[np.uint8]] = []
        for shown in video.shown():
            picture = to_picture(shown.frame, reformatter, spec.width, spec.height)
            for number in range(shown.first, shown.end):
                timestamps.append(number / spec.frames_per_second)
                frames.append(picture)
                if len(frames) == BATCH_FRAMES:
                    yield FrameBatch(np.array(timestamps), np.stack(frames))
                    timestamps, frames = [], []
        if frames:
            yield FrameBatch(np.array(timestamps), np.stack(frames))
        return video.summary()


def _audio_blocks(
    path: str | os.PathLike[str], sample_rate: int, limits: Limits
) -> Generator[AudioBlock, None, MediaSummary]:
    with open_media(path, limits) as container:
        sound = MonoSound(container, sample_rate, limits)
        for block in sound.blocks(BLOCK_SAMPLES):
            yield AudioBlock(block)
        return sound.summary()


def _stream_or_none(
    find: Callable[[InputContainer, Limits], Media], container: InputContainer, limits: Limits
) -> Media | None:
    try:
        return find(container, limits)
    except InvalidMedia:
        return None


def _read_digest(container: InputContainer, stream: AudioStream) -> tuple[str, float]:
    """The digest of the sound, and the time at which its last packet ends."""
    digest = SoundDigest(stream)
    seconds = 0.0
    for packet in StreamReader(container, stream).packets():
        digest.add(packet)
        if packet.pts is not None:
            seconds = max(seconds, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return digest.hexadecimal(), seconds
