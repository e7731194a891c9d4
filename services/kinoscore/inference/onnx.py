"""ONNX Runtime in this process, with dynamic batching over concurrent callers."""

import asyncio
import os
import time
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from kinoscore.errors import DeadlineExceeded, InternalError, InvalidRepository, QueueFull, Unavailable
from kinoscore.inference.engine import Array, BatchObserver, Inference, ignore_batch
from kinoscore.inference.repository import MODEL_NAMES, ModelRepository
from kinoscore.inference.signature import Port, Signature

__all__ = ["OnnxEngine", "read_signature"]

# Models that run at the same moment, each with threads of its own.
_MODELS_AT_ONCE = 2
_TYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(uint8)": np.dtype(np.uint8),
}


class OnnxEngine:
    """Runs the models of a repository in worker threads; the event loop is never blocked.

    Each model has one lane: while a batch runs, calls gather, and the next batch takes as many as fit. A call
    that finds the lane idle runs at once. Rows whose caller has left, or whose time is up, are dropped unrun.

    Args:
        repository: the models; all are loaded and run once, so that the first request is as fast as any.
        threads: threads that one model computes with; 0 for as many as there are cores. For models of
            milliseconds, waking a second one takes as long as it saves.
        queue_limit: calls that may wait for one model.
        observe_batch: told of each batch.

    Raises:
        InvalidRepository: a model cannot be loaded or run.
    """

    def __init__(
        self,
        repository: ModelRepository,
        *,
        threads: int = 1,
        queue_limit: int = 256,
        observe_batch: BatchObserver = ignore_batch,
    ) -> None:
        self._workers = ThreadPoolExecutor(_MODELS_AT_ONCE, thread_name_prefix="kinoscore-onnx")
        self._lanes: dict[str, _Lane] = {}
        for name in MODEL_NAMES:
            model = _Model(repository, name, threads or os.cpu_count() or 1)
            self._lanes[name] = _Lane(model, self._workers, queue_limit, observe_batch)

    async def infer(self, model: str, inputs: Mapping[str, Array], *, timeout: float) -> Inference:
        """See `InferenceEngine.infer`."""
        lane = self._lanes.get(model)
        if lane is None:
            raise InternalError(f"there is no model {model!r}; there are {', '.join(self._lanes)}")
        rows = lane.model.signature.checked_rows(model, inputs)
        largest = lane.model.max_batch_size
        moment = time.monotonic() + timeout
        parts = []
        try:
            async with asyncio.timeout(timeout):
                for start in range(0, rows, largest):
                    piece = {name: array[start : start + largest] for name, array in inputs.items()}
                    parts.append(await lane.run(piece, min(largest, rows - start), moment))
        except TimeoutError:
            raise DeadlineExceeded(f"the model {model} did not answer within {timeout:.2f} s") from None
        return Inference.joined(parts)

    async def check(self) -> None:
        """See `InferenceEngine.check`; the models are in this process, so only a closed engine fails."""
        if any(lane.closed for lane in self._lanes.values()):
            raise Unavailable("the inference engine is closed")

    async def close(self) -> None:
        """See `InferenceEngine.close`; a batch that runs is waited for."""
        for lane in self._lanes.values():
            lane.close()
        await asyncio.to_thread(self._workers.shutdown)


class _Model:
    """One loaded model."""

    def __init__(self, repository: ModelRepository, name: str, threads: int) -> None:
        self.name = name
        self.max_batch_size = repository.manifest.models[name].max_batch_size
        path = repository.model_path(name)
        try:
            self._session = onnxruntime.InferenceSession(
                path, _session_options(threads), providers=["CPUExecutionProvider"]
            )
            self.signature = _signature(self._session)
            self.run([{port.name: np.ones((1, *port.shape), port.dtype) for port in self.signature.inputs}])
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise _unusable(path, error) from error

    def run(self, pieces: list[Mapping[str, Array]]) -> dict[str, Array]:
        """Runs the rows of all pieces as one batch. Blocks."""
        feed = {
            port.name: np.concatenate([piece[port.name] for piece in pieces])
            for port in self.signature.inputs
        }
        names = [port.name for port in self.signature.outputs]
        return dict(zip(names, self._session.run(names, feed), strict=True))


def read_signature(path: Path) -> Signature:
    """What the graph of an ONNX file takes and gives.

    Raises:
        InvalidRepository: the file cannot be loaded, or a size other than that of the batch is open.
    """
    options = _session_options(threads=1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return _signature(session)
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise _unusable(path, error) from error


def _signature(session: onnxruntime.InferenceSession) -> Signature:
    def ports(nodes: Iterable[Any]) -> tuple[Port, ...]:
        return tuple(Port(node.name, _TYPES[node.type], tuple(map(int, node.shape[1:]))) for node in nodes)

    return Signature(ports(session.get_inputs()), ports(session.get_outputs()))


def _unusable(path: Path, error: Exception) -> InvalidRepository:
    cause = str(error).splitlines()[0]
    return InvalidRepository(
        f"{path} cannot be run by ONNX Runtime ({cause}); write it again with `dualpath export`"
    )


def _session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Threads that wait by spinning would take the cores from the decoders.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Planned memory is kept for each batch size that ever came.
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return options


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """Rows that wait for a batch."""

    inputs: Mapping[str, Array]
    rows: int
    expires: float
    arrived: float
    answer: "asyncio.Future[Inference]"


class _Lane:
    """The queue of one model, and the batches formed from it."""

    def __init__(
        self, model: _Model, workers: ThreadPoolExecutor, queue_limit: int, observe_batch: BatchObserver
    ) -> None:
        self.model = model
        self.closed = False
        self._workers = workers
        self._queue_limit = queue_limit
        self._observe_batch = observe_batch
        self._waiting: deque[_Call] = deque()
        self._serving: asyncio.Task[None] | None = None

    async def run(self, inputs: Mapping[str, Array], rows: int, expires: float) -> Inference:
        """Runs at most one batch of rows."""
        if self.closed:
            raise Unavailable("the inference engine is closed")
        if len(self._waiting) >= self._queue_limit:
            limit = str(self._queue_limit)
            raise QueueFull(
                f"{limit} calls wait for the model {self.model.name} already; try again later",
                metadata={"limit": limit},
            )
        call = _Call(inputs, rows, expires, time.monotonic(), asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        try:
            return await call.answer
        except asyncio.CancelledError:
            with suppress(ValueError):  # its batch may run already
                self._waiting.remove(call)
            raise

    def close(self) -> None:
        self.closed = True
        while self._waiting:
            call = self._waiting.popleft()
            if not call.answer.done():
                call.answer.set_exception(Unavailable("the inference engine was closed"))

    async def _serve(self) -> None:
        while batch := self._next_batch():
            await self._run_batch(batch)

    def _next_batch(self) -> list[_Call]:
        """The oldest calls that are still wanted and fit into one batch; empty when none waits."""
        batch: list[_Call] = []
        room = self.model.max_batch_size
        now = time.monotonic()
        while self._waiting and self._waiting[0].rows <= room:
            call = self._waiting.popleft()
            if call.answer.done() or call.expires <= now:
                continue
            batch.append(call)
            room -= call.rows
        return batch

    async def _run_batch(self, batch: list[_Call]) -> None:
        self._observe_batch(self.model.name, sum(call.rows for call in batch))
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            outputs = await loop.run_in_executor(
                self._workers, self.model.run, [call.inputs for call in batch]
            )
        except Exception as error:
            for call in batch:
                if not call.answer.done():
                    failure = InternalError(f"the model {self.model.name} failed: {error}")
                    failure.__cause__ = error
                    call.answer.set_exception(failure)
            return
        seconds = time.monotonic() - started
        row = 0
        for call in batch:
            if not call.answer.done():
                mine = {name: array[row : row + call.rows] for name, array in outputs.items()}
                call.answer.set_result(Inference(mine, started - call.arrived, seconds))
            row += call.rows
