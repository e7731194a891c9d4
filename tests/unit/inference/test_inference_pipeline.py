"""A stream of batches is inferred in order, a little ahead, and stopped with its caller."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

import numpy as np
import pytest
from support.waiting import until

from kinoscore.errors import DeadlineExceeded, InvalidMedia
from kinoscore.inference.engine import Array, Inference
from kinoscore.inference.pipeline import infer_stream


class GatedEngine:
    """Answers with its input when the test lets it; later calls may be answered first."""

    def __init__(self) -> None:
        self.gates: list[asyncio.Event] = []
        self.cancelled = 0

    async def infer(self, model: str, inputs: Mapping[str, Array], *, timeout: float) -> Inference:
        if timeout <= 0:
            raise DeadlineExceeded("late")
        gate = asyncio.Event()
        self.gates.append(gate)
        try:
            await gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Inference({"y": inputs["x"]}, 0.0, 0.0)

    async def check(self) -> None: ...

    async def close(self) -> None: ...


class Source:
    """Batches 0, 1, 2, ...; knows how many were drawn."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.drawn = 0
        self._count, self._error = count, error

    async def __aiter__(self) -> AsyncIterator[dict[str, Array]]:
        for number in range(self._count):
            self.drawn += 1
            yield {"x": np.array([number])}
        if self._error:
            raise self._error


def start(engine: GatedEngine, source: Source, seconds: float = 10.0) -> asyncio.Task[list[Inference]]:
    async def collect() -> list[Inference]:
        async with aclosing(
            infer_stream(engine, "m", source, expires=time.monotonic() + seconds)
        ) as inferences:
            return [inference async for inference in inferences]

    return asyncio.create_task(collect())


async def test_answers_come_in_the_order_of_the_batches() -> None:
    engine, source = GatedEngine(), Source(3)
    running = start(engine, source)
    await until(lambda: len(engine.gates) == 3)
    for gate in reversed(engine.gates):
        gate.set()
    assert [int(inference.outputs["y"][0]) for inference in await running] == [0, 1, 2]


async def test_the_source_waits_when_inference_is_slow() -> None:
    engine, source = GatedEngine(), Source(100)
    running = start(engine, source)
    await until(lambda: len(engine.gates) == 3)
    for _ in range(10):
        await asyncio.sleep(0)
    assert source.drawn == 3
    engine.gates[0].set()
    await until(lambda: source.drawn == 4)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert engine.cancelled == 3


async def test_an_answer_is_given_while_later_batches_still_run() -> None:
    engine = GatedEngine()
    inferences = infer_stream(engine, "m", Source(4), expires=time.monotonic() + 10)
    async with aclosing(inferences):
        first = asyncio.ensure_future(anext(inferences))
        await until(lambda: len(engine.gates) == 3)
        engine.gates[0].set()
        assert int((await first).outputs["y"][0]) == 0
    assert engine.cancelled == 2


async def test_an_error_of_the_source_stops_what_runs() -> None:
    engine = GatedEngine()
    with pytest.raises(InvalidMedia):
        await start(engine, Source(2, InvalidMedia("damaged")))
    assert engine.cancelled == len(engine.gates)


async def test_a_deadline_that_is_over_ends_the_stream() -> None:
    with pytest.raises(DeadlineExceeded):
        await start(GatedEngine(), Source(2), seconds=-1.0)
