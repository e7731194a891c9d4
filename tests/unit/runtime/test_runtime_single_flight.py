"""Equal work that runs at the same moment is done once, and nobody is harmed by who does it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from support.waiting import until

from kinoscore.errors import DeadlineExceeded, Unavailable
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.single_flight import SingleFlight


class Work:
    """Work that lasts until the test lets it end; counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.end = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> str:
        self.begun += 1
        number = self.begun
        await self.end.wait()
        if self.error is not None:
            raise self.error
        return f"result {number}"


@pytest.fixture
def flights() -> SingleFlight[str]:
    return SingleFlight("test")


def wanted(
    flights: SingleFlight[str], work: Callable[[], Awaitable[str]], key: str = "key", seconds: float = 60.0
) -> "asyncio.Task[str]":
    return asyncio.create_task(flights.run(key, work, Deadline.after(seconds)))


async def everyone_waits() -> None:
    """Whoever can go on has done so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_wants_the_same_at_the_same_moment_gets_one_result(flights: SingleFlight[str]) -> None:
    work = Work()
    tasks = [wanted(flights, work) for _ in range(20)]
    await everyone_waits()
    work.end.set()
    assert await asyncio.gather(*tasks) == ["result 1"] * 20
    assert work.begun == 1


async def test_other_keys_do_not_wait(flights: SingleFlight[str]) -> None:
    slow, quick = Work(), Work()
    quick.end.set()
    waiting = wanted(flights, slow, key="slow")
    await everyone_waits()
    assert await wanted(flights, quick, key="quick") == "result 1"
    slow.end.set()
    assert await waiting == "result 1"


async def test_a_result_is_not_kept(flights: SingleFlight[str]) -> None:
    work = Work()
    work.end.set()
    assert await wanted(flights, work) == "result 1"
    assert await wanted(flights, work) == "result 2"


async def test_an_error_is_everyones_and_is_not_kept(flights: SingleFlight[str]) -> None:
    work = Work()
    work.error = Unavailable("silent")
    tasks = [wanted(flights, work) for _ in range(3)]
    await everyone_waits()
    work.end.set()
    assert [str(error) for error in await asyncio.gather(*tasks, return_exceptions=True)] == ["silent"] * 3
    assert work.begun == 1
    work.error = None
    assert await wanted(flights, work) == "result 2"


async def test_an_error_that_nobody_shares_is_not_complained_about(
    flights: SingleFlight[str], caplog: pytest.LogCaptureFixture
) -> None:
    work = Work()
    work.error = Unavailable("silent")
    work.end.set()
    with pytest.raises(Unavailable):
        await wanted(flights, work)
    assert caplog.text == ""


async def test_a_follower_takes_over_from_a_leader_who_was_cancelled(flights: SingleFlight[str]) -> None:
    work = Work()
    leader = wanted(flights, work)
    await everyone_waits()
    followers = [wanted(flights, work) for _ in range(3)]
    await everyone_waits()
    leader.cancel()
    await until(lambda: work.begun == 2)
    work.end.set()
    assert await asyncio.gather(*followers) == ["result 2"] * 3
    assert work.begun == 2
    assert leader.cancelled()


async def test_a_follower_takes_over_from_a_leader_who_ran_out_of_time(flights: SingleFlight[str]) -> None:
    work = Work()

    async def until_my_deadline() -> str:
        await asyncio.wait([asyncio.create_task(asyncio.sleep(0.05))])
        raise Unavailable("no answer in time")

    leader = wanted(flights, until_my_deadline, seconds=0.02)
    await everyone_waits()
    followers = [wanted(flights, work) for _ in range(3)]
    with pytest.raises(Unavailable):
        await leader
    await until(lambda: work.begun == 1)
    work.end.set()
    assert await asyncio.gather(*followers) == ["result 1"] * 3


async def test_a_follower_waits_no_longer_than_its_own_deadline(flights: SingleFlight[str]) -> None:
    work = Work()
    leader = wanted(flights, work)
    await everyone_waits()
    with pytest.raises(DeadlineExceeded):
        await wanted(flights, work, seconds=0.02)
    assert not leader.done()
    work.end.set()
    assert await leader == "result 1"


async def test_a_follower_who_leaves_harms_nobody(flights: SingleFlight[str]) -> None:
    work = Work()
    leader = wanted(flights, work)
    await everyone_waits()
    follower, other = wanted(flights, work), wanted(flights, work)
    await everyone_waits()
    follower.cancel()
    await everyone_waits()
    assert follower.cancelled()
    work.end.set()
    assert await asyncio.gather(leader, other) == ["result 1"] * 2
