"""Reading what can be read: packets and frames of one stream, damage passed over and counted."""

from collections.abc import Iterator
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard
from av.video.stream import VideoStream

__all__ = ["StreamReader"]


class StreamReader:
    """Reads one stream of a container, and tells the demuxer to drop the others.

    Running out of memory raises MemoryError; everything else that FFmpeg complains of is damage.

    Attributes:
        damaged: packets that could not be decoded, or not well. With several frame threads, FFmpeg may hand a
            frame out before it knows that a part of it is concealed: that one goes uncounted now and then.
    """

    def __init__(self, container: InputContainer, stream: VideoStream | AudioStream) -> None:
        self._container = container
        self._stream = stream
        self.damaged = 0
        self._broke_off = False
        for other in container.streams:
            other.discard = Discard.default if other.index == stream.index else Discard.all

    def packets(self) -> "Iterator[Packet[Any]]":
        """The packets in order of decoding. A file that stops making sense ends there."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
        except MemoryError:
            raise
        except av.FFmpegError:
            self._broke_off = True

    def decode(self, packet: "Packet[Any] | None") -> list[Any]:
        """The video or audio frames that a packet completes; None asks for those still in the decoder."""
        try:
            frames = self._stream.decode(packet)
        except MemoryError:
            raise
        except av.FFmpegError:
            self.damaged += 1
            return []
        self.damaged += any(frame.is_corrupt for frame in frames)
        return list(frames)

    def warnings(self, decoded_seconds: float, declared_seconds: float) -> list[str]:
        """One line for each kind of damage met."""
        lines = []
        if self.damaged:
            lines.append(f"damaged packets: {self.damaged}; what could be decoded was used")
        # Declared durations are rounded and encoders pad: only a clear difference means a cut.
        if self._broke_off or decoded_seconds < 0.95 * declared_seconds - 0.5:
            lines.append(
                f"the file is cut off: {decoded_seconds:.1f} of {declared_seconds:.1f} s could be decoded"
            )
        return lines
