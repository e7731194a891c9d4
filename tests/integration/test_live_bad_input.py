"""What live sessions make of frames and tokens that are not as they should be, over gRPC.

A chunk before the settings, settings twice, frames mixed with bytes, a message of 100 MB and a stream that
never sends are in test_live_sessions.py; expired and forged tokens there and in test_recommend_live.py.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.live_sessions import (
    SECONDS,
    ids,
    indexed_tones,
    picture,
    scene,
    served,
    tasks_of_live_sessions,
    updates,
)
from support.media_files import noise_frames, write_clip
from support.redis_server import needs_redis, redis_server
from support.repository import write_tiny_repository
from support.waiting import until

from kinoscore import AsyncClient, Frame, LiveControl
from kinoscore.errors import InvalidRequest, NotFound, SpaceMismatch
from kinoscore.media.live_source import iter_pictures
from kinoscore.v1 import common_pb2, recommend_pb2, recommend_pb2_grpc


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def library(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return indexed_tones(repository, tmp_path_factory.mktemp("library"), 3)


@pytest.fixture
async def client(repository: Path, library: Path, tmp_path: Path) -> AsyncIterator[AsyncClient]:
    async with served(repository, shutil.copytree(library, tmp_path / "data")) as (client, _):
        yield client


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    """Four seconds, two frames a second."""
    clip = write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", noise_frames(100))
    return [Frame(one.jpeg, number / 2) for number, one in enumerate(iter_pictures(str(clip), 2.0))]


async def test_the_format_of_frames_may_change_in_the_middle(client: AsyncClient, jpegs: list[Frame]) -> None:
    *_, last = await updates(
        client,
        jpegs[:4]
        + scene(2, 4)
        + [replace(one, timestamp_seconds=4 + number / 2) for number, one in enumerate(jpegs[:4])],
    )
    assert last.stream_seconds == 6.0
    assert last.losses.frames_damaged == 0


async def test_a_corrupt_frame_and_one_of_another_size_leave_the_session_going(
    client: AsyncClient, jpegs: list[Frame]
) -> None:
    stream = scene(0, 4)
    stream[3] = replace(jpegs[3], data=jpegs[3].data[:40])
    stream[5] = replace(stream[5], data=bytes(8 * 8 * 3), width=8, height=8)
    # Fewer bytes than its size says.
    stream[6] = replace(stream[6], width=64)
    *_, last = await updates(client, stream, k=2)
    assert last.stream_seconds == 4.0
    assert last.losses.frames_damaged == 2
    assert len(last.hits) == 2


@pytest.mark.parametrize("wrong", [3600.0, float("nan"), float("inf"), 1e300])
async def test_a_time_that_cannot_be_is_put_right_and_counted(client: AsyncClient, wrong: float) -> None:
    stream = scene(0, 4)
    stream[4] = picture(wrong)
    *_, last = await updates(client, stream)
    assert last.losses.times_repaired >= 1
    assert 4.0 <= last.stream_seconds <= 5.0
    assert last.ending == "complete"


@pytest.mark.parametrize("start", [0.0, -5.0, 3600.0])
async def test_times_that_jump_and_go_on_from_there_are_those_of_one_stream(
    client: AsyncClient, start: float
) -> None:
    *_, last = await updates(client, scene(0, 4) + scene(start, start + 4))
    assert last.losses.times_repaired == 1
    assert last.stream_seconds == 8.0


async def test_500_frames_sent_at_once_are_all_encoded(client: AsyncClient) -> None:
    # A message holds one frame: these are 500 messages, none of which waits for an answer.
    *_, last = await updates(client, scene(0, 250), k=1)
    assert last.stream_seconds == 250.0
    assert last.losses.frames_dropped == 0


async def test_updates_go_on_over_frames_that_cannot_be_read_and_say_why(client: AsyncClient) -> None:
    def junk(first: float, last: float) -> list[Frame]:
        return [Frame(b"junk", first + number / 2) for number in range(round(2 * (last - first)))]

    *running, last = await updates(client, [*scene(0, 2), *junk(2, 6)], k=1)
    assert last.losses.frames_damaged == 8
    told = [update for update in running if update.losses.frames_damaged]
    assert len(told) >= 4
    assert all(len(update.warnings) <= 1 and update.hits for update in told)
    assert "the frame at 2 s" in next(line for update in running for line in update.warnings)
    *_, last = await updates(client, junk(0, 4), k=1)
    assert (last.losses.frames_damaged, last.hits) == (8, ())
    wrong = [Frame(bytes(30), number / 2, "rgb24", 32, 20) for number in range(4)]
    *running, last = await updates(client, wrong, k=1)
    assert any("the frame at 0 s" in line for update in running for line in update.warnings)


async def test_a_change_that_cannot_be_is_refused_with_a_warning_and_the_session_goes_on(
    client: AsyncClient,
) -> None:
    changes = [
        LiveControl(skip=("x" * 300,)),
        LiveControl(skip=tuple(f"t{number}" for number in range(501))),
        LiveControl(emotion_weight=-1.0),
    ]
    running = await updates(client, [*scene(0, 1), *changes, LiveControl(skip=("t1",) * 1000), *scene(1, 3)])
    warnings = [line for update in running for line in update.warnings]
    assert [
        sum(part in line for line in warnings) for part in ("256 characters", "500 tracks", "weight")
    ] == [
        1,
        1,
        1,
    ]
    assert "t1" not in ids(running[-1])
    assert running[-1].ending == "complete"


async def test_an_empty_message_is_told_from_settings_that_came_twice(client: AsyncClient) -> None:
    settings = recommend_pb2.RecommendLiveRequest(settings=recommend_pb2.RecommendLiveSettings())

    async def requests() -> AsyncIterator[Any]:
        yield settings
        yield message(0.0)
        yield recommend_pb2.RecommendLiveRequest()

    async with grpc.aio.insecure_channel(client.address) as channel:
        call = recommend_pb2_grpc.RecommenderServiceStub(channel).RecommendLive(requests())
        with pytest.raises(grpc.aio.AioRpcError, match="a message is empty"):
            await read(call)


async def read(call: Any) -> None:
    """Takes all that comes of a call."""
    async with asyncio.timeout(SECONDS):
        async for _ in call:
            pass


def message(second: float) -> recommend_pb2.RecommendLiveRequest:
    one = picture(second)
    frame = common_pb2.Frame(
        format=common_pb2.FRAME_FORMAT_RGB24,
        data=one.data,
        timestamp_seconds=second,
        width=one.width,
        height=one.height,
    )
    return recommend_pb2.RecommendLiveRequest(chunk=common_pb2.MediaChunk(frame=frame))


async def test_a_client_that_stops_reading_updates_is_let_go(
    repository: Path, library: Path, tmp_path: Path
) -> None:
    async def requests() -> AsyncIterator[Any]:
        settings = recommend_pb2.RecommendLiveSettings(interval_seconds=0.25)
        yield recommend_pb2.RecommendLiveRequest(settings=settings)
        second = 0.0
        while True:
            yield message(second)
            second += 0.5

    data = shutil.copytree(library, tmp_path / "data")
    async with served(repository, data, live_idle_seconds=1.0) as (client, _):
        # Without the probe the connection holds 64 KiB of unread updates, no more.
        async with grpc.aio.insecure_channel(
            client.address, options=[("grpc.http2.bdp_probe", 0)]
        ) as channel:
            call = recommend_pb2_grpc.RecommenderServiceStub(channel).RecommendLive(requests())
            await until(lambda: bool(tasks_of_live_sessions()), seconds=SECONDS)
            await until(lambda: not tasks_of_live_sessions(), seconds=SECONDS)
            # One that reads on after all learns why nothing more comes.
            with pytest.raises(grpc.aio.AioRpcError, match=r"no update was read for 1 s") as ended:
                await read(call)
            assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await updates(client, scene(0, 2)))[-1].ending == "complete"


@needs_redis
async def test_a_token_of_another_embedding_space_is_refused(
    repository: Path, library: Path, tmp_path: Path
) -> None:
    other = write_tiny_repository(tmp_path / "other", seed=1)
    with redis_server(tmp_path) as redis:
        shared = {"cache": redis.url, "live_key": "key"}
        data = shutil.copytree(library, tmp_path / "data")
        async with served(repository, data, **shared) as (client, _):
            *_, last = await updates(client, scene(0, 2))
        async with served(other, tmp_path / "other-data", **shared) as (client, _):
            with pytest.raises(SpaceMismatch, match=last.space):
                await updates(client, scene(2, 4), resume_token=last.resume_token)
        async with served(repository, data, **{**shared, "live_key": "another"}) as (client, _):
            with pytest.raises(InvalidRequest, match="not made here"):
                await updates(client, scene(2, 4), resume_token=last.resume_token)
        async with served(repository, data, **{**shared, "cache": "memory:"}) as (client, _):
            with pytest.raises(NotFound, match="is gone"):
                await updates(client, scene(2, 4), resume_token=last.resume_token)
