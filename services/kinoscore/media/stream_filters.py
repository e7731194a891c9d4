"""What stands between the bytes of a live stream and a demuxer, for each form of stream. No codec.

A filter finds the initialisation segment (what a decoder must have read before any picture), keeps it, and
finds the next place at which a demuxer can begin anew. `BoxFilter` is that of MP4, `PacketFilter` that of
MPEG-TS, `ElementFilter` that of WebM, `UnitFilter` that of H.264.
"""

from typing import Protocol

from kinoscore.errors import InvalidMedia
from kinoscore.media.box_filter import BoxFilter
from kinoscore.media.element_filter import ElementFilter
from kinoscore.media.packet_filter import PacketFilter
from kinoscore.media.stream_forms import (
    ENOUGH_BYTES,
    StreamForm,
    begins,
    find_beginning,
)
from kinoscore.media.unit_filter import UnitFilter

__all__ = ["FormFinder", "InitialisationFinder", "StreamFilter", "filter_of"]

# A stream that is taken up again and shows no beginning within so many bytes never will.
LARGEST_LEAD = 64 << 20
# With so many the forms are told apart that begin in one way only.
_FEWEST_BYTES = 12
# Enough for what tells a beginning to be seen whole.
_LOOKBACK_BYTES = 2048
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
        if found := self._found(is_all=False):
            return found
        if len(self._held) < ENOUGH_BYTES:
            return None
        if not self._anywhere:
            raise _unknown()
        kept = self._held[-_LOOKBACK_BYTES:]
        self._passed += len(self._held) - len(kept)
        self._held = kept
        if self._passed > LARGEST_LEAD:
            raise _without_beginning()
        return None

    def finish(self) -> tuple[StreamForm, bytes] | None:
        """As `push`, at the end of a short stream; None for a stream without bytes.

        Raises:
            InvalidMedia: the bytes are of no known form.
        """
        found = self._found(is_all=True)
        if found is None and self._held:
            raise _without_beginning() if self._anywhere else _unknown()
        return found

    def _found(self, *, is_all: bool) -> tuple[StreamForm, bytes] | None:
        # Data without an index before it are the rest of something.
        is_rest = self._anywhere and self._held[4:8] == b"mdat"
        if not is_rest and (form := begins(self._held)):
            return form, self._held
        if self._anywhere and (beginning := find_beginning(self._held, is_all=is_all)):
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


def _without_beginning() -> InvalidMedia:
    return InvalidMedia(
        "nothing of what came begins a stream; one that is taken up again needs its initialisation segment "
        "again, before all else",
        field="chunk.data",
    )


def _unknown() -> InvalidMedia:
    return InvalidMedia(f"the bytes are no stream of a known form; send {KNOWN_FORMS}", field="chunk.data")
