"""Recording what plays, and the music that followed it.

The pictures are encoded as they come, into a file beside the destination; the sound is made at the end, block
by block. Of a long stream nothing is in memory but what an MP4 must know of each of its frames.
"""

import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from kinoscore.errors import (
    InternalError,
    InvalidMedia,
    InvalidRequest,
    KinoscoreError,
    NotFound,
    Unavailable,
)
from kinoscore.media.files import failures_told, opened_for_reading, opened_for_writing
from kinoscore.media.mixing import Sound, Turn, mixed, silence, silent
from kinoscore.media.writing import PREVIEW_SAMPLE_RATE, stereo_from, write_with_sound

__all__ = ["MusicTurn", "StreamRecorder"]

_TICKS = 90_000  # a second, as in broadcasting
_MOST_PIXELS = 1920 * 1080
_NOMINAL_SECONDS = 1 / 25


@dataclass(frozen=True, slots=True)
class MusicTurn:
    """From a moment of the stream on this track plays, from its passage on; None for silence."""

    start_seconds: float
    track: Path | None
    passage_start_seconds: float = 0.0


class StreamRecorder:
    """Keeps the pictures of a stream, and makes a file of them and the music.

    They are kept as H.264 at the size and rate of the stream, smaller where they are above 1920 x 1080, and
    removed at the end of the `with` block. Its methods may be called from any thread.

    Args:
        destination: the file to make; one that is there is replaced when the new one is whole.

    Raises (at the beginning of the block):
        NotFound: its folder does not exist.
        InvalidRequest: its suffix is no container for this.
        FailedPrecondition: it cannot be written there.
    """

    def __init__(self, destination: Path) -> None:
        self._destination = destination
        self._kept = destination.with_name(f".{destination.stem}.{os.getpid()}.pictures{destination.suffix}")
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._is_closed = False
        self._is_left = False
        self._stream: VideoStream | None = None
        self._reformatter = VideoReformatter()
        self._last_pts = -1
        self._step = round(_NOMINAL_SECONDS * _TICKS)

    def __enter__(self) -> Self:
        if not self._destination.parent.is_dir():
            raise NotFound(f"the folder {self._destination.parent} does not exist: create it first")
        with failures_told(self._destination), ExitStack() as stack:
            stack.callback(self._kept.unlink, missing_ok=True)
            # FFmpeg opens it with the first picture only: that it cannot be written is to be known now.
            self._kept.touch()
            self._container = stack.enter_context(opened_for_writing(self._kept))
            if not {"h264", "aac"} <= set(self._container.supported_codecs):
                raise InvalidRequest(
                    f"{self._destination.suffix} takes no H.264 with AAC: record to .mp4, .mkv or .mov"
                )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_left = True
        with self._lock:
            self._is_closed = True
            self._stack.close()

    @property
    def seconds(self) -> float:
        """How long what is kept lasts."""
        return (self._last_pts + self._step) / _TICKS if self._last_pts >= 0 else 0.0

    def add(self, frame: VideoFrame, seconds: float) -> None:
        """Keeps a picture; one that is not later than the one before is passed over, and all after `finish`.

        Args:
            seconds: since the beginning of the stream.

        Raises:
            StorageFull, FailedPrecondition: it cannot be written.
        """
        pts = round(seconds * _TICKS)
        with self._lock, failures_told(self._destination):
            if self._is_closed or pts <= self._last_pts:
                return
            if self._stream is None:
                self._stream = self._begun(frame)
            picture = self._reformatter.reformat(
                frame, self._stream.width, self._stream.height, "yuv420p", threads=1
            )
            picture.pts, picture.time_base = pts, Fraction(1, _TICKS)
            # Whatever the source's encoder chose, this one chooses for itself.
            picture.pict_type = 0
            self._container.mux(self._stream.encode(picture))
            if self._last_pts >= 0:
                self._step = pts - self._last_pts
            self._last_pts = pts

    def finish(self, turns: Sequence[MusicTurn]) -> list[str]:
        """Writes the file, with the music of each moment faded over into the next. Nothing more is kept.

        Args:
            turns: in order of time.

        Returns:
            What was wrong with the sound of tracks, which are silent then.

        Raises:
            InvalidMedia: there was no picture.
            Unavailable: the block was left meanwhile.
            StorageFull, FailedPrecondition: it cannot be written.
        """
        with self._lock, failures_told(self._destination):
            if self._stream is None:
                raise InvalidMedia("nothing was recorded: no picture came")
            if not self._is_closed:
                self._is_closed = True
                self._container.mux(self._stream.encode(None))
                self._container.close()
        warnings: list[str] = []
        music = mixed([_turn(turn, warnings) for turn in turns], self.seconds, PREVIEW_SAMPLE_RATE)
        with opened_for_reading(self._kept) as pictures:
            write_with_sound(pictures, self._while_wanted(music), self._destination)
        return warnings

    def _while_wanted(self, music: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """The sound of hours takes minutes: who leaves the block while another thread is at it, ends it."""
        for block in music:
            if self._is_left:
                raise Unavailable(
                    "the recording was given up before its sound was ready; nothing was written"
                )
            yield block

    def _begun(self, frame: VideoFrame) -> VideoStream:
        stream = self._container.add_stream("libx264", rate=round(1 / _NOMINAL_SECONDS))
        if not isinstance(stream, VideoStream):
            raise InternalError("libx264 is no video codec")
        scale = min(1.0, math.sqrt(_MOST_PIXELS / (frame.width * frame.height)))
        stream.width = max(2, round(frame.width * scale / 2) * 2)
        stream.height = max(2, round(frame.height * scale / 2) * 2)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS)
        stream.options = {"preset": "ultrafast", "crf": "23", "threads": "1"}
        if frame.rotation:
            stream.set_display_rotation(frame.rotation)
        return stream


def _turn(turn: MusicTurn, warnings: list[str]) -> Turn:
    track = turn.track
    if track is None:
        return Turn(turn.start_seconds, silent)
    return Turn(turn.start_seconds, lambda: _looped(track, turn.passage_start_seconds, warnings))


def _looped(track: Path, start_seconds: float, warnings: list[str]) -> Sound:
    """A track from a moment on, then from its beginning, again and again; silence once it cannot be read."""
    blocks = _played_again(track, start_seconds, warnings)
    rest = silence(0)

    def take(count: int) -> NDArray[np.float32]:
        nonlocal rest
        pieces = [rest]
        missing = count - rest.shape[1]
        while missing > 0:
            pieces.append(next(blocks))
            missing -= pieces[-1].shape[1]
        joined = np.concatenate(pieces, axis=1)
        rest = joined[:, count:]
        return joined[:, :count]

    return take


def _played_again(track: Path, start_seconds: float, warnings: list[str]) -> Iterator[NDArray[np.float32]]:
    try:
        while True:
            samples = 0
            with closing(stereo_from(track, start_seconds)) as sound:
                for block in sound:
                    samples += block.shape[1]
                    yield block
            if not samples and not start_seconds:
                raise InvalidMedia(f"{track.name} holds no sound")
            start_seconds = 0.0
    except KinoscoreError as error:
        warnings.append(error.message)
    while True:
        yield silence(PREVIEW_SAMPLE_RATE)
