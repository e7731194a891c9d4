"""The whole stack with its models on a real tritonserver, also while that is lost and when it returns."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.in_process import running_stack
from support.repository import write_tiny_repository
from support.triton import TritonServer, running_triton

from kinoscore import AsyncClient, Recommendation, Track
from kinoscore.cli.checks import Verdict, examine
from kinoscore.errors import Unavailable
from kinoscore.inference import ModelRepository
from kinoscore.inference.conversion import convert_repositories
from kinoscore.inference.targets import Target, TargetOptions
from kinoscore.media.writing import write_audio, write_video
from kinoscore.runtime.settings import StackSettings

LIMIT_SECONDS = 120.0
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
RATE = 22050


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    time = np.arange(14 * RATE) / RATE
    for number, pitch in enumerate((220.0, 440.0)):
        tone = (0.3 * np.sin(2 * np.pi * pitch * time)).astype(np.float32)
        write_audio(folder / f"tone{number}.flac", tone, RATE)
    random = np.random.default_rng(1)
    write_video(folder / "clip.mp4", (random.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(40)), 8.0)
    return folder


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> ModelRepository:
    folder = tmp_path_factory.mktemp("models")
    tiny = ModelRepository.load(write_tiny_repository(folder / "tiny"))
    convert_repositories([tiny], folder / "repository", TargetOptions(Target.PYTHON))
    return ModelRepository.load(folder / "repository")


@pytest.fixture(scope="module")
def server(repository: ModelRepository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    names = [entry.name for entry in repository.manifest.models.values()]
    with running_triton(repository.path, tmp_path_factory.mktemp("triton"), names) as running:
        yield running


def settings(repository: ModelRepository, inference: str) -> StackSettings:
    return StackSettings(
        repository=repository.path,
        inference=inference,
        port=0,
        decoder_workers=1,
        grace_seconds=5.0,
        search_seconds=LIMIT_SECONDS,
        cache_seconds=0.0,  # a clip that came before would be answered without its models
    )


async def index_and_recommend(client: AsyncClient, media: Path) -> Recommendation:
    for number in range(2):
        track = Track(title=f"Tone {number}")
        await client.index(media / f"tone{number}.flac", track, timeout=LIMIT_SECONDS)
    return await client.recommend(media / "clip.mp4", timeout=LIMIT_SECONDS)


async def test_triton_and_the_embedded_engine_recommend_the_same(
    server: TritonServer, repository: ModelRepository, media: Path, tmp_path: Path
) -> None:
    async with running_stack(tmp_path / "triton", settings(repository, server.url)) as (client, _):
        by_triton = await index_and_recommend(client, media)
    async with running_stack(tmp_path / "onnx", settings(repository, "onnx:")) as (client, _):
        embedded = await index_and_recommend(client, media)
    assert len(by_triton.hits) == 2
    assert [hit.track.title for hit in by_triton.hits] == [hit.track.title for hit in embedded.hits]
    np.testing.assert_allclose(
        [hit.score for hit in by_triton.hits], [hit.score for hit in embedded.hits], atol=1e-4
    )
    assert by_triton.timings.inference_seconds > 0


async def test_a_lost_triton_fails_recommendations_in_time_and_nothing_else_and_heals(
    server: TritonServer, repository: ModelRepository, media: Path, tmp_path: Path
) -> None:
    async with running_stack(tmp_path, settings(repository, server.url)) as (client, _):
        before = await index_and_recommend(client, media)
        await asyncio.to_thread(server.kill)
        started = time.monotonic()
        with pytest.raises(Unavailable, match="Triton at"):
            await client.recommend(media / "clip.mp4", k=1, timeout=LIMIT_SECONDS)
        assert time.monotonic() - started < LIMIT_SECONDS
        tracks = [track async for track in client.list_tracks()]
        assert len(tracks) == 2
        await asyncio.to_thread(server.restart)
        started = time.monotonic()
        while True:
            try:
                after = await client.recommend(media / "clip.mp4", timeout=LIMIT_SECONDS)
                break
            except Unavailable:
                assert time.monotonic() - started < 5
        assert [hit.score for hit in after.hits] == pytest.approx([hit.score for hit in before.hits])


@pytest.mark.parametrize("fault", ["killed", "hung"])
async def test_the_encoders_do_not_serve_while_triton_is_lost_and_the_others_do(
    server: TritonServer, repository: ModelRepository, tmp_path: Path, fault: str
) -> None:
    encoders = [f"kinoscore.v1.{name}Service" for name in ("VideoEncoder", "MusicEncoder", "Fusion")]
    others = [f"kinoscore.v1.{name}Service" for name in ("Ranking", "Recommender")]
    async with (
        running_stack(tmp_path, settings(repository, server.url)) as (client, _),
        grpc.aio.insecure_channel(client.address) as channel,
        asyncio.timeout(LIMIT_SECONDS),
    ):
        stub = health_pb2_grpc.HealthStub(channel)

        async def become(encoder: int) -> None:
            expected = {**dict.fromkeys(encoders, encoder), **dict.fromkeys(others, SERVING), "": encoder}
            for name, status in expected.items():
                request = health_pb2.HealthCheckRequest(service=name)
                while (await stub.Check(request)).status != status:  # noqa: ASYNC110 - it is asked, it tells nothing
                    await asyncio.sleep(0.05)

        await become(SERVING)
        if fault == "killed":
            await asyncio.to_thread(server.kill)
        else:
            server.signal(signal.SIGSTOP)
        try:
            await become(NOT_SERVING)
        finally:
            if fault == "killed":
                await asyncio.to_thread(server.restart)
            else:
                server.signal(signal.SIGCONT)
        await become(SERVING)


async def test_the_doctor_asks_the_server(
    server: TritonServer, repository: ModelRepository, tmp_path: Path
) -> None:
    async def models(inference: str) -> tuple[Verdict, str]:
        findings = [one async for one in examine(settings(repository, inference), tmp_path)]
        (finding,) = (one for one in findings if one.subject == "models")
        return finding.verdict, f"{finding.text} -> {finding.remedy}"

    verdict, text = await models(server.url)
    assert verdict is Verdict.FINE
    assert server.url in text
    verdict, text = await models("triton://127.0.0.1:1")
    assert verdict is Verdict.BROKEN
    assert "Triton at 127.0.0.1:1 does not answer" in text
