"""What waits to be encoded of a live stream, however fast it comes."""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["SampleQueue"]

Item = TypeVar("Item")


class SampleQueue(Generic[Item]):
    """What waits to be encoded, in order of time; bounded.

    Args:
        capacity: items.
        drops: a full queue gives up an older item for a new one; otherwise it makes the sender wait.
    """

    def __init__(self, capacity: int, *, drops: bool) -> None:
        self._capacity = capacity
        self._drops = drops
        self._items: list[tuple[float, Item]] = []
        self._last_taken = -math.inf
        self._changed = asyncio.Condition()
        self._ended = False
        self.dropped = 0

    async def put(self, seconds: float, item: Item) -> None:
        """Adds an item that is not earlier than the last."""
        async with self._changed:
            if not self._drops:
                await self._changed.wait_for(lambda: len(self._items) < self._capacity)
            self._items.append((seconds, item))
            if len(self._items) > self._capacity:
                times = [self._last_taken, *(time for time, _ in self._items)]
                del self._items[least_missed(times)]
                self.dropped += 1
            self._changed.notify_all()

    async def end(self) -> None:
        """Nothing more will come."""
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def take(self, most: int, is_enough: Callable[[Item], bool] = lambda newest: True) -> list[Item]:
        """Waits for items and takes the oldest; none when the queue has ended.

        Args:
            is_enough: asked about the newest; where it is not, more are waited for as long as there is room.
        """
        most = min(most, self._capacity)

        def may_be_taken() -> bool:
            if self._ended or len(self._items) >= most:
                return True
            return bool(self._items) and is_enough(self._items[-1][1])

        async with self._changed:
            await self._changed.wait_for(may_be_taken)
            taken, self._items = self._items[:most], self._items[most:]
            if taken:
                self._last_taken = taken[-1][0]
            self._changed.notify_all()
            return [item for _, item in taken]


def least_missed(times: Sequence[float]) -> int:
    """Which of the times after the first leaves the smallest gap when it goes; counted from the second.

    Never the last. So a queue that is cut again and again stays spread evenly over the time it covers.
    """
    gaps = [after - before for before, after in zip(times, times[2:], strict=False)]
    return gaps.index(min(gaps))
