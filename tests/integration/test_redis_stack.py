"""The whole stack over a real Redis: its loss fails nothing, and what was written meanwhile is seen."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.in_process import running_stack
from support.redis_server import RedisServer, needs_redis, redis_server
from support.repository import write_tiny_repository

from kinoscore import AsyncClient, Track
from kinoscore.media.writing import write_audio, write_video
from kinoscore.runtime.settings import StackSettings

pytestmark = needs_redis

RATE = 22050


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as running:
        yield running


@pytest.fixture
async def client(tmp_path: Path, server: RedisServer) -> AsyncIterator[AsyncClient]:
    repository = write_tiny_repository(tmp_path / "repository")
    settings = StackSettings(repository=repository, port=0, decoder_workers=1, cache=server.url)
    async with running_stack(tmp_path / "data", settings) as (client, _):
        yield client


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    random = np.random.default_rng(1)
    write_video(
        tmp_path / "clip.mp4", (random.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(16)), 8.0
    )
    return tmp_path / "clip.mp4"


async def index(client: AsyncClient, folder: Path, number: int) -> None:
    time = np.arange(5 * RATE) / RATE
    tone = (0.3 * np.sin(2 * np.pi * 110 * (number + 1) * time)).astype(np.float32)
    write_audio(folder / f"tone{number}.flac", tone, RATE)
    await client.index(folder / f"tone{number}.flac", Track(track_id=f"t{number}"))


async def found(client: AsyncClient, clip: Path) -> set[str]:
    answer = await client.recommend(clip, timeout=60)
    assert not answer.stale
    return {hit.track.track_id for hit in answer.hits}


@pytest.mark.parametrize("fault", ["killed", "hung"])
async def test_a_redis_that_is_lost_and_comes_back_costs_no_answer_and_hides_no_track(
    client: AsyncClient, server: RedisServer, clip: Path, tmp_path: Path, fault: str
) -> None:
    await index(client, tmp_path, 0)
    for _ in range(2):
        assert await found(client, clip) == {"t0"}
    (server.kill if fault == "killed" else server.hang)()
    assert await found(client, clip) == {"t0"}
    await index(client, tmp_path, 1)
    assert await found(client, clip) == {"t0", "t1"}
    (server.start if fault == "killed" else server.resume)()
    await index(client, tmp_path, 2)
    for _ in range(3):
        assert await found(client, clip) == {"t0", "t1", "t2"}
