"""Lets the elements of a Matroska or WebM stream through to a demuxer, and counts what is none.

FFmpeg goes on at the next cluster by itself, but does not say that it did. No codec: the outermost elements
(RFC 8794, RFC 9559).
"""

import re

from kinoscore.errors import InvalidMedia
from kinoscore.media.held_bytes import HeldBytes
from kinoscore.media.stream_forms import EBML_MAGIC

__all__ = ["ElementFilter"]

LARGEST_INITIALISATION = 1 << 20
_LARGEST_ELEMENT = 8 << 20
_BEGINNING_BYTES = 13
_CLUSTER = b"\x1f\x43\xb6\x75"
_SEGMENT = b"\x18\x53\x80\x67"
_EBML = re.compile(rb"\x1a\x45\xdf\xa3.{1,64}?(?:webm|matroska)", re.DOTALL)
# A cluster begins with its time; a checksum or padding may come first.
_CLUSTER_BEGINNING = re.compile(
    rb"\x1f\x43\xb6\x75(?:[\x80-\xff]|[\x40-\x7f].|[\x20-\x3f]..|[\x10-\x1f]...|"
    rb"\x08.{4}|\x01.{7})[\xe7\xbf\xec]",
    re.DOTALL,
)
_TOP_ELEMENTS = frozenset(
    bytes.fromhex(name)
    for name in [
        "114d9b74",
        "1549a966",
        "1654ae6b",
        "1c53bb6b",
        "1043a770",
        "1254c367",
        "1941a469",
        "ec",
        "bf",
    ]
)
_BLOCK, _GROUP = b"\xa3", b"\xa0"
# The most bytes of what may come from the first cluster on. A cluster itself is looked into.
_INSIDE = {
    **dict.fromkeys(_TOP_ELEMENTS, _LARGEST_ELEMENT),
    **dict.fromkeys((_BLOCK, _GROUP), _LARGEST_ELEMENT),
    # The time of a cluster, its position, and the size of the one before it; a checksum; silent tracks.
    **dict.fromkeys((b"\xe7", b"\xa7", b"\xab"), 8),
    b"\xbf": 4,
    b"\x58\x54": 1 << 10,
    _CLUSTER: 1 << 57,
}
# With what the contents of a block begin, the number of a track, and those of a group, an element.
_FIRST = {_BLOCK: frozenset(range(0x81, 0xA0)), _GROUP: frozenset((0xA1, 0x9B, 0xFB, 0x75))}


class ElementFilter:
    """Matroska and WebM: the elements before the first cluster are the initialisation segment.

    Clusters are looked into, so that damage is seen: FFmpeg goes on at the next one, too, but says nothing.
    """

    def __init__(self) -> None:
        self.initialisation: bytes | None = None
        self.damaged = 0
        self.is_renewed = False
        self._held = HeldBytes()
        self._passing = 0
        self._seeking = False

    @property
    def can_restart(self) -> bool:
        return self.initialisation is not None

    def push(self, data: bytes) -> bytes:
        """Takes the next bytes.

        Raises:
            InvalidMedia: no cluster comes.
        """
        self._held.push(data)
        given: list[bytes] = []
        if self.initialisation is None:
            end = _elements_end(self._held.rest())
            if end is None:
                self._check_initialisation()
                return b""
            self.initialisation = self._held.take(end)
            given.append(self.initialisation)
        while not self.is_renewed:
            before = len(self._held), self._seeking
            given.append(self._seek() if self._seeking else self._pass_on())
            if before == (len(self._held), self._seeking):
                break
        return b"".join(given)

    def restart(self) -> bytes:
        self._passing = 0
        if self.is_renewed:
            self.is_renewed = False
            self.initialisation = None
            return b""
        self._seeking = True
        return self.initialisation or b""

    def _check_initialisation(self) -> None:
        if len(self._held) > LARGEST_INITIALISATION:
            raise InvalidMedia(
                f"the WebM stream has no cluster within {LARGEST_INITIALISATION >> 20} MiB; send one made "
                "for streaming"
            )

    def _seek(self) -> bytes:
        held = self._held.rest()
        match = _CLUSTER_BEGINNING.search(held)
        self._held.take(match.start() if match else max(0, len(held) - _BEGINNING_BYTES + 1))
        self._seeking = match is None
        return b""

    def _pass_on(self) -> bytes:
        """What is left of an element, or the beginning of the next one; nothing where more must come."""
        if not self._passing:
            header = _element(self._held.peek(0, 12))
            if header is None:
                return b""
            kind, start, size = header
            if kind == EBML_MAGIC:
                if len(self._held) < 80:
                    return b""
                self.is_renewed = _EBML.match(self._held.peek(0, 80)) is not None
                if self.is_renewed:
                    return b""
            if kind in _FIRST and len(self._held) <= start:
                return b""
            if not _is_plausible(kind, size, self._held.peek(start, start + 1)):
                self.damaged += 1
                self._seeking = True
                self._held.take(1)
                return b""
            self._passing = start if kind == _CLUSTER else start + size
        given = self._held.take(self._passing)
        self._passing -= len(given)
        return given


def _is_plausible(kind: bytes, size: int, first: bytes) -> bool:
    """Whether an element may be one, by its name, its size, and the first byte of what it holds."""
    if kind in _FIRST and first[0] not in _FIRST[kind]:
        return False
    return kind in _INSIDE and size <= _INSIDE[kind]


def _elements_end(data: bytes) -> int | None:
    """Where the elements before the first cluster end; None where that is not known yet.

    What is no such element ends them, too: a stream taken up again goes on in the middle of a cluster.
    """
    position = 0
    while header := _element(data[position : position + 12]):
        kind, start, size = header
        if position and kind != _SEGMENT and kind not in _TOP_ELEMENTS:
            return position
        position += start if kind == _SEGMENT else start + size
    return None


def _element(data: bytes) -> tuple[bytes, int, int] | None:
    """The name of the element that begins here, where its contents begin, and their size; None for too few
    bytes. A size that is unknown is a huge one."""
    name = _number_length(data, 0, most=4)
    length = _number_length(data, name, most=8)
    start = name + length
    if not name or not length or start > len(data):
        return None
    return data[:name], start, int.from_bytes(data[name:start]) & ((1 << 7 * length) - 1)


def _number_length(data: bytes, position: int, *, most: int) -> int:
    """Bytes of the variable-length number at a position; 0 where it is not there, `most` where it is none."""
    if position >= len(data):
        return 0
    return min(most, 9 - data[position].bit_length())
