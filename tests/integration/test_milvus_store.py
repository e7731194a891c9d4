"""The store over Milvus Lite and a real Milvus server: what both do alike, what only a server can suffer."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.milvus_server import MilvusServer, milvus_server
from support.waiting import until

from kinoscore.errors import FailedPrecondition, Unavailable
from kinoscore.ranking.active import ActiveSpace
from kinoscore.ranking.connection import Connection
from kinoscore.ranking.engines import open_engine
from kinoscore.ranking.filters import Comparison, Filter
from kinoscore.ranking.rows import PASSAGES, TRACKS, Passage, Track
from kinoscore.ranking.spaces import drop_space, list_spaces, migrate, switch_space
from kinoscore.ranking.store import MilvusStore
from kinoscore.runtime.deadline import Deadline
from kinoscore.v1 import common_pb2

DIMENSION = 8
SPACE, OTHER = "s0123456789ab", "sba9876543210"


def soon() -> Deadline:
    return Deadline.after(120)


def vector(seed: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
    unit: NDArray[np.float32] = drawn / np.linalg.norm(drawn)
    return unit


def track(track_id: str, *, passages: int = 3, seed: int = 0, **metadata: object) -> Track:
    emotion = common_pb2.Emotion(valence=0.25)
    return Track(
        metadata=common_pb2.TrackMetadata(track_id=track_id, **metadata),  # type: ignore[arg-type]
        emotion=emotion,
        vector=vector(seed),
        passages=tuple(
            Passage(6.0 * number, 12.0, emotion, vector(seed * 1000 + number)) for number in range(passages)
        ),
    )


async def found(
    store: MilvusStore, condition: Filter | None = None, *, partition: str = PASSAGES, limit: int = 100
) -> list[tuple[str, int]]:
    [hits] = await store.search(
        "default", vector(9)[None], condition, partition=partition, limit=limit, deadline=soon()
    )
    return [(hit.track_id, hit.passage) for hit in hits]


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    with milvus_server(tmp_path_factory.mktemp("milvus")) as server:
        yield server


async def emptied(server: MilvusServer) -> None:
    """Leaves no space but one without tracks, which no test uses."""
    await migrate(server.url, "snone", DIMENSION)
    await switch_space(server.url, "snone", force=True)
    for space in await list_spaces(server.url):
        if not space.active:
            await drop_space(server.url, space.space)


@pytest.fixture(params=["lite", "server"])
async def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store with the space, which is the active one, and nothing in it."""
    if request.param == "lite":
        where = str(tmp_path / "vectors")
    else:
        server = request.getfixturevalue("shared_server")
        await emptied(server)
        where = str(server.url)
    await migrate(where, SPACE, DIMENSION)
    await switch_space(where, SPACE, force=True)
    return where


@pytest.fixture
async def store(location: str) -> AsyncIterator[MilvusStore]:
    opened = await MilvusStore.open(location, SPACE, DIMENSION)
    yield opened
    await opened.close()


async def test_each_acknowledged_write_is_found_by_the_next_search(store: MilvusStore) -> None:
    for number in range(5):
        assert await store.upsert("default", track(f"t{number}", passages=2, seed=number), soon()) is True
        assert {(f"t{number}", 0), (f"t{number}", 1)} <= set(await found(store))
    await store.update_metadata("default", common_pb2.TrackMetadata(track_id="t1", artist="Ann"), soon())
    assert set(await found(store, Comparison("artist", "=", "Ann"))) == {("t1", 0), ("t1", 1)}
    assert await store.upsert("default", track("t2", passages=1, seed=2), soon()) is False
    assert ("t2", 1) not in await found(store)
    assert await store.delete("default", ["t0", "missing"], soon()) == ["t0"]
    assert "t0" not in {track_id for track_id, _ in await found(store)}
    assert list(await store.valences("default", None, soon())) == ["t1", "t2", "t3", "t4"]


async def test_writes_to_one_track_at_once_leave_one_of_them_whole(store: MilvusStore) -> None:
    lengths = (5, 1, 3)
    await asyncio.gather(*(store.upsert("default", track("t", passages=n, seed=n), soon()) for n in lengths))
    record = (await store.records("default", ["t"], soon()))["t"]
    assert record.passage_count in lengths
    assert sorted(await found(store)) == [("t", number) for number in range(record.passage_count)]


async def test_a_filter_that_keeps_few_shortens_no_list_and_finds_the_nearest(store: MilvusStore) -> None:
    rare = track("rare", passages=30, seed=1, artist="Ann")
    await store.upsert("default", rare, soon())
    await store.upsert("default", track("common", passages=3000, seed=2, artist="Bob"), soon())
    kept = await found(store, Comparison("artist", "=", "Ann"), limit=20)
    scores = [float(passage.vector @ vector(9)) for passage in rare.passages]
    assert kept == [("rare", int(number)) for number in np.argsort(scores)[::-1][:20]]


async def test_tracks_outlive_the_client_that_stored_them(location: str) -> None:
    first = await MilvusStore.open(location, SPACE, DIMENSION)
    await first.upsert("default", track("t"), soon())
    await first.close()
    second = await MilvusStore.open(location, SPACE, DIMENSION)
    assert sorted(await found(second)) == [("t", 0), ("t", 1), ("t", 2)]
    assert await found(second, partition=TRACKS) == [("t", -1)]
    await second.close()


async def test_each_space_keeps_its_tracks_while_the_alias_moves(location: str) -> None:
    await migrate(location, OTHER, DIMENSION + 1)
    first = await MilvusStore.open(location, SPACE, DIMENSION)
    await first.upsert("default", track("t"), soon())
    await first.close()
    assert await switch_space(location, OTHER, force=True) == SPACE
    first = await MilvusStore.open(location, SPACE, DIMENSION)
    assert len(await found(first)) == 3
    await first.close()
    assert await switch_space(location, SPACE) == OTHER
    first = await MilvusStore.open(location, SPACE, DIMENSION)
    assert len(await found(first)) == 3
    await first.close()


# What follows concerns a server only.


@pytest.fixture
async def served(shared_server: MilvusServer) -> AsyncIterator[MilvusStore]:
    await emptied(shared_server)
    await migrate(shared_server.url, SPACE, DIMENSION)
    await switch_space(shared_server.url, SPACE, force=True)
    opened = await MilvusStore.open(shared_server.url, SPACE, DIMENSION)
    yield opened
    await opened.close()


async def once_it_answers(ask: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Asks again and again until the server is there to answer; its answer may be an error too."""
    latest = time.monotonic() + 180
    while True:
        try:
            return await ask()
        except Unavailable:
            assert time.monotonic() < latest, "the server did not come back"
            await asyncio.sleep(0.2)


async def healed(store: MilvusStore) -> None:
    async def ask() -> None:
        await store.check(Deadline.after(10))
        await found(store)

    await once_it_answers(ask)


async def test_a_server_without_the_collection_is_refused_with_what_to_do(
    shared_server: MilvusServer,
) -> None:
    await emptied(shared_server)
    with pytest.raises(FailedPrecondition, match="kinoscore ranking migrate"):
        await MilvusStore.open(shared_server.url, SPACE, DIMENSION)


async def test_what_one_client_has_written_another_finds_at_once(
    served: MilvusStore, shared_server: MilvusServer
) -> None:
    other = await MilvusStore.open(shared_server.url, SPACE, DIMENSION)
    for number in range(5):
        await served.upsert("default", track(f"t{number}", seed=number), soon())
        assert (f"t{number}", 0) in await found(other)
    await other.close()


async def test_a_switch_there_and_back_under_traffic_is_seen_by_each_search_and_fails_none(
    served: MilvusStore, shared_server: MilvusServer
) -> None:
    await migrate(shared_server.url, OTHER, DIMENSION)
    second = await MilvusStore.open(shared_server.url, OTHER, DIMENSION)
    await served.upsert("default", track("old"), soon())
    await second.upsert("default", track("new"), soon())
    connection = Connection(open_engine(shared_server.url))
    active = ActiveSpace(connection)
    tracks = {SPACE: (served, "old"), OTHER: (second, "new")}
    answered: list[str] = []
    stopping = asyncio.Event()

    async def search() -> None:
        while not stopping.is_set():
            store, own = tracks[await active.read(soon())]
            assert {track_id for track_id, _ in await found(store)} == {own}
            answered.append(own)

    async def answers_of(own: str) -> None:
        seen = len(answered)
        await until(lambda: own in answered[seen:], seconds=120)

    searching = [asyncio.create_task(search()) for _ in range(2)]
    await answers_of("old")
    for space, own in ((OTHER, "new"), (SPACE, "old")):
        await switch_space(shared_server.url, space)
        await answers_of(own)
    stopping.set()
    await asyncio.gather(*searching)
    assert set(answered) == {"old", "new"}
    await second.close()
    await connection.close()


async def test_a_server_that_hangs_is_unavailable_within_the_deadline_and_then_heals(
    served: MilvusStore, shared_server: MilvusServer
) -> None:
    await served.upsert("default", track("t"), soon())
    shared_server.hang()
    try:
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await served.search(
                "default", vector(9)[None], None, partition=PASSAGES, limit=5, deadline=Deadline.after(1.0)
            )
        assert time.monotonic() - started < 3
        with pytest.raises(Unavailable):
            await served.check(Deadline.after(0.5))
    finally:
        shared_server.go_on()
    await healed(served)
    assert len(await found(served)) == 3


async def test_a_server_that_was_killed_loses_nothing_and_its_clients_heal(
    served: MilvusStore, shared_server: MilvusServer
) -> None:
    await served.upsert("default", track("t"), soon())
    shared_server.kill()
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await served.check(Deadline.after(20))
    assert time.monotonic() - started < 25
    await asyncio.to_thread(shared_server.start)
    await healed(served)
    assert sorted(await found(served)) == [("t", 0), ("t", 1), ("t", 2)]


async def test_a_server_that_comes_back_empty_is_told_and_can_be_filled_again(
    served: MilvusStore, shared_server: MilvusServer
) -> None:
    await served.upsert("default", track("t"), soon())
    shared_server.kill()
    shared_server.erase()
    await asyncio.to_thread(shared_server.start)
    with pytest.raises(FailedPrecondition, match="kinoscore ranking migrate"):
        await once_it_answers(lambda: served.check(Deadline.after(10)))
    connection = Connection(open_engine(shared_server.url))
    with pytest.raises(FailedPrecondition, match="no active embedding space"):
        await ActiveSpace(connection).read(soon())
    await connection.close()
    await migrate(shared_server.url, SPACE, DIMENSION)
    await healed(served)
    await served.upsert("default", track("t"), soon())
    assert len(await found(served)) == 3
