"""What the two ends of a decoder of single pictures say to each other: `picture_pool` and `picture_worker`.

A picture lies in a slot of memory that both share, and its pixels come back in the same slot. What is said
about it goes through a socket that keeps messages apart.
"""

import json
import mmap
import os
import socket
import struct
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kinoscore.errors import KinoscoreError
from kinoscore.media.process import anonymous_file, told_error
from kinoscore.media.types import FrameSpec, PictureFormat

__all__ = [
    "MESSAGE_BYTES",
    "SLOTS",
    "SLOT_BYTES",
    "PictureReply",
    "PictureRequest",
    "SharedSlots",
]

SLOTS = 16
# More than a message may have that brings a picture. What is not written takes no memory.
SLOT_BYTES = 1 << 24
MESSAGE_BYTES = 1 << 14
_REQUEST = struct.Struct("<IIBIIIIdQ")
_SLOT = struct.Struct("<I")
_FORMATS = tuple(PictureFormat)
# Small slots keep their memory, which is warm.
_KEPT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PictureRequest:
    """Which slot holds a picture of so many bytes, and what `decode_picture` needs besides."""

    slot: int
    size: int
    picture_format: PictureFormat
    width: int
    height: int
    spec: FrameSpec
    max_pixels: int

    def encode(self) -> bytes:
        return _REQUEST.pack(
            self.slot,
            self.size,
            _FORMATS.index(self.picture_format),
            self.width,
            self.height,
            self.spec.width,
            self.spec.height,
            self.spec.frames_per_second,
            self.max_pixels,
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        slot, size, number, width, height, *spec, max_pixels = _REQUEST.unpack(data)
        return cls(slot, size, _FORMATS[number], width, height, FrameSpec(*spec), max_pixels)


@dataclass(frozen=True, slots=True)
class PictureReply:
    """The slot holds pixels now; or why it does not."""

    slot: int
    error: KinoscoreError | None = None

    def encode(self) -> bytes:
        told = b""
        if self.error is not None:
            message = self.error.message[: MESSAGE_BYTES // 8]
            told = json.dumps([type(self.error).__name__, message, dict(self.error.metadata)]).encode()
        return _SLOT.pack(self.slot) + told

    @classmethod
    def decode(cls, data: bytes) -> Self:
        (slot,) = _SLOT.unpack_from(data)
        if len(data) == _SLOT.size:
            return cls(slot)
        name, message, metadata = json.loads(data[_SLOT.size :])
        return cls(slot, told_error(name, message, metadata))


class SharedSlots:
    """SLOTS slots of SLOT_BYTES each in an anonymous file that both ends have mapped."""

    def __init__(self, file: int) -> None:
        self._memory = mmap.mmap(file, SLOTS * SLOT_BYTES)
        self._bytes = np.frombuffer(self._memory, np.uint8)

    @classmethod
    def shared_over(cls, channel: socket.socket) -> Self:
        """New ones, which `received_from` has at the other end."""
        file = anonymous_file()
        try:
            os.ftruncate(file, SLOTS * SLOT_BYTES)
            socket.send_fds(channel, [b"f"], [file])
            return cls(file)
        finally:
            os.close(file)

    @classmethod
    def received_from(cls, channel: socket.socket) -> Self:
        """Those that the other end shares. Waits for them."""
        _, (file,), _, _ = socket.recv_fds(channel, 1, 1)
        try:
            return cls(file)
        finally:
            os.close(file)

    def write(self, slot: int, data: bytes) -> None:
        """Writes a picture, of at most SLOT_BYTES."""
        start = slot * SLOT_BYTES
        self._memory[start : start + len(data)] = data

    def read(self, slot: int, size: int) -> memoryview:
        """A picture where it lies."""
        return self._of(slot, size).data

    def write_pixels(self, slot: int, pixels: NDArray[np.uint8]) -> None:
        self._of(slot, pixels.size)[:] = pixels.reshape(-1)

    def read_pixels(self, slot: int, spec: FrameSpec) -> NDArray[np.uint8]:
        """A copy, uint8 [spec.height, spec.width, 3]."""
        pixels = self._of(slot, spec.height * spec.width * 3)
        return pixels.reshape(spec.height, spec.width, 3).copy()

    def forget(self, slot: int, size: int) -> None:
        """Gives back the memory of a picture that was large."""
        if size > _KEPT_BYTES:
            start = slot * SLOT_BYTES + _KEPT_BYTES
            self._memory.madvise(mmap.MADV_REMOVE, start, SLOT_BYTES - _KEPT_BYTES)

    def _of(self, slot: int, size: int) -> NDArray[np.uint8]:
        return self._bytes[slot * SLOT_BYTES : slot * SLOT_BYTES + size]
