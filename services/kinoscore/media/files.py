"""Opening media files: to read, and to write so that a file under its final name is always whole."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from kinoscore.errors import (
    FailedPrecondition,
    InternalError,
    InvalidMedia,
    InvalidRequest,
    NotFound,
    StorageFull,
)

__all__ = [
    "add_audio_stream",
    "failures_told",
    "opened_for_reading",
    "opened_for_writing",
    "packets",
    "replacing",
    "sounds",
]


@contextmanager
def replacing(destination: Path) -> Iterator[Path]:
    """A temporary path with the same suffix, renamed to the destination on success, removed otherwise."""
    if not destination.parent.is_dir():
        raise NotFound(f"the folder {destination.parent} does not exist: create it first")
    temporary = destination.with_name(f".{destination.stem}.{os.getpid()}.partial{destination.suffix}")
    try:
        with failures_told(destination):
            yield temporary
            temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def failures_told(destination: Path) -> Iterator[None]:
    """What the system says against writing this file, as an error of ours.

    Raises:
        StorageFull: the disk is full.
        FailedPrecondition: the file cannot be written there.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageFull(f"the disk is full while writing {destination}: free some space") from error
        raise FailedPrecondition(
            f"cannot write {destination}: {error.strerror}; choose another place"
        ) from error


@contextmanager
def opened_for_writing(path: Path) -> Iterator[OutputContainer]:
    """Raises InvalidRequest: the suffix is no container."""
    try:
        container = av.open(str(path), "w")
    except ValueError as error:
        raise InvalidRequest(
            f"no media container goes by the suffix {path.suffix!r}: use .mp4, .mkv or .mov"
        ) from error
    with container:
        yield container


@contextmanager
def opened_for_reading(path: Path) -> Iterator[InputContainer]:
    """Raises NotFound: there is no such file. InvalidMedia: it is none that can be opened."""
    try:
        container = av.open(str(path), "r")
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist") from error
    except av.FFmpegError as error:
        raise _undecodable(path, error) from error
    with container:
        yield container


def packets(source: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream]]":
    """The packets that carry pictures, without the empty one that marks the end."""
    try:
        for packet in source.demux(stream):
            if packet.dts is not None:
                yield packet
    except av.FFmpegError as error:
        raise _undecodable(Path(source.name), error) from error


def sounds(source: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """The decoded frames of an audio stream."""
    try:
        yield from source.decode(stream)
    except av.FFmpegError as error:
        raise _undecodable(Path(source.name), error) from error


def _undecodable(path: Path, error: av.FFmpegError) -> InvalidMedia:
    return InvalidMedia(f"{path.name} cannot be decoded ({error.strerror}): it is damaged, or no media file")


def add_audio_stream(container: OutputContainer, codec: str, rate: int, layout: str) -> AudioStream:
    """A new stream of a file that is written."""
    stream = container.add_stream(codec, rate=rate, layout=layout)
    if not isinstance(stream, AudioStream):
        raise InternalError(f"{codec} is no audio codec")
    return stream
