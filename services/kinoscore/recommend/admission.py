"""Which live sessions may run, and how all of them are told to end."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kinoscore.errors import QueueFull, Unavailable

__all__ = ["Admission", "Wake", "caller_of"]

_RETRY_SECONDS = 5


@dataclass(slots=True, eq=False)
class Wake:
    """Tells a session that there is something to do."""

    event: asyncio.Event
    is_draining: bool = False


def caller_of(peer: str) -> str:
    """Who calls: what gRPC says of the other side (`ipv4:10.0.0.1:54321`), without its port."""
    return peer.rpartition(":")[0] if peer.startswith(("ipv4:", "ipv6:")) else peer


class Admission:
    """Counts the sessions that run.

    Args:
        limit: of all sessions.
        limit_per_caller: of those of one caller; 0 for none.
    """

    def __init__(self, limit: int, limit_per_caller: int) -> None:
        self._limit = limit
        self._limit_per_caller = limit_per_caller
        self._running: set[Wake] = set()
        self._of_callers: Counter[str] = Counter()
        self._draining = False

    @property
    def count(self) -> int:
        """How many sessions run."""
        return len(self._running)

    def drain(self) -> None:
        """Admits none any more, and tells those that run."""
        self._draining = True
        for wake in self._running:
            wake.is_draining = True
            wake.event.set()

    @contextmanager
    def admitted(self, caller: str) -> Iterator[Wake]:
        """A session for as long as the block runs.

        Raises:
            Unavailable: the server shuts down.
            QueueFull: there are as many sessions as there may be, of all or of this caller.
        """
        if self._draining:
            raise Unavailable("the server is shutting down; try again, or another server")
        if self.count >= self._limit:
            raise _full(self._limit, f"{self._limit} live sessions are running already")
        most = self._limit_per_caller
        if most and self._of_callers[caller] >= most:
            raise _full(most, f"this caller has {most} live sessions already, the most that it may")
        wake = Wake(asyncio.Event())
        self._running.add(wake)
        self._of_callers[caller] += 1
        try:
            yield wake
        finally:
            self._running.discard(wake)
            self._of_callers[caller] -= 1
            if not self._of_callers[caller]:
                del self._of_callers[caller]


def _full(limit: int, cause: str) -> QueueFull:
    return QueueFull(
        f"{cause}; try again in {_RETRY_SECONDS} s, or another server",
        metadata={"limit": str(limit), "retry_seconds": str(_RETRY_SECONDS)},
    )
