import asyncio
import itertools

from hypothesis import given
from hypothesis import strategies as st

from kinoscore.runtime.live_queue import LiveQueue


@given(st.integers(1, 8), st.integers(1, 60))
async def test_a_queue_that_drops_keeps_the_newest_and_counts_the_rest(capacity: int, count: int) -> None:
    queue: LiveQueue[int] = LiveQueue(capacity)
    for number in range(count):
        await queue.put(float(number), number, may_drop=True)
    left = await queue.take(capacity)
    assert left == sorted(left)
    assert left[-1] == count - 1
    assert len(left) + queue.dropped == count


async def test_what_is_dropped_is_spread_evenly() -> None:
    queue: LiveQueue[int] = LiveQueue(8)
    for number in range(16):
        await queue.put(float(number), number, may_drop=True)
    left = await queue.take(8)
    gaps = [after - before for before, after in itertools.pairwise(left)]
    assert max(gaps) <= 4


async def test_items_are_waited_for_until_they_are_enough_or_fill_the_queue_or_end() -> None:
    queue: LiveQueue[int] = LiveQueue(4)

    async def taken_after(*numbers: int) -> list[int]:
        taking = asyncio.create_task(queue.take(8, lambda newest: newest % 10 == 0))
        for number in numbers:
            await asyncio.sleep(0)
            assert not taking.done()
            await queue.put(float(number), number, may_drop=False)
        return await taking

    assert await taken_after(9, 10) == [9, 10]
    assert await taken_after(11, 12, 13, 14) == [11, 12, 13, 14]
    await queue.put(15.0, 15, may_drop=False)
    queue.end()
    assert await taken_after() == [15]


async def test_a_queue_that_drops_nothing_makes_the_sender_wait() -> None:
    queue: LiveQueue[int] = LiveQueue(2)
    await queue.put(0.0, 0, may_drop=False)
    await queue.put(1.0, 1, may_drop=False)
    third = asyncio.create_task(queue.put(2.0, 2, may_drop=False))
    await asyncio.sleep(0)
    assert not third.done()
    assert await queue.take(8) == [0, 1]
    await third
    queue.end()
    assert (await queue.take(8), await queue.take(8)) == ([2], [])
