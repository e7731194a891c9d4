"""What waits of a live stream, however fast it comes."""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["LiveQueue"]

Item = TypeVar("Item")


class LiveQueue(Generic[Item]):
    """What waits, in order of time, between one task that puts and one that takes; bounded.

    Args:
        capacity: items.

    Attributes:
        dropped: items that made room for newer ones.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: list[tuple[float, Item]] = []
        self._last_taken = -math.inf
        self._has_ended = False
        self._came = asyncio.Event()
        self._went = asyncio.Event()
        self.dropped = 0

    async def put(self, seconds: float, item: Item, *, may_drop: bool) -> None:
        """Adds an item that is not earlier than the last.

        Args:
            may_drop: a full queue gives up an older item, so that what is left stays spread evenly over the
                time it covers; otherwise it makes the sender wait.
        """
        while not may_drop and len(self._items) >= self._capacity:
            self._went.clear()
            await self._went.wait()
        self._items.append((seconds, item))
        if len(self._items) > self._capacity:
            times = [self._last_taken, *(time for time, _ in self._items)]
            del self._items[_least_missed(times)]
            self.dropped += 1
        self._came.set()

    def end(self) -> None:
        """Nothing more will come."""
        self._has_ended = True
        self._came.set()

    async def take(self, most: int, is_enough: Callable[[Item], bool] = lambda newest: True) -> list[Item]:
        """Waits for items and takes the oldest; none when the queue has ended.

        Args:
            is_enough: asked about the newest; where it is not, more are waited for as long as there is room.
        """
        most = min(most, self._capacity)
        while not (self._has_ended or len(self._items) >= most or self._is_enough(is_enough)):
            self._came.clear()
            await self._came.wait()
        taken, self._items = self._items[:most], self._items[most:]
        if taken:
            self._last_taken = taken[-1][0]
            self._went.set()
        return [item for _, item in taken]

    def _is_enough(self, is_enough: Callable[[Item], bool]) -> bool:
        return bool(self._items) and is_enough(self._items[-1][1])


def _least_missed(times: Sequence[float]) -> int:
    """Which of the times after the first leaves the smallest gap when it goes; counted from the second.

    Never the last.
    """
    gaps = [after - before for before, after in zip(times, times[2:], strict=False)]
    return gaps.index(min(gaps))
