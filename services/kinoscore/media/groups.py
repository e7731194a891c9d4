"""Where a group of pictures begins that refers to none before it."""

import re
from collections.abc import Iterator

from av.codec.context import CodecContext
from av.packet import Packet
from av.video.stream import VideoStream

__all__ = ["begins_group"]

# Codecs whose key packets hold a picture that resets the decoder. In AV1 such a picture may have come before.
_RESETTING = frozenset({"hevc", "vp8", "vp9", "mpeg4"})
_START_CODE = re.compile(rb"\x00\x00\x01(.)", re.DOTALL)
_UNIT_TYPE = 0x1F
_SLICES = range(1, 6)
_IDR_SLICE = 5
# Parameter sets and messages come before the first slice; more than this is none of them.
_LOOK_BYTES = 1 << 16


def begins_group(packet: "Packet[VideoStream]", context: CodecContext) -> bool:
    """Whether no picture shown after this packet's refers to one before it, as far as that can be told.

    In H.264 key packets may also mark a place from which a picture recovers bit by bit; only an IDR picture
    is a beginning for certain.

    Args:
        packet: in order of decoding.
        context: of the decoder that will get it.
    """
    if not packet.is_keyframe:
        return False
    codec = context.codec.canonical_name
    return codec in _RESETTING or (codec == "h264" and _is_idr(memoryview(packet), context.extradata or b""))


def _is_idr(data: memoryview, extradata: bytes) -> bool:
    # ISO/IEC 14496-15: units with their lengths before them; such streams have a configuration of version 1.
    has_lengths = extradata[:1] == b"\x01" and len(extradata) > 4
    kinds = _kinds_by_length(data, (extradata[4] & 3) + 1) if has_lengths else _kinds_by_start_code(data)
    return next((kind for kind in kinds if kind in _SLICES), None) == _IDR_SLICE


def _kinds_by_length(data: memoryview, length_bytes: int) -> Iterator[int]:
    position = 0
    while position + length_bytes < min(len(data), _LOOK_BYTES):
        size = int.from_bytes(data[position : position + length_bytes], "big")
        position += length_bytes
        yield data[position] & _UNIT_TYPE
        position += size


def _kinds_by_start_code(data: memoryview) -> Iterator[int]:
    return (match[1][0] & _UNIT_TYPE for match in _START_CODE.finditer(data[:_LOOK_BYTES]))
