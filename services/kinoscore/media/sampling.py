"""Which frames a sampling rate needs: plain numbers, no codec.

Sample number i stands for the time i / rate, counted from the first frame of the clip, and takes the frame
that is on the screen at that time: the last one whose timestamp is not later. A frame that is on the screen
from `a` to `b` so serves the samples from `samples_before(a)` up to, not including, `samples_before(b)`.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["FrameClock", "FrameSampler", "PacketGate", "Shown", "samples_before"]

Frame = TypeVar("Frame")
Packet = TypeVar("Packet")

# Far above the rounding of a float64 timestamp, far below any frame's duration.
TOLERANCE = 1e-6
# H.264 and HEVC reorder over 16 frames at the most.
LOOKAHEAD_PACKETS = 32
# The compressed pictures of a second or two: samples lie closer than that.
MOST_HELD_PACKETS = 64
# A larger step back is a new timeline (joined recordings), a smaller one is disorder.
DISORDER_SECONDS = 1.0
# Thirty thousand years; sums of larger numbers lose frames, and those of the largest are infinite.
_FURTHEST_SECONDS = 1e12


def samples_before(seconds: float, rate: float) -> int:
    """The number of samples whose time i / rate lies before `seconds`."""
    return max(0, math.ceil(seconds * rate - TOLERANCE))


class FrameClock:
    """Turns timestamps as found into seconds since the first frame that never decrease.

    A frame without a timestamp, or with one that no clock shows, follows its predecessor at the nominal
    distance. A frame up to one second late counts as shown at once. A larger step back starts a new timeline
    right after the last frame.

    Args:
        frame_seconds: the nominal distance of two frames, in seconds.
    """

    def __init__(self, frame_seconds: float) -> None:
        self._frame_seconds = frame_seconds
        self._offset: float | None = None
        self._last = -frame_seconds
        self.repaired = 0

    def place(self, timestamp: float | None) -> float:
        """The time of the next frame in order of display, in seconds since the first."""
        if timestamp is None or not abs(timestamp) <= _FURTHEST_SECONDS:
            self.repaired += 1
            self._last += self._frame_seconds
            return self._last
        if self._offset is None:
            self._offset = self._last + self._frame_seconds - timestamp
        seconds = timestamp + self._offset
        if seconds < self._last - TOLERANCE:
            self.repaired += 1
            if self._last - seconds > DISORDER_SECONDS:
                self._offset += self._last + self._frame_seconds - seconds
                seconds = self._last + self._frame_seconds
        self._last = max(self._last, seconds)
        return self._last


@dataclass(frozen=True, slots=True)
class Shown(Generic[Frame]):
    """One frame and the samples that it serves: numbers from `first` up to, not including, `end`."""

    frame: Frame
    first: int
    end: int


class FrameSampler(Generic[Frame]):
    """Chooses among frames, offered in order of display, those that the sampling rate asks for.

    Args:
        rate: samples a second.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._frame: Frame | None = None
        self._next = 0

    def offer(self, seconds: float, frame: Frame) -> Shown[Frame] | None:
        """Takes the next frame; answers with the frame before it when that one serves a sample."""
        shown = self._close(samples_before(seconds, self._rate))
        self._frame = frame
        return shown

    def finish(self, end_seconds: float) -> Shown[Frame] | None:
        """Ends the clip; answers with its last frame when that serves a sample. A clip always has one."""
        return self._close(max(samples_before(end_seconds, self._rate), 1))

    def _close(self, end: int) -> Shown[Frame] | None:
        first = self._next
        if self._frame is None or end <= first:
            return None
        self._next = end
        return Shown(self._frame, first, end)


class PacketGate(Generic[Packet]):
    """Tells, before decoding, which packets hold a frame that will be sampled, and leaves out the useless.

    Packets come in order of decoding, so it is known how long a packet's frame stays on the screen only
    once the packets around it are known: the gate looks a bounded number of packets ahead. Where timestamps
    are missing or jump back, it calls every further packet wanted: that costs time, never a frame. So it does
    until it knows when the first frame is shown: that need not be the first packet's, for where a clip was
    cut out of a longer one, there may be packets that give no frame.

    A packet that is not wanted may carry those after it, up to the next one with which decoding begins anew.
    It is useless when none of these is wanted, as at the end of the clip and of each group of pictures.

    Args:
        rate: samples a second.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._ahead: deque[_Known[Packet]] = deque()
        self._passed: deque[float] = deque(maxlen=LOOKAHEAD_PACKETS)
        self._held: list[Packet] = []
        self._expected: float | None = None
        self._start: float | None = None
        self._newest = -math.inf
        self._end = -math.inf
        self._trusted = True
        self._has_ended = False

    @property
    def end_seconds(self) -> float:
        """When the last frame leaves the screen, counted from the first; 0 where only a decoder can tell."""
        return self._end - self._start if self._trusted and self._start is not None else 0.0

    def expect_start(self, timestamp: float) -> None:
        """Takes the timestamp of a first packet with which decoding can begin.

        It counts as the start unless a packet that is soon to come is to be shown before it. Waiting for the
        decoder to give a frame costs several that nobody asked for: a tenth of the time for a short clip.
        """
        self._expected = timestamp

    def start_at(self, timestamp: float) -> None:
        """Takes the timestamp of the first frame that the decoder gave."""
        self._start = timestamp

    def offer(
        self,
        timestamp: float | None,
        packet: Packet,
        *,
        end: float | None = None,
        restarts: bool = False,
    ) -> Iterator[tuple[Packet, bool]]:
        """Takes the next packet; gives back, in order, those to be decoded and whether they are wanted.

        Args:
            end: when its frame leaves the screen, unless another one is shown earlier; None where that is not
                known, or the frame never shown.
            restarts: nothing that is shown after this packet's frame refers to what came before it.
        """
        if timestamp is None:
            self._trusted = False
        if end is not None:
            self._end = max(self._end, end)
        self._ahead.append(_Known(-math.inf if timestamp is None else timestamp, packet, restarts))
        while self._ahead and (len(self._ahead) > LOOKAHEAD_PACKETS or not self._trusted):
            yield from self._decide()

    def finish(self) -> Iterator[tuple[Packet, bool]]:
        """Gives back what is left."""
        self._has_ended = True
        while self._ahead:
            yield from self._decide()

    def _decide(self) -> Iterator[tuple[Packet, bool]]:
        if self._expected is not None:
            if self._start is None and all(other.timestamp >= self._expected for other in self._ahead):
                self._start = self._expected
            self._expected = None
        known = self._ahead.popleft()
        self._check_order(known.timestamp)
        if known.restarts and all(other.timestamp >= known.timestamp for other in self._ahead):
            self._held.clear()
        wanted = not self._trusted or self._start is None or self._is_sampled(known.timestamp, self._start)
        self._passed.append(known.timestamp)
        if wanted:
            yield from self._release()
            yield known.packet, True
        else:
            self._held.append(known.packet)
            if len(self._held) > MOST_HELD_PACKETS:
                yield from self._release()

    def _release(self) -> Iterator[tuple[Packet, bool]]:
        held, self._held = self._held, []
        for packet in held:
            yield packet, False

    def _check_order(self, timestamp: float) -> None:
        if timestamp < self._newest - DISORDER_SECONDS:
            self._trusted = False
        self._newest = max(self._newest, timestamp)

    def _is_sampled(self, timestamp: float, start: float) -> bool:
        later = [other.timestamp for other in self._ahead if other.timestamp > timestamp]
        later += [other for other in self._passed if other > timestamp]
        if later:
            leaves = min(later)
        elif self._has_ended and self._end > timestamp:
            leaves = self._end
        else:
            return True
        return samples_before(leaves - start, self._rate) > samples_before(timestamp - start, self._rate)


@dataclass(frozen=True, slots=True)
class _Known(Generic[Packet]):
    """A packet of which it is not yet decided; without a timestamp it has that of minus infinity."""

    timestamp: float
    packet: Packet
    restarts: bool
