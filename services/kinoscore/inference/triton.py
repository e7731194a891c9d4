"""NVIDIA Triton over gRPC: it forms the batches; this side keeps deadlines and checks what is served."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, triton_to_np_dtype

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
from kinoscore.inference.engine import Array, BatchObserver, Inference, ignore_batch
from kinoscore.inference.repository import MODEL_NAMES, Manifest
from kinoscore.inference.shared_memory import WORTHWHILE_BYTES, Loan, SharedRegions
from kinoscore.inference.signature import Port, Signature, declared_shape

__all__ = ["TritonEngine"]

# How long a server that is starting is waited for, and what one look at it may take.
_START_SECONDS = 10.0
_LOOK_SECONDS = 5.0
_BETWEEN_LOOKS_SECONDS = 0.1
_CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that comes back is found within a second; the default waits up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A model server is near: never ask a proxy of the environment for it.
    ("grpc.enable_http_proxy", 0),
]
_TYPE_PREFIX = "TYPE_"


class TritonEngine:
    """Runs the models of one embedding space on a Triton server, through one channel.

    Triton's model names carry the space, so a server of another space cannot answer. What it serves is read
    when the engine opens, and again before the first call after the server was lost. Requests name no
    version: an operator who loads a newer version of a model switches to it without a failed call.

    Args:
        address: `host:port` of Triton's gRPC service.
        manifest: of the models to expect there.
        secure: speak TLS; gRPC's own root certificates count (`GRPC_DEFAULT_SSL_ROOTS_FILE_PATH`).
        queue_limit: calls that may be under way for one model.
        shared_memory: hand large inputs over in this host's memory, which the server must see too.
        observe_batch: told of what each request holds; the server may join several to one batch, which its
            own metrics tell.
    """

    def __init__(
        self,
        address: str,
        manifest: Manifest,
        *,
        secure: bool = False,
        queue_limit: int = 256,
        shared_memory: bool = False,
        observe_batch: BatchObserver = ignore_batch,
    ) -> None:
        self._address = address
        self._manifest = manifest
        self._queue_limit = queue_limit
        self._observe_batch = observe_batch
        self._client = InferenceServerClient(address, ssl=secure, channel_args=_CHANNEL_OPTIONS)
        self._regions = SharedRegions(self._client) if shared_memory else None
        self._models: dict[str, _Model] = {}
        self._trusted = False
        self._looking = asyncio.Lock()
        self._under_way: Counter[str] = Counter()
        self._closed = False

    @classmethod
    async def open(
        cls,
        url: str,
        manifest: Manifest,
        *,
        queue_limit: int = 256,
        shared_memory: bool = False,
        observe_batch: BatchObserver = ignore_batch,
    ) -> Self:
        """An engine whose server is ready and serves the models of the manifest's space.

        A server that is still starting is waited for, up to 10 s.

        Args:
            url: `triton://host:port`, or `tritons://host:port` for TLS.
            queue_limit: as for the engine.
            shared_memory: as for the engine.
            observe_batch: as for the engine.

        Raises:
            InvalidRequest: the URL names no address.
            Unavailable: no ready server was there in time.
            SpaceMismatch: the server serves another embedding space.
            FailedPrecondition: a model is not loaded there, or cannot be used, or the memory is not shared.
        """
        scheme, _, address = url.partition("://")
        address = address.rstrip("/")
        if not address.rpartition(":")[2].isdecimal():
            raise InvalidRequest(f"{url!r} names no server; write `triton://host:port`", field="inference")
        engine = cls(
            address,
            manifest,
            secure=scheme == "tritons",
            queue_limit=queue_limit,
            shared_memory=shared_memory,
            observe_batch=observe_batch,
        )
        latest = time.monotonic() + _START_SECONDS
        try:
            while True:
                try:
                    await engine.check()
                    await engine._try_out_regions()
                    return engine
                except Unavailable:
                    if time.monotonic() > latest:
                        raise
                await asyncio.sleep(_BETWEEN_LOOKS_SECONDS)
        except BaseException:
            await engine.close()
            raise

    async def infer(self, model: str, inputs: Mapping[str, Array], *, timeout: float) -> Inference:
        """See `InferenceEngine.infer`.

        The server does not tell how long a request waited there: `compute_seconds` is the round trip, and
        `queue_seconds` is 0.

        Raises:
            SpaceMismatch, FailedPrecondition: the server has changed; as for `open`.
        """
        if self._closed:
            raise Unavailable("the inference engine is closed")
        served = self._models.get(model)
        if served is None:
            raise InternalError(f"there is no model {model!r}; there are {', '.join(self._models)}")
        rows = served.signature.checked_rows(model, inputs)
        expires = time.monotonic() + timeout
        with self._place(model), self._told_of_closing():
            try:
                async with asyncio.timeout(timeout):
                    if not self._trusted:
                        await self._look_once()
                        served = self._models[model]
                    parts = []
                    for start in range(0, rows, served.max_batch_size):
                        piece = {
                            name: array[start : start + served.max_batch_size]
                            for name, array in inputs.items()
                        }
                        parts.append(await self._run_persistently(served, piece, expires))
            except TimeoutError:
                raise _too_late(model, self._address) from None
        return Inference.joined(parts)

    async def check(self) -> None:
        """Makes sure that the server is ready and serves the models.

        Raises:
            Unavailable, SpaceMismatch, FailedPrecondition: as for `open`.
        """
        if self._closed:
            raise Unavailable("the inference engine is closed")
        with self._told_of_closing():
            await self._look()

    async def close(self) -> None:
        """See `InferenceEngine.close`."""
        self._closed = True
        if self._regions:
            await self._regions.close()
        await self._client.close()

    async def _try_out_regions(self) -> None:
        if self._regions:
            try:
                await self._regions.try_out()
            except InferenceServerException as error:
                raise self._to_our_error(error, "shared memory") from None

    @contextmanager
    def _place(self, model: str) -> Iterator[None]:
        """One of the calls that may be under way for a model."""
        if self._under_way[model] >= self._queue_limit:
            limit = str(self._queue_limit)
            raise QueueFull(
                f"{limit} calls wait for the model {model} already; try again later",
                metadata={"limit": limit},
            )
        self._under_way[model] += 1
        try:
            yield
        finally:
            self._under_way[model] -= 1

    @contextmanager
    def _told_of_closing(self) -> Iterator[None]:
        """Closing the channel cancels its calls; their tasks were not cancelled and must hear an error."""
        try:
            yield
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise Unavailable("the inference engine was closed") from None
            raise

    async def _run_persistently(
        self, model: "_Model", inputs: Mapping[str, Array], expires: float
    ) -> Inference:
        """Runs one batch; once more, after a look at the server, where that has forgotten what it needs."""
        try:
            return await self._run(model, inputs, expires)
        except _Forgotten:
            await self._look()
            return await self._run(model, inputs, expires)

    async def _run(self, model: "_Model", inputs: Mapping[str, Array], expires: float) -> Inference:
        remaining = expires - time.monotonic()
        if remaining <= 0:
            raise _too_late(model.short_name, self._address)
        rows = len(next(iter(inputs.values())))
        self._observe_batch(model.short_name, rows)
        started = time.monotonic()
        try:
            with self._regions.borrowed() if self._regions else nullcontext() as loan:
                result = await self._client.infer(
                    model.name,
                    [await model.tensor(port, inputs[port.name], loan) for port in model.signature.inputs],
                    timeout=max(1, int(remaining * 1e6)),
                    client_timeout=remaining,
                )
        except InferenceServerException as error:
            failure = self._to_our_error(error, model.short_name)
            # Whoever answers next may be another server than the one that was looked at.
            self._trusted = self._trusted and not isinstance(failure, Unavailable)
            raise failure from None
        outputs = {port.name: model.rows(port, result, rows) for port in model.signature.outputs}
        return Inference(outputs, queue_seconds=0.0, compute_seconds=time.monotonic() - started)

    async def _look_once(self) -> None:
        """Looks at the server; of those who wait for it together, one does."""
        async with self._looking:
            if not self._trusted:
                await self._look()

    async def _look(self) -> None:
        """Reads what the server serves, and refuses what does not fit."""
        try:
            if not await self._client.is_server_ready(client_timeout=_LOOK_SECONDS):
                raise Unavailable(f"Triton at {self._address} is not ready yet; try again")
            index = await self._client.get_model_repository_index(client_timeout=_LOOK_SECONDS)
            versions = self._required_versions(index)
            models = [
                (name, entry, await self._client.get_model_config(entry.name, client_timeout=_LOOK_SECONDS))
                for name, entry in self._manifest.models.items()
            ]
            if self._regions and not self._trusted:
                await self._regions.register_again()
        except InferenceServerException as error:
            failure = self._to_our_error(error, "its models")
            if isinstance(failure, DeadlineExceeded):  # of the look, not of the caller
                failure = Unavailable(
                    f"Triton at {self._address} does not answer within {_LOOK_SECONDS:g} s; try again"
                )
            raise failure from None
        for name, entry, answer in models:
            if versions[entry.name] < entry.version:
                raise FailedPrecondition(
                    f"Triton at {self._address} serves version {versions[entry.name]} of {entry.name}, and "
                    f"this service's repository has version {entry.version}: load that version there"
                )
            self._models[name] = _Model.of(name, answer.config)
        self._trusted = True

    def _required_versions(self, index: Any) -> dict[str, int]:
        """The newest ready version of each of our models."""
        ready: dict[str, int] = {}
        states = {model.name: model.state for model in index.models}
        for model in index.models:
            if model.state == "READY":
                ready[model.name] = max(ready.get(model.name, 0), int(model.version))
        missing = [entry.name for entry in self._manifest.models.values() if entry.name not in ready]
        if not missing:
            return ready
        if any(states.get(name) in ("LOADING", "UNLOADING") for name in missing):
            raise Unavailable(f"Triton at {self._address} is loading {', '.join(missing)}; try again")
        raise self._refusal(missing, sorted(ready))

    def _refusal(self, missing: list[str], ready: list[str]) -> KinoscoreError:
        ours = self._manifest.space
        spaces = {_space_of(name) for name in ready} - {""}
        serves = ", ".join(ready) or "no model"
        if spaces and ours not in spaces:
            return SpaceMismatch(
                f"Triton at {self._address} serves the embedding space {', '.join(sorted(spaces))} "
                f"({serves}), and this service is of {ours}: load the models of {ours} there, or name the "
                "repository of the space that it serves in the setting `repository`",
                field="inference",
            )
        return FailedPrecondition(
            f"Triton at {self._address} does not serve {', '.join(missing)}; it serves {serves}: put the "
            "model repository of this service there, and load its models",
            field="inference",
        )

    def _to_our_error(self, error: InferenceServerException, model: str) -> KinoscoreError:
        code, cause = _code(error), " ".join(str(error.message()).split())
        at = f"Triton at {self._address}"
        if code == "DEADLINE_EXCEEDED" or "Request timeout expired" in cause:
            return _too_late(model, self._address)
        if "Exceeds maximum queue size" in cause:
            return QueueFull(f"the queue of {model} at {at} is full; try again later")
        if code == "NOT_FOUND":
            return _Forgotten(f"{at} has lost {model} ({cause}); load it there")
        if "Unable to find shared memory region" in cause:
            return _Forgotten(f"{at} has lost its shared memory ({cause}); try again")
        if "shared memory" in cause:
            return FailedPrecondition(
                f"{at} cannot use shared memory of this host ({cause}): share /dev/shm with it, as the same "
                "user, or leave the setting `inference_shared_memory` off",
                field="inference_shared_memory",
            )
        if "Stub process" in cause:
            return Unavailable(f"the process of {model} in {at} has died; load the model there again")
        if code in ("INVALID_ARGUMENT", "INTERNAL", "UNIMPLEMENTED"):
            return InternalError(f"{model} failed at {at}: {cause}")
        return Unavailable(f"{at} does not answer ({cause}); start it, or check the setting `inference`")


class _Forgotten(Unavailable):
    """The server does not know a model or a region of memory that it knew."""


@dataclass(frozen=True, slots=True)
class _Model:
    """A model as the server declares it."""

    short_name: str
    name: str
    max_batch_size: int
    signature: Signature

    @classmethod
    def of(cls, short_name: str, config: Any) -> Self:
        """From Triton's ModelConfig."""
        if config.max_batch_size < 1:
            raise FailedPrecondition(
                f"Triton serves {config.name} without batches: write its configuration again with "
                "`kinoscore models convert`"
            )
        signature = Signature(
            inputs=tuple(map(_port, config.input)), outputs=tuple(map(_port, config.output))
        )
        return cls(short_name, config.name, config.max_batch_size, signature)

    async def tensor(self, port: Port, array: Array, loan: Loan | None) -> InferInput:
        """Rows on their way to the server: in a region of the loan where that is worthwhile, else inside."""
        # A row that is a single number is declared [1].
        values = np.ascontiguousarray(array).reshape(len(array), *(port.shape or (1,)))
        tensor = InferInput(port.name, values.shape, np_to_triton_dtype(values.dtype))
        largest = self.max_batch_size * values[0].nbytes
        shared = values.nbytes >= WORTHWHILE_BYTES and loan and await loan.put(values, largest, tensor)
        if not shared:
            tensor.set_data_from_numpy(values)
        return tensor

    def rows(self, port: Port, result: Any, rows: int) -> Array:
        """An output, of as many rows as were sent."""
        array: Array | None = result.as_numpy(port.name)
        expected = (rows, *(port.shape or (1,)))
        if array is None or array.shape != expected:
            found = "nothing" if array is None else list(array.shape)
            raise InternalError(
                f"Triton answered {found} as {port.name} of {self.name}, not {list(expected)}: the backend "
                "there does not work with this model"
            )
        return array.reshape(rows, *port.shape)


def _port(declared: Any) -> Port:
    enum = type(declared).DESCRIPTOR.fields_by_name["data_type"].enum_type
    kind = enum.values_by_number[declared.data_type].name.removeprefix(_TYPE_PREFIX)
    return Port(declared.name, np.dtype(triton_to_np_dtype(kind)), declared_shape(declared))


def _space_of(name: str) -> str:
    """The embedding space of a model by its name in Triton; empty for a model that is none of ours."""
    short_name, _, space = name.rpartition("_")
    return space if short_name in MODEL_NAMES else ""


def _code(error: InferenceServerException) -> str:
    return str(error.status()).removeprefix("StatusCode.")


def _too_late(model: str, address: str) -> DeadlineExceeded:
    return DeadlineExceeded(f"the model {model} of Triton at {address} did not answer in time")
