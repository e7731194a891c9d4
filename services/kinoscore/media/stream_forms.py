"""Which form of container or elementary stream bytes are of, told from the bytes alone. No codec.

A stream begins at its beginning; one that is taken up again may begin anywhere, and MPEG-TS always may.
"""

import re
from enum import StrEnum

__all__ = ["BOX_TYPES", "StreamForm", "begins", "find_beginning"]

PACKET_BYTES = 188
SYNC = 0x47
# Bytes that must be there before a stream can be called of no known form.
ENOUGH_BYTES = 6 * PACKET_BYTES
EBML_MAGIC = b"\x1a\x45\xdf\xa3"
BOX_TYPES = frozenset(
    b"ftyp styp moov moof mdat free skip wide sidx ssix prft emsg mfra uuid meta udta pdin pnot".split()
)
# The kinds of units with the values of nal_ref_idc that each may have.
_REFERENCES = {1: (0, 1, 2, 3), 5: (1, 2, 3), 6: (0,), 7: (1, 2, 3), 8: (1, 2, 3), 9: (0,)}
_NAL_HEADERS = frozenset(
    reference << 5 | kind for kind, references in _REFERENCES.items() for reference in references
)
_START_CODE = re.compile(rb"\x00\x00\x01(.)", re.DOTALL)
# An SPS of a known profile and, soon after it, a PPS.
_PARAMETER_SETS = re.compile(
    rb"\x00\x00\x01[\x27\x47\x67][\x42\x4d\x58\x64\x6e\x7a\xf4\x2c].{2,255}?\x00\x00\x01[\x28\x48\x68]",
    re.DOTALL,
)
_EBML = re.compile(rb"\x1a\x45\xdf\xa3.{1,64}?(?:webm|matroska)", re.DOTALL)
_FILE_TYPE = re.compile(rb"\x00\x00[\x00-\x03].ftyp", re.DOTALL)


class StreamForm(StrEnum):
    """The forms that live streams may have; the value is FFmpeg's name of the demuxer."""

    MP4 = "mp4"
    MATROSKA = "matroska"
    MPEG_TS = "mpegts"
    H264 = "h264"


def begins(data: bytes) -> StreamForm | None:
    """The form of a stream that begins with these bytes; None where they are of no known form."""
    if data[4:8] in BOX_TYPES:
        return StreamForm.MP4
    if data.startswith(EBML_MAGIC):
        return StreamForm.MATROSKA
    start = _START_CODE.match(data, 1 if data.startswith(bytes(3)) else 0)
    if start and start[1][0] in _NAL_HEADERS:
        return StreamForm.H264
    if _packets_at(data[:ENOUGH_BYTES], 3) is not None or (
        data and data[0] == SYNC and len(data) == PACKET_BYTES
    ):
        return StreamForm.MPEG_TS
    return None


def find_beginning(data: bytes, *, is_all: bool) -> tuple[StreamForm, int] | None:
    """The first place in a stream taken up anywhere from which it can be read, with its form.

    Args:
        is_all: no more bytes will come that could tell the form.
    """
    found = []
    if match := _FILE_TYPE.search(data):
        found.append((match.start(), StreamForm.MP4))
    if match := _EBML.search(data):
        found.append((match.start(), StreamForm.MATROSKA))
    if (packets := _packets_at(data, 6)) is not None:
        found.append((packets, StreamForm.MPEG_TS))
    elif (match := _PARAMETER_SETS.search(data)) and (
        # Otherwise they may lie in packets of a transport stream, too few yet to be known.
        is_all or len(data) - match.start() >= ENOUGH_BYTES
    ):
        found.append((match.start(), StreamForm.H264))
    if not found:
        return None
    position, form = min(found)
    return form, position


def _packets_at(data: bytes, count: int) -> int | None:
    """Where so many packets of a transport stream follow each other."""
    position = data.find(SYNC)
    last = len(data) - (count - 1) * PACKET_BYTES
    while 0 <= position < last:
        if all(data[position + number * PACKET_BYTES] == SYNC for number in range(1, count)):
            return position
        position = data.find(SYNC, position + 1)
    return None
