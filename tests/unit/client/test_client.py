import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import pytest

import kinoscore
from kinoscore.errors import (
    FailedPrecondition,
    InvalidFilter,
    InvalidRequest,
    MediaTooLarge,
    NotFound,
    Unavailable,
)
from kinoscore.runtime.interceptor import RequestInterceptor
from kinoscore.v1 import (
    common_pb2,
    ranking_pb2,
    ranking_pb2_grpc,
    recommend_pb2,
    recommend_pb2_grpc,
    video_pb2,
)


class FrontDoor(recommend_pb2_grpc.RecommenderServiceServicer):
    """Remembers what came, and answers with it."""

    def __init__(self) -> None:
        self.settings: Any = None
        self.received = b""

    async def Recommend(self, request_iterator: AsyncIterator[Any], context: Any) -> Any:
        await self._receive(request_iterator)
        emotion = common_pb2.Emotion(
            valence=0.5, arousal=-0.5, shares=[common_pb2.EmotionShare(label="calm", probability=1.0)]
        )
        return recommend_pb2.RecommendResponse(
            space="s1",
            hits=[
                ranking_pb2.Hit(
                    rank=1,
                    track=common_pb2.TrackMetadata(track_id="a", tags=["calm"]),
                    reasons=["why"],
                    score=0.5,
                )
            ],
            clip_duration_seconds=len(self.received),
            clip_emotion=emotion,
            key_frames=[video_pb2.KeyFrame(timestamp_seconds=1.5, salience=0.25)],
            emotion_curve=[common_pb2.EmotionPoint(start_seconds=1.0, valence=0.5)],
            warnings=["cut off"],
            timings=common_pb2.Timings(total_seconds=2.0),
        )

    async def IndexTrack(self, request_iterator: AsyncIterator[Any], context: Any) -> Any:
        await self._receive(request_iterator)
        return recommend_pb2.IndexTrackResponse(
            space="s1", track=self.settings.metadata, created=True, passage_count=3
        )

    async def _receive(self, requests: AsyncIterator[Any]) -> None:
        self.received = b""
        async for request in requests:
            if request.WhichOneof("part") == "settings":
                self.settings = request.settings
                if request.settings.total_bytes > 1_000_000_000:
                    raise MediaTooLarge("too large")
            else:
                self.received += request.chunk.data


class Library(ranking_pb2_grpc.RankingServiceServicer):
    """Three tracks, one a page; any filter is wrong at character 4."""

    async def ListTracks(self, request: Any, context: Any) -> Any:
        if request.filter:
            raise InvalidFilter("expected a value", position=4)
        page = int(request.page_token or 0)
        return ranking_pb2.ListTracksResponse(
            tracks=[common_pb2.TrackMetadata(track_id=f"t{page}")],
            next_page_token=str(page + 1) if page < 2 else "",
        )

    async def GetTrack(self, request: Any, context: Any) -> Any:
        if request.track_id != "t0":
            raise NotFound("no such track")
        metadata = common_pb2.TrackMetadata(track_id="t0", title=request.catalogue)
        return ranking_pb2.GetTrackResponse(track=ranking_pb2.StoredTrack(metadata=metadata))

    async def UpdateTrackMetadata(self, request: Any, context: Any) -> Any:
        return ranking_pb2.UpdateTrackMetadataResponse(track=request.metadata, changed=True)

    async def DeleteTracks(self, request: Any, context: Any) -> Any:
        return ranking_pb2.DeleteTracksResponse(deleted_track_ids=request.track_ids[:1])

    async def DescribeSpace(self, request: Any, context: Any) -> Any:
        return ranking_pb2.DescribeSpaceResponse(space="s1", track_count=3)


@contextmanager
def served(front_door: FrontDoor) -> Iterator[str]:
    """A server on a loop of its own, so that the plain client may block; yields its address."""
    loop = asyncio.new_event_loop()
    started: Future[tuple[Any, str]] = Future()

    async def start() -> tuple[Any, str]:
        interceptor = RequestInterceptor(default_deadline_seconds=10.0, max_concurrent_requests=8)
        server = grpc.aio.server(interceptors=[interceptor])
        recommend_pb2_grpc.add_RecommenderServiceServicer_to_server(front_door, server)
        ranking_pb2_grpc.add_RankingServiceServicer_to_server(Library(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, f"127.0.0.1:{port}"

    def run() -> None:
        asyncio.set_event_loop(loop)
        started.set_result(loop.run_until_complete(start()))
        loop.run_forever()
        loop.close()

    thread = Thread(target=run)
    thread.start()
    server, address = started.result(10)
    try:
        yield address
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@pytest.fixture(scope="module")
def front_door() -> FrontDoor:
    return FrontDoor()


@pytest.fixture(scope="module")
def address(front_door: FrontDoor) -> Iterator[str]:
    with served(front_door) as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[kinoscore.Client]:
    with kinoscore.Client(address) as client:
        yield client


CLIP = bytes(range(256)) * 3000


def test_a_clip_is_sent_in_chunks_and_the_answer_comes_as_plain_values(
    client: kinoscore.Client, front_door: FrontDoor, tmp_path: Path
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(CLIP)
    for clip in (path, str(path), CLIP, io.BytesIO(CLIP)):
        answer = client.recommend(clip, k=3, filter="x", emotion_weight=0.0, max_per_artist=2, catalogue="c")
        assert front_door.received == CLIP
        assert front_door.settings.k == 3
        assert front_door.settings.catalogue == "c"
        assert front_door.settings.max_per_artist == 2
        assert front_door.settings.weights.HasField("emotion")
        assert not front_door.settings.weights.HasField("fused")
    assert answer.hits[0].track == kinoscore.Track(track_id="a", tags=("calm",))
    assert answer.hits[0].reasons == ("why",)
    assert answer.clip_emotion.shares == {"calm": 1.0}
    assert answer.key_frames == (kinoscore.KeyFrame(1.5, 0.25),)
    assert answer.warnings == ("cut off",)
    assert answer.timings.total_seconds == 2.0


def test_the_size_is_announced_where_it_is_known(client: kinoscore.Client, front_door: FrontDoor) -> None:
    client.recommend(CLIP)
    assert front_door.settings.total_bytes == len(CLIP)
    client.recommend(io.BytesIO(CLIP))
    assert front_door.settings.total_bytes == 0


def test_a_track_from_a_path_carries_its_source(
    client: kinoscore.Client, front_door: FrontDoor, tmp_path: Path
) -> None:
    path = tmp_path / "a b.ogg"
    path.write_bytes(b"sound")
    indexed = client.index(path, kinoscore.Track(title="A"))
    assert (indexed.created, indexed.passage_count) == (True, 3)
    assert indexed.track == kinoscore.Track(title="A", source_uri=path.as_uri())
    assert client.index(b"sound").track.source_uri == ""
    given = kinoscore.Track(source_uri="s3://b/a.ogg")
    assert client.index(path, given).track.source_uri == "s3://b/a.ogg"


def test_a_library_can_be_listed_shown_changed_and_cleared(client: kinoscore.Client) -> None:
    assert [track.track_id for track in client.list_tracks()] == ["t0", "t1", "t2"]
    stored = client.get_track("t0", catalogue="c")
    assert stored.track.title == "c"
    update = client.update_track(replace(stored.track, licence="CC0-1.0"))
    assert (update.track.licence, update.changed) == ("CC0-1.0", True)
    assert client.remove_tracks(["t0", "t9"]) == ("t0",)
    assert client.describe() == kinoscore.CatalogueDescription("s1", 3)


def test_errors_come_back_as_the_classes_that_the_server_raised(client: kinoscore.Client) -> None:
    with pytest.raises(InvalidFilter, match="expected a value") as refusal:
        list(client.list_tracks(filter="licence"))
    assert refusal.value.position == 4
    with pytest.raises(NotFound, match="no such track"):
        client.get_track("t7")


def test_a_file_that_is_not_there_is_told_without_asking_the_server(
    client: kinoscore.Client, tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match=r"nothing\.mp4: no such file"):
        client.recommend(tmp_path / "nothing.mp4")
    with pytest.raises(InvalidRequest, match="a folder"):
        client.recommend(tmp_path)


def test_numbers_that_the_wire_cannot_carry_are_refused(client: kinoscore.Client) -> None:
    with pytest.raises(InvalidRequest, match="k must be"):
        client.recommend(CLIP, k=-1)


class BrokenDisk(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        raise OSError(5, "Input/output error")


def test_a_disk_that_fails_in_mid_upload_is_told_as_such(client: kinoscore.Client) -> None:
    with pytest.raises(FailedPrecondition, match="cannot be read: Input/output error"):
        client.recommend(BrokenDisk())  # type: ignore[arg-type]


def test_no_server_at_the_address_says_how_to_start_one() -> None:
    with (
        kinoscore.Client("127.0.0.1:1") as client,
        pytest.raises(Unavailable, match=r"no kinoscore server answers at 127\.0\.0\.1:1; start one"),
    ):
        client.describe(timeout=5)


async def test_the_asyncio_client_does_the_same(address: str, front_door: FrontDoor, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(CLIP)
    async with kinoscore.AsyncClient(address) as client:
        answer = await client.recommend(path, k=3)
        assert front_door.received == CLIP
        assert answer.hits[0].track.track_id == "a"
        indexed = await client.index(path)
        assert indexed.track.source_uri == path.as_uri()
        assert [track.track_id async for track in client.list_tracks()] == ["t0", "t1", "t2"]
        stored = await client.get_track("t0")
        assert (await client.update_track(stored.track)).changed
        assert await client.remove_tracks(["t0"]) == ("t0",)
        assert (await client.describe()).track_count == 3
        with pytest.raises(NotFound):
            await client.get_track("t7")
        with pytest.raises(FailedPrecondition, match="Input/output error"):
            await client.recommend(BrokenDisk())  # type: ignore[arg-type]


async def test_requests_of_one_client_may_run_at_once(address: str) -> None:
    async with kinoscore.AsyncClient(address) as client:
        answers = await asyncio.gather(*(client.describe() for _ in range(5)))
    assert len(answers) == 5


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Klient'"):
        _ = kinoscore.Klient  # type: ignore[attr-defined]
