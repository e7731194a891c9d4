"""Which codecs this build of FFmpeg has, of those that kinoscore counts on."""

from av.codec import Codec
from av.codec.codec import UnknownCodecError

__all__ = ["DECODERS", "ENCODERS", "missing_codecs"]

DECODERS = ("h264", "hevc", "vp8", "vp9", "av1", "aac", "mp3", "vorbis", "opus", "flac", "pcm_s16le")
# For the demo's files and for previews.
ENCODERS = ("libx264", "aac", "libopus")


def missing_codecs() -> tuple[str, ...]:
    """The names of those that are missing, as `av1 decoder`; empty when all are there."""
    wanted = [(name, "r", "decoder") for name in DECODERS] + [(name, "w", "encoder") for name in ENCODERS]
    return tuple(f"{name} {kind}" for name, mode, kind in wanted if not _has(name, mode))


def _has(name: str, mode: str) -> bool:
    try:
        Codec(name, mode)
    except UnknownCodecError:
        return False
    return True
