"""Live sessions that are taken up again, in mid-stream and with other wishes, over gRPC."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from support.live_sessions import SECONDS, ids, indexed_tones, scene, served, updates
from support.repository import write_tiny_repository

from kinoscore import AsyncClient, LiveUpdate
from kinoscore.cache.memory import MemoryCache
from kinoscore.errors import InvalidRequest, SpaceMismatch
from kinoscore.recommend.backends import Backend


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def library(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return indexed_tones(repository, tmp_path_factory.mktemp("library"))


@pytest.fixture
def data(library: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(library, tmp_path / "data"))


@pytest.fixture
async def client(repository: Path, data: Path) -> AsyncIterator[AsyncClient]:
    async with served(repository, data) as (client, _):
        yield client


async def left_at(client: AsyncClient, stream_seconds: float) -> LiveUpdate:
    """The update at which the client leaves, though it has sent 30 s as fast as they are taken."""
    async with asyncio.timeout(SECONDS), aclosing(client.live(scene(0, 30), k=2)) as live:
        async for update in live:
            if update.stream_seconds == stream_seconds:
                return update
    raise AssertionError("the stream ended before")


async def test_a_stream_sent_again_from_its_last_update_goes_on_as_if_nothing_had_happened(
    client: AsyncClient,
) -> None:
    before = await left_at(client, 5.0)
    first, *_, last = await updates(client, scene(5, 12), k=2, resume_token=before.resume_token)
    assert first.stream_seconds == 6.0
    assert last.stream_seconds == 12.0
    assert (last.losses.times_repaired, last.losses.gap_seconds) == (0, 0.0)
    assert [frame.timestamp_seconds for frame in last.key_frames] == [
        frame.timestamp_seconds for frame in (await updates(client, scene(0, 12), k=2))[-1].key_frames
    ]


async def test_what_is_not_sent_again_counts_as_a_gap(client: AsyncClient) -> None:
    before = await left_at(client, 5.0)
    *_, last = await updates(client, scene(8, 12), k=2, resume_token=before.resume_token)
    assert last.stream_seconds == 12.0
    assert last.losses.gap_seconds == 3.0


async def test_no_track_is_named_that_a_new_filter_forbids(client: AsyncClient) -> None:
    *_, before = await updates(client, scene(0, 2), k=1)
    [first] = ids(before)
    resumed = await updates(
        client, scene(2, 4), k=1, filter=f'NOT track_id = "{first}"', resume_token=before.resume_token
    )
    assert all(update.hits for update in resumed)
    assert not any(first in ids(update) for update in resumed)


async def test_a_session_of_another_space_or_catalogue_is_not_taken_up(client: AsyncClient) -> None:
    *_, before = await updates(client, scene(0, 2))
    with pytest.raises(SpaceMismatch, match=before.space):
        await updates(client, scene(2, 4), resume_token=before.resume_token, space="another")
    with pytest.raises(InvalidRequest, match="of the catalogue default"):
        await updates(client, scene(2, 4), resume_token=before.resume_token, catalogue="another")
    *_, after = await updates(client, scene(2, 4), resume_token=before.resume_token, space=before.space)
    assert after.stream_seconds == 4.0


async def test_a_lost_cache_gives_no_token_and_a_warning(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object) -> bool:
        return False

    monkeypatch.setattr(MemoryCache, "set", refused)
    for update in await updates(client, scene(0, 2)):
        assert update.resume_token == ""
        assert any("cannot be resumed" in line for line in update.warnings)
        assert update.hits


@pytest.mark.parametrize("ending", ["draining", "session time"])
async def test_a_session_ends_in_time_though_there_is_always_another_answer(
    repository: Path, data: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    ask = Backend.ask

    async def slow(*arguments: object, **others: object) -> object:
        await asyncio.sleep(0.05)
        return await ask(*arguments, **others)

    limits = {"live_session_seconds": 0.5} if ending == "session time" else {}
    async with served(repository, data, **limits) as (client, stack):
        monkeypatch.setattr(Backend, "ask", slow)
        async with asyncio.timeout(SECONDS), aclosing(client.live(scene(0, 500), k=1)) as live:
            assert (await anext(live)).stream_seconds == 1.0
            closing = asyncio.create_task(stack.close()) if ending == "draining" else None
            last = [update async for update in live][-1]
        assert (last.ending, bool(last.resume_token)) == (ending, True)
        assert last.stream_seconds < 500.0
        if closing:
            await closing
