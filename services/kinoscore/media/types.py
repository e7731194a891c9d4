"""The values that leave the media room."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AudioBlock",
    "FrameBatch",
    "FrameSpec",
    "Limits",
    "MediaProbe",
    "MediaSummary",
    "PictureFormat",
    "Tags",
]


@dataclass(frozen=True, slots=True)
class FrameSpec:
    """How frames are wanted. The whole picture is squashed to width x height: its aspect is not kept.

    Attributes:
        width: pixels.
        height: pixels.
        frames_per_second: the sampling rate, not the video's own.
    """

    width: int
    height: int
    frames_per_second: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may ask for; a file above one of them raises MediaTooLarge, as early as that can be known.

    Attributes:
        max_bytes: size of the file.
        max_duration_seconds: declared duration, and duration met while decoding.
        max_pixels: width x height of the coded picture; 8K by default.
    """

    max_bytes: int = 1 << 30
    max_duration_seconds: float = 3600.0
    max_pixels: int = 7680 * 4320


class PictureFormat(StrEnum):
    """How a single picture is encoded."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    # Rows from top to bottom, 3 bytes a pixel, no padding.
    RGB24 = "rgb24"
    # The rows of Y, then of U, then of V, no padding; width and height are even.
    I420 = "i420"


@dataclass(frozen=True, slots=True, eq=False)
class FrameBatch:
    """Consecutive sampled frames.

    Attributes:
        timestamps: float64 [n], seconds since the first frame of the clip, strictly increasing.
        frames: uint8 [n, height, width, 3], RGB.
    """

    timestamps: NDArray[np.float64]
    frames: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class AudioBlock:
    """Consecutive sound.

    Attributes:
        samples: float32 [m], mono, finite, in [-1, 1].
    """

    samples: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MediaSummary:
    """What decoding a file to its end has shown.

    Attributes:
        duration_seconds: of what was decoded.
        decode_seconds: time spent decoding, without the time in which the consumer was busy.
        warnings: what was wrong and passed over, one line each.
        digest: SHA-256 of the encoded sound (see MediaProbe); None for frames.
    """

    duration_seconds: float
    decode_seconds: float
    warnings: tuple[str, ...] = ()
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Tags:
    """What a file says of itself; empty where it says nothing.

    Attributes:
        tags: genres, moods and keywords, in the order found, without repeats.
        tempo: beats a minute; 0 when not told.
    """

    title: str = ""
    artist: str = ""
    licence: str = ""
    attribution: str = ""
    tags: tuple[str, ...] = ()
    tempo: float = 0.0


@dataclass(frozen=True, slots=True)
class MediaProbe:
    """What a file holds, learnt without decoding.

    Attributes:
        duration_seconds: declared by the file, or else the time at which its last packet ends.
        width: pixels of the coded picture; 0 without video.
        height: pixels of the coded picture; 0 without video.
        digest: SHA-256 in hexadecimal over the codec, rate, channels and encoded bytes of the sound. Tags are
            left out: renaming and retagging a file keep it. None without sound.
    """

    duration_seconds: float
    has_video: bool
    has_audio: bool
    width: int
    height: int
    tags: Tags
    digest: str | None
