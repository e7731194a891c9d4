"""The program of one process that decodes live streams: `kinoscore.media.live_worker CONTROL MEMORY_LIMIT`.

`kinoscore.media.live_pool` starts it and sends the socket of each stream over the control socket. A thread
decodes each stream; what they say is in `live_channel`. Every second the process writes a line to standard
output: it lives. It ends by itself when a thread hangs in a codec, when the control socket is closed, and
when its standard input ends.
"""

import logging
import os
import select
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import TextIO

from kinoscore.errors import InternalError, KinoscoreError
from kinoscore.media.live_channel import PIECE_BYTES, PIECE_HEADER, REPORT_HEADER, SIZE, LiveJob, LiveReport
from kinoscore.media.live_decoding import LivePicture, LiveVideo
from kinoscore.media.live_feed import ByteFeed, Piece
from kinoscore.media.live_sampling import StreamClock
from kinoscore.media.process import confine, end_with_parent

__all__ = ["HANG_SECONDS", "HUNG_STATUS", "Watch", "main"]

# A stream's thread that does nothing but decode for so long hangs.
HANG_SECONDS = 10.0
HUNG_STATUS = 3
_BEAT_SECONDS = 1.0
# FFmpeg's own need is far smaller; the default of 8 MiB would count against the memory limit.
_STACK_BYTES = 1 << 20
_RECEIVED_BYTES = 2 * PIECE_BYTES

logger = logging.getLogger(__name__)


class _GoneError(Exception):
    """Nobody wants the rest of the stream."""


class Watch:
    """Since when each thread has been at work without waiting for anything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: dict[int, float] = {}

    def works(self) -> None:
        """The calling thread is at work from now on."""
        with self._lock:
            self._since[threading.get_ident()] = time.monotonic()

    def waits(self) -> None:
        """The calling thread waits, or is done."""
        with self._lock:
            self._since.pop(threading.get_ident(), None)

    def longest(self, now: float) -> float:
        """For how many seconds the thread that has worked longest has done so."""
        with self._lock:
            return now - min(self._since.values(), default=now)


class _Channel:
    """One stream's socket, seen from its thread."""

    def __init__(self, stream: socket.socket, watch: Watch) -> None:
        self._socket = stream
        self._watch = watch
        self._received = bytearray()
        self._poll = select.poll()
        self._poll.register(stream, 0)

    def job(self) -> LiveJob:
        (size,) = SIZE.unpack(self._exactly(SIZE.size))
        return LiveJob.decode(self._exactly(size))

    def receive(self) -> Piece | None:
        """The next piece; None at the end of the stream. Raises _GoneError."""
        header = self._exactly(PIECE_HEADER.size, may_end=True)
        if not header:
            return None
        arrived, waiting, size = PIECE_HEADER.unpack(header)
        return Piece(self._exactly(size), arrived, waiting)

    def send(self, report: LiveReport, pixels: bytes = b"") -> None:
        data = report.encode()
        self._watch.waits()
        try:
            self._socket.sendall(REPORT_HEADER.pack(len(data), len(pixels)) + data + pixels)
        except OSError as error:
            raise _GoneError from error
        finally:
            self._watch.works()

    def finish(self) -> None:
        """Reads on until the peer closes: it must not be cut off before it has read the last report."""
        self._watch.waits()
        with suppress(OSError):
            while self._socket.recv(1 << 16):
                pass

    def _exactly(self, count: int, *, may_end: bool = False) -> bytes:
        while len(self._received) < count:
            part = self._receive_some()
            if not part:
                if may_end and not self._received:
                    return b""
                raise _GoneError
            self._received += part
        taken = bytes(memoryview(self._received)[:count])
        del self._received[:count]
        return taken

    def _receive_some(self) -> bytes:
        """What has come, many pieces at once: each call gives the interpreter away and must get it back."""
        # A peer that has closed both directions hangs up; one that has sent all does not.
        if any(event & select.POLLHUP for _, event in self._poll.poll(0)):
            raise _GoneError
        self._watch.waits()
        try:
            return self._socket.recv(_RECEIVED_BYTES)
        except OSError as error:
            raise _GoneError from error
        finally:
            self._watch.works()


def main() -> None:
    """Decodes what the control socket brings until it is closed."""
    control, memory_limit = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    threading.stack_size(_STACK_BYTES)
    output = confine(memory_limit)
    watch = Watch()
    end_with_parent()
    threading.Thread(target=_beat, args=(output, watch), daemon=True).start()
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not descriptors:
            # Not sys.exit: a codec may hang in another thread.
            os._exit(0)
        threading.Thread(
            target=_serve, args=(socket.socket(fileno=descriptors[0]), watch), daemon=True
        ).start()


def _beat(output: TextIO, watch: Watch) -> None:
    while True:
        try:
            print("alive", file=output, flush=True)
        except OSError:
            os._exit(0)
        time.sleep(_BEAT_SECONDS)
        if watch.longest(time.monotonic()) > HANG_SECONDS:
            logger.error("a decoder of a live stream hangs; the process ends")
            os._exit(HUNG_STATUS)


def _serve(stream: socket.socket, watch: Watch) -> None:
    with stream:
        channel = _Channel(stream, watch)
        try:
            _decode(channel, channel.job())
            channel.finish()
        except _GoneError:
            pass
        except Exception:
            logger.exception("a live stream failed")
        finally:
            watch.waits()


def _decode(channel: _Channel, job: LiveJob) -> None:
    clock = StreamClock(job.offset_seconds, job.last_seconds)
    feed = ByteFeed(channel, is_resumed=job.is_resumed)
    video = LiveVideo(feed, job.spec, job.limits, clock, job.next_sample, job.lag_seconds)
    try:
        for picture in video.pictures():
            pixels = b"" if picture.pixels is None else picture.pixels.tobytes()
            channel.send(_report(video, picture), pixels)
    except (_GoneError, MemoryError):
        # Which of the streams takes the memory is not known: this one is begun again elsewhere.
        raise
    except KinoscoreError as error:
        channel.send(_report(video, error=error))
    except Exception as error:
        logger.exception("a live stream failed")
        channel.send(
            _report(video, error=InternalError(f"the decoder failed: {type(error).__name__}: {error}"))
        )
    else:
        channel.send(_report(video))


def _report(
    video: LiveVideo, picture: LivePicture | None = None, error: KinoscoreError | None = None
) -> LiveReport:
    return LiveReport(
        offset_seconds=video.clock.offset_seconds,
        last_seconds=video.clock.last_seconds,
        next_sample=video.next_sample,
        repaired=video.clock.repaired,
        dropped=video.counts.dropped,
        damaged=video.counts.damaged,
        first=picture.numbers.start if picture else 0,
        end=picture.numbers.stop if picture else 0,
        arrived=picture.arrived if picture else 0.0,
        is_end=picture is None,
        error="" if error is None else type(error).__name__,
        message="" if error is None else error.message,
        metadata={} if error is None else error.metadata,
    )


if __name__ == "__main__":
    main()
