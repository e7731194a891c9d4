"""The sound of a file as mono samples."""

from collections.abc import Iterator

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from numpy.typing import NDArray

from kinoscore.errors import InvalidMedia
from kinoscore.media.container import SoundDigest, audio_stream, declared_seconds, too_long
from kinoscore.media.salvage import StreamReader
from kinoscore.media.types import Limits, MediaSummary

__all__ = ["MonoSound"]

# Pieces of the size of a codec's frames, a few hundred samples, would take twice the time.
PIECE_SAMPLES = 1 << 16
# Codecs pad their ends by up to a few frames.
GAP_SECONDS = 0.1
# -80 dB of full scale: below the noise of a 14-bit recording.
SILENCE = 1e-4


class MonoSound:
    """Mixes and resamples the sound of an open container.

    Raises what `kinoscore.media.decoding.iter_audio` raises.
    """

    def __init__(self, container: InputContainer, sample_rate: int, limits: Limits) -> None:
        self._rate = sample_rate
        self._limits = limits
        self._stream = audio_stream(container, limits)
        self._declared_seconds = declared_seconds(container, self._stream)
        self._reader = StreamReader(container, self._stream)
        self._digest = SoundDigest(self._stream)
        self._span_seconds = 0.0
        self._samples = 0
        self._not_finite = 0
        self._peak = 0.0

    def blocks(self, size: int) -> Iterator[NDArray[np.float32]]:
        """The samples, cut into blocks of `size`; the last one is shorter."""
        block = np.empty(size, np.float32)
        filled = 0
        for piece in self._resampled():
            while len(piece):
                taken = min(len(piece), size - filled)
                block[filled : filled + taken] = piece[:taken]
                piece = piece[taken:]
                filled += taken
                if filled == size:
                    yield self._checked(block)
                    block, filled = np.empty(size, np.float32), 0
        if filled:
            yield self._checked(block[:filled])
        if not self._samples:
            raise InvalidMedia("no sound of the audio stream could be decoded")

    def summary(self) -> MediaSummary:
        seconds = self._samples / self._rate
        warnings = self._reader.warnings(seconds, self._declared_seconds)
        if self._span_seconds - seconds > GAP_SECONDS:
            warnings.append(f"{self._span_seconds - seconds:.1f} s of sound are missing or damaged")
        if self._not_finite:
            warnings.append(f"{self._not_finite} samples that are not finite numbers were taken as 0")
        if self._peak < SILENCE:
            warnings.append("the sound is silent")
        return MediaSummary(seconds, 0.0, tuple(warnings), self._digest.hexadecimal())

    def _checked(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        self._samples += len(block)
        if self._samples > self._limits.max_duration_seconds * self._rate:
            raise too_long(self._limits)
        wrong = ~np.isfinite(block)
        if wrong.any():
            self._not_finite += int(wrong.sum())
            block[wrong] = 0
        np.clip(block, -1, 1, out=block)
        self._peak = max(self._peak, float(np.abs(block).max()))
        return block

    def _resampled(self) -> Iterator[NDArray[np.float32]]:
        resampler = self._resampler()
        form: tuple[str, str, int] | None = None
        for frame in self._decoded():
            # Some streams change their rate or channels on the way.
            if form not in (None, _form(frame)):
                yield from _resample(resampler, None)
                resampler = self._resampler()
            form = _form(frame)
            yield from _resample(resampler, frame)
        if form is not None:
            yield from _resample(resampler, None)

    def _resampler(self) -> AudioResampler:
        # rematrix_maxval: float mixes are not normalised otherwise, and loud stereo would clip.
        return AudioResampler("flt", "mono", self._rate, PIECE_SAMPLES, {"rematrix_maxval": "1.0"})

    def _decoded(self) -> Iterator[AudioFrame]:
        time_base = float(self._stream.time_base or 0)
        start: float | None = None
        for packet in self._reader.packets():
            self._digest.add(packet)
            if packet.pts is not None:
                seconds = packet.pts * time_base
                start = seconds if start is None else start
                self._span_seconds = max(self._span_seconds, seconds - start)
            yield from self._reader.decode(packet)
        yield from self._reader.decode(None)


def _form(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _resample(resampler: AudioResampler, frame: AudioFrame | None) -> Iterator[NDArray[np.float32]]:
    if frame is not None:
        # The samples follow each other; what their timestamps say is of no use here.
        frame.pts = None
    for resampled in resampler.resample(frame):
        yield np.asarray(resampled.to_ndarray(), np.float32)[0]
