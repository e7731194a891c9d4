"""What stands between the bytes of a live stream and a demuxer, for each form of stream. No codec.

A filter finds the initialisation segment (what a decoder must have read before any picture), keeps it, and
finds the next place at which a demuxer can begin anew. `BoxFilter` is that of MP4, `PacketFilter` that of
MPEG-TS, `UnitFilter` that of H.264.
"""

import re
from typing import Protocol

from kinoscore.errors import InvalidMedia
from kinoscore.media.box_filter import BoxFilter
from kinoscore.media.packet_filter import PacketFilter
from kinoscore.media.stream_forms import (
    EBML_MAGIC,
    ENOUGH_BYTES,
    StreamForm,
    begins,
    find_beginning,
)
from kinoscore.media.unit_filter import UnitFilter

__all__ = ["FormFinder", "InitialisationFinder", "StreamFilter", "filter_of"]

LARGEST_INITIALISATION = 1 << 20
# A stream that is taken up again and shows no beginning within so many bytes never will.
LARGEST_LEAD = 64 << 20
# With so many the forms are told apart that begin in one way only.
_FEWEST_BYTES = 12
# Enough for what tells a beginning to be seen whole.
_LOOKBACK_BYTES = 2048
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
# The most bytes of what may come from the first cluster on. A cluster itself is looked into.
_INSIDE = {
    **dict.fromkeys(_TOP_ELEMENTS, LARGEST_LEAD),
    **{bytes.fromhex(name): LARGEST_LEAD for name in ("a3", "a0", "af")},
    **{bytes.fromhex(name): LARGEST_INITIALISATION for name in ("e7", "a7", "ab", "5854")},
    _CLUSTER: 1 << 57,
}
KNOWN_FORMS = "fragmented MP4, MPEG-TS, WebM, or H.264 in Annex B"


class StreamFilter(Protocol):
    """Takes the bytes of a stream, cut anywhere, and gives those that a demuxer may read."""

    initialisation: bytes | None
    is_renewed: bool

    @property
    def damaged(self) -> int:
        """How often what came made no sense, or something was missing."""
        ...

    @property
    def can_restart(self) -> bool:
        """Whether a demuxer can begin anew in the middle."""
        ...

    def push(self, data: bytes) -> bytes:
        """Takes the next bytes."""
        ...

    def restart(self) -> bytes:
        """What a new demuxer reads first; what follows it begins at the next place that can be."""
        ...


class ElementFilter:
    """Matroska and WebM: the elements before the first cluster are the initialisation segment.

    Clusters are looked into, so that damage is seen: FFmpeg goes on at the next one, too, but says nothing.
    """

    def __init__(self) -> None:
        self.initialisation: bytes | None = None
        self.damaged = 0
        self.is_renewed = False
        self._held = b""
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
        self._held += data
        given: list[bytes] = []
        if self.initialisation is None:
            end = _elements_end(self._held)
            if end is None:
                self._check_initialisation()
                return b""
            self.initialisation, self._held = self._held[:end], self._held[end:]
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
        match = _CLUSTER_BEGINNING.search(self._held)
        self._held = self._held[match.start() if match else -16 :]
        self._seeking = match is None
        return b""

    def _pass_on(self) -> bytes:
        """What is left of an element, or the beginning of the next one; nothing where more must come."""
        if not self._passing:
            header = _element(self._held)
            if header is None:
                return b""
            kind, start, size = header
            if kind == EBML_MAGIC:
                if len(self._held) < 80:
                    return b""
                self.is_renewed = _EBML.match(self._held[:80]) is not None
                if self.is_renewed:
                    return b""
            if size > (_INSIDE.get(kind) or -1):
                self.damaged += 1
                self._seeking = True
                self._held = self._held[1:]
                return b""
            self._passing = start if kind == _CLUSTER else start + size
        given, self._held = self._held[: self._passing], self._held[self._passing :]
        self._passing -= len(given)
        return given


def filter_of(form: StreamForm) -> StreamFilter:
    """A filter for a stream of this form, from its beginning."""
    if form is StreamForm.MP4:
        return BoxFilter()
    if form is StreamForm.MATROSKA:
        return ElementFilter()
    return PacketFilter() if form is StreamForm.MPEG_TS else UnitFilter()


class FormFinder:
    """Tells the form of a stream from its first bytes.

    Args:
        anywhere: the stream may begin in the middle, as one that is taken up again does.
    """

    def __init__(self, *, anywhere: bool) -> None:
        self._anywhere = anywhere
        self._held = b""
        self._passed = 0

    def push(self, data: bytes) -> tuple[StreamForm, bytes] | None:
        """Takes the next bytes; answers with the form and all bytes from the beginning on, once known.

        Raises:
            InvalidMedia: the bytes are of no known form.
        """
        self._held += data
        if len(self._held) < _FEWEST_BYTES:
            return None
        if found := self._found():
            return found
        if len(self._held) < ENOUGH_BYTES:
            return None
        if not self._anywhere:
            raise _unknown()
        kept = self._held[-_LOOKBACK_BYTES:]
        self._passed += len(self._held) - len(kept)
        self._held = kept
        if self._passed > LARGEST_LEAD:
            raise InvalidMedia(
                f"nothing in {LARGEST_LEAD >> 20} MiB begins a stream; a stream that is taken up again needs "
                "its initialisation segment"
            )
        return None

    def finish(self) -> tuple[StreamForm, bytes] | None:
        """As `push`, at the end of a short stream; None for a stream without bytes.

        Raises:
            InvalidMedia: the bytes are of no known form.
        """
        found = self._found()
        if found is None and self._held:
            raise _unknown()
        return found

    def _found(self) -> tuple[StreamForm, bytes] | None:
        # Data without an index before it are the rest of something.
        is_rest = self._anywhere and self._held[4:8] == b"mdat"
        if not is_rest and (form := begins(self._held)):
            return form, self._held
        if self._anywhere and (beginning := find_beginning(self._held)):
            form, position = beginning
            return form, self._held[position:]
        return None


class InitialisationFinder:
    """Remembers what a stream of bytes must begin with when it is sent on from the middle.

    Never holds much more than the initialisation segment may have; a larger one is not remembered.

    Args:
        anywhere: as for `FormFinder`.
    """

    def __init__(self, *, anywhere: bool) -> None:
        self.initialisation = b""
        self._finder: FormFinder | None = FormFinder(anywhere=anywhere)
        self._filter: StreamFilter | None = None

    def push(self, data: bytes) -> None:
        """Takes the next bytes. What makes no sense is for the decoder to tell."""
        try:
            if self._finder is not None and (found := self._finder.push(data)):
                form, data = found
                self._finder, self._filter = None, filter_of(form)
            if self._filter is not None:
                self._filter.push(data)
                if self._filter.initialisation is not None:
                    self.initialisation = self._filter.initialisation
                    self._filter = None
        except InvalidMedia:
            self._finder = self._filter = None


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


def _unknown() -> InvalidMedia:
    return InvalidMedia(f"the bytes are no stream of a known form; send {KNOWN_FORMS}", field="chunk.data")
