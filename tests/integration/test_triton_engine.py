"""The Triton engine against a real tritonserver: also one that is busy, changes its models, hangs or dies."""

import asyncio
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from support.repository import write_tiny_repository
from support.triton import TritonServer, running_triton
from support.waiting import until

from kinoscore.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InternalError,
    InvalidRequest,
    KinoscoreError,
    QueueFull,
    SpaceMismatch,
    Unavailable,
)
from kinoscore.inference import ModelRepository, open_engine
from kinoscore.inference.conversion import convert_repositories
from kinoscore.inference.onnx import OnnxEngine
from kinoscore.inference.targets import Target, TargetOptions
from kinoscore.inference.triton import TritonEngine

LIMIT_SECONDS = 60.0
PYTHON = TargetOptions(Target.PYTHON)
# Takes as many seconds as its first input says, and notes each request that it runs.
SLOW_MODEL = """
import os
import time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.notes = os.path.join(args["model_repository"], "notes")

    def execute(self, requests):
        answers = []
        for request in requests:
            content = pb_utils.get_input_tensor_by_name(request, "content").as_numpy()
            with open(self.notes, "a") as notes:
                notes.write(".")
            time.sleep(float(content[0, 0]))
            fused = np.zeros((len(content), 256), np.float32)
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("fused", fused)]))
        return answers
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> ModelRepository:
    folder = tmp_path_factory.mktemp("triton-models")
    tiny = ModelRepository.load(write_tiny_repository(folder / "tiny"))
    convert_repositories([tiny], folder / "repository", PYTHON)
    return ModelRepository.load(folder / "repository")


@pytest.fixture(scope="module")
def server(repository: ModelRepository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with running_triton(repository.path, tmp_path_factory.mktemp("triton"), names(repository)) as running:
        yield running


@pytest.fixture
async def engine(server: TritonServer, repository: ModelRepository) -> AsyncIterator[TritonEngine]:
    async with opened(server, repository) as engine:
        yield engine


@asynccontextmanager
async def opened(
    server: TritonServer, repository: ModelRepository, *, queue_limit: int = 256, shared: bool = False
) -> AsyncIterator[TritonEngine]:
    engine = await open_engine(server.url, repository, queue_limit=queue_limit, shared_memory=shared)
    assert isinstance(engine, TritonEngine)
    try:
        yield engine
    finally:
        await engine.close()


def names(repository: ModelRepository) -> list[str]:
    return [entry.name for entry in repository.manifest.models.values()]


def fusion_inputs(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "content": random.normal(size=(rows, 128)).astype(np.float32),
        "emotion": random.normal(size=(rows, 64)).astype(np.float32),
    }


def slow_inputs(seconds: float) -> dict[str, np.ndarray]:
    return {
        "content": np.full((1, 128), seconds, np.float32),
        "emotion": np.zeros((1, 64), np.float32),
    }


def example(onnx: OnnxEngine, model: str, rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows)
    return {
        port.name: random.integers(0, 256, (rows, *port.shape), dtype=np.uint8)
        if port.dtype == np.uint8
        else random.uniform(0.1, 1, (rows, *port.shape)).astype(np.float32)
        for port in onnx._lanes[model].model.signature.inputs
    }


@pytest.mark.parametrize("rows", [1, 5, 70])
async def test_it_answers_what_the_embedded_engine_answers(
    engine: TritonEngine, repository: ModelRepository, rows: int
) -> None:
    onnx = OnnxEngine(repository, threads=1)
    for model in repository.manifest.models:
        inputs = example(onnx, model, rows)
        ours = (await engine.infer(model, inputs, timeout=LIMIT_SECONDS)).outputs
        theirs = (await onnx.infer(model, inputs, timeout=LIMIT_SECONDS)).outputs
        assert ours.keys() == theirs.keys()
        for name in theirs:
            assert ours[name].shape == theirs[name].shape
            assert ours[name].dtype == theirs[name].dtype
            np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-5)
    await onnx.close()


async def test_concurrent_callers_share_batches_and_get_their_own_rows(
    engine: TritonEngine, server: TritonServer, repository: ModelRepository
) -> None:
    name = repository.manifest.models["frame_encoder"].name
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (1, 80, 128, 3), dtype=np.uint8) for _ in range(32)]
    alone = [
        (await engine.infer("frame_encoder", {"frames": one}, timeout=LIMIT_SECONDS)).outputs
        for one in frames
    ]
    before = await asyncio.to_thread(server.batch_sizes, name)
    # A model as busy as on a machine where 32 clips come at once.
    (stub,) = server.stubs_of(name)
    stub.suspend()
    try:
        calls = [
            asyncio.create_task(engine.infer("frame_encoder", {"frames": one}, timeout=LIMIT_SECONDS))
            for one in frames
        ]
        await until(lambda: server.waiting(name) >= 16, seconds=LIMIT_SECONDS)
    finally:
        stub.resume()
    together = await asyncio.gather(*calls)
    after = await asyncio.to_thread(server.batch_sizes, name)
    for one, inference in zip(alone, together, strict=True):
        for output in one:
            np.testing.assert_allclose(inference.outputs[output], one[output], rtol=0, atol=1e-5)
    new = {size: count - before.get(size, 0) for size, count in after.items()}
    assert sum(size * count for size, count in new.items()) == 32
    assert sum(new.values()) <= 8, f"batches by size: {new}"


async def test_each_request_is_told_with_its_rows(server: TritonServer, repository: ModelRepository) -> None:
    requests: list[tuple[str, int]] = []
    engine = await open_engine(
        server.url, repository, observe_batch=lambda model, rows: requests.append((model, rows))
    )
    largest = repository.manifest.models["fusion"].max_batch_size
    await engine.infer("fusion", fusion_inputs(largest + 3), timeout=LIMIT_SECONDS)
    assert requests == [("fusion", largest), ("fusion", 3)]
    await engine.close()


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        ({"content": np.zeros((1, 128), np.float32)}, r"takes \['content', 'emotion'\]"),
        ({**fusion_inputs(2), "content": np.zeros((2, 127), np.float32)}, r"not float32\[2, 127\]"),
        ({**fusion_inputs(2), "content": np.zeros((2, 128))}, r"not float64\[2, 128\]"),
        (fusion_inputs(0), "n > 0"),
    ],
)
async def test_a_wrong_input_is_never_sent(
    engine: TritonEngine,
    server: TritonServer,
    repository: ModelRepository,
    inputs: dict[str, np.ndarray],
    complaint: str,
) -> None:
    name = repository.manifest.models["fusion"].name
    before = await asyncio.to_thread(server.batch_sizes, name)
    with pytest.raises(InternalError, match=complaint):
        await engine.infer("fusion", inputs, timeout=LIMIT_SECONDS)
    with pytest.raises(InternalError, match="no model 'nothing'"):
        await engine.infer("nothing", inputs, timeout=LIMIT_SECONDS)
    assert await asyncio.to_thread(server.batch_sizes, name) == before


async def test_a_closed_engine_is_unavailable(server: TritonServer, repository: ModelRepository) -> None:
    async with opened(server, repository) as engine:
        await engine.close()
        with pytest.raises(Unavailable, match="closed"):
            await engine.infer("fusion", fusion_inputs(1), timeout=LIMIT_SECONDS)
        with pytest.raises(Unavailable, match="closed"):
            await engine.check()


@pytest.mark.parametrize("url", ["triton://", "triton://host", "triton://host:port"])
async def test_an_url_without_an_address_is_refused(repository: ModelRepository, url: str) -> None:
    with pytest.raises(InvalidRequest, match="triton://host:port"):
        await open_engine(url, repository)


async def test_a_server_of_another_space_is_refused(
    server: TritonServer, repository: ModelRepository, tmp_path: Path
) -> None:
    other = ModelRepository.load(write_tiny_repository(tmp_path / "other", seed=9))
    assert other.manifest.space != repository.manifest.space
    with pytest.raises(SpaceMismatch) as caught:
        await open_engine(server.url, other)
    for piece in (repository.manifest.space, other.manifest.space, "repository"):
        assert piece in caught.value.message


async def test_a_model_that_is_not_loaded_is_named(server: TritonServer, repository: ModelRepository) -> None:
    name = repository.manifest.models["fusion"].name
    async with opened(server, repository) as engine:
        with server.client() as client:
            await asyncio.to_thread(client.unload_model, name)
            try:
                await until(lambda: not client.is_model_ready(name), seconds=LIMIT_SECONDS)
                await until(lambda: "UNLOADING" not in str(client.get_model_repository_index()), seconds=60)
                with pytest.raises(FailedPrecondition, match=f"does not serve {name}"):
                    await engine.infer("fusion", fusion_inputs(1), timeout=LIMIT_SECONDS)
                with pytest.raises(FailedPrecondition, match=f"does not serve {name}"):
                    await open_engine(server.url, repository)
            finally:
                await asyncio.to_thread(client.load_model, name)
        await engine.infer("fusion", fusion_inputs(1), timeout=LIMIT_SECONDS)


async def test_versions_come_and_go_under_traffic_without_a_failed_call(
    engine: TritonEngine, server: TritonServer, repository: ModelRepository
) -> None:
    name = repository.manifest.models["fusion"].name
    folder = repository.path / name
    stop, answered = asyncio.Event(), 0

    async def caller(seed: int) -> None:
        nonlocal answered
        inputs = fusion_inputs(2, seed)
        first = (await engine.infer("fusion", inputs, timeout=LIMIT_SECONDS)).outputs["fused"]
        while not stop.is_set():
            again = (await engine.infer("fusion", inputs, timeout=LIMIT_SECONDS)).outputs["fused"]
            np.testing.assert_allclose(again, first, rtol=0, atol=1e-5)
            answered += 1

    async def load(version: str) -> None:
        """Loads what lies in the folder; returns once only that version serves and calls go on."""
        await asyncio.to_thread(client.load_model, name)
        await until(lambda: client.get_model_metadata(name).versions == [version], seconds=LIMIT_SECONDS)
        await until(lambda: len(server.stubs_of(name)) == 1, seconds=LIMIT_SECONDS)
        before = answered
        await until(lambda: answered > before, seconds=LIMIT_SECONDS)

    async with asyncio.TaskGroup() as group:
        for seed in range(4):
            group.create_task(caller(seed))
        try:
            with server.client() as client:
                await until(lambda: answered > 0, seconds=LIMIT_SECONDS)
                shutil.copytree(folder / "1", folder / "2")
                await load("2")
                shutil.rmtree(folder / "2")
                await load("1")
        finally:
            stop.set()


async def test_a_dead_process_of_a_model_is_told_and_loading_it_again_heals(
    engine: TritonEngine, server: TritonServer, repository: ModelRepository
) -> None:
    name = repository.manifest.models["fusion"].name
    (stub,) = server.stubs_of(name)
    stub.kill()
    with pytest.raises(Unavailable, match="load the model there again"):
        await engine.infer("fusion", fusion_inputs(1), timeout=LIMIT_SECONDS)
    frames = np.zeros((1, 80, 128, 3), np.uint8)
    await engine.infer("frame_encoder", {"frames": frames}, timeout=LIMIT_SECONDS)
    with server.client() as client:
        await asyncio.to_thread(client.unload_model, name)
        await asyncio.to_thread(client.load_model, name)
    await engine.infer("fusion", fusion_inputs(1), timeout=LIMIT_SECONDS)


async def test_a_hung_server_is_answered_for_within_the_deadline(
    engine: TritonEngine, server: TritonServer
) -> None:
    await engine.infer("fusion", fusion_inputs(1), timeout=LIMIT_SECONDS)
    server.signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await engine.infer("fusion", fusion_inputs(1), timeout=0.5)
        assert time.monotonic() - started < 1.5
        with pytest.raises(Unavailable, match="does not answer within"):
            await engine.check()
    finally:
        server.signal(signal.SIGCONT)
    await engine.infer("fusion", fusion_inputs(1), timeout=LIMIT_SECONDS)


async def test_a_killed_server_is_unavailable_at_once_and_found_again(
    repository: ModelRepository, tmp_path: Path
) -> None:
    with running_triton(repository.path, tmp_path, names(repository)) as server:
        async with opened(server, repository) as engine:
            await engine.infer("fusion", fusion_inputs(1), timeout=LIMIT_SECONDS)
            await asyncio.to_thread(server.kill)
            assert server.shared_memory() == []
            for _ in range(3):
                with pytest.raises(Unavailable, match="does not answer"):
                    await engine.infer("fusion", fusion_inputs(1), timeout=LIMIT_SECONDS)
            with pytest.raises(Unavailable):
                await engine.check()
            await asyncio.to_thread(server.restart)
            started = time.monotonic()
            await answered_again(engine)
            assert time.monotonic() - started < 5


async def test_a_server_that_returns_with_another_space_is_refused(
    repository: ModelRepository, tmp_path: Path
) -> None:
    other = ModelRepository.load(write_tiny_repository(tmp_path / "tiny", seed=9))
    convert_repositories([other], tmp_path / "other", PYTHON)
    with running_triton(repository.path, tmp_path / "server", names(repository)) as server:
        async with opened(server, repository) as engine:
            await asyncio.to_thread(server.kill)
            server.serve(tmp_path / "other", names(other))
            await asyncio.to_thread(server.restart)
            with pytest.raises(SpaceMismatch, match=other.manifest.space):
                await answered_again(engine)
            await asyncio.to_thread(server.kill)
            server.serve(repository.path, names(repository))
            await asyncio.to_thread(server.restart)
            await answered_again(engine)


async def test_large_inputs_go_through_shared_memory_which_is_removed_in_the_end(
    server: TritonServer, repository: ModelRepository
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (40, 80, 128, 3), dtype=np.uint8)
    async with opened(server, repository) as sending, opened(server, repository, shared=True) as sharing:
        sent = await sending.infer("frame_encoder", {"frames": frames}, timeout=LIMIT_SECONDS)
        for _ in range(2):
            shared = await asyncio.gather(
                *(
                    sharing.infer("frame_encoder", {"frames": frames}, timeout=LIMIT_SECONDS)
                    for _ in range(12)
                )
            )
            for inference in shared:
                for name, array in sent.outputs.items():
                    np.testing.assert_allclose(inference.outputs[name], array, rtol=0, atol=1e-5)
        regions = registered_regions(server)
        # One for trying out; of the 12 calls, 8 got a region and the others sent their frames.
        assert len(regions) == 9
        assert all(Path("/dev/shm", name).exists() for name in regions)
    assert registered_regions(server) == []
    assert not any(Path("/dev/shm", name).exists() for name in regions)


async def test_shared_memory_works_again_after_the_server_was_started_anew(
    repository: ModelRepository, tmp_path: Path
) -> None:
    frames = np.zeros((16, 80, 128, 3), np.uint8)
    with running_triton(repository.path, tmp_path, names(repository)) as server:
        async with opened(server, repository, shared=True) as engine:
            await engine.infer("frame_encoder", {"frames": frames}, timeout=LIMIT_SECONDS)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.restart)
            await answered_again(engine)
            await engine.infer("frame_encoder", {"frames": frames}, timeout=LIMIT_SECONDS)
            assert len(registered_regions(server)) == 2


def registered_regions(server: TritonServer) -> list[str]:
    with server.client() as client:
        return sorted(client.get_system_shared_memory_status().regions)


async def answered_again(engine: TritonEngine) -> None:
    """Calls until an answer comes; every other error than Unavailable is raised."""
    latest = time.monotonic() + LIMIT_SECONDS
    while True:
        try:
            await engine.infer("fusion", fusion_inputs(1), timeout=LIMIT_SECONDS)
            return
        except Unavailable:
            assert time.monotonic() < latest
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def slow_repository(repository: ModelRepository, tmp_path_factory: pytest.TempPathFactory) -> ModelRepository:
    """One whose fusion takes as long as it is told, a request at a time, and lets two wait."""
    folder = tmp_path_factory.mktemp("slow-models") / "repository"
    convert_repositories([repository], folder, PYTHON)
    model = folder / repository.manifest.models["fusion"].name
    (model / "1" / "model.py").write_text(SLOW_MODEL)
    config = (model / "config.pbtxt").read_text()
    head, _, _ = config.partition("model_warmup")
    (model / "config.pbtxt").write_text(
        head.replace("max_queue_size: 256", "max_queue_size: 2")
        .replace("max_batch_size: 16", "max_batch_size: 1")
        .replace("preferred_batch_size: [ 4, 8, 16 ]", "preferred_batch_size: [ 1 ]")
    )
    return ModelRepository.load(folder)


@pytest.fixture(scope="module")
def slow_server(
    slow_repository: ModelRepository, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("slow-triton")
    with running_triton(slow_repository.path, folder, names(slow_repository)) as running:
        yield running


async def test_a_full_queue_of_the_server_is_told(
    slow_server: TritonServer, slow_repository: ModelRepository
) -> None:
    async with opened(slow_server, slow_repository) as engine:
        calls = [
            asyncio.create_task(engine.infer("fusion", slow_inputs(0.5), timeout=LIMIT_SECONDS))
            for _ in range(12)
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [result for result in results if isinstance(result, KinoscoreError)]
    assert refused
    assert {type(error) for error in refused} == {QueueFull}
    assert len(refused) < 12


async def test_calls_under_way_are_bounded_here_too(
    slow_server: TritonServer, slow_repository: ModelRepository
) -> None:
    async with opened(slow_server, slow_repository, queue_limit=2) as engine:
        first = [
            asyncio.create_task(engine.infer("fusion", slow_inputs(0.5), timeout=LIMIT_SECONDS))
            for _ in range(2)
        ]
        await until(lambda: engine._under_way["fusion"] == 2)
        with pytest.raises(QueueFull, match="2 calls wait for the model fusion"):
            await engine.infer("fusion", slow_inputs(0), timeout=LIMIT_SECONDS)
        await asyncio.gather(*first)
        await engine.infer("fusion", slow_inputs(0), timeout=LIMIT_SECONDS)


async def test_a_call_whose_time_is_up_ends_at_once_and_is_not_run_later(
    slow_server: TritonServer, slow_repository: ModelRepository
) -> None:
    await refused_while_busy(slow_server, slow_repository, leave_by_deadline=True)


async def test_a_cancelled_call_is_not_run_later(
    slow_server: TritonServer, slow_repository: ModelRepository
) -> None:
    await refused_while_busy(slow_server, slow_repository, leave_by_deadline=False)


async def refused_while_busy(
    server: TritonServer, repository: ModelRepository, *, leave_by_deadline: bool
) -> None:
    """While one call runs, another waits and leaves; the server must have run one only."""
    name = repository.manifest.models["fusion"].name
    notes = repository.path / name / "notes"
    notes.write_text("")
    async with opened(server, repository) as engine:
        running = asyncio.create_task(engine.infer("fusion", slow_inputs(2), timeout=LIMIT_SECONDS))
        await until(lambda: notes.read_text() == ".", seconds=LIMIT_SECONDS)
        started = time.monotonic()
        if leave_by_deadline:
            with pytest.raises(DeadlineExceeded):
                await engine.infer("fusion", slow_inputs(0), timeout=0.3)
        else:
            leaving = asyncio.create_task(engine.infer("fusion", slow_inputs(0), timeout=LIMIT_SECONDS))
            await until(lambda: server.waiting(name) > 0, seconds=LIMIT_SECONDS)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
        assert not running.done()
        assert time.monotonic() - started < 1.5
        await running
        # Whatever waited has been run or dropped when a later call is answered.
        await engine.infer("fusion", slow_inputs(0), timeout=LIMIT_SECONDS)
    assert notes.read_text() == ".."


async def test_closing_ends_the_calls_under_way(
    slow_server: TritonServer, slow_repository: ModelRepository
) -> None:
    async with opened(slow_server, slow_repository) as engine:
        call = asyncio.create_task(engine.infer("fusion", slow_inputs(1), timeout=LIMIT_SECONDS))
        await until(lambda: engine._under_way["fusion"] == 1)
        await engine.close()
        with pytest.raises(Unavailable, match="closed"):
            await call
