"""Lets the packets of a transport stream through to a demuxer, and counts where some are missing.

FFmpeg finds the next packet by itself, but decoders take what is missing in a picture for a picture. No
codec: the headers of packets (ISO/IEC 13818-1).
"""

from kinoscore.media.stream_forms import PACKET_BYTES, SYNC

__all__ = ["PacketFilter"]

_PADDING = 0x1FFF
_LOOKBACK_BYTES = 16 * PACKET_BYTES


class PacketFilter:
    """Takes the bytes of a transport stream, cut anywhere, and gives whole packets, from the first table on.

    Attributes:
        initialisation: empty: the tables come again and again.
        damaged: how often packets were missing, damaged, or not to be found.
    """

    def __init__(self) -> None:
        self.initialisation: bytes | None = b""
        self.damaged = 0
        self.is_renewed = False
        self._held = b""
        self._has_table = False
        self._counters: dict[int, int] = {}

    @property
    def can_restart(self) -> bool:
        return True

    def push(self, data: bytes) -> bytes:
        """Takes the next bytes."""
        self._held += data
        if not self._has_table and not self._find_table():
            return b""
        given: list[bytes] = []
        position = start = 0
        while position + PACKET_BYTES <= len(self._held):
            if self._held[position] == SYNC:
                self._check(position)
                position += PACKET_BYTES
                continue
            given.append(self._held[start:position])
            found = self._next_packet(position)
            if found is None:
                # What comes next may tell where the packets are.
                position = start = max(position, len(self._held) - _LOOKBACK_BYTES)
                break
            self.damaged += 1
            position = start = found
        given.append(self._held[start:position])
        self._held = self._held[position:]
        return b"".join(given)

    def restart(self) -> bytes:
        """Nothing: a demuxer begins with the next table."""
        self._has_table = False
        self._counters.clear()
        return b""

    def _find_table(self) -> bool:
        """Drops what comes before a program association table; false where there is none yet."""
        position = self._held.find(SYNC)
        while 0 <= position < len(self._held) - PACKET_BYTES:
            is_table = self._held[position + 1] & 0x5F == 0x40 and self._held[position + 2] == 0
            if is_table and self._held[position + PACKET_BYTES] == SYNC:
                self._held = self._held[position:]
                self._has_table = True
                return True
            position = self._held.find(SYNC, position + 1)
        self._held = self._held[-2 * PACKET_BYTES :]
        return False

    def _next_packet(self, position: int) -> int | None:
        """Where the next three packets in a row begin; None where too few bytes are there to tell."""
        last = len(self._held) - 2 * PACKET_BYTES
        position = self._held.find(SYNC, position)
        while 0 <= position < last:
            if self._held[position + PACKET_BYTES] == self._held[position + 2 * PACKET_BYTES] == SYNC:
                return position
            position = self._held.find(SYNC, position + 1)
        return None

    def _check(self, position: int) -> None:
        """Counts a packet that is damaged, or not the next one of its stream."""
        first, second, control = self._held[position + 1 : position + 4]
        stream = (first & 0x1F) << 8 | second
        if stream == _PADDING:
            return
        if first & 0x80:
            self.damaged += 1
        has_adaptation, has_payload, counter = control & 0x20, control & 0x10, control & 0x0F
        if has_adaptation and self._held[position + 4] and self._held[position + 5] & 0x80:
            # The sender says that the count begins anew.
            self._counters.pop(stream, None)
        if not has_payload:
            return
        last = self._counters.get(stream, counter)
        # One packet may come twice.
        if counter not in (last, (last + 1) & 0x0F):
            self.damaged += 1
        self._counters[stream] = counter
