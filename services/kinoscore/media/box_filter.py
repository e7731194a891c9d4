"""Lets whole plausible boxes of an MP4 through to a demuxer, and passes over what is none.

FFmpeg cannot find the next fragment of an MP4 stream by itself: a piece that is missing or damaged would end
it. No codec: an incremental parser of the outermost boxes (ISO/IEC 14496-12).
"""

import re
import struct

from kinoscore.errors import InvalidMedia
from kinoscore.media.stream_forms import BOX_TYPES

__all__ = ["BoxFilter"]

LARGEST_INDEX = 4 << 20
LARGEST_BOX = 1 << 20
LARGEST_DATA = 1 << 40
# The index, the boxes that tell of a fragment, and those that hold or pad.
_HELD = frozenset((b"ftyp", b"moov", b"moof"))
_PASSED = frozenset((b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide"))
_LARGEST = {b"moov": LARGEST_INDEX, **dict.fromkeys((b"mdat", b"free", b"skip", b"wide"), LARGEST_DATA)}
# Where reading can go on: the beginning of an index, of a segment, or of a fragment with its header.
_BEGINNING = re.compile(
    rb"\x00\x00..(?:ftyp|styp)|\x00...moov\x00\x00\x00.mvhd|\x00...moof\x00\x00\x00\x10mfhd", re.DOTALL
)
_BEGINNING_BYTES = 16
_HAS_BASE = 0x000001

SEND_FRAGMENTED = "send fragmented MP4 (ffmpeg: `-movflags frag_keyframe+empty_moov`)"


class BoxFilter:
    """Takes the bytes of an MP4 stream, cut anywhere, and gives those that a demuxer may read.

    Boxes that a player of a stream does not need are passed as `free` boxes, so that positions stay; those of
    fragments are written anew where a fragment names its own.

    Attributes:
        initialisation: `ftyp` and `moov` of a fragmented stream, once known.
        damaged: stretches that were passed over because they made no sense.
        is_renewed: another stream has begun, with an index of its own: what comes is for another demuxer.
        can_restart: whether a demuxer can begin anew at the next fragment.
    """

    def __init__(self) -> None:
        self.initialisation: bytes | None = None
        self.damaged = 0
        self.is_renewed = False
        self._file_type = b""
        self._index = b""
        self._held = b""
        self._passing = 0
        self._seeking = False
        self._taken = 0
        self._given = 0
        self._has_fragment = False

    @property
    def can_restart(self) -> bool:
        return self.initialisation is not None

    def push(self, data: bytes) -> bytes:
        """Takes the next bytes.

        Raises:
            InvalidMedia: the index comes after the pictures, or is too large.
        """
        self._held += data
        given: list[bytes] = []
        while not self.is_renewed and (self._passing or self._held):
            before = len(self._held), self._seeking, self._passing
            piece = self._pass_on() if self._passing else self._seek() if self._seeking else self._next_box()
            given.append(piece)
            self._given += len(piece)
            if not piece and before == (len(self._held), self._seeking, self._passing):
                break
        return b"".join(given)

    def restart(self) -> bytes:
        """What a new demuxer reads first: after it comes the next fragment, or the index that was renewed."""
        self._passing = 0
        self._has_fragment = False
        if self.is_renewed:
            self.is_renewed = False
            self._index = b""
            self._given = 0
            return b""
        self._seeking = True
        given = self.initialisation or b""
        self._given = len(given)
        return given

    def _pass_on(self) -> bytes:
        piece = self._drop(min(self._passing, len(self._held)))
        self._passing -= len(piece)
        return piece

    def _seek(self) -> bytes:
        match = _BEGINNING.search(self._held)
        self._drop(match.start() if match else max(0, len(self._held) - _BEGINNING_BYTES + 1))
        self._seeking = match is None
        return b""

    def _next_box(self) -> bytes:
        size, header = int.from_bytes(self._held[:4]), 8
        kind = self._held[4:8]
        if len(self._held) < 8:
            return b""
        if size == 1:
            if len(self._held) < 16:
                return b""
            size, header = int.from_bytes(self._held[8:16]), 16
        elif size == 0 and kind == b"mdat":
            size = LARGEST_DATA
        if not self._is_plausible(kind, size, header):
            self.damaged += 1
            self._seeking = True
            # At least one byte is left behind: the same place is not looked at again.
            self._drop(1)
            return b""
        if kind in _HELD:
            return self._whole(kind, size) if len(self._held) >= size else b""
        if kind == b"mdat" and not self._index:
            raise InvalidMedia(f"the index (moov) of the MP4 comes after its pictures; {SEND_FRAGMENTED}")
        self._passing = size - header
        written = self._drop(header)
        return written if kind in _PASSED else written[:4] + b"free" + written[8:]

    def _is_plausible(self, kind: bytes, size: int, header: int) -> bool:
        if kind not in BOX_TYPES or size < header:
            return False
        if kind == b"moov" and size > LARGEST_INDEX and not self._index:
            raise InvalidMedia(
                f"the index (moov) of the MP4 is larger than {LARGEST_INDEX >> 20} MiB; {SEND_FRAGMENTED}"
            )
        if self._has_fragment and kind in (b"meta", b"udta", b"pdin", b"pnot"):
            return False
        return size <= _LARGEST.get(kind, LARGEST_BOX)

    def _whole(self, kind: bytes, size: int) -> bytes:
        position = self._taken
        box = self._held[:size]
        if kind == b"moov" and self._index and box != self._index:
            # What is held begins the next stream.
            self._held = self._file_type + self._held
            self.is_renewed = True
            self.initialisation = None
            return b""
        self._drop(size)
        if kind == b"ftyp":
            self._file_type = box
            return box if not self._index else _free(box)
        if kind == b"moov":
            if self._index:
                return _free(box)
            self._index = box
            if b"mvex" in box and len(self._file_type) + size <= LARGEST_BOX:
                self.initialisation = self._file_type + box
            return box
        if not self._index:
            # A stream taken up without its index: nothing can be read before that comes.
            self._seeking = True
            return b""
        self._has_fragment = True
        return _with_bases(box, position, self._given)

    def _drop(self, count: int) -> bytes:
        dropped, self._held = self._held[:count], self._held[count:]
        self._taken += count
        return dropped


def _free(box: bytes) -> bytes:
    return box[:4] + b"free" + box[8:]


def _with_bases(fragment: bytes, taken_from: int, given_at: int) -> bytes:
    """A `moof` whose positions in the file, where it names some, are those at which it is given.

    They are counted from its own beginning or from that of its data: nothing else makes sense in a stream.
    Where bytes are missing, what they were before is unknown.
    """
    written = bytearray(fragment)
    near = {0, len(fragment), len(fragment) + 8, len(fragment) + 16}
    for start, end in _children(fragment, 8, len(fragment), b"traf"):
        for header, stop in _children(fragment, start, end, b"tfhd"):
            flags = int.from_bytes(fragment[header + 1 : header + 4])
            if flags & _HAS_BASE and header + 16 <= stop:
                ahead = int.from_bytes(fragment[header + 8 : header + 16]) - taken_from
                base = given_at + (ahead if ahead in near else 0)
                written[header + 8 : header + 16] = struct.pack(">Q", base)
    return bytes(written)


def _children(data: bytes, start: int, end: int, kind: bytes) -> list[tuple[int, int]]:
    """Where the contents of the inner boxes of a kind begin and end."""
    found = []
    while start + 8 <= end:
        size = int.from_bytes(data[start : start + 4])
        if size < 8 or start + size > end:
            break
        if data[start + 4 : start + 8] == kind:
            found.append((start + 8, start + size))
        start += size
    return found
