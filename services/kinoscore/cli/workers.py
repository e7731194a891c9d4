"""Several pieces of work at once, ended in good order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from kinoscore.errors import InvalidRepository, SpaceMismatch, StorageFull, Unavailable

__all__ = ["FATAL", "work_through"]

FATAL = (InvalidRepository, SpaceMismatch, StorageFull, Unavailable)
"""What ends a whole run: the next item would meet the same."""

# One is uploaded while another is decoded and a third is encoded.
_AT_ONCE = 3

T = TypeVar("T")
R = TypeVar("R")


async def work_through(
    items: AsyncIterator[T],
    work: Callable[[T], Awaitable[R]],
    report: Callable[[R], None],
    stopping: asyncio.Event,
) -> None:
    """Works on items, a few at once; when `stopping` is set, those in work are finished, no other is begun.

    Raises:
        KinoscoreError: the first that `work` raised; the other items in work are abandoned.
    """
    # An asynchronous generator takes one caller at a time.
    turn = asyncio.Lock()

    async def following() -> T | None:
        async with turn:
            return None if stopping.is_set() else await anext(items, None)

    async def go_on() -> None:
        while (item := await following()) is not None:
            report(await work(item))

    workers = [asyncio.create_task(go_on()) for _ in range(_AT_ONCE)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
