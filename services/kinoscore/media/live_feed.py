"""The bytes of a live stream as a file that a demuxer reads, with the time at which each of them came."""

from bisect import bisect_left
from dataclasses import dataclass
from typing import Protocol

from kinoscore.errors import InvalidMedia
from kinoscore.media.stream_filters import FormFinder, StreamFilter, filter_of
from kinoscore.media.stream_forms import StreamForm

__all__ = ["ByteFeed", "ByteSource", "Piece"]

_KEPT_ARRIVALS = 4096


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive bytes of a stream.

    Attributes:
        arrived: when they came, on the monotonic clock.
        waiting: how full the buffer behind them is, 0 to 1.
    """

    data: bytes
    arrived: float
    waiting: float = 0.0


class ByteSource(Protocol):
    """Where the bytes come from."""

    def receive(self) -> Piece | None:
        """Waits for the next bytes; None at the end of the stream."""
        ...


class ByteFeed:
    """A file for one demuxer after the other: `read` is what FFmpeg calls.

    Args:
        source: of the bytes.
        is_resumed: the stream was begun in an earlier call: what comes may begin in the middle.

    Attributes:
        received: bytes that have come.
        waiting: how full the buffer behind the newest of them is, 0 to 1.
        has_ended: all bytes have come.
    """

    def __init__(self, source: ByteSource, *, is_resumed: bool) -> None:
        self._source = source
        self._finder = FormFinder(anywhere=is_resumed)
        self._filter: StreamFilter | None = None
        self._ready = b""
        self._given = 0
        # Where the bytes end that came at one time, and that time.
        self._ends: list[int] = []
        self._times: list[float] = []
        self._newest = 0.0
        self.received = 0
        self.waiting = 0.0
        self.has_ended = False

    @property
    def damaged(self) -> int:
        """Stretches of the stream that made no sense."""
        return 0 if self._filter is None else self._filter.damaged

    @property
    def is_renewed(self) -> bool:
        """Another stream has begun within this one."""
        return self._filter is not None and self._filter.is_renewed

    def form(self) -> StreamForm | None:
        """Waits until the form is known; None where the stream ends without a byte.

        Raises:
            InvalidMedia: it is none that can be read.
        """
        found = None
        while found is None:
            piece = self._receive()
            found = self._finder.finish() if piece is None else self._finder.push(piece.data)
            if piece is None and found is None:
                return None
        form, data = found
        self._filter = filter_of(form)
        self._take(self._filter.push(data))
        return form

    def restart(self) -> None:
        """Makes what follows fit for a new demuxer.

        Raises:
            InvalidMedia: it cannot be: the stream is an ordinary MP4.
        """
        assert self._filter is not None
        if not (self._filter.can_restart or self._filter.is_renewed):
            raise InvalidMedia(
                "an MP4 that is not fragmented cannot be read on after it broke; send fragmented MP4 "
                "(ffmpeg: `-movflags frag_keyframe+empty_moov`)"
            )
        self._ready = b""
        self._given = 0
        self._ends.clear()
        self._times.clear()
        self._take(self._filter.restart())
        self._take(self._filter.push(b""))

    def pass_over(self) -> None:
        """Reads to the end of the stream."""
        while self._receive() is not None:
            pass

    def read(self, size: int) -> bytes:
        """At least one byte, as soon as there is one; none at the end of what one demuxer can read."""
        assert self._filter is not None
        while not self._ready:
            if self._filter.is_renewed or (piece := self._receive()) is None:
                return b""
            self._take(self._filter.push(piece.data))
        given, self._ready = self._ready[:size], self._ready[size:]
        return given

    def arrival_of(self, position: int | None) -> float:
        """When the byte before a position of what was read came; that of the newest where it is not known."""
        if position is None or not self._ends:
            return self._newest
        index = bisect_left(self._ends, position)
        return self._times[index] if index < len(self._times) else self._newest

    def _receive(self) -> Piece | None:
        if self.has_ended:
            return None
        piece = self._source.receive()
        if piece is None:
            self.has_ended = True
            self.waiting = 0.0
        else:
            self._newest, self.waiting = piece.arrived, piece.waiting
            self.received += len(piece.data)
        return piece

    def _take(self, data: bytes) -> None:
        self._ready += data
        self._given += len(data)
        if self._times and self._times[-1] == self._newest:
            self._ends[-1] = self._given
        else:
            self._ends.append(self._given)
            self._times.append(self._newest)
        if len(self._ends) > _KEPT_ARRIVALS:
            del self._ends[: _KEPT_ARRIVALS // 2], self._times[: _KEPT_ARRIVALS // 2]
