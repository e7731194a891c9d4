"""All services in this process on a real Milvus server: index, recommend, lose the server, get it back."""

import asyncio
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.in_process import running_stack
from support.milvus_server import milvus_server
from support.repository import write_tiny_repository

from kinoscore import Track
from kinoscore.data_folder import DataFolder
from kinoscore.errors import FailedPrecondition, Unavailable
from kinoscore.media.writing import write_audio, write_video
from kinoscore.ranking.spaces import migrate
from kinoscore.runtime.settings import StackSettings
from kinoscore.stack import Stack, model_repositories, vector_dimension

RATE = 22050
LIMIT_SECONDS = 300


async def health_of(address: str) -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        return answer.status


async def test_the_whole_works_on_a_milvus_server_and_tells_when_that_is_lost_or_empty(
    tmp_path: Path,
) -> None:
    repository = write_tiny_repository(tmp_path / "repository")
    random = np.random.default_rng(1)
    clip = tmp_path / "clip.mp4"
    write_video(clip, (random.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(32)), 8.0)
    tones = {}
    for pitch in (220.0, 440.0):
        time_axis = np.arange(20 * RATE) / RATE
        tones[pitch] = tmp_path / f"{pitch:.0f}.flac"
        write_audio(tones[pitch], (0.3 * np.sin(2 * np.pi * pitch * time_axis)).astype(np.float32), RATE)

    with milvus_server(tmp_path / "milvus") as server:
        settings = StackSettings(
            repository=repository,
            port=0,
            decoder_workers=1,
            vectors=server.url,
            search_seconds=60.0,
            cache_stale_seconds=0.0,
        )
        manifest = model_repositories(settings)[0].manifest
        with pytest.raises(FailedPrecondition, match="kinoscore ranking migrate"):
            await Stack(DataFolder(tmp_path / "data", purpose="test"), settings).start()
        await migrate(server.url, manifest.space, vector_dimension(manifest))

        async with running_stack(tmp_path / "data", settings) as (client, _):
            for pitch, file in tones.items():
                await client.index(file, Track(title=f"{pitch:.0f} Hz"), timeout=LIMIT_SECONDS)
            found = await client.recommend(clip, k=2, timeout=LIMIT_SECONDS)
            assert {hit.track.title for hit in found.hits} == {"220 Hz", "440 Hz"}

            server.kill()
            # Another k: this very request was never answered before.
            with pytest.raises(Unavailable):
                await client.recommend(clip, k=1, timeout=LIMIT_SECONDS)

            server.erase()
            await asyncio.to_thread(server.start)
            latest = time.monotonic() + LIMIT_SECONDS
            while True:
                assert time.monotonic() < latest, "the loss was not told"
                with pytest.raises((Unavailable, FailedPrecondition)) as refusal:
                    await client.recommend(clip, k=1, timeout=LIMIT_SECONDS)
                if isinstance(refusal.value, FailedPrecondition):
                    break
            async with asyncio.timeout(LIMIT_SECONDS):
                while await health_of(client.address) != health_pb2.HealthCheckResponse.NOT_SERVING:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
