"""Equal work that is wanted several times at the same moment, done once."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from kinoscore.errors import KinoscoreError
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.metrics import SHARED_ANSWERS

__all__ = ["SingleFlight"]

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """The first who wants a result leads: it does the work, within its own deadline. Who wants the same
    meanwhile follows: it waits for the result, within its own.

    An error of the work is the followers' too. But a leader who is cancelled or out of time says nothing
    about the work: a follower takes over. Nothing is kept: who comes after the end leads again.

    Args:
        kind: what the results are, for the metrics.
    """

    def __init__(self, kind: str) -> None:
        self._shared = SHARED_ANSWERS.labels(kind)
        self._flights: dict[Hashable, asyncio.Future[T]] = {}

    async def run(self, key: Hashable, work: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
        """The result of `work`, or of equal work that is under way.

        Args:
            key: equal for equal work.

        Raises:
            DeadlineExceeded: the time of a follower is up.
            Exception: whatever the work raised.
        """
        while (flight := self._flights.get(key)) is not None:
            await asyncio.wait([flight], timeout=deadline.require())
            if flight.done() and not flight.cancelled():
                self._shared.inc()
                return flight.result()
        return await self._lead(key, work, deadline)

    async def _lead(self, key: Hashable, work: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
        flight: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._flights[key] = flight
        try:
            result = await work()
        except KinoscoreError as error:
            if deadline.remaining() > 0:
                flight.set_exception(error)
                # There may be no follower to retrieve it.
                flight.exception()
            raise
        else:
            flight.set_result(result)
            return result
        finally:
            del self._flights[key]
            flight.cancel()
