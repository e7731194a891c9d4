"""The whole stack in this process, over gRPC, with real files and a tiny model repository."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.in_process import running_stack
from support.repository import write_tiny_repository

from kinoscore import AsyncClient, Recommendation, Track
from kinoscore.data_folder import DataFolder
from kinoscore.errors import (
    DataFolderInUse,
    FailedPrecondition,
    InvalidFilter,
    InvalidMedia,
    InvalidRequest,
    KinoscoreError,
    MediaTooLarge,
)
from kinoscore.media.writing import write_audio, write_video
from kinoscore.runtime.settings import StackSettings
from kinoscore.stack import Stack, local_address
from kinoscore.v1 import common_pb2, recommend_pb2, recommend_pb2_grpc

RATE = 22050


def tone(seconds: float, pitch: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * pitch * time)).astype(np.float32)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    for number, pitch in enumerate((220.0, 330.0, 440.0)):
        write_audio(folder / f"tone{number}.flac", tone(20.0, pitch), RATE, tags={"title": f"Tone {number}"})
    write_audio(folder / "short.wav", tone(0.5, 220.0), RATE)
    random = np.random.default_rng(1)
    for name, seconds in (("clip", 5.0), ("long", 30.0), ("blink", 0.125)):
        pictures = (random.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(round(seconds * 8)))
        write_video(folder / f"{name}.mp4", pictures, 8.0)
    whole = (folder / "clip.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "noise.mp4").write_bytes(random.bytes(4000))
    return folder


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture
def settings(repository: Path) -> StackSettings:
    return StackSettings(
        repository=repository, port=0, decoder_workers=1, grace_seconds=5.0, max_upload_bytes=1 << 26
    )


@pytest.fixture
async def client(settings: StackSettings, tmp_path: Path) -> AsyncIterator[AsyncClient]:
    async with running_stack(tmp_path / "data", settings) as (client, _):
        yield client


async def index_tones(client: AsyncClient, media: Path) -> None:
    for number, licence in enumerate(("CC0-1.0", "CC-BY-4.0", "CC0-1.0")):
        await client.index(
            media / f"tone{number}.flac", Track(title=f"Tone {number}", artist="Ann", licence=licence)
        )


def without_timings(recommendation: Recommendation) -> dict[str, Any]:
    return {name: getattr(recommendation, name) for name in recommendation.__slots__ if name != "timings"}


async def test_tracks_go_in_and_come_out_ranked_with_passages_and_reasons(
    client: AsyncClient, media: Path
) -> None:
    await index_tones(client, media)
    answer = await client.recommend(media / "clip.mp4", k=2)
    assert [hit.rank for hit in answer.hits] == [1, 2]
    assert answer.hits[0].score >= answer.hits[1].score
    for hit in answer.hits:
        assert hit.passage_duration_seconds > 0
        assert hit.passage_start_seconds + hit.passage_duration_seconds <= 20.1
        assert hit.reasons
        assert hit.clip_emotion.shares
    assert answer.clip_duration_seconds == pytest.approx(5.0, abs=0.2)
    assert answer.key_frames
    timings = answer.timings
    assert timings.total_seconds > 0
    assert min(timings.decode_seconds, timings.inference_seconds, timings.search_seconds) > 0


async def test_filter_artist_limit_and_weights_reach_the_ranking(client: AsyncClient, media: Path) -> None:
    await index_tones(client, media)
    clip = media / "clip.mp4"
    free = await client.recommend(clip, filter='licence = "CC0-1.0"')
    assert {hit.track.licence for hit in free.hits} == {"CC0-1.0"}
    assert len((await client.recommend(clip, max_per_artist=1)).hits) == 1
    by_emotion = await client.recommend(clip, fused_weight=0.0, content_weight=0.0, emotion_weight=1.0)
    for hit in by_emotion.hits:
        assert hit.score <= hit.emotion_score + 1e-3


async def test_equal_requests_get_equal_answers_alone_and_in_a_crowd(
    client: AsyncClient, media: Path
) -> None:
    await index_tones(client, media)
    first = without_timings(await client.recommend(media / "clip.mp4"))
    crowd = await asyncio.gather(*(client.recommend(media / "clip.mp4") for _ in range(4)))
    assert [without_timings(answer)["hits"] for answer in crowd] == [first["hits"]] * 4


async def test_a_repeated_clip_is_neither_decoded_nor_encoded_and_gets_the_same_answer(
    client: AsyncClient, media: Path
) -> None:
    await index_tones(client, media)
    first = await client.recommend(media / "clip.mp4")
    again = await client.recommend(media / "clip.mp4")
    assert min(first.timings.decode_seconds, first.timings.inference_seconds) > 0
    assert again.timings.decode_seconds == again.timings.inference_seconds == 0
    assert without_timings(again) == without_timings(first)
    await client.index(media / "short.wav")
    after_a_write = await client.recommend(media / "clip.mp4")
    assert after_a_write.timings.decode_seconds == 0
    assert len(after_a_write.hits) == len(first.hits) + 1


async def test_a_clip_of_several_windows_is_matched_as_a_sequence(client: AsyncClient, media: Path) -> None:
    await index_tones(client, media)
    answer = await client.recommend(media / "long.mp4", k=1)
    assert answer.clip_duration_seconds == pytest.approx(30.0, abs=0.3)
    assert answer.hits[0].passage_duration_seconds > 12.0


async def test_a_track_is_known_by_its_sound(client: AsyncClient, media: Path) -> None:
    first = await client.index(media / "tone0.flac", Track(title="A"))
    again = await client.index(media / "tone0.flac", Track(title="B"))
    assert first.created
    assert not again.created
    assert first.track.track_id == again.track.track_id == first.track.digest[:32]
    assert (await client.get_track(first.track.track_id)).track.title == "B"
    assert (await client.describe()).track_count == 1


async def test_the_smallest_media_are_media(client: AsyncClient, media: Path) -> None:
    assert (await client.index(media / "short.wav")).passage_count == 1
    blink = await client.recommend(media / "blink.mp4")
    assert len(blink.key_frames) == 1


@pytest.mark.parametrize(
    ("clip", "kind"),
    [("noise.mp4", InvalidMedia), ("cut.mp4", InvalidMedia), ("tone0.flac", InvalidMedia)],
)
async def test_bad_media_is_refused_and_the_next_request_is_unharmed(
    client: AsyncClient, media: Path, clip: str, kind: type[KinoscoreError]
) -> None:
    with pytest.raises(kind):
        await client.recommend(media / clip)
    with pytest.raises(InvalidMedia):
        await client.index(media / "clip.mp4")
    assert (await client.recommend(media / "clip.mp4")).hits == ()


async def test_bad_wishes_are_refused(client: AsyncClient, media: Path) -> None:
    clip = media / "clip.mp4"
    for k in (0, 1001):
        with pytest.raises(InvalidRequest, match="k must be 1 to 1000") as refusal:
            await client.recommend(clip, k=k)
        assert refusal.value.field == "settings.k"
    with pytest.raises(InvalidFilter) as syntax:
        await client.recommend(clip, filter="licence = ")
    assert syntax.value.position == len("licence = ")
    with pytest.raises(InvalidRequest):
        await client.recommend(b"")


async def test_an_upload_that_is_announced_too_large_is_refused_before_it_is_sent(
    client: AsyncClient,
) -> None:
    async with grpc.aio.insecure_channel(client.address) as channel:
        stub = recommend_pb2_grpc.RecommenderServiceStub(channel)
        settings = recommend_pb2.RecommendSettings(total_bytes=4 << 30)

        async def only_the_announcement() -> AsyncIterator[recommend_pb2.RecommendRequest]:
            yield recommend_pb2.RecommendRequest(settings=settings)
            await asyncio.Event().wait()

        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await stub.Recommend(only_the_announcement(), timeout=10)
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_upload_that_grows_too_large_is_refused(client: AsyncClient) -> None:
    class Endless:
        def read(self, size: int) -> bytes:
            return bytes(size)

    with pytest.raises(MediaTooLarge):
        await client.recommend(Endless())  # type: ignore[arg-type]


async def test_clips_and_tracks_have_limits_of_their_own(
    settings: StackSettings, media: Path, tmp_path: Path
) -> None:
    short = settings.model_copy(update={"max_clip_seconds": 10.0, "max_track_seconds": 25.0})
    async with running_stack(tmp_path / "data", short) as (client, _):
        assert (await client.index(media / "tone0.flac")).created
        with pytest.raises(MediaTooLarge):
            await client.recommend(media / "long.mp4")
        assert (await client.recommend(media / "clip.mp4")).hits


async def test_a_client_that_leaves_in_mid_upload_harms_nobody(client: AsyncClient, media: Path) -> None:
    async with grpc.aio.insecure_channel(client.address) as channel:
        stub = recommend_pb2_grpc.RecommenderServiceStub(channel)
        halfway = asyncio.Event()

        async def half_a_clip() -> AsyncIterator[recommend_pb2.RecommendRequest]:
            yield recommend_pb2.RecommendRequest(settings=recommend_pb2.RecommendSettings())
            yield recommend_pb2.RecommendRequest(chunk=common_pb2.MediaChunk(data=b"half"))
            halfway.set()
            await asyncio.Event().wait()

        call = stub.Recommend(half_a_clip(), timeout=30)
        async with asyncio.timeout(10):
            await halfway.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
    await client.recommend(media / "clip.mp4")


async def test_single_pictures_are_a_clip_too(client: AsyncClient, media: Path) -> None:
    await index_tones(client, media)
    pictures = np.random.default_rng(2).integers(0, 255, (4, 80, 128, 3), np.uint8)

    async def frames() -> AsyncIterator[recommend_pb2.RecommendRequest]:
        yield recommend_pb2.RecommendRequest(settings=recommend_pb2.RecommendSettings(k=1))
        for number, picture in enumerate(pictures):
            frame = common_pb2.Frame(
                format=common_pb2.FRAME_FORMAT_RGB24,
                data=picture.tobytes(),
                timestamp_seconds=number * 0.5,
                width=128,
                height=80,
            )
            yield recommend_pb2.RecommendRequest(chunk=common_pb2.MediaChunk(frame=frame))

    async with grpc.aio.insecure_channel(client.address) as channel:
        answer = await recommend_pb2_grpc.RecommenderServiceStub(channel).Recommend(frames(), timeout=20)
    assert len(MessageToDict(answer)["hits"]) == 1


async def test_health_is_on_for_every_service(client: AsyncClient) -> None:
    names = ("VideoEncoder", "MusicEncoder", "Fusion", "Ranking", "Recommender")
    async with grpc.aio.insecure_channel(client.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", *(f"kinoscore.v1.{name}Service" for name in names)):
            reply = await health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING, name


async def test_a_stack_that_stops_lets_the_running_request_finish(
    settings: StackSettings, media: Path, tmp_path: Path
) -> None:
    async with running_stack(tmp_path / "data", settings) as (client, stack):
        started = asyncio.Event()

        class Slow:
            """Says when the upload is under way."""

            def __init__(self) -> None:
                self.stream = (media / "clip.mp4").open("rb")

            def read(self, size: int) -> bytes:
                loop.call_soon_threadsafe(started.set)
                return self.stream.read(size)

        loop = asyncio.get_running_loop()
        slow = Slow()
        running = asyncio.create_task(client.recommend(slow))  # type: ignore[arg-type]
        async with asyncio.timeout(20):
            await started.wait()
            # The request is the server's only once it was let in; closing may come before that.
            await asyncio.sleep(0)
            await client.describe()
            await stack.close()
            assert (await running).clip_duration_seconds > 0
        slow.stream.close()


async def test_a_stack_that_cannot_start_leaves_nothing_open(settings: StackSettings, tmp_path: Path) -> None:
    broken = settings.model_copy(update={"repository": (tmp_path / "none",)})
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match="model repository"):
            await Stack(DataFolder(tmp_path / "data", purpose="test"), broken).start()


async def test_what_was_indexed_is_there_after_a_restart_and_the_folder_is_owned_meanwhile(
    settings: StackSettings, media: Path, tmp_path: Path
) -> None:
    for expected in (0, 3):
        async with running_stack(tmp_path / "data", settings) as (client, _):
            with pytest.raises(DataFolderInUse):
                DataFolder(tmp_path / "data", purpose="another")
            assert (await client.describe()).track_count == expected
            await index_tones(client, media)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("0.0.0.0:50050", "127.0.0.1:50050"),
        ("[::]:50050", "127.0.0.1:50050"),
        ("127.0.0.1:50050", "127.0.0.1:50050"),
        ("kinoscore.example:50050", "kinoscore.example:50050"),
    ],
)
def test_a_server_that_listens_everywhere_is_found_at_the_loopback(address: str, local: str) -> None:
    assert local_address(address) == local
