import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from support.waiting import until

from kinoscore.cache.memory import MemoryCache
from kinoscore.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidFilter,
    InvalidMedia,
    InvalidRequest,
    KinoscoreError,
    MediaTooLarge,
    SpaceMismatch,
    Unavailable,
)
from kinoscore.recommend.backends import Backends
from kinoscore.recommend.library import LibraryServicer
from kinoscore.recommend.servicer import RecommenderServicer
from kinoscore.runtime.server import Server
from kinoscore.runtime.settings import RecommendSettings, ServerSettings
from kinoscore.runtime.status import from_rpc_error
from kinoscore.v1 import (
    common_pb2,
    fusion_pb2,
    fusion_pb2_grpc,
    music_pb2,
    music_pb2_grpc,
    ranking_pb2,
    ranking_pb2_grpc,
    recommend_pb2,
    recommend_pb2_grpc,
    video_pb2,
    video_pb2_grpc,
)

SPACE, OTHER = "s0123456789ab", "sba9876543210"
CANCELLED_WITHIN = 0.05
DIGEST = "0123456789abcdef" * 4
TIMINGS = common_pb2.Timings(
    queue_seconds=1.0, decode_seconds=2.0, inference_seconds=4.0, search_seconds=8.0, total_seconds=100.0
)


class Video(video_pb2_grpc.VideoEncoderServiceServicer):
    """Counts bytes; two windows. Refuses what announces more than a gigabyte, and what begins with `bad`.

    Where the whole clip is there it waits for `gate`. `streams` counts the clips that came, `encoded` those
    that came to their end.
    """

    def __init__(self) -> None:
        self.encoded = 0
        self.streams = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.settings = video_pb2.EncodeClipSettings()
        self.received = b""
        self.reached = asyncio.Event()
        self.left = asyncio.Event()

    async def EncodeClip(self, request_iterator: AsyncIterator[Any], context: Any) -> Any:
        self.received = b""
        self.streams += 1
        self.reached.set()
        self.left.clear()
        try:
            async for request in request_iterator:
                if request.WhichOneof("part") == "settings":
                    self.settings = request.settings
                    if request.settings.total_bytes > 1 << 30:
                        raise MediaTooLarge("too large", metadata={"limit": "1"})
                else:
                    self.received += request.chunk.data
        finally:
            self.left.set()
        # The iterator ends for a call that was left, too: then this wait is cancelled.
        await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=CANCELLED_WITHIN)
        self.encoded += 1
        await self.gate.wait()
        if self.received.startswith(b"bad"):
            raise InvalidMedia("these bytes are not media")
        return video_pb2.EncodeClipResponse(
            space=SPACE,
            duration_seconds=24.0,
            clip=common_pb2.Embedding(content=[1.0], emotion=common_pb2.Emotion(valence=0.5)),
            windows=[common_pb2.Embedding(content=[2.0]), common_pb2.Embedding(content=[3.0])],
            key_frames=[video_pb2.KeyFrame(timestamp_seconds=1.0)],
            warnings=["cut off"],
            timings=TIMINGS,
        )


class Music(music_pb2_grpc.MusicEncoderServiceServicer):
    def __init__(self) -> None:
        self.settings = music_pb2.EncodeTrackSettings()

    async def EncodeTrack(self, request_iterator: AsyncIterator[Any], context: Any) -> Any:
        async for request in request_iterator:
            if request.WhichOneof("part") == "settings":
                self.settings = request.settings
        return music_pb2.EncodeTrackResponse(
            space=SPACE,
            duration_seconds=30.0,
            digest=DIGEST,
            tempo=120.0,
            track=common_pb2.Embedding(content=[1.0]),
            passages=[common_pb2.Embedding(content=[2.0]), common_pb2.Embedding(content=[3.0])],
            timings=TIMINGS,
        )


class Fusion(fusion_pb2_grpc.FusionServiceServicer):
    async def Fuse(self, request: Any, context: Any) -> Any:
        assert request.space == SPACE
        for embedding in request.embeddings:
            embedding.fused.append(embedding.content[0] * 10)
        return fusion_pb2.FuseResponse(space=SPACE, embeddings=request.embeddings, timings=TIMINGS)


class Ranking(ranking_pb2_grpc.RankingServiceServicer):
    """Keeps the last search and the last track; the filter `wrong` does not parse.

    With the filters `silent` and `hangs` tracks cannot be listed, and searches get an old answer.
    """

    def __init__(self) -> None:
        self.search = ranking_pb2.SearchTracksRequest()
        self.stored = ranking_pb2.UpsertTrackRequest()
        self.listed = ranking_pb2.ListTracksRequest()
        self.active = SPACE
        self.served = [SPACE, OTHER]
        self.looks = 0

    async def SearchTracks(self, request: Any, context: Any) -> Any:
        self.search = request
        stale = request.filter in ("silent", "hangs")
        hits = [ranking_pb2.Hit(rank=1)]
        return ranking_pb2.SearchTracksResponse(space=SPACE, hits=hits, timings=TIMINGS, stale=stale)

    async def ListSpaces(self, request: Any, context: Any) -> Any:
        self.looks += 1
        return ranking_pb2.ListSpacesResponse(active_space=self.active, served_spaces=self.served)

    async def UpsertTrack(self, request: Any, context: Any) -> Any:
        self.stored = request
        return ranking_pb2.UpsertTrackResponse(
            space=SPACE, track=request.metadata, created=True, timings=TIMINGS
        )

    async def ListTracks(self, request: Any, context: Any) -> Any:
        self.listed = request
        if request.filter == "wrong":
            raise InvalidFilter("expected a comparison", position=5)
        if request.filter == "silent":
            raise Unavailable("the vector store does not answer")
        if request.filter == "hangs":
            await asyncio.Event().wait()
        return ranking_pb2.ListTracksResponse(space=SPACE)


class House:
    """The four services, and the front door on a server of its own."""

    def __init__(self) -> None:
        self.video, self.music, self.fusion, self.ranking = Video(), Music(), Fusion(), Ranking()
        self.cache = MemoryCache()
        self.front_door: Any = None
        self.library: Any = None

    async def recommend(self, *parts: Any, timeout: float = 10.0) -> recommend_pb2.RecommendResponse:
        return await self._call(self.front_door.Recommend, recommend_pb2.RecommendRequest, parts, timeout)

    async def index(self, *parts: Any) -> recommend_pb2.IndexTrackResponse:
        return await self._call(self.front_door.IndexTrack, recommend_pb2.IndexTrackRequest, parts, 10.0)

    async def _call(self, method: Any, message: Any, parts: tuple[Any, ...], timeout: float) -> Any:
        def wrap(part: Any) -> Any:
            if isinstance(part, bytes):
                return message(chunk=common_pb2.MediaChunk(data=part))
            return message(settings=part)

        try:
            return await method((wrap(part) for part in parts), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error


@asynccontextmanager
async def opened_house() -> AsyncIterator[House]:
    house = House()
    settings = ServerSettings(port=0, grace_seconds=0.0)
    back = Server(settings)
    for servicer in (house.video, house.music, house.fusion, house.ranking):
        back.add(servicer)
    address = await back.start()
    backends = Backends(video=address, music=address, fusion=address, ranking=address)
    front = Server(settings)
    front.add(RecommenderServicer(backends, house.cache, RecommendSettings(port=0)))
    front.add(LibraryServicer(backends, settings))
    async with AsyncExitStack() as opened:
        opened.push_async_callback(back.stop)
        opened.push_async_callback(backends.close)
        opened.push_async_callback(front.stop)
        channel = await opened.enter_async_context(grpc.aio.insecure_channel(await front.start()))
        house.front_door = recommend_pb2_grpc.RecommenderServiceStub(channel)
        house.library = ranking_pb2_grpc.RankingServiceStub(channel)
        yield house


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with opened_house() as house:
        yield house


def wishes(**fields: Any) -> recommend_pb2.RecommendSettings:
    return recommend_pb2.RecommendSettings(**fields)


async def test_a_clip_is_relayed_fused_and_ranked(house: House) -> None:
    asked = wishes(
        catalogue="c",
        k=3,
        filter="duration > 1",
        max_per_artist=2,
        total_bytes=6,
        weights=common_pb2.Weights(emotion=2.0),
    )
    answer = await house.recommend(asked, b"abc", b"def")
    assert house.video.received == b"abcdef"
    assert house.video.settings == video_pb2.EncodeClipSettings(catalogue="c", space=SPACE, total_bytes=6)
    search = house.ranking.search
    assert (search.catalogue, search.space, search.k, search.filter) == ("c", SPACE, 3, "duration > 1")
    assert (search.max_per_artist, search.weights) == (2, common_pb2.Weights(emotion=2.0))
    assert list(search.clip.fused) == [10.0]
    assert [list(window.fused) for window in search.windows] == [[20.0], [30.0]]
    assert answer.space == SPACE
    assert answer.clip_duration_seconds == 24.0
    assert answer.clip_emotion.valence == 0.5
    assert [hit.rank for hit in answer.hits] == [1]
    assert list(answer.warnings) == ["cut off"]


async def test_a_request_reads_the_active_space_once_and_stays_in_it(house: House) -> None:
    await house.recommend(wishes(filter="duration > 1"), b"abc")
    await house.index(recommend_pb2.IndexTrackSettings(), b"abc")
    assert house.ranking.looks == 2
    assert house.video.settings.space == house.music.settings.space == SPACE
    assert house.ranking.listed.space == house.ranking.search.space == house.ranking.stored.space == SPACE


async def test_a_space_that_was_asked_for_is_passed_on_unread(house: House) -> None:
    await house.recommend(wishes(space=OTHER), b"abc")
    await house.index(recommend_pb2.IndexTrackSettings(space=OTHER), b"abc")
    assert house.ranking.looks == 0
    assert house.video.settings.space == house.music.settings.space == OTHER


async def test_without_models_of_the_active_space_nothing_is_recommended_but_indexed_in_the_first_served(
    house: House,
) -> None:
    house.ranking.active, house.ranking.served = "sgone00000000", [OTHER, SPACE]
    with pytest.raises(SpaceMismatch, match=r"sgone00000000.*kinoscore reindex") as refusal:
        await house.recommend(wishes(), b"abc")
    assert refusal.value.metadata["served"] == f"{OTHER}, {SPACE}"
    await house.index(recommend_pb2.IndexTrackSettings(), b"abc")
    assert house.music.settings.space == OTHER


async def test_another_sound_than_the_expected_one_is_not_stored(house: House) -> None:
    asked = recommend_pb2.IndexTrackSettings(expected_digest="f" * 64)
    with pytest.raises(FailedPrecondition, match="another sound") as refusal:
        await house.index(asked, b"abc")
    assert (refusal.value.metadata["digest"], refusal.value.field) == (DIGEST, "settings.expected_digest")
    assert house.ranking.stored == ranking_pb2.UpsertTrackRequest()
    await house.index(recommend_pb2.IndexTrackSettings(expected_digest=DIGEST), b"abc")
    assert house.ranking.stored.metadata.digest == DIGEST


async def test_k_that_was_not_set_stays_unset(house: House) -> None:
    await house.recommend(wishes(), b"abc")
    assert not house.ranking.search.HasField("k")


async def test_the_stages_of_all_services_add_up_and_the_total_is_our_own(house: House) -> None:
    timings = (await house.recommend(wishes(), b"abc")).timings
    assert (timings.queue_seconds, timings.decode_seconds) == (3.0, 6.0)
    assert (timings.inference_seconds, timings.search_seconds) == (12.0, 24.0)
    assert 0.0 < timings.total_seconds < 10.0


async def test_a_track_is_relayed_fused_and_stored_under_the_digest_of_its_sound(house: House) -> None:
    metadata = common_pb2.TrackMetadata(title="A", digest="another", tempo=0.0)
    answer = await house.index(recommend_pb2.IndexTrackSettings(catalogue="c", metadata=metadata), b"abc")
    stored = house.ranking.stored
    assert stored.metadata == common_pb2.TrackMetadata(
        track_id=DIGEST[:32], title="A", digest=DIGEST, duration_seconds=30.0, tempo=120.0
    )
    assert (stored.catalogue, stored.space) == ("c", SPACE)
    assert list(stored.track.fused) == [10.0]
    assert [list(passage.fused) for passage in stored.passages] == [[20.0], [30.0]]
    assert (answer.passage_count, answer.created) == (2, True)


async def test_what_the_caller_knows_of_a_track_is_kept(house: House) -> None:
    metadata = common_pb2.TrackMetadata(track_id="mine", tempo=90.0)
    answer = await house.index(recommend_pb2.IndexTrackSettings(metadata=metadata), b"abc")
    assert (answer.track.track_id, answer.track.tempo) == ("mine", 90.0)


@pytest.mark.parametrize(
    ("parts", "kind", "complaint"),
    [
        ((), InvalidRequest, "the stream is empty"),
        ((b"abc",), InvalidRequest, "first message must be the settings"),
        ((wishes(), wishes()), InvalidRequest, "settings came twice"),
        ((wishes(catalogue="a/b"), b"abc"), InvalidRequest, "catalogue name"),
        ((wishes(k=0), b"abc"), InvalidRequest, "k must be 1 to 1000, not 0"),
        ((wishes(k=1001), b"abc"), InvalidRequest, "k must be 1 to 1000, not 1001"),
        ((wishes(weights=common_pb2.Weights(fused=-1)), b"abc"), InvalidRequest, "fused weight"),
        ((wishes(weights=common_pb2.Weights(emotion=math.nan)), b"abc"), InvalidRequest, "emotion weight"),
        (
            (wishes(weights=common_pb2.Weights(fused=0, content=0, emotion=0)), b"abc"),
            InvalidRequest,
            "at least one weight",
        ),
        ((wishes(filter="wrong"), b"abc"), InvalidFilter, "expected a comparison"),
        ((wishes(), b"bad"), InvalidMedia, "not media"),
        ((wishes(total_bytes=4 << 30), b"abc"), MediaTooLarge, "too large"),
    ],
)
async def test_bad_input_is_refused_precisely_and_the_next_request_is_unharmed(
    house: House, parts: tuple[Any, ...], kind: type[KinoscoreError], complaint: str
) -> None:
    with pytest.raises(kind, match=complaint) as refusal:
        await house.recommend(*parts)
    assert type(refusal.value) is kind
    assert (await house.recommend(wishes(), b"abc")).space == SPACE


async def test_a_wrong_filter_is_refused_while_the_clip_is_still_on_its_way(house: House) -> None:
    async def endless() -> AsyncIterator[recommend_pb2.RecommendRequest]:
        yield recommend_pb2.RecommendRequest(settings=wishes(filter="wrong"))
        await asyncio.Event().wait()

    with pytest.raises(grpc.aio.AioRpcError, match="expected a comparison"):
        await house.front_door.Recommend(endless(), timeout=10)
    async with asyncio.timeout(10):
        await house.video.left.wait()


@pytest.mark.parametrize("filter_text", ["silent", "hangs"])
async def test_an_old_answer_is_passed_on_as_such_though_tracks_cannot_be_listed(
    house: House, filter_text: str
) -> None:
    answer = await house.recommend(wishes(filter=filter_text), b"abc")
    assert answer.stale
    assert [hit.rank for hit in answer.hits] == [1]
    assert not (await house.recommend(wishes(), b"abc")).stale


async def test_a_client_that_leaves_in_mid_upload_stops_the_encoder(house: House) -> None:
    sent = asyncio.Event()

    async def endless() -> AsyncIterator[recommend_pb2.RecommendRequest]:
        yield recommend_pb2.RecommendRequest(settings=wishes())
        sent.set()
        await asyncio.Event().wait()

    call = house.front_door.Recommend(endless(), timeout=30)
    async with asyncio.timeout(10):
        await sent.wait()
        await house.video.reached.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await house.video.left.wait()
    assert (await house.recommend(wishes(), b"abc")).space == SPACE


async def test_a_clip_that_came_before_is_not_encoded_again_and_gets_the_same_answer(house: House) -> None:
    first = await house.recommend(wishes(), b"abc", b"def")
    again = await house.recommend(wishes(total_bytes=6), b"a", b"bcdef")
    assert house.video.encoded == 1
    # What is left is the search.
    assert again.timings.decode_seconds == TIMINGS.decode_seconds
    assert first.timings.decode_seconds == 3 * TIMINGS.decode_seconds
    for answer in (first, again):
        answer.ClearField("timings")
    assert first.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)
    async with asyncio.timeout(20):
        await house.video.left.wait()


@pytest.mark.parametrize(
    "parts",
    [(wishes(), b"abd"), (wishes(), b"ab"), (wishes(), b"abc", b""), (wishes(catalogue="other"), b"abc")],
)
async def test_a_clip_is_known_by_its_bytes_alone(house: House, parts: tuple[Any, ...]) -> None:
    await house.recommend(wishes(), b"abc")
    await house.recommend(*parts)
    assert house.video.encoded == (1 if b"".join(parts[1:]) == b"abc" else 2)


async def test_a_clip_is_encoded_again_in_another_space(house: House) -> None:
    await house.recommend(wishes(), b"abc")
    await house.recommend(wishes(space=OTHER), b"abc")
    assert house.video.encoded == 2
    await house.recommend(wishes(), b"abc")
    assert house.video.encoded == 2


async def test_a_clip_that_was_refused_is_refused_again(house: House) -> None:
    for _ in range(2):
        with pytest.raises(InvalidMedia):
            await house.recommend(wishes(), b"bad")
    assert house.video.encoded == 2


async def test_what_does_not_match_its_announcement_is_left_to_the_video_service(house: House) -> None:
    await house.recommend(wishes(), b"abc")
    await house.recommend(wishes(total_bytes=4), b"abc")
    assert house.video.encoded == 2


async def test_equal_clips_that_come_together_are_encoded_once(house: House) -> None:
    house.video.gate.clear()
    running = [asyncio.ensure_future(house.recommend(wishes(k=k), b"abc")) for k in range(1, 9)]
    await until(lambda: house.video.encoded == 1, seconds=20)
    await until(lambda: house.video.streams == 8, seconds=20)
    house.video.gate.set()
    answers = await asyncio.gather(*running)
    assert house.video.encoded == 1
    assert {answer.clip_emotion.valence for answer in answers} == {0.5}


async def test_when_who_had_the_clip_encoded_leaves_another_takes_over(house: House) -> None:
    house.video.gate.clear()
    first = asyncio.ensure_future(house.recommend(wishes(), b"abc"))
    await until(lambda: house.video.encoded == 1, seconds=20)
    second = asyncio.ensure_future(house.recommend(wishes(), b"abc"))
    await until(lambda: house.video.streams == 2, seconds=20)
    first.cancel()
    await until(lambda: house.video.encoded == 2, seconds=20)
    house.video.gate.set()
    assert (await second).hits


async def test_single_frames_are_encoded_each_time(house: House) -> None:
    for _ in range(2):
        frame = common_pb2.Frame(data=b"abc", timestamp_seconds=0.0)
        chunk = recommend_pb2.RecommendRequest(chunk=common_pb2.MediaChunk(frame=frame))
        settings = recommend_pb2.RecommendRequest(settings=wishes())
        assert (await house.front_door.Recommend(iter([settings, chunk]), timeout=20)).hits
    assert house.video.encoded == 2


async def test_nothing_is_kept_when_the_settings_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINOSCORE_CACHE_SECONDS", "0")
    async with opened_house() as house:
        for _ in range(2):
            await house.recommend(wishes(), b"abc")
        assert house.video.encoded == 2


async def test_a_clip_larger_than_what_is_hashed_in_the_loop_is_known_too(house: House) -> None:
    for _ in range(2):
        await house.recommend(wishes(), b"x" * 300_000, b"y" * 10)
    assert house.video.encoded == 1


async def test_the_deadline_of_the_caller_holds_for_the_whole_chain(house: House) -> None:
    async def endless() -> AsyncIterator[recommend_pb2.RecommendRequest]:
        yield recommend_pb2.RecommendRequest(settings=wishes())
        await asyncio.Event().wait()

    call = house.front_door.Recommend(endless(), timeout=2.0)
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await call
    assert isinstance(from_rpc_error(late.value), DeadlineExceeded)
    async with asyncio.timeout(10):
        await house.video.left.wait()


async def test_the_front_door_answers_for_the_library_too(house: House) -> None:
    answer = await house.library.ListTracks(ranking_pb2.ListTracksRequest(), timeout=10)
    assert answer.space == SPACE
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await house.library.ListTracks(ranking_pb2.ListTracksRequest(filter="wrong"), timeout=10)
    error = from_rpc_error(refusal.value)
    assert isinstance(error, InvalidFilter)
    assert error.position == 5


async def test_a_service_that_is_down_is_unavailable_and_named() -> None:
    nowhere = "127.0.0.1:1"
    settings = ServerSettings(port=0, grace_seconds=0.0)
    backends = Backends(video=nowhere, music=nowhere, fusion=nowhere, ranking=nowhere)
    front = Server(settings)
    front.add(LibraryServicer(backends, settings))
    async with grpc.aio.insecure_channel(await front.start()) as channel:
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await stub.DescribeSpace(ranking_pb2.DescribeSpaceRequest(), timeout=10)
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "the ranking service at 127.0.0.1:1 does not answer" in refusal.value.details()
    await front.stop()
    await backends.close()
