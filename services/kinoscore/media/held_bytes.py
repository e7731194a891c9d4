"""Bytes that wait to be understood."""

__all__ = ["HeldBytes"]


class HeldBytes:
    """A queue of bytes: cheap to look into and to take from in small pieces."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._start = 0

    def __len__(self) -> int:
        return len(self._data) - self._start

    def push(self, data: bytes) -> None:
        """Adds bytes at the end."""
        del self._data[: self._start]
        self._start = 0
        self._data += data

    def peek(self, start: int, end: int) -> bytes:
        """The bytes from one place to another, as far as they are there."""
        return bytes(memoryview(self._data)[self._start + start : self._start + end])

    def take(self, count: int) -> bytes:
        """The first bytes, as far as they are there; they are gone then."""
        taken = self.peek(0, count)
        self._start += len(taken)
        return taken

    def rest(self) -> bytes:
        """All of them."""
        return self.peek(0, len(self))
