"""The active space of a vector store: the one in which requests that name none are answered."""

import time

from kinoscore.errors import DeadlineExceeded, Unavailable
from kinoscore.ranking import spaces
from kinoscore.ranking.connection import Connection
from kinoscore.runtime.deadline import Deadline

__all__ = ["ActiveSpace"]

LOOK_SECONDS = 1.0
LOOK_SHARE = 0.2
"""How long a look at the alias may take: at most this, and this share of the caller's time (our choice)."""
SILENT_SECONDS = 2.0
"""For how long a store that was silent is not asked again, where the space is known."""


class ActiveSpace:
    """Reads the alias, which is the only record of the active space, anew each time.

    Where the store is silent, what it said last holds: an answer that needs no store can still be given, and
    it is one of that space from end to end.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: str | None = None
        self._silent_until = 0.0

    @property
    def sole_owner(self) -> bool:
        """Whether no other process can reach the store: it is a folder."""
        return self._connection.engine.embedded

    async def read(self, deadline: Deadline) -> str:
        """The active space.

        Raises:
            FailedPrecondition: there is none; the store is empty, or was never prepared.
            Unavailable: the store is silent and has never answered.
        """
        if self._known is None:
            return await self.look(deadline)
        if time.monotonic() < self._silent_until:
            return self._known
        try:
            return await self.look(Deadline.after(min(LOOK_SECONDS, LOOK_SHARE * deadline.require())))
        except (Unavailable, DeadlineExceeded):
            self._silent_until = time.monotonic() + SILENT_SECONDS
            return self._known

    async def look(self, deadline: Deadline) -> str:
        """The active space, as the alias tells it now; a folder, which nobody else can change, is read once.

        Raises:
            FailedPrecondition: there is none.
            Unavailable: the store is silent.
        """
        if self._known is not None and self.sole_owner:
            return self._known
        engine = self._connection.engine
        self._known = await self._connection.read(
            lambda limit: spaces.active_space(engine.client, limit), deadline
        )
        if self._known is None:
            raise spaces.no_active_space(engine)
        return self._known

    async def switch(self, space: str, *, force: bool, deadline: Deadline) -> str | None:
        """Makes a space the active one; returns the one that was.

        Raises:
            NotFound: the store has no such space.
            FailedPrecondition: it holds no track, and `force` is not set.
        """
        engine = self._connection.engine
        before = await self._connection.run(
            lambda limit: spaces.point_alias(engine, space, force, limit), deadline
        )
        self._known = space
        return before
