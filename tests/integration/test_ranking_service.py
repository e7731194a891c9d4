"""RankingService over gRPC: a real server, a real Milvus Lite, drawn embeddings."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from support.repository import write_tiny_repository
from support.waiting import until

from kinoscore.cache import open_cache
from kinoscore.cache.memory import MemoryCache
from kinoscore.errors import (
    InvalidFilter,
    InvalidRequest,
    KinoscoreError,
    NotFound,
    SpaceMismatch,
    Unavailable,
)
from kinoscore.inference.repository import Manifest, ModelRepository
from kinoscore.ranking.scoring import POLARITY_PENALTY, Blocks
from kinoscore.ranking.servicer import RankingServicer
from kinoscore.ranking.store import MilvusStore
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.server import Server
from kinoscore.runtime.settings import RankingSettings
from kinoscore.runtime.status import from_rpc_error
from kinoscore.v1 import common_pb2, ranking_pb2, ranking_pb2_grpc

WINDOW_SECONDS = 12.0
HOP_SECONDS = 6.0


class CountingCache(MemoryCache):
    """Counts the answers that it gave."""

    hits = 0

    async def get(self, key: str) -> bytes | None:
        value = await super().get(key)
        self.hits += value is not None and ":answer:" in key
        return value


@dataclass
class Service:
    stub: Any
    manifest: Manifest
    cache: CountingCache
    servicer: RankingServicer

    @property
    def blocks(self) -> Blocks:
        dimensions = self.manifest.dimensions
        return Blocks(dimensions.fused, dimensions.content, dimensions.emotion)

    def vector(self, seed: int) -> NDArray[np.float32]:
        return np.random.default_rng(seed).standard_normal(self.blocks.total).astype(np.float32)

    def embedding(
        self, vector: NDArray[np.float32], start: float = 0.0, valence: float = 0.0, arousal: float = 0.0
    ) -> common_pb2.Embedding:
        blocks = [block / np.linalg.norm(block) for block in self.blocks.split(vector)]
        return common_pb2.Embedding(
            start_seconds=start,
            duration_seconds=WINDOW_SECONDS,
            fused=blocks[0],
            content=blocks[1],
            emotion_vector=blocks[2],
            emotion=common_pb2.Emotion(valence=valence, arousal=arousal),
        )

    async def add(
        self, track_id: str, vectors: list[NDArray[np.float32]], valence: float = 0.0, **metadata: Any
    ) -> ranking_pb2.UpsertTrackResponse:
        passages = [
            self.embedding(vector, start=HOP_SECONDS * number, valence=valence)
            for number, vector in enumerate(vectors)
        ]
        duration = HOP_SECONDS * (len(vectors) - 1) + WINDOW_SECONDS
        return await self.stub.UpsertTrack(
            ranking_pb2.UpsertTrackRequest(
                space=self.manifest.space,
                metadata=common_pb2.TrackMetadata(
                    track_id=track_id, **({"duration_seconds": duration} | metadata)
                ),
                track=self.embedding(np.mean(vectors, axis=0), valence=valence),
                passages=passages,
            )
        )

    async def search(
        self, *windows: NDArray[np.float32], valence: float = 0.0, **request: Any
    ) -> ranking_pb2.SearchTracksResponse:
        clip = [
            self.embedding(window, start=WINDOW_SECONDS * number, valence=valence)
            for number, window in enumerate(windows)
        ]
        return await self.stub.SearchTracks(
            ranking_pb2.SearchTracksRequest(
                **{
                    "space": self.manifest.space,
                    "clip": self.embedding(np.mean(windows, axis=0), valence=valence),
                    "windows": clip,
                }
                | request
            )
        )


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return ModelRepository.load(write_tiny_repository(tmp_path_factory.mktemp("repository"))).manifest


@pytest.fixture
async def service(tmp_path: Path, manifest: Manifest) -> AsyncIterator[Service]:
    dimensions = manifest.dimensions
    total = dimensions.fused + dimensions.content + dimensions.emotion
    settings = RankingSettings(port=0)
    store = await MilvusStore.open(str(tmp_path / "vectors"), manifest.space, total)
    cache = CountingCache()
    servicer = RankingServicer(store, cache, manifest, settings)
    server = Server(settings)
    server.add(servicer)
    address = await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        yield Service(ranking_pb2_grpc.RankingServiceStub(channel), manifest, cache, servicer)
    await server.stop()
    await store.close()


async def refused(call: Any) -> KinoscoreError:
    """The error that a call ends with, as one of ours."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


def ids(answer: ranking_pb2.SearchTracksResponse) -> list[str]:
    return [hit.track.track_id for hit in answer.hits]


async def test_the_ranking_of_a_short_clip_is_that_of_exhaustive_search(service: Service) -> None:
    library = {f"t{number:02}": [service.vector(100 * number + i) for i in range(6)] for number in range(40)}
    for track_id, vectors in library.items():
        await service.add(track_id, vectors)
    clip = service.vector(7777)
    answer = await service.search(clip, k=12, weights=common_pb2.Weights(fused=1, content=2, emotion=0.5))

    def cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> list[float]:
        pairs = zip(service.blocks.split(left), service.blocks.split(right), strict=True)
        return [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairs]

    expected = []
    for track_id, vectors in library.items():
        scores = [np.dot(cosines(clip, vector), [1, 2, 0.5]) / 3.5 for vector in vectors]
        expected.append((-round(max(scores), 4), track_id, int(np.argmax(scores))))
    expected.sort()
    assert ids(answer) == [track_id for _, track_id, _ in expected[:12]]
    assert [hit.rank for hit in answer.hits] == list(range(1, 13))
    for hit, (score, track_id, passage) in zip(answer.hits, expected, strict=False):
        assert hit.score == pytest.approx(-score, abs=1.01e-4)
        assert hit.passage_start_seconds == HOP_SECONDS * passage
        assert hit.passage_duration_seconds == WINDOW_SECONDS
        assert [hit.fused_score, hit.content_score, hit.emotion_score] == pytest.approx(
            cosines(clip, library[track_id][passage]), abs=1e-4
        )


async def test_the_weights_of_the_caller_act_at_recall(service: Service) -> None:
    clip = service.vector(1)
    alike, other = service.vector(1), service.vector(2)
    split = service.blocks.fused + service.blocks.content
    same_content = np.concatenate([other[:256], alike[256:split], other[split:]])
    same_emotion = np.concatenate([other[:split], alike[split:]])
    await service.add("content", [same_content])
    await service.add("emotion", [same_emotion])
    only_content = common_pb2.Weights(fused=0, content=1, emotion=0)
    only_emotion = common_pb2.Weights(fused=0, content=0, emotion=1)
    assert ids(await service.search(clip, weights=only_content))[0] == "content"
    answer = await service.search(clip, weights=only_emotion)
    assert ids(answer)[0] == "emotion"
    assert answer.hits[0].score == pytest.approx(1.0)


async def test_passages_of_one_track_do_not_crowd_others_out(service: Service) -> None:
    clip = service.vector(1)
    noise = [0.01 * service.vector(50 + number) for number in range(300)]
    await service.add("crowd", [clip + one for one in noise])
    for number in range(5):
        await service.add(f"other{number}", [service.vector(900 + number)])
    answer = await service.search(clip, k=4)
    assert len(answer.hits) == 4
    assert ids(answer)[0] == "crowd"


async def test_a_longer_clip_is_aligned_along_the_track(service: Service) -> None:
    windows = [service.vector(number) for number in (1, 2, 3)]
    filler = [service.vector(500 + number) for number in range(12)]
    aligned = list(filler)
    aligned[4], aligned[6], aligned[8] = windows
    shuffled = list(filler)
    shuffled[4], shuffled[6], shuffled[8] = windows[2], windows[0], windows[1]
    await service.add("aligned", aligned)
    await service.add("shuffled", shuffled)
    answer = await service.search(*windows)
    assert ids(answer) == ["aligned", "shuffled"]
    best = answer.hits[0]
    assert best.passage_start_seconds == 24.0
    assert best.passage_duration_seconds == 36.0
    assert best.score == pytest.approx(1.0)


async def test_a_clip_longer_than_the_track_gets_what_the_track_has(service: Service) -> None:
    windows = [service.vector(number) for number in range(4)]
    await service.add("short", [windows[0], service.vector(99), windows[1]])
    [hit] = (await service.search(*windows)).hits
    assert (hit.passage_start_seconds, hit.passage_duration_seconds) == (0.0, 24.0)
    assert 0.9 < hit.score < 1.0


async def test_opposite_polarity_costs_a_little_and_is_said(service: Service) -> None:
    vector = service.vector(1)
    await service.add("dark", [vector], valence=-0.9)
    await service.add("light", [vector], valence=0.9)
    answer = await service.search(vector, valence=0.9)
    assert ids(answer) == ["light", "dark"]
    defaults = service.manifest.weights
    share = defaults.emotion / (defaults.fused + defaults.content + defaults.emotion)
    difference = answer.hits[0].score - answer.hits[1].score
    assert difference == pytest.approx(POLARITY_PENALTY * share, abs=2e-4)
    assert any("pleasant" in reason for reason in answer.hits[0].reasons)
    assert any("in contrast" in reason for reason in answer.hits[1].reasons)


async def test_equal_scores_stand_in_order_of_track_id(service: Service) -> None:
    vector = service.vector(1)
    for track_id in ("c", "a", "b"):
        await service.add(track_id, [vector])
    assert ids(await service.search(vector)) == ["a", "b", "c"]


async def test_a_filter_excludes_whom_it_says_and_fills_the_answer_from_the_rest(service: Service) -> None:
    clip = service.vector(1)
    for number in range(30):
        noise = 0.001 * number * service.vector(2)
        artist = "Loud" if number < 25 else "Quiet"
        await service.add(f"t{number:02}", [clip + noise] * 4, artist=artist, tags=["Sad"], tempo=90 + number)
    answer = await service.search(clip, k=5, filter='NOT artist = "Loud" AND tags = "sad" AND tempo >= 100')
    assert ids(answer) == ["t25", "t26", "t27", "t28", "t29"]


async def test_at_most_so_many_tracks_of_an_artist_and_the_answer_is_filled_with_others(
    service: Service,
) -> None:
    clip = service.vector(1)
    for number in range(25):
        await service.add(f"a{number:02}", [clip + 0.001 * service.vector(number)] * 4, artist="Prolific")
    for number in range(3):
        await service.add(f"b{number}", [service.vector(70 + number)], artist=f"Other {number}")
    answer = await service.search(clip, k=5, max_per_artist=2)
    artists = [hit.track.artist for hit in answer.hits]
    assert artists[:2] == ["Prolific", "Prolific"]
    assert sorted(artists[2:]) == ["Other 0", "Other 1", "Other 2"]


async def test_a_track_to_compare_is_scored_whatever_its_rank_and_the_filter(service: Service) -> None:
    for number in range(6):
        vectors = [service.vector(10 * number + passage) for passage in range(3)]
        await service.add(f"t{number}", vectors, licence="CC0-1.0" if number else "CC-BY-4.0")
    every = {hit.track.track_id: hit for hit in (await service.search(service.vector(41), k=6)).hits}
    answer = await service.search(
        service.vector(41),
        k=1,
        filter='licence = "CC0-1.0"',
        compared_track_ids=["t4", "t0", "t2", "nobody"],
    )
    assert ids(answer) == ["t4"]
    compared = {hit.track.track_id: hit for hit in answer.compared}
    assert compared.keys() == {"t0", "t2"}
    assert [hit.rank for hit in answer.compared] == [2, 3]
    for track_id, hit in compared.items():
        assert hit.score == every[track_id].score
        assert hit.passage_start_seconds == every[track_id].passage_start_seconds
        assert hit.track == every[track_id].track


async def test_a_brief_answer_tells_all_of_the_compared_tracks_and_the_scores_of_the_others(
    service: Service,
) -> None:
    for number in range(6):
        await service.add(f"t{number}", [service.vector(number)])
    query = service.vector(3)
    whole = await service.search(query, k=3, compared_track_ids=["t3", "t5"])
    brief = await service.search(query, k=3, compared_track_ids=["t3", "t5"], is_brief=True)
    assert list(brief.compared) == list(whole.compared)
    for told, known in zip(brief.hits, whole.hits, strict=True):
        if told.track.track_id != "t3":
            known.ClearField("track_emotion")
            known.ClearField("clip_emotion")
            known.ClearField("reasons")
        assert told == known


async def test_passing_requests_get_the_answers_of_others_before_and_after_a_write(service: Service) -> None:
    for number in range(40):
        vectors = [service.vector(100 * number + passage) for passage in range(2)]
        await service.add(f"t{number:02d}", vectors, valence=0.5 - number % 2)
    query = service.vector(7)
    random = np.random.default_rng(7)
    for step in range(12):
        weights = common_pb2.Weights(fused=1.0, emotion=1.0 if step % 3 == 0 else 0.0)
        request = {"k": 5, "weights": weights, "valence": 0.3, "compared_track_ids": ["t00", "t07"]}
        passing = await service.search(query, is_passing=True, **request)
        lasting = await service.search(query, **request)
        assert list(passing.hits) == list(lasting.hits)
        assert list(passing.compared) == list(lasting.compared)
        query = query + 0.02 * random.standard_normal(query.shape).astype(np.float32)
        if step == 6:
            await service.add("new", [query])
            await service.stub.DeleteTracks(ranking_pb2.DeleteTracksRequest(track_ids=[ids(passing)[0]]))
    assert "new" in ids(await service.search(query, is_passing=True, k=40))


async def test_compared_tracks_that_the_filter_bars_are_named(service: Service) -> None:
    for number in range(6):
        await service.add(
            f"t{number}", [service.vector(number)], licence="CC0-1.0" if number % 2 else "other", valence=0.25
        )
    request = {"k": 1, "compared_track_ids": [f"t{number}" for number in range(6)]}
    for is_passing in (False, True):
        barred = await service.search(
            service.vector(9), filter='licence = "CC0-1.0"', is_passing=is_passing, **request
        )
        assert set(barred.barred_track_ids) == {"t0", "t2", "t4"}
    everything = await service.search(service.vector(9), filter="valence = 0.25", **request)
    assert not everything.barred_track_ids
    assert not (await service.search(service.vector(9), **request)).barred_track_ids


async def test_passing_requests_learn_what_the_tracks_score_that_may_be_named(service: Service) -> None:
    for number in range(12):
        await service.add(f"t{number:02d}", [service.vector(number), service.vector(100 + number)])
    request = {"k": 12, "filter": 'NOT track_id IN ("t00", "t05")'}
    passing = await service.search(service.vector(7), is_passing=True, **request)
    scores = [hit.score for hit in passing.hits]
    assert len(scores) == 10
    assert passing.typical_score == pytest.approx(np.mean(scores), abs=1e-4)
    assert not (await service.search(service.vector(7), **request)).HasField("typical_score")


async def test_the_same_request_gets_the_same_bytes_from_the_cache_and_without(service: Service) -> None:
    for number in range(12):
        await service.add(f"t{number:02}", [service.vector(number)])
    answers = []
    for _ in range(3):
        answer = await service.search(service.vector(99))
        assert answer.timings.total_seconds > 0
        answer.ClearField("timings")
        answers.append(answer.SerializeToString(deterministic=True))
    assert service.cache.hits == 2
    await service.cache.close()
    answer = await service.search(service.vector(99), k=10, catalogue="default")
    answer.ClearField("timings")
    assert answer.SerializeToString(deterministic=True) == answers[0] == answers[1] == answers[2]


class SilentStore:
    """A store that has stopped to answer; `asked` counts who came. Each waits for `meanwhile` first."""

    def __init__(self) -> None:
        self.asked = 0
        self.meanwhile: Callable[[Deadline], Awaitable[None]] = nothing

    def __getattr__(self, name: str) -> Any:
        async def silent(*arguments: Any, **more: Any) -> Any:
            self.asked += 1
            deadline = next(one for one in (*arguments, *more.values()) if isinstance(one, Deadline))
            await self.meanwhile(deadline)
            raise Unavailable("the vector store does not answer")

        return silent


async def nothing(deadline: Deadline) -> None:
    pass


def silence(service: Service, monkeypatch: pytest.MonkeyPatch) -> SilentStore:
    """From now on reads are not answered."""
    silent = SilentStore()
    monkeypatch.setattr(service.servicer, "_store", silent)
    monkeypatch.setattr(service.servicer._search, "_store", silent)
    return silent


def grow_old(service: Service) -> None:
    """From now on what is kept is not fresh."""
    service.servicer._answers._fresh_seconds = 0.0


async def test_an_old_answer_stands_in_for_a_silent_store_and_says_so(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.add("t", [service.vector(1)])
    grow_old(service)
    known = await service.search(service.vector(1))
    assert not known.stale
    silent = silence(service, monkeypatch)
    answer = await service.search(service.vector(1), k=10, catalogue="default")
    assert answer.stale
    assert answer.hits == known.hits
    assert silent.asked > 0
    for other in ({"k": 3}, {"filter": "tempo > 1"}, {"catalogue": "other"}):
        assert isinstance(await refused(service.search(service.vector(1), **other)), Unavailable)
    assert isinstance(await refused(service.search(service.vector(2))), Unavailable)


async def test_after_a_write_no_older_answer_stands_in(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.add("t", [service.vector(1)])
    grow_old(service)
    await service.search(service.vector(1))
    await service.add("u", [service.vector(1)])
    silence(service, monkeypatch)
    assert isinstance(await refused(service.search(service.vector(1))), Unavailable)


async def test_a_write_during_the_silence_bars_the_older_answer(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.add("t", [service.vector(1)])
    grow_old(service)
    await service.search(service.vector(1))
    silent = silence(service, monkeypatch)

    async def write(deadline: Deadline) -> None:
        await service.servicer._answers.invalidate("default")

    silent.meanwhile = write
    assert isinstance(await refused(service.search(service.vector(1))), Unavailable)


async def test_a_store_that_hangs_leaves_time_for_the_older_answer(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.add("t", [service.vector(1)])
    grow_old(service)
    known = await service.search(service.vector(1))
    silent = silence(service, monkeypatch)

    async def hang(deadline: Deadline) -> None:
        await asyncio.sleep(deadline.remaining())

    silent.meanwhile = hang
    request = ranking_pb2.SearchTracksRequest(
        space=service.manifest.space,
        clip=service.embedding(service.vector(1)),
        windows=[service.embedding(service.vector(1))],
    )
    answer = await service.stub.SearchTracks(request, timeout=5)
    assert answer.stale
    assert answer.hits == known.hits


async def test_equal_requests_that_come_together_are_searched_for_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.add("t", [service.vector(1)])
    searches = 0
    waiting = asyncio.Event()
    rank = service.servicer._search.rank

    async def counted(*arguments: Any) -> Any:
        nonlocal searches
        searches += 1
        await waiting.wait()
        return await rank(*arguments)

    monkeypatch.setattr(service.servicer._search, "rank", counted)
    await service.servicer._answers.find("default", "so that the version is trusted")
    running = [asyncio.ensure_future(service.search(service.vector(1))) for _ in range(10)]
    running.append(asyncio.ensure_future(service.search(service.vector(2))))
    await until(lambda: searches == 2, seconds=20)
    waiting.set()
    *equal, other = await asyncio.gather(*running)
    assert searches == 2
    assert [ids(answer) for answer in equal] == [["t"]] * 10
    assert len({hit.score for answer in equal for hit in answer.hits}) == 1
    assert other.hits[0].score != equal[0].hits[0].score


async def test_every_write_is_seen_by_the_next_search(service: Service) -> None:
    vector = service.vector(1)
    await service.add("t", [vector])
    assert ids(await service.search(vector)) == ["t"]
    await service.add("u", [vector])
    assert ids(await service.search(vector)) == ["t", "u"]
    changed = common_pb2.TrackMetadata(track_id="t", title="new")
    await service.stub.UpdateTrackMetadata(ranking_pb2.UpdateTrackMetadataRequest(metadata=changed))
    assert (await service.search(vector)).hits[0].track.title == "new"
    await service.stub.DeleteTracks(ranking_pb2.DeleteTracksRequest(track_ids=["t"]))
    assert ids(await service.search(vector)) == ["u"]


async def test_a_write_ends_though_its_caller_leaves_and_is_seen_by_the_next_search(service: Service) -> None:
    vector = service.vector(1)
    assert ids(await service.search(vector)) == []
    call = asyncio.ensure_future(service.add("t", [vector] * 500))
    async with asyncio.timeout(10):
        while not service.servicer.library._writes:  # noqa: ASYNC110 - nothing tells that a request has arrived
            await asyncio.sleep(0)
    call.cancel()
    async with asyncio.timeout(10):
        while service.servicer.library._writes:
            await asyncio.wait(service.servicer.library._writes)
    assert ids(await service.search(vector)) == ["t"]


async def test_a_lost_redis_costs_no_answer(service: Service) -> None:
    lost = open_cache("redis://127.0.0.1:1")
    service.servicer._answers._cache = lost
    await service.add("t", [service.vector(1)])
    assert ids(await service.search(service.vector(1))) == ["t"]
    await lost.close()


async def test_a_track_is_got_as_it_was_stored(service: Service) -> None:
    answer = await service.add(
        "t", [service.vector(1), service.vector(2)], valence=0.5, title="T", tempo=120.1
    )
    assert answer.created
    assert answer.space == service.manifest.space
    again = await service.add("t", [service.vector(1)], valence=0.5, title="T2")
    assert not again.created
    got = (await service.stub.GetTrack(ranking_pb2.GetTrackRequest(track_id="t"))).track
    assert got.metadata.title == "T2"
    assert got.emotion.valence == 0.5
    assert [(point.start_seconds, point.valence) for point in got.passages] == [(0.0, 0.5)]


async def test_metadata_that_does_not_differ_changes_nothing(service: Service) -> None:
    await service.add("t", [service.vector(1)], title="T", digest="d", tempo=99.5)
    same = common_pb2.TrackMetadata(track_id="t", title="T")
    update = ranking_pb2.UpdateTrackMetadataRequest(metadata=same)
    assert not (await service.stub.UpdateTrackMetadata(update)).changed
    update.metadata.licence = "CC0-1.0"
    answer = await service.stub.UpdateTrackMetadata(update)
    assert answer.changed
    assert (answer.track.licence, answer.track.digest, answer.track.tempo) == ("CC0-1.0", "d", 99.5)
    assert ids(await service.search(service.vector(1), filter='licence = "CC0-1.0"')) == ["t"]


async def test_a_tempo_that_is_told_replaces_the_one_that_was_measured(service: Service) -> None:
    await service.add("t", [service.vector(1)], title="T", tempo=99.5)
    told = ranking_pb2.UpdateTrackMetadataRequest(
        metadata=common_pb2.TrackMetadata(track_id="t", title="T", tempo=50)
    )
    assert (await service.stub.UpdateTrackMetadata(told)).changed
    assert ids(await service.search(service.vector(1), filter="tempo = 50")) == ["t"]


async def test_pages_list_every_track_once_in_order_of_id(service: Service) -> None:
    for number in (3, 1, 4, 0, 2):
        await service.add(f"t{number}", [service.vector(number)], tempo=100 + number)
    listed, token = [], ""
    while True:
        page = await service.stub.ListTracks(ranking_pb2.ListTracksRequest(page_size=2, page_token=token))
        assert len(page.tracks) <= 2
        listed += [track.track_id for track in page.tracks]
        token = page.next_page_token
        if not token:
            break
    assert listed == ["t0", "t1", "t2", "t3", "t4"]
    filtered = await service.stub.ListTracks(ranking_pb2.ListTracksRequest(filter="tempo > 102"))
    assert [track.track_id for track in filtered.tracks] == ["t3", "t4"]
    described = await service.stub.DescribeSpace(ranking_pb2.DescribeSpaceRequest())
    assert (described.space, described.track_count) == (service.manifest.space, 5)


async def test_deleting_tells_which_tracks_existed(service: Service) -> None:
    await service.add("t", [service.vector(1)])
    answer = await service.stub.DeleteTracks(ranking_pb2.DeleteTracksRequest(track_ids=["x", "t"]))
    assert list(answer.deleted_track_ids) == ["t"]
    error = await refused(service.stub.GetTrack(ranking_pb2.GetTrackRequest(track_id="t")))
    assert isinstance(error, NotFound)


async def test_a_catalogue_sees_its_own_tracks_only(service: Service) -> None:
    await service.add("t", [service.vector(1)])
    assert ids(await service.search(service.vector(1), catalogue="other")) == []


async def test_an_empty_catalogue_has_an_empty_answer(service: Service) -> None:
    assert ids(await service.search(service.vector(1))) == []
    assert ids(await service.search(service.vector(1), service.vector(2))) == []


async def test_a_vector_of_another_space_or_dimension_is_refused_with_details(service: Service) -> None:
    error = await refused(service.search(service.vector(1), space="sffffffffffff"))
    assert isinstance(error, SpaceMismatch)
    error = await refused(service.search(service.vector(1), clip=common_pb2.Embedding(fused=[1.0])))
    assert isinstance(error, SpaceMismatch)
    assert error.field == "clip.fused"


@pytest.mark.parametrize(
    ("request_fields", "field"),
    [
        ({"k": 0}, "k"),
        ({"k": 1001}, "k"),
        ({"compared_track_ids": ["t"] * 1001}, "compared_track_ids"),
        ({"weights": common_pb2.Weights(fused=-1)}, "weights.fused"),
        ({"weights": common_pb2.Weights(fused=math.nan)}, "weights.fused"),
        ({"weights": common_pb2.Weights(fused=0, content=0, emotion=0)}, "weights"),
        ({"catalogue": "no spaces"}, "catalogue"),
    ],
)
async def test_a_wrong_request_is_refused_with_the_field_at_fault(
    service: Service, request_fields: dict[str, Any], field: str
) -> None:
    error = await refused(service.search(service.vector(1), **request_fields))
    assert isinstance(error, InvalidRequest)
    assert error.field == field
    await service.add("t", [service.vector(1)])
    assert ids(await service.search(service.vector(1))) == ["t"]


async def test_a_mistake_in_a_filter_is_told_with_its_position(service: Service) -> None:
    for call in (
        service.search(service.vector(1), filter='genre = "x"'),
        service.stub.ListTracks(ranking_pb2.ListTracksRequest(filter='genre = "x"')),
    ):
        error = await refused(call)
        assert isinstance(error, InvalidFilter)
        assert error.position == 0
        assert "genre" in error.message
