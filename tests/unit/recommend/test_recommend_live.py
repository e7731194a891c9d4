"""Live sessions when a service behind them is lost in mid-stream, with scripted services."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from support.waiting import until

from kinoscore.cache.memory import MemoryCache
from kinoscore.errors import InvalidRequest, KinoscoreError, MediaTooLarge, NotFound, Unavailable
from kinoscore.recommend.backends import Backends
from kinoscore.recommend.resuming import SavedSessions
from kinoscore.recommend.servicer import RecommenderServicer
from kinoscore.runtime.server import Server
from kinoscore.runtime.settings import RecommendSettings, ServerSettings
from kinoscore.v1 import (
    common_pb2,
    fusion_pb2,
    fusion_pb2_grpc,
    music_pb2_grpc,
    ranking_pb2,
    ranking_pb2_grpc,
    recommend_pb2,
    recommend_pb2_grpc,
    video_pb2,
    video_pb2_grpc,
)

SPACE = "s0123456789ab"
WINDOW = 3.0


class Video(video_pb2_grpc.VideoEncoderServiceServicer):
    """One answer a chunk, each a second of the stream; goes away at a chunk of `lose`."""

    def __init__(self) -> None:
        self.calls: list[video_pb2.EncodeLiveSettings] = []
        self.bytes: list[list[bytes]] = []
        self.refuses = 0
        self.error: KinoscoreError | None = None

    async def EncodeLive(self, request_iterator: AsyncIterator[Any], context: Any) -> Any:
        settings = (await anext(request_iterator)).settings
        self.calls.append(settings)
        self.bytes.append([])
        if self.error is not None:
            raise self.error
        if self.refuses:
            self.refuses -= 1
            raise Unavailable("not yet")
        second = settings.resumed.clock.next_sample
        async for request in request_iterator:
            self.bytes[-1].append(request.chunk.data)
            if b"lose" in (request.chunk.frame.data, request.chunk.data):
                self.refuses = 2
                raise Unavailable("gone")
            second += 1
            start = max(0.0, second - WINDOW)
            yield video_pb2.EncodeLiveResponse(
                space=SPACE,
                window_start_seconds=start,
                window_duration_seconds=second - start,
                clip=common_pb2.Embedding(content=[float(second)]),
                windows=[common_pb2.Embedding(content=[float(second)])],
                new_frames=[video_pb2.EncodedFrame(timestamp_seconds=second - 1.0, features=[1.0])],
                clock=video_pb2.LiveClock(next_sample=second),
                losses=video_pb2.LiveLosses(frames_damaged=1),
            )


class Fusion(fusion_pb2_grpc.FusionServiceServicer):
    async def Fuse(self, request: Any, context: Any) -> Any:
        return fusion_pb2.FuseResponse(space=SPACE, embeddings=request.embeddings)


class Ranking(ranking_pb2_grpc.RankingServiceServicer):
    """The same two tracks for every search; silent in the seconds `lost`."""

    def __init__(self) -> None:
        self.lost: set[float] = set()
        self.stale: set[float] = set()
        self.searches: list[ranking_pb2.SearchTracksRequest] = []

    async def ListSpaces(self, request: Any, context: Any) -> Any:
        return ranking_pb2.ListSpacesResponse(active_space=SPACE, served_spaces=[SPACE])

    async def SearchTracks(self, request: Any, context: Any) -> Any:
        self.searches.append(request)
        if request.clip.content[0] in self.lost:
            raise Unavailable("the vector store does not answer")
        hits = [
            ranking_pb2.Hit(
                rank=rank,
                score=1.0 / rank,
                track=common_pb2.TrackMetadata(track_id=track),
                reasons=["near"] if track in request.compared_track_ids else [],
            )
            for rank, track in enumerate("ab", 1)
        ]
        stale = request.clip.content[0] in self.stale
        return ranking_pb2.SearchTracksResponse(space=SPACE, hits=hits, stale=stale)


class Music(music_pb2_grpc.MusicEncoderServiceServicer):
    pass


class House:
    def __init__(self) -> None:
        self.video, self.ranking = Video(), Ranking()
        self.front_door: Any = None
        self.other_front_door: Any = None

    async def live(
        self, *chunks: bytes, at_the_other: bool = False, as_bytes: bool = False, **settings: Any
    ) -> list[recommend_pb2.RecommendLiveResponse]:
        front_door = self.other_front_door if at_the_other else self.front_door
        first = recommend_pb2.RecommendLiveSettings(**settings)

        async def requests() -> Any:
            yield recommend_pb2.RecommendLiveRequest(settings=first)
            for data in chunks:
                if data == b"back":
                    # What is sent while the service is away may go with the call that broke off.
                    await until(lambda: len(self.video.calls) > 3, seconds=60)
                    continue
                chunk = common_pb2.MediaChunk(frame=common_pb2.Frame(data=data))
                if as_bytes:
                    chunk = common_pb2.MediaChunk(data=data)
                yield recommend_pb2.RecommendLiveRequest(chunk=chunk)

        async with asyncio.timeout(60):
            return [update async for update in front_door.RecommendLive(requests())]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    settings = ServerSettings(port=0, grace_seconds=0.0)
    back = Server(settings)
    for servicer in (house.video, Music(), Fusion(), house.ranking):
        back.add(servicer)
    address = await back.start()
    backends = Backends(video=address, music=address, fusion=address, ranking=address)
    cache = MemoryCache()
    async with AsyncExitStack() as opened:
        opened.push_async_callback(back.stop)
        opened.push_async_callback(backends.close)
        stubs = []
        for _ in range(2):
            front = Server(settings)
            front.add(RecommenderServicer(backends, cache, RecommendSettings(port=0, live_key="key")))
            channel = grpc.aio.insecure_channel(await front.start())
            opened.push_async_callback(front.stop)
            stubs.append(recommend_pb2_grpc.RecommenderServiceStub(await opened.enter_async_context(channel)))
        house.front_door, house.other_front_door = stubs
        yield house


async def test_another_front_door_with_the_same_cache_and_key_goes_on_with_a_session(house: House) -> None:
    *_, last = await house.live(b"1", b"2", b"3", b"4")
    *running, _ = await house.live(b"5", at_the_other=True, resume_token=last.resume_token)
    assert [update.stream_seconds for update in running] == [5.0]
    assert len(house.video.calls[-1].resumed.frames) == WINDOW


async def test_a_lost_video_service_is_called_again_with_the_window_and_the_gap_is_told(house: House) -> None:
    *running, last = await house.live(b"1", b"2", b"3", b"4", b"lose", b"back", b"5", b"6")
    assert [update.stream_seconds for update in running] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert len(house.video.calls) == 4
    resumed = house.video.calls[-1].resumed
    assert [frame.timestamp_seconds for frame in resumed.frames] == [1.0, 2.0, 3.0]
    assert resumed.clock.next_sample == 4
    assert last.losses.gap_seconds > 0.5
    # One of each call that saw a frame.
    assert last.losses.frames_damaged == 2


def box(kind: bytes, contents: bytes = b"") -> bytes:
    return (8 + len(contents)).to_bytes(4) + kind + contents


async def test_another_call_for_a_stream_of_bytes_begins_with_its_initialisation(house: House) -> None:
    beginning = box(b"ftyp", b"iso5") + box(b"moov", box(b"mvex"))
    fragment = box(b"moof", box(b"mfhd", bytes(8))) + box(b"mdat", bytes(1000))
    chunks = (beginning[:10], beginning[10:] + fragment, b"lose", b"back", fragment[500:])
    *_, last = await house.live(*chunks, as_bytes=True)
    assert house.video.bytes[0] == [*chunks[:3]]
    assert house.video.bytes[-1][0] == beginning
    assert last.losses.gap_seconds > 0


async def test_pictures_that_are_too_large_end_the_session(house: House) -> None:
    house.video.error = MediaTooLarge("the picture is too large")
    with pytest.raises(grpc.aio.AioRpcError, match="the picture is too large"):
        await house.live(b"1")
    assert len(house.video.calls) == 1


async def test_a_form_that_changes_in_the_middle_is_refused(house: House) -> None:
    async def requests() -> Any:
        yield recommend_pb2.RecommendLiveRequest(settings=recommend_pb2.RecommendLiveSettings())
        yield recommend_pb2.RecommendLiveRequest(chunk=common_pb2.MediaChunk(data=b"1"))
        yield recommend_pb2.RecommendLiveRequest(chunk=common_pb2.MediaChunk(frame=common_pb2.Frame()))

    async with asyncio.timeout(60):
        with pytest.raises(grpc.aio.AioRpcError, match="either bytes or frames"):
            _ = [update async for update in house.front_door.RecommendLive(requests())]


async def test_bytes_are_never_left_out_and_few_are_held(house: House) -> None:
    chunks = [bytes([number]) * (1 << 20) for number in range(1, 13)]
    await house.live(*chunks, as_bytes=True, flow=video_pb2.LIVE_FLOW_LATEST)
    assert house.video.bytes == [chunks]


async def test_a_stream_that_ends_while_the_video_service_is_away_still_ends(house: House) -> None:
    *_, last = await house.live(b"1", b"lose")
    assert last.ending == recommend_pb2.LIVE_ENDING_COMPLETE


async def test_a_silent_ranking_leaves_the_list_and_is_told_until_it_is_back(house: House) -> None:
    house.ranking.lost = {2.0, 3.0}
    *running, _ = await house.live(b"1", b"2", b"3", b"4")
    assert [update.stale for update in running] == [False, True, True, False]
    for update in running:
        assert [hit.track.track_id for hit in update.hits] == ["a", "b"]
        assert bool(update.warnings) == update.stale


async def test_old_hits_of_a_ranking_whose_store_is_silent_are_told_as_such(house: House) -> None:
    house.ranking.stale = {2.0}
    *running, last = await house.live(b"1", b"2", b"3")
    assert [update.stale for update in (*running, last)] == [False, True, False, False]


async def test_one_search_an_update_in_the_space_the_session_began_in_and_one_for_tracks_that_enter(
    house: House,
) -> None:
    first, second, _ = await house.live(b"1", b"2", catalogue="c", filter="", k=3)
    assert first.changes.entered_track_ids == ["a", "b"]
    assert not second.changes.entered_track_ids
    assert [hit.reasons for update in (first, second) for hit in update.hits] == [["near"]] * 4
    searches = house.ranking.searches
    assert [sorted(search.compared_track_ids) for search in searches] == [[], ["a", "b"], ["a", "b"]]
    for search in searches:
        assert (search.catalogue, search.space) == ("c", SPACE)
    assert searches[0].k > 3
    assert searches[2].k > 3


async def test_an_expired_token_is_refused_and_a_lost_session_is_not_found() -> None:
    state = recommend_pb2.LiveSession(space=SPACE)
    cache = MemoryCache()
    token = await SavedSessions(cache, "key", 60.0).save("id", state)
    assert await SavedSessions(cache, "key", 60.0).load(token) == ("id", state)
    with pytest.raises(InvalidRequest, match="not made here"):
        await SavedSessions(cache, "another", 60.0).load(token)
    with pytest.raises(NotFound, match="begin a new one"):
        await SavedSessions(MemoryCache(), "key", 60.0).load(token)
    expired = await SavedSessions(cache, "key", -10.0).save("id", state)
    with pytest.raises(InvalidRequest, match="expired"):
        await SavedSessions(cache, "key", 60.0).load(expired)
