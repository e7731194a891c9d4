"""The engine answers every caller with its own rows, in few batches, and holds its bounds."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.repository import BATCH, write_tiny_repository
from support.waiting import until

from kinoscore.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidRepository,
    InvalidRequest,
    QueueFull,
    Unavailable,
)
from kinoscore.inference import ModelRepository, open_engine
from kinoscore.inference.onnx import OnnxEngine


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> ModelRepository:
    return ModelRepository.load(write_tiny_repository(tmp_path_factory.mktemp("models") / "repository"))


@pytest.fixture
async def engine(repository: ModelRepository) -> AsyncIterator[OnnxEngine]:
    engine = OnnxEngine(repository, threads=1, queue_limit=8)
    yield engine
    await engine.close()


def fusion_inputs(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "content": random.normal(size=(rows, 128)).astype(np.float32),
        "emotion": random.normal(size=(rows, 64)).astype(np.float32),
    }


class Batches:
    """What ran: rows of each batch; and a gate that holds the runs back."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.started = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    async def wait_for_start(self) -> None:
        assert await asyncio.to_thread(self.started.acquire, timeout=5)


@contextmanager
def observed(engine: OnnxEngine, model: str) -> Iterator[Batches]:
    batches, running = Batches(), engine._lanes[model].model
    run = running.run

    def watched(pieces: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        batches.rows.append(sum(len(next(iter(piece.values()))) for piece in pieces))
        batches.started.release()
        assert batches.gate.wait(timeout=5)
        return run(pieces)

    running.run = watched  # type: ignore[method-assign]
    try:
        yield batches
    finally:
        batches.gate.set()
        running.run = run  # type: ignore[method-assign]


async def waiting_calls(engine: OnnxEngine, model: str, count: int) -> None:
    await until(lambda: len(engine._lanes[model]._waiting) == count)


async def test_every_model_answers_with_the_promised_shapes(engine: OnnxEngine) -> None:
    n = 3
    frames = np.random.default_rng(0).integers(0, 256, (n, 80, 128, 3), dtype=np.uint8)
    ones = np.ones((n, 24), np.float32)
    calls = {
        "frame_encoder": ({"frames": frames}, {"features": (n, 16), "salience": (n,)}),
        "clip_encoder": (
            {"features": np.ones((n, 24, 16), np.float32), "frame_mask": ones, "key_frame_mask": ones},
            {"content": (n, 128), "emotion": (n, 64), "valence_arousal": (n, 2)},
        ),
        "window_encoder": (
            {"samples": np.ones((n, 66150), np.float32), "valid": np.ones(n, np.float32)},
            {"features": (n, 12), "onset_strength": (n, 126), "emotion_probabilities": (n, 5)},
        ),
        "track_encoder": (
            {"features": np.ones((n, 4, 12), np.float32), "window_mask": np.ones((n, 4), np.float32)},
            {"content": (n, 128), "emotion": (n, 64)},
        ),
        "fusion": (fusion_inputs(n), {"fused": (n, 256)}),
    }
    for model, (inputs, shapes) in calls.items():
        outputs = (await engine.infer(model, inputs, timeout=5)).outputs
        for name, shape in shapes.items():
            assert outputs[name].shape == shape
            assert np.isfinite(outputs[name]).all()


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6))
async def test_concurrent_callers_get_their_own_rows_whatever_the_batches(
    repository: ModelRepository, sizes: list[int]
) -> None:
    engine = OnnxEngine(repository, threads=1)
    inputs = [fusion_inputs(size, seed) for seed, size in enumerate(sizes)]
    together = await asyncio.gather(*(engine.infer("fusion", one, timeout=5) for one in inputs))
    for one, inference in zip(inputs, together, strict=True):
        both = np.concatenate([one["content"], one["emotion"]], axis=1)
        alone = np.concatenate(
            [
                (await engine.infer("fusion", {k: v[i : i + 1] for k, v in one.items()}, timeout=5)).outputs[
                    "fused"
                ]
                for i in range(len(both))
            ]
        )
        np.testing.assert_allclose(inference.outputs["fused"], alone, atol=1e-6)
    await engine.close()


async def test_each_batch_is_told_with_its_rows(repository: ModelRepository) -> None:
    batches: list[tuple[str, int]] = []
    engine = OnnxEngine(
        repository, threads=1, observe_batch=lambda model, rows: batches.append((model, rows))
    )
    largest = repository.manifest.models["fusion"].max_batch_size
    await engine.infer("fusion", fusion_inputs(largest + 3), timeout=5)
    assert batches == [("fusion", largest), ("fusion", 3)]
    await engine.close()


async def test_calls_that_wait_share_the_next_batch(engine: OnnxEngine) -> None:
    with observed(engine, "fusion") as batches:
        batches.gate.clear()
        first = asyncio.create_task(engine.infer("fusion", fusion_inputs(1), timeout=5))
        await batches.wait_for_start()
        others = [
            asyncio.create_task(engine.infer("fusion", fusion_inputs(5, i), timeout=5)) for i in range(4)
        ]
        await waiting_calls(engine, "fusion", 4)
        batches.gate.set()
        inferences = await asyncio.gather(first, *others)
    assert batches.rows == [1, 15, 5]
    assert inferences[0].queue_seconds < inferences[1].queue_seconds
    assert all(inference.compute_seconds > 0 for inference in inferences)


async def test_a_call_above_the_largest_batch_is_split(engine: OnnxEngine) -> None:
    with observed(engine, "fusion") as batches:
        inference = await engine.infer("fusion", fusion_inputs(2 * BATCH + 3), timeout=5)
    assert batches.rows == [BATCH, BATCH, 3]
    assert inference.outputs["fused"].shape == (2 * BATCH + 3, 256)


async def test_a_full_queue_refuses_and_goes_on(engine: OnnxEngine) -> None:
    with observed(engine, "fusion") as batches:
        batches.gate.clear()
        first = asyncio.create_task(engine.infer("fusion", fusion_inputs(1), timeout=5))
        await batches.wait_for_start()
        others = [asyncio.create_task(engine.infer("fusion", fusion_inputs(1), timeout=5)) for _ in range(8)]
        await waiting_calls(engine, "fusion", 8)
        with pytest.raises(QueueFull, match="8 calls wait for the model fusion"):
            await engine.infer("fusion", fusion_inputs(1), timeout=5)
        batches.gate.set()
        await asyncio.gather(first, *others)


async def test_callers_who_left_are_dropped_and_make_room(engine: OnnxEngine) -> None:
    with observed(engine, "fusion") as batches:
        batches.gate.clear()
        first = asyncio.create_task(engine.infer("fusion", fusion_inputs(1), timeout=5))
        await batches.wait_for_start()
        leaving = [asyncio.create_task(engine.infer("fusion", fusion_inputs(1), timeout=5)) for _ in range(8)]
        await waiting_calls(engine, "fusion", 8)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        staying = asyncio.create_task(engine.infer("fusion", fusion_inputs(2), timeout=5))
        await waiting_calls(engine, "fusion", 1)
        batches.gate.set()
        await asyncio.gather(first, staying)
    assert batches.rows == [1, 2]


async def test_a_call_whose_time_is_up_ends_at_once_and_is_never_run(engine: OnnxEngine) -> None:
    with observed(engine, "fusion") as batches:
        batches.gate.clear()
        first = asyncio.create_task(engine.infer("fusion", fusion_inputs(1), timeout=5))
        await batches.wait_for_start()
        with pytest.raises(DeadlineExceeded, match="fusion did not answer within"):
            await engine.infer("fusion", fusion_inputs(7), timeout=0.01)
        batches.gate.set()
        await first
        await engine.infer("fusion", fusion_inputs(2), timeout=5)
    assert batches.rows == [1, 2]


async def test_a_slow_model_does_not_hold_another_back(engine: OnnxEngine) -> None:
    with observed(engine, "fusion") as batches:
        batches.gate.clear()
        slow = asyncio.create_task(engine.infer("fusion", fusion_inputs(1), timeout=5))
        await batches.wait_for_start()
        frames = np.zeros((1, 80, 128, 3), np.uint8)
        await engine.infer("frame_encoder", {"frames": frames}, timeout=5)
        assert not slow.done()
        batches.gate.set()
        await slow


@pytest.mark.parametrize(
    ("model", "inputs", "complaint"),
    [
        ("nothing", {}, "no model 'nothing'"),
        ("fusion", {"content": np.zeros((1, 128), np.float32)}, r"takes \['content', 'emotion'\]"),
        ("fusion", fusion_inputs(0), "n > 0"),
        ("fusion", {**fusion_inputs(2), "emotion": np.zeros((3, 64), np.float32)}, "takes emotion as"),
        ("fusion", {**fusion_inputs(2), "emotion": np.zeros((2, 64))}, r"not float64\[2, 64\]"),
        ("fusion", {**fusion_inputs(2), "content": np.zeros((2, 127), np.float32)}, r"not float32\[2, 127\]"),
    ],
)
async def test_a_wrong_input_is_a_defect_and_named(
    engine: OnnxEngine, model: str, inputs: dict[str, np.ndarray], complaint: str
) -> None:
    with pytest.raises(InternalError, match=complaint):
        await engine.infer(model, inputs, timeout=5)


async def test_a_closed_engine_is_unavailable(repository: ModelRepository) -> None:
    engine = OnnxEngine(repository, threads=1)
    await engine.check()
    await engine.close()
    with pytest.raises(Unavailable):
        await engine.check()
    with pytest.raises(Unavailable):
        await engine.infer("fusion", fusion_inputs(1), timeout=5)


async def test_closing_ends_the_calls_that_wait(repository: ModelRepository) -> None:
    engine = OnnxEngine(repository, threads=1)
    with observed(engine, "fusion") as batches:
        batches.gate.clear()
        running = asyncio.create_task(engine.infer("fusion", fusion_inputs(1), timeout=5))
        await batches.wait_for_start()
        waiting = asyncio.create_task(engine.infer("fusion", fusion_inputs(1), timeout=5))
        await waiting_calls(engine, "fusion", 1)
        closing = asyncio.create_task(engine.close())
        with pytest.raises(Unavailable):
            await waiting
        batches.gate.set()
        assert (await running).outputs["fused"].shape == (1, 256)
        await closing


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    repository = ModelRepository.load(write_tiny_repository(tmp_path / "repository"))
    repository.model_path("fusion").write_bytes(b"not a graph")
    with pytest.raises(InvalidRepository, match=r"fusion_s.*cannot be run by ONNX Runtime"):
        OnnxEngine(repository)


async def test_the_url_chooses_the_engine(repository: ModelRepository) -> None:
    engine = await open_engine("onnx:", repository, threads=1)
    assert isinstance(engine, OnnxEngine)
    await engine.close()
    with pytest.raises(InvalidRequest, match="tensorflow"):
        await open_engine("tensorflow:", repository)
