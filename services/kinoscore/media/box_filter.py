"""Lets whole plausible boxes of an MP4 through to a demuxer, and passes over what is none.

FFmpeg cannot find the next fragment of an MP4 stream by itself: a piece that is missing or damaged would end
it. No codec: an incremental parser of the outermost boxes (ISO/IEC 14496-12).
"""

import re

from kinoscore.errors import InvalidMedia
from kinoscore.media.fragments import (
    TrackFlags,
    begins_with_key_frame,
    sample_count,
    video_tracks,
    with_bases,
)
from kinoscore.media.held_bytes import HeldBytes
from kinoscore.media.stream_forms import BOX_TYPES

__all__ = ["BoxFilter"]

LARGEST_INDEX = 4 << 20
LARGEST_BOX = 1 << 20
LARGEST_DATA = 1 << 40
# FFmpeg remembers every sample of an MP4, some 40 bytes each: after so many another demuxer goes on.
SAMPLES_OF_A_DEMUXER = 20_000
# The index, the boxes that tell of a fragment, and those that hold or pad.
_HELD = frozenset((b"ftyp", b"moov", b"moof"))
_PASSED = frozenset((b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide"))
_LARGEST = {b"moov": LARGEST_INDEX, **dict.fromkeys((b"mdat", b"free", b"skip", b"wide"), LARGEST_DATA)}
# Where reading can go on: the beginning of an index, of a segment, or of a fragment with its header.
_BEGINNING = re.compile(
    rb"\x00\x00..(?:ftyp|styp)|\x00...moov\x00\x00\x00.mvhd|\x00...moof\x00\x00\x00\x10mfhd", re.DOTALL
)
_BEGINNING_BYTES = 16

SEND_FRAGMENTED = "send fragmented MP4 (ffmpeg: `-movflags frag_keyframe+empty_moov`)"


class BoxFilter:
    """Takes the bytes of an MP4 stream, cut anywhere, and gives those that a demuxer may read.

    Boxes that a player of a stream does not need are passed as `free` boxes, so that positions stay; those of
    fragments are written anew where a fragment names its own.

    Attributes:
        initialisation: `ftyp` and `moov` of a fragmented stream, once known.
        damaged: stretches that were passed over because they made no sense.
        is_renewed: what comes is for another demuxer: the first has read enough, or another stream has begun,
            with an index of its own.
        can_restart: whether a demuxer can begin anew at the next fragment.
    """

    def __init__(self) -> None:
        self.initialisation: bytes | None = None
        self.damaged = 0
        self.is_renewed = False
        self._file_type = b""
        self._index = b""
        self._held = HeldBytes()
        self._passing = 0
        self._seeking = False
        self._taken = 0
        self._given = 0
        self._has_fragment = False
        self._tracks = TrackFlags({})
        self._samples = 0

    @property
    def can_restart(self) -> bool:
        return self.initialisation is not None

    def push(self, data: bytes) -> bytes:
        """Takes the next bytes.

        Raises:
            InvalidMedia: the index comes after the pictures, or is too large.
        """
        self._held.push(data)
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
        self._passing = self._samples = 0
        self._has_fragment = False
        # One that was renewed goes on with what is held.
        self._seeking = not self.is_renewed
        self.is_renewed = False
        given = self.initialisation or b""
        if not given:
            self._index = b""
        self._given = len(given)
        return given

    def _pass_on(self) -> bytes:
        piece = self._drop(min(self._passing, len(self._held)))
        self._passing -= len(piece)
        return piece

    def _seek(self) -> bytes:
        held = self._held.rest()
        match = _BEGINNING.search(held)
        self._drop(match.start() if match else max(0, len(held) - _BEGINNING_BYTES + 1))
        self._seeking = match is None
        return b""

    def _next_box(self) -> bytes:
        size, header = int.from_bytes(self._held.peek(0, 4)), 8
        kind = self._held.peek(4, 8)
        if len(self._held) < 8:
            return b""
        if size == 1:
            if len(self._held) < 16:
                return b""
            size, header = int.from_bytes(self._held.peek(8, 16)), 16
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
        return written if kind in _PASSED else _free(written)

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
        box = self._held.peek(0, size)
        if kind == b"moov" and self._index and box != self._index:
            # What is held begins the next stream.
            rest = self._held.take(len(self._held))
            self._held.push(self._file_type + rest)
            self.is_renewed = True
            self.initialisation = None
            return b""
        if kind == b"moof" and self._is_enough(box):
            self.is_renewed = True
            return b""
        self._drop(size)
        if kind == b"ftyp":
            self._file_type = box
            return box if not self._index else _free(box)
        if kind == b"moov":
            if self._index:
                return _free(box)
            self._index = box
            self._tracks = video_tracks(box)
            if b"mvex" in box and len(self._file_type) + size <= LARGEST_BOX:
                self.initialisation = self._file_type + box
            return box
        if not self._index:
            # A stream taken up without its index: nothing can be read before that comes.
            self._seeking = True
            return b""
        self._has_fragment = True
        self._samples += sample_count(box)
        return with_bases(box, position, self._given)

    def _is_enough(self, fragment: bytes) -> bool:
        """Whether another demuxer should go on with this fragment."""
        is_full = self.can_restart and self._samples >= SAMPLES_OF_A_DEMUXER
        return is_full and begins_with_key_frame(fragment, self._tracks)

    def _drop(self, count: int) -> bytes:
        self._taken += count
        return self._held.take(count)


def _free(box: bytes) -> bytes:
    return box[:4] + b"free" + box[8:]
