"""Which codecs this build of FFmpeg has, of those that kinoscore counts on."""

from typing import Literal

from av.codec import Codec
from av.codec.codec import UnknownCodecError

__all__ = ["DECODERS", "ENCODERS", "missing_codecs"]

DECODERS = ("h264", "hevc", "vp8", "vp9", "av1", "aac", "mp3", "vorbis", "opus", "flac", "pcm_s16le")
# For the demo's files and for previews.
ENCODERS = ("libx264", "aac", "libopus")


def missing_codecs() -> tuple[str, ...]:
    """The names of those that are missing, as `av1 decoder`; empty when all are there."""
    decoders = (f"{name} decoder" for name in DECODERS if not _has(name, "r"))
    encoders = (f"{name} encoder" for name in ENCODERS if not _has(name, "w"))
    return (*decoders, *encoders)


def _has(name: str, mode: Literal["r", "w"]) -> bool:
    try:
        Codec(name, mode)
    except UnknownCodecError:
        return False
    return True
