"""The list of a live session, with a ranking service that is told what to say."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from kinoscore.errors import InvalidFilter
from kinoscore.recommend.live_ranking import LiveRanking
from kinoscore.recommend.wishes import LiveWishes
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.telemetry import StageTimer
from kinoscore.v1 import common_pb2, ranking_pb2, recommend_pb2


class Ranking:
    """Tracks with their scores; refuses the filter `bad` once it is let go on."""

    def __init__(self, **scores: float) -> None:
        self.scores = scores
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.asked: list[str] = []

    async def ask(self, method: str, request: Any, deadline: Deadline) -> ranking_pb2.SearchTracksResponse:
        self.asked.append(request.filter)
        await self.go_on.wait()
        if request.filter == "bad":
            raise InvalidFilter("it does not parse", position=0)
        hits = [
            ranking_pb2.Hit(score=score, track=common_pb2.TrackMetadata(track_id=track))
            for track, score in sorted(self.scores.items(), key=lambda item: -item[1])
        ]
        return ranking_pb2.SearchTracksResponse(hits=hits[: request.k])


class Listed:
    """A list of a stream, and the warnings about it."""

    def __init__(self, ranking: Ranking, **settings: Any) -> None:
        given = recommend_pb2.RecommendLiveSettings(**settings)
        self.warnings: list[str] = []
        self.list = LiveRanking(
            SimpleNamespace(ranking=ranking),  # type: ignore[arg-type]
            given,
            LiveWishes.of(given),
            recommend_pb2.LiveSession(),
            self.warnings.append,
        )

    async def look(self, seconds: float) -> list[str]:
        await self.list.search([common_pb2.Embedding()], seconds, Deadline.after(5), StageTimer())
        update = recommend_pb2.RecommendLiveResponse()
        self.list.tell(update)
        return [hit.track.track_id for hit in update.hits]


async def test_a_filter_that_is_refused_does_not_take_a_newer_one_with_it() -> None:
    ranking = Ranking(a=0.5, b=0.4)
    live = Listed(ranking, k=1)
    await live.look(1.0)
    live.list.change(recommend_pb2.LiveControl(filter="bad"))
    ranking.go_on.clear()
    looking = asyncio.create_task(live.look(2.0))
    await asyncio.sleep(0)
    live.list.change(recommend_pb2.LiveControl(filter="good"))
    ranking.go_on.set()
    with pytest.raises(InvalidFilter):
        await looking
    assert live.list.take_back()
    await live.look(3.0)
    assert ranking.asked[-1] == "good"


async def test_a_filter_that_is_refused_leaves_the_one_before_it() -> None:
    ranking = Ranking(a=0.5, b=0.4)
    live = Listed(ranking, k=1, filter="first")
    live.list.change(recommend_pb2.LiveControl(filter="bad", k=2))
    with pytest.raises(InvalidFilter):
        await live.look(1.0)
    assert live.list.take_back()
    ranking.asked.clear()
    assert await live.look(2.0) == ["a", "b"]


@pytest.mark.parametrize("skips", [False, True])
async def test_skipped_tracks_do_not_keep_a_list_from_changing(skips: bool) -> None:
    # Without the strong ones the scores lie close together, and a small difference is a large part of that.
    scores = {f"t{number}": 0.1 + 0.01 * number for number in range(12)}
    strong = {f"s{number}": 0.9 for number in range(6)} if skips else {}
    ranking = Ranking(**scores, **strong)
    live = Listed(ranking, k=1, hold_seconds=1.0)
    live.list.change(recommend_pb2.LiveControl(skip_track_ids=list(strong)))
    assert await live.look(1.0) == ["t11"]
    ranking.scores |= {"t11": 0.1, "t0": 0.21}
    for second in (5.0, 6.0, 7.0):
        now = await live.look(second)
    assert now == ["t0"]
