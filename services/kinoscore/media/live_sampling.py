"""From the frames of a live stream to samples, whatever times they carry: plain numbers, no codec.

Sample number i stands for i / rate seconds of the stream and takes the frame that is on the screen then, as
in an upload; but a frame that comes just on time is taken at once.
"""

import math
from collections import deque
from dataclasses import dataclass

from kinoscore.media.sampling import LOOKAHEAD_PACKETS, samples_before

__all__ = ["LiveGate", "LiveSampler", "Samples", "StreamClock"]

# A frame comes on time when it is this part of a sampling interval away: timestamps are rounded.
_ROUNDING = 1e-6
# A larger step is a new timeline; a smaller one back is disorder, a smaller one ahead a pause.
_STEP_BACK_SECONDS = 1.0
_STEP_AHEAD_SECONDS = 10.0


@dataclass(slots=True)
class StreamClock:
    """Turns the times that a sender gives into seconds since the beginning of the stream.

    What comes in order keeps its distances. A step back of more than one second, or ahead of more than ten,
    goes on right after the last frame; a smaller step back is no step. Where only a few frames had stray
    times, the timeline before is taken up again.

    Attributes:
        offset_seconds: to be added to a given time; None before the first.
        last_seconds: of the last frame.
        repaired: times that were not taken as they came.
    """

    offset_seconds: float | None = None
    last_seconds: float = 0.0
    repaired: int = 0
    _former_offset_seconds: float | None = None

    def place(self, timestamp: float, step_seconds: float, *, may_restart: bool = False) -> float | None:
        """The seconds of the next frame; None where its time is no number: that frame has no place.

        Args:
            step_seconds: from the last frame to the first of a new timeline.
            may_restart: the sender may count anew from this frame on: any step back is a new timeline.
        """
        if not math.isfinite(timestamp):
            self.repaired += 1
            return None
        offset = self._offset_for(timestamp)
        seconds = timestamp + offset
        step = seconds - self.last_seconds
        back = 0.0 if may_restart else _STEP_BACK_SECONDS
        if step < -back or step > _STEP_AHEAD_SECONDS:
            self.repaired += 1
            self._former_offset_seconds = offset
            self.offset_seconds = self.last_seconds + step_seconds - timestamp
            seconds = self.last_seconds + step_seconds
        elif step < 0:
            self.repaired += 1
            seconds = self.last_seconds
        self.last_seconds = seconds
        return seconds

    def place_next(self, step_seconds: float) -> float:
        """The seconds of a frame that carries no time: it follows the last one."""
        if self.offset_seconds is None:
            self.offset_seconds = 0.0
        else:
            self.last_seconds += step_seconds
        return self.last_seconds

    def _offset_for(self, timestamp: float) -> float:
        former = self._former_offset_seconds
        if self.offset_seconds is None:
            self.offset_seconds = -timestamp
        elif (
            former is not None
            and timestamp + self.offset_seconds - self.last_seconds > _STEP_BACK_SECONDS
            and abs(timestamp + former - self.last_seconds) <= _STEP_BACK_SECONDS
        ):
            self.offset_seconds, self._former_offset_seconds = former, None
        return self.offset_seconds


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples that a frame shows, as it comes: some by the frame before it, perhaps one by itself."""

    before: range
    now: range


class LiveSampler:
    """Tells which samples the frames of a stream give.

    Args:
        rate: samples a second.
        next_sample: the first that is still to be given.
    """

    def __init__(self, rate: float, next_sample: int = 0) -> None:
        self._rate = rate
        self.next_sample = next_sample

    def offer(self, seconds: float) -> Samples:
        """Takes the time of the next frame, not before the last one's."""
        end = math.ceil(seconds * self._rate - _ROUNDING)
        before = self._until(end)
        is_on_time = abs(seconds * self._rate - end) <= _ROUNDING
        return Samples(before, self._until(end + 1) if is_on_time else range(0))

    def finish(self, end_seconds: float) -> range:
        """The samples that the last frame of the stream shows, besides, until its end."""
        return self._until(samples_before(end_seconds, self._rate))

    def _until(self, end: int) -> range:
        samples = range(self.next_sample, max(self.next_sample, end))
        self.next_sample = samples.stop
        return samples


class LiveGate:
    """Tells at once, before decoding, which packets hold a frame that no sample needs.

    `PacketGate` looks ahead and so finds all of them; this one finds those that are shown before a packet
    that came earlier, as the frames are that no other refers to.

    Args:
        rate: samples a second.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._passed: deque[float] = deque(maxlen=LOOKAHEAD_PACKETS)

    def wants(self, seconds: float) -> bool:
        """Whether the packet of a frame shown at this time is to be decoded, whatever may come."""
        number = samples_before(seconds, self._rate)
        is_wanted = all(
            samples_before(other, self._rate) != number for other in self._passed if other > seconds
        )
        self._passed.append(seconds)
        return is_wanted

    def may_wait(self, seconds: float, last_seconds: float, next_sample: int) -> bool:
        """Whether the packet, the last one asked about, may be decoded later: no sample is due yet.

        A packet of another timeline does not wait: only its frame tells when it is shown.

        Args:
            last_seconds: of the last frame that the decoder gave.
            next_sample: the first that is still to be given.
        """
        return _in_order(seconds, last_seconds) and max(self._passed) * self._rate < next_sample - _ROUNDING

    def is_on_time(self, seconds: float, last_seconds: float, next_sample: int) -> bool:
        """Whether the packet's frame is on the screen when the next sample is due, or leaves it before."""
        return _in_order(seconds, last_seconds) and seconds * self._rate <= next_sample + _ROUNDING


def _in_order(seconds: float, last_seconds: float) -> bool:
    return seconds >= last_seconds - _STEP_BACK_SECONDS
