"""Live sessions over gRPC: the whole stack in this process, with tiny models, through the Python client."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.links import Network
from support.live_sessions import (
    SECONDS,
    Conversation,
    held,
    ids,
    index_tones,
    indexed_tones,
    picture,
    scene,
    served,
    tasks_of_live_sessions,
    updates,
)
from support.media_files import noise_frames
from support.repository import write_tiny_repository
from support.streams import FORMS, cut, write_stream
from support.waiting import until

from kinoscore import AsyncClient, Client, LiveControl, LiveUpdate, Track
from kinoscore.cache.memory import MemoryCache
from kinoscore.errors import (
    DeadlineExceeded,
    InvalidFilter,
    InvalidMedia,
    InvalidRequest,
    KinoscoreError,
    QueueFull,
    ResourceExhausted,
    Unavailable,
)
from kinoscore.recommend.backends import Backends
from kinoscore.recommend.servicer import RecommenderServicer
from kinoscore.runtime.server import Server
from kinoscore.runtime.settings import RecommendSettings, ServerSettings
from kinoscore.runtime.status import from_rpc_error
from kinoscore.v1 import common_pb2, recommend_pb2, recommend_pb2_grpc


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def library(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the tracks `t0`, `t1`, ..., of two licences."""
    return indexed_tones(repository, tmp_path_factory.mktemp("library"))


@pytest.fixture
def data(library: Path, tmp_path: Path) -> Path:
    """A copy of the library of one's own."""
    return Path(shutil.copytree(library, tmp_path / "data"))


@pytest.fixture
async def client(repository: Path, data: Path) -> AsyncIterator[AsyncClient]:
    async with served(repository, data, live_sessions=3) as (client, _):
        yield client


async def test_a_stream_gets_an_update_a_second_and_one_that_ends_it(client: AsyncClient) -> None:
    *running, last = await updates(client, scene(0, 6), k=3)
    assert [update.stream_seconds for update in running] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert running[0].changes.entered == tuple(ids(running[0]))
    assert (last.ending, ids(last), last.changes.entered) == ("complete", ids(running[-1]), ())
    for update in running:
        assert len(update.hits) == 3
        assert [hit.rank for hit in update.hits] == [1, 2, 3]
        assert update.hits[0].passage_duration_seconds > 0
        assert update.key_frames
        assert update.emotion.shares
        assert update.emotion_now.duration_seconds == 1.0
        assert 0 < update.lag_seconds < SECONDS
        assert (update.warnings, update.stale, update.ending) == ((), False, "")


async def test_the_sync_client_gives_the_same_updates(client: AsyncClient) -> None:
    expected = await updates(client, scene(0, 3), k=2)

    def plain() -> list[LiveUpdate]:
        with Client(client.address) as same:
            return list(same.live(scene(0, 3), k=2))

    got = await asyncio.to_thread(plain)
    assert [ids(update) for update in got] == [ids(update) for update in expected]


@pytest.mark.parametrize("form", FORMS)
async def test_a_stream_of_bytes_gets_the_updates_of_its_frames(
    client: AsyncClient, tmp_path: Path, form: str
) -> None:
    data = write_stream(tmp_path, form, noise_frames(100)).read_bytes()
    *running, last = await updates(client, cut(data, 5000), k=3, window_seconds=60.0)
    assert [update.stream_seconds for update in running] == [1.0, 2.0, 3.0, 4.0]
    assert last.ending == "complete"
    assert last.losses.frames_damaged == 0

    def plain() -> list[LiveUpdate]:
        with Client(client.address) as same:
            return list(same.live([data], k=3, window_seconds=60.0))

    got = await asyncio.to_thread(plain)
    assert (
        ids(got[-1]) == ids(last) == [hit.track.track_id for hit in (await client.recommend(data, k=3)).hits]
    )


async def test_a_stream_of_bytes_goes_on_in_another_call_at_its_next_initialisation(
    client: AsyncClient, tmp_path: Path
) -> None:
    data = write_stream(tmp_path, "mp4", noise_frames(100)).read_bytes()
    *_, before = await updates(client, cut(data[: len(data) // 2], 5000))
    *_, after = await updates(client, [data[-30000:], data], resume_token=before.resume_token)
    assert after.stream_seconds == pytest.approx(before.stream_seconds + 4.0, abs=0.6)
    assert after.losses.frames_damaged >= before.losses.frames_damaged


@pytest.mark.parametrize("form", FORMS)
async def test_a_video_service_that_is_lost_costs_a_gap_of_a_stream_of_bytes(
    repository: Path, data: Path, tmp_path: Path, form: str
) -> None:
    """The client does nothing: the front door sends what the stream began with to the next call."""
    stream = write_stream(tmp_path, form, noise_frames(200)).read_bytes()
    half = len(stream) // 2
    lost = asyncio.Event()
    async with served(repository, data) as (client, _), AsyncExitStack() as opened:
        link = opened.enter_context(Network()).link(int(client.address.rpartition(":")[2]))
        others = dict.fromkeys(("music", "fusion", "ranking"), client.address)
        backends = Backends(video=link.address, **others)
        opened.push_async_callback(backends.close)
        front = Server(ServerSettings(port=0, grace_seconds=0.0))
        front.add(RecommenderServicer(backends, MemoryCache(), RecommendSettings(port=0)))
        address = await front.start()
        opened.push_async_callback(front.stop)
        other = await opened.enter_async_context(AsyncClient(address))
        live = other.live(held(lost, cut(stream[:half], 5000), cut(stream[half:], 5000)), k=2)
        async with asyncio.timeout(SECONDS), aclosing(live):
            while (before := await anext(live)).stream_seconds < 2.0:
                pass
            await asyncio.to_thread(link.reset)
            lost.set()
            *_, last = [update async for update in live]
    assert last.ending == "complete"
    assert last.stream_seconds > before.stream_seconds + 1.0
    assert last.losses.gap_seconds > 0


async def test_bytes_that_are_no_stream_end_the_session_with_the_cause(client: AsyncClient) -> None:
    with pytest.raises(InvalidMedia, match="send fragmented MP4, MPEG-TS, WebM, or"):
        await updates(client, [b"no media at all, but many words " * 100])


async def test_the_first_list_is_that_of_the_same_frames_as_a_clip(client: AsyncClient) -> None:
    (*_, last) = await updates(client, scene(0, 4), k=4, interval_seconds=4.0)
    channel = grpc.aio.insecure_channel(client.address)
    async with channel:
        stub = recommend_pb2_grpc.RecommenderServiceStub(channel)
        requests = [recommend_pb2.RecommendRequest(settings=recommend_pb2.RecommendSettings(k=4))]
        for frame in scene(0, 4):
            message = common_pb2.Frame(
                format=common_pb2.FRAME_FORMAT_RGB24,
                data=frame.data,
                timestamp_seconds=frame.timestamp_seconds,
                width=32,
                height=20,
            )
            requests.append(recommend_pb2.RecommendRequest(chunk=common_pb2.MediaChunk(frame=message)))
        clip = await stub.Recommend(iter(requests))
    assert ids(last) == [hit.track.track_id for hit in clip.hits]
    for mine, theirs in zip(last.hits, clip.hits, strict=True):
        assert mine.score == pytest.approx(theirs.score, abs=2e-4)


async def test_the_list_stays_in_a_scene_and_follows_a_cut_after_the_hold_time(client: AsyncClient) -> None:
    stream = scene(0, 12, 1) + scene(12, 30, 2)
    *running, _ = await updates(client, stream, k=1, window_seconds=4.0, hold_seconds=2.0, margin=0.005)
    changes = [update.stream_seconds for update in running[1:] if update.changes.entered]
    assert len({tuple(ids(update)) for update in running}) == 2
    assert len(changes) == 1
    assert 14.0 <= changes[0] <= 18.0


async def test_a_change_acts_at_once(client: AsyncClient) -> None:
    session = Conversation(client, k=6)
    async with aclosing(session.updates):
        first = ids(await session.after(*scene(0, 1)))
        pinned, skipped = first[-1], first[0]
        update = await session.after(LiveControl(k=3, pin=pinned, skip=(skipped,)))
        assert ids(update) == [*first[1:3], pinned]
        assert update.changes.left == (skipped, *first[3:-1])
        assert update.pin is not None
        assert (update.pin.track_id, update.stream_seconds) == (pinned, 1.0)
        update = await session.after(LiveControl(filter='licence = "CC0-1.0"', pin=""))
        assert {hit.track.licence for hit in update.hits} == {"CC0-1.0"}
        assert skipped not in ids(update)
        assert update.pin is None
        assert (await session.after(*scene(1, 2))).stream_seconds == 2.0


async def test_other_weights_act_at_once_and_a_deleted_track_leaves(client: AsyncClient) -> None:
    session = Conversation(client, k=2)
    async with aclosing(session.updates):
        first = ids(await session.after(*scene(0, 1)))
        update = await session.after(LiveControl(fused_weight=0.0, content_weight=0.0, emotion_weight=1.0))
        scores = [hit.score for hit in update.hits]
        assert scores == [hit.emotion_score for hit in update.hits] == sorted(scores, reverse=True)
        await client.remove_tracks([first[0], ids(update)[0]])
        left = ids(await session.after(*scene(1, 2)))
        assert len(left) == 2
        assert not {first[0], ids(update)[0]} & set(left)


async def test_a_track_that_the_filter_no_longer_lets_pass_leaves(
    client: AsyncClient, tmp_path: Path
) -> None:
    await index_tones(client, tmp_path, count=14)
    session = Conversation(client, k=1, filter='NOT licence = "withdrawn"')
    async with aclosing(session.updates):
        first = (await session.after(*scene(0, 1))).hits[0].track
        await client.update_track(Track(track_id=first.track_id, title=first.title, licence="withdrawn"))
        assert first.track_id not in ids(await session.after(*scene(1, 2)))


async def test_any_track_can_be_pinned_and_one_that_is_deleted_lets_go_with_a_warning(
    client: AsyncClient,
) -> None:
    session = Conversation(client, k=1, filter='licence = "CC0-1.0"')
    async with aclosing(session.updates):
        await session.after(*scene(0, 1))
        update = await session.after(LiveControl(pin="t0"))
        assert (ids(update), update.warnings) == (["t0"], ())
        assert update.hits[0].score == (await session.after(*scene(1, 2))).hits[0].score
        await client.remove_tracks(["t0"])
        update = await session.after(*scene(2, 3))
        assert update.pin is None
        assert "t0" not in ids(update)
        assert any("t0 is not in the catalogue" in line for line in update.warnings)


async def test_an_empty_skip_and_the_pin_of_a_skipped_track_are_refused_with_a_warning(
    client: AsyncClient,
) -> None:
    session = Conversation(client, k=3)
    async with aclosing(session.updates):
        first = ids(await session.after(*scene(0, 1)))
        update = await session.after(LiveControl(pin=first[0], skip=("",)))
        assert "1 to 256 characters" in update.warnings[0]
        update = await session.after(LiveControl(pin=first[0], skip=(first[0],)))
        assert (update.pin, update.warnings) == (None, ("a track that was skipped cannot be pinned",))


async def test_a_weight_that_a_change_does_not_name_stays(client: AsyncClient) -> None:
    session = Conversation(client, k=2, fused_weight=0.0, content_weight=1.0, emotion_weight=3.0)
    async with aclosing(session.updates):
        await session.after(*scene(0, 1))
        [hit, *_] = (await session.after(LiveControl(fused_weight=1.0))).hits
    parts = hit.fused_score + hit.content_score + 3.0 * hit.emotion_score
    assert hit.score == pytest.approx(parts / 5.0, abs=2e-2)


async def test_a_pinned_track_is_told_when_the_scene_has_left_it(client: AsyncClient) -> None:
    session = Conversation(client, k=2, window_seconds=2.0, hold_seconds=1.0, margin=0.001)
    async with aclosing(session.updates):
        first = await session.after(*scene(0, 1))
        pinned = first.hits[-1].track.track_id
        await session.after(LiveControl(pin=pinned))
        pins = [(await session.after(*scene(n, n + 1))).pin for n in (1, 2, 3)]
    assert pins[-1] is not None
    assert pins[-1].time_to_change
    assert pins[-1].moved_away_seconds == 1.0
    assert pins[-1].better_track_id not in ("", pinned)


async def test_a_filter_that_does_not_parse_is_refused_at_once_or_with_a_warning(
    client: AsyncClient,
) -> None:
    with pytest.raises(InvalidFilter):
        await updates(client, scene(0, 2), filter="licence =")
    stream = [*scene(0, 1), LiveControl(filter="licence ="), LiveControl(pin="nobody"), *scene(1, 4)]
    running = await updates(client, stream, k=2)
    warnings = [line for update in running for line in update.warnings]
    assert any("refused" in line for line in warnings)
    assert any("pinned" in line for line in warnings)
    assert len(running[-1].hits) == 2


async def test_a_session_goes_on_where_it_was_with_its_window_pin_and_exclusions(
    client: AsyncClient,
) -> None:
    session = Conversation(client, k=3)
    async with aclosing(session.updates):
        first = ids(await session.after(*scene(0, 1)))
        await session.after(LiveControl(pin=first[1], skip=(first[0],)))
        before = await session.after(*scene(1, 2))
    *resumed, after = await updates(client, scene(2, 4), k=3, resume_token=before.resume_token)
    assert [update.stream_seconds for update in resumed] == [3.0, 4.0]
    assert resumed[0].changes.entered == ()
    assert after.pin is not None
    assert after.pin.track_id == first[1]
    assert first[0] not in ids(after)
    assert {frame.timestamp_seconds for frame in before.key_frames} <= {
        frame.timestamp_seconds for frame in after.key_frames
    }


async def test_a_session_goes_on_with_a_pin_that_no_list_has_shown_yet(client: AsyncClient) -> None:
    session = Conversation(client, k=1)
    async with aclosing(session.updates):
        [first] = ids(await session.after(*scene(0, 1)))
        # The filter is refused, so nothing is searched before the client leaves.
        before = await session.after(LiveControl(pin="t5", filter="licence ="))
        assert ids(before) == [first]
    *_, after = await updates(client, scene(1, 3), k=1, resume_token=before.resume_token)
    assert after.pin is not None
    assert (ids(after), after.pin.track_id) == (["t5"], "t5")


async def test_a_session_that_gets_nothing_more_is_still_where_it_was(client: AsyncClient) -> None:
    *_, before = await updates(client, scene(0, 3), k=2)
    [after] = await updates(client, [], k=2, resume_token=before.resume_token)
    assert (ids(after), after.stream_seconds) == (ids(before), 3.0)
    assert [frame.timestamp_seconds for frame in after.key_frames] == [
        frame.timestamp_seconds for frame in before.key_frames
    ]


async def test_a_token_that_is_forged_or_of_elsewhere_is_refused(
    client: AsyncClient, repository: Path, tmp_path: Path
) -> None:
    *_, last = await updates(client, scene(0, 1))
    forged = last.resume_token[:-1] + ("0" if last.resume_token[-1] != "0" else "1")
    for token in ("nonsense", forged):
        with pytest.raises(InvalidRequest, match="token"):
            await updates(client, scene(1, 2), resume_token=token)
    async with served(repository, tmp_path / "other") as (other, _):
        with pytest.raises(InvalidRequest, match="not made here"):
            await updates(other, scene(1, 2), resume_token=last.resume_token)


async def test_a_server_that_shuts_down_hands_out_a_token(repository: Path, data: Path) -> None:
    async with served(repository, data) as (client, stack):
        live = client.live(held(asyncio.Event(), scene(0, 2)))
        async with aclosing(live), asyncio.timeout(SECONDS):
            assert (await anext(live)).stream_seconds == 1.0
            closing = asyncio.create_task(stack.close())
            last = [update async for update in live][-1]
            assert (last.ending, bool(last.resume_token)) == ("draining", True)
            await closing


async def is_admitted(client: AsyncClient) -> bool:
    try:
        await updates(client, scene(0, 2))
    except QueueFull:
        return False
    return True


async def test_more_sessions_than_there_is_room_for_are_refused_with_a_hint(client: AsyncClient) -> None:
    release = asyncio.Event()
    sessions = [client.live(held(release, scene(0, 2))) for _ in range(3)]
    for session in sessions:
        await anext(session)
    with pytest.raises(QueueFull, match="try again in 5 s") as refusal:
        await updates(client, scene(0, 2))
    assert refusal.value.metadata["retry_seconds"] == "5"
    await asyncio.gather(*(session.aclose() for session in sessions))
    # A client that has left makes room.
    async with asyncio.timeout(SECONDS):
        while not await is_admitted(client):
            pass


async def test_one_caller_cannot_take_all_sessions_and_is_told_when_to_try_again(
    repository: Path, data: Path
) -> None:
    async with (
        served(repository, data, live_sessions=9, live_sessions_per_caller=2) as (client, _),
        # Another connection is the same caller.
        AsyncClient(client.address) as other,
    ):
        sessions = [each.live(held(asyncio.Event(), scene(0, 2))) for each in (client, other)]
        for session in sessions:
            await anext(session)
        with pytest.raises(QueueFull, match="this caller has 2") as refusal:
            await updates(other, scene(0, 2))
        assert refusal.value.metadata == {"limit": "2", "retry_seconds": "5"}
        await asyncio.gather(*(session.aclose() for session in sessions))


async def test_a_stream_that_never_sends_ends_when_it_has_been_idle_for_too_long(
    repository: Path, tmp_path: Path
) -> None:
    async with served(repository, tmp_path / "data", live_idle_seconds=0.2) as (client, _):
        with pytest.raises(DeadlineExceeded, match=r"nothing came for 0\.2 s"):
            await updates(client, held(asyncio.Event(), []))


async def test_a_session_that_has_lasted_long_enough_ends_and_can_be_resumed(
    repository: Path, data: Path
) -> None:
    async with served(repository, data, live_session_seconds=3.0) as (client, _):
        *_, last = await updates(client, held(asyncio.Event(), scene(0, 1)))
        assert last.ending == "session time"
        *_, last = await updates(client, scene(1, 2), resume_token=last.resume_token)
        assert last.stream_seconds in (1.0, 2.0)


async def test_an_error_of_the_source_reaches_the_caller(client: AsyncClient) -> None:
    async def breaking() -> AsyncIterator[Any]:
        yield picture(0.0)
        raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError, match="the camera is gone"):
        await updates(client, breaking())


async def raw(client: AsyncClient, *requests: recommend_pb2.RecommendLiveRequest) -> None:
    async with grpc.aio.insecure_channel(
        client.address, options=[("grpc.max_send_message_length", -1)]
    ) as channel:
        stub = recommend_pb2_grpc.RecommenderServiceStub(channel)
        try:
            async with asyncio.timeout(SECONDS):
                async for _ in stub.RecommendLive(iter(requests)):
                    pass
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error


SETTINGS = recommend_pb2.RecommendLiveRequest(settings=recommend_pb2.RecommendLiveSettings())
CHUNK = recommend_pb2.RecommendLiveRequest(
    chunk=common_pb2.MediaChunk(
        frame=common_pb2.Frame(
            format=common_pb2.FRAME_FORMAT_RGB24, data=bytes(12), timestamp_seconds=0.0, width=2, height=2
        )
    )
)
BYTES = recommend_pb2.RecommendLiveRequest(chunk=common_pb2.MediaChunk(data=b"x"))
HUGE = recommend_pb2.RecommendLiveRequest(
    chunk=common_pb2.MediaChunk(frame=common_pb2.Frame(data=bytes(100_000_000)))
)


@pytest.mark.parametrize(
    ("requests", "kind"),
    [
        ([], InvalidRequest),
        ([CHUNK], InvalidRequest),
        ([SETTINGS, CHUNK, SETTINGS], InvalidRequest),
        ([SETTINGS, CHUNK, BYTES], InvalidRequest),
        ([SETTINGS, HUGE], (ResourceExhausted, Unavailable)),
    ],
    ids=["nothing", "a chunk first", "settings twice", "another form", "100 MB in one message"],
)
async def test_what_is_no_session_is_refused(client: AsyncClient, requests: list[Any], kind: Any) -> None:
    with pytest.raises(kind):
        await raw(client, *requests)


@pytest.mark.parametrize(
    "wishes",
    [
        {"k": 0},
        {"k": 101},
        {"interval_seconds": 0.1},
        {"window_seconds": 500.0},
        {"margin": -0.1},
        {"hold_seconds": float("nan")},
        {"emotion_weight": -1.0},
    ],
)
async def test_wishes_that_cannot_be_are_refused(client: AsyncClient, wishes: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        await updates(client, scene(0, 2), **wishes)


async def test_a_live_source_that_is_too_fast_loses_old_frames_never_the_newest(client: AsyncClient) -> None:
    *_, last = await updates(client, scene(0, 120), latest=True, k=2)
    assert last.stream_seconds == 120.0
    assert last.losses.frames_dropped > 0


async def test_clients_that_vanish_free_their_sessions(client: AsyncClient) -> None:
    for _ in range(30):
        live = client.live(held(asyncio.Event(), scene(0, 2)))
        await anext(live)
        assert len(tasks_of_live_sessions()) >= 3
        await live.aclose()
        # Far within the limit of three sessions at once.
        await until(lambda: not tasks_of_live_sessions(), seconds=SECONDS)


async def test_errors_are_those_of_the_package(client: AsyncClient) -> None:
    with pytest.raises(KinoscoreError):
        await updates(client, scene(0, 1), catalogue="no name at all")
