"""A model is replaced while clips come in: both spaces are served, the new index is filled, the alias moves
there, back and there again, the old index is dropped. No call fails, and no answer mixes the two spaces.

With the engines in this process, and with a real Milvus server and a real Triton.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from support.in_process import running_stack
from support.milvus_server import milvus_server
from support.repository import write_tiny_repository
from support.triton import running_triton

from kinoscore import AsyncClient, Hit, Recommendation, Track
from kinoscore.cli.reindex_run import reindex_run
from kinoscore.errors import FailedPrecondition
from kinoscore.inference.conversion import convert_repositories
from kinoscore.inference.repository import load_repositories
from kinoscore.inference.targets import Target, TargetOptions
from kinoscore.media.writing import write_audio, write_video
from kinoscore.ranking.spaces import Space, drop_space, list_spaces, migrate, switch_space
from kinoscore.runtime.settings import StackSettings
from kinoscore.stack import model_repositories, vector_dimension

RATE = 22050
LIMIT_SECONDS = 600
PITCHES = (110.0, 165.0, 220.0, 330.0, 440.0, 660.0)
CALLERS = 2


@dataclass(frozen=True)
class Engines:
    """What the services stand on: a folder or a URL for vectors, the old models and the new."""

    vectors: str
    inference: str
    repositories: tuple[Path, ...]

    @property
    def embedded(self) -> bool:
        return "://" not in self.vectors


@pytest.fixture(scope="module", params=["embedded", "servers"])
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """Milvus Lite and ONNX Runtime in this process; or a Milvus server, and one Triton with all models."""
    folder = tmp_path_factory.mktemp("engines")
    repositories = tuple(write_tiny_repository(folder / str(seed), seed=seed) for seed in (0, 1))
    if request.param == "embedded":
        yield Engines(str(folder / "vectors"), "onnx:", repositories)
        return
    loaded = load_repositories(repositories)
    convert_repositories(loaded, folder / "both", TargetOptions(Target.PYTHON))
    names = [entry.name for repository in loaded for entry in repository.manifest.models.values()]
    with (
        milvus_server(tmp_path_factory.mktemp("milvus")) as milvus,
        running_triton(folder / "both", tmp_path_factory.mktemp("triton"), names) as triton,
    ):
        yield Engines(milvus.url, triton.url, repositories)


@dataclass
class House:
    """A stack that serves both spaces, with a track for each pitch in the old one."""

    client: AsyncClient
    engines: Engines
    old: str
    new: str
    clip: Path
    other_clip: Path

    async def recommend(self, clip: Path, *, space: str = "", filter: str = "") -> Recommendation:
        return await self.client.recommend(
            clip, k=len(PITCHES), space=space, filter=filter, timeout=LIMIT_SECONDS
        )

    async def switch(self, space: str) -> None:
        """As an operator does: on a server from outside, in a folder through its owner."""
        if self.engines.embedded:
            await self.client.switch_space(space)
        else:
            await switch_space(self.engines.vectors, space)


@pytest.fixture
async def house(engines: Engines, tmp_path: Path) -> AsyncIterator[House]:
    settings = StackSettings(
        repository=engines.repositories,
        inference=engines.inference,
        port=0,
        decoder_workers=1,
        vectors=engines.vectors,
        search_seconds=LIMIT_SECONDS,
        default_deadline_seconds=LIMIT_SECONDS,
    )
    manifests = [repository.manifest for repository in model_repositories(settings)]
    for manifest in manifests:
        await migrate(engines.vectors, manifest.space, vector_dimension(manifest))
    clips = [tmp_path / "clip.mp4", tmp_path / "other.mp4"]
    for seed, clip in enumerate(clips):
        random = np.random.default_rng(seed)
        write_video(clip, (random.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(16)), 8.0)
    async with running_stack(tmp_path / "data", settings) as (client, _):
        for pitch in PITCHES:
            file = tmp_path / f"{pitch:.0f}.flac"
            seconds = np.arange(14 * RATE) / RATE
            write_audio(file, (0.3 * np.sin(2 * np.pi * pitch * seconds)).astype(np.float32), RATE)
            track = Track(title=f"{pitch:.0f} Hz", artist="Sine", licence="CC0-1.0", tags=("pure",))
            catalogue = "default" if pitch < 600 else "other"
            await client.index(file, track, catalogue=catalogue, timeout=LIMIT_SECONDS)
        old, new = (manifest.space for manifest in manifests)
        yield House(client, engines, old, new, *clips)


@dataclass
class Traffic:
    """Callers of the front door, one after the other each, who are told nothing of what goes on."""

    house: House
    expected: dict[tuple[str, Path], tuple[Hit, ...]] = field(default_factory=dict)
    answered: list[str] = field(default_factory=list)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, *, cached: bool) -> None:
        house = self.house
        for number in count(1):
            # A filter that all tracks pass, but that no cache has seen.
            condition = "" if cached else f"duration > {number / 1e6:.6f}"
            for clip in (house.clip, house.other_clip):
                if self.stopping.is_set():
                    return
                answer = await house.recommend(clip, filter=condition)
                assert not answer.stale
                assert answer.hits == self.expected[answer.space, clip], "scores of another space"
                self.answered.append(answer.space)

    async def answer_of(self, space: str, callers: "list[asyncio.Task[None]]") -> None:
        """Returns when a call that begins now has been answered, and was in the space."""
        seen = len(self.answered)
        async with asyncio.timeout(LIMIT_SECONDS):
            # The first answers may be of calls that began before.
            while len(self.answered) < seen + 2 * CALLERS:
                done, _ = await asyncio.wait(callers, timeout=0.05)
                for caller in done:
                    caller.result()
        assert self.answered[-1] == space


async def test_a_model_is_replaced_under_traffic_without_a_failed_or_a_mixed_answer(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    client = house.client
    spaces = await client.spaces()
    assert (spaces.active, spaces.served) == (house.old, (house.old, house.new))
    before = {track.track_id: track async for track in client.list_tracks(space=house.old)}
    traffic = Traffic(house)
    for clip in (house.clip, house.other_clip):
        traffic.expected[house.old, clip] = (await house.recommend(clip)).hits
        assert len(traffic.expected[house.old, clip]) == len(PITCHES) - 1
    callers = [asyncio.create_task(traffic.call(cached=number % 2 == 0)) for number in range(CALLERS)]
    try:
        await traffic.answer_of(house.old, callers)
        assert await reindex_run(client, old="", new="", switch=False) == 0
        assert "6 encoded" in capsys.readouterr().err
        assert {track.track_id: track async for track in client.list_tracks(space=house.new)} == before
        assert await client.catalogues(space=house.new) == {"default": len(PITCHES) - 1, "other": 1}
        assert set(traffic.answered) == {house.old}
        for clip in (house.clip, house.other_clip):
            hits = (await house.recommend(clip, space=house.new)).hits
            assert [hit.score for hit in hits] != [hit.score for hit in traffic.expected[house.old, clip]]
            traffic.expected[house.new, clip] = hits
        for space in (house.new, house.old, house.new):
            await house.switch(space)
            await traffic.answer_of(space, callers)
        if not house.engines.embedded:
            assert await drop_space(house.engines.vectors, house.old) == len(PITCHES)
            await traffic.answer_of(house.new, callers)
            with pytest.raises(FailedPrecondition):
                await client.recommend(house.clip, space=house.old, k=1, timeout=LIMIT_SECONDS)
            assert await list_spaces(house.engines.vectors) == [Space(house.new, len(PITCHES), active=True)]
    finally:
        traffic.stopping.set()
        await asyncio.gather(*callers)
    assert set(traffic.answered) == {house.old, house.new}
