"""What Prometheus reads of a server process: one registry, and the small HTTP server that shows it."""

import asyncio
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    start_http_server,
)

from kinoscore.errors import FailedPrecondition

__all__ = [
    "CACHE_LOOKUPS",
    "REGISTRY",
    "SHARED_ANSWERS",
    "STALE_ANSWERS",
    "MetricsEndpoint",
    "RequestMetrics",
    "observe_batch",
]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_STAGES = ("queue", "decode", "inference", "search")

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_REQUESTS = Counter(
    "kinoscore_requests", "Requests that ended.", ("service", "method", "status"), registry=REGISTRY
)
_IN_FLIGHT = Gauge("kinoscore_requests_in_flight", "Requests now.", ("service", "method"), registry=REGISTRY)
_LATENCY = Histogram(
    "kinoscore_request_seconds",
    "From the arrival of a request to its end, in seconds.",
    ("service", "method"),
    buckets=_SECONDS,
    registry=REGISTRY,
)
_STAGE = Histogram(
    "kinoscore_stage_seconds",
    "What answered requests spent in each stage, services behind included; stages overlap.",
    ("service", "method", "stage"),
    buckets=_SECONDS,
    registry=REGISTRY,
)
CACHE_LOOKUPS = Counter(
    "kinoscore_cache_lookups",
    "What was looked up, by result: hit or miss.",
    ("kind", "result"),
    registry=REGISTRY,
)
SHARED_ANSWERS = Counter(
    "kinoscore_shared_answers",
    "Requests answered with the result of an equal one that was running.",
    ("kind",),
    registry=REGISTRY,
)
STALE_ANSWERS = Counter(
    "kinoscore_stale_answers", "Old answers given for a vector store that was silent.", registry=REGISTRY
)
_BATCH_ROWS = Histogram(
    "kinoscore_batch_rows",
    "Frames, windows, clips, passages or embeddings in each batch for a model.",
    ("model",),
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    registry=REGISTRY,
)


def observe_batch(model: str, rows: int) -> None:
    """Counts a batch of a model."""
    _BATCH_ROWS.labels(model).observe(rows)


class RequestMetrics:
    """Follows one request.

    Args:
        method: as gRPC names it, `/kinoscore.v1.RankingService/SearchTracks`.
    """

    def __init__(self, method: str) -> None:
        self._series = _series_of(method)
        self._series.in_flight.inc()

    def answered(self, reply: Any) -> None:
        """Takes the stages from a reply that tells them."""
        if "timings" in reply.DESCRIPTOR.fields_by_name:
            for field, stage in self._series.stages:
                stage.observe(getattr(reply.timings, field))

    def ended(self, status: str, seconds: float) -> None:
        """The request is over; `status` is the name of a gRPC status."""
        self._series.in_flight.dec()
        _REQUESTS.labels(*self._series.labels, status).inc()
        self._series.latency.observe(seconds)


@dataclass(frozen=True, slots=True)
class _Series:
    """The time series of one method, looked up once."""

    labels: tuple[str, ...]
    in_flight: Gauge
    latency: Histogram
    stages: tuple[tuple[str, Histogram], ...]


@cache
def _series_of(method: str) -> _Series:
    labels = tuple(method.strip("/").split("/", 1))
    stages = tuple((f"{stage}_seconds", _STAGE.labels(*labels, stage)) for stage in _STAGES)
    return _Series(labels, _IN_FLIGHT.labels(*labels), _LATENCY.labels(*labels), stages)


@dataclass(frozen=True, slots=True)
class MetricsEndpoint:
    """Shows the metrics at `/metrics` over HTTP, from a thread of its own."""

    _server: Any
    _thread: threading.Thread

    @classmethod
    def open(cls, host: str, port: int) -> Self:
        """Listens.

        Raises:
            FailedPrecondition: the address cannot be listened on.
        """
        try:
            return cls(*start_http_server(port, host.strip("[]"), REGISTRY))
        except OSError as error:
            raise FailedPrecondition(
                f"cannot listen on {host}:{port} for metrics ({error.strerror}); choose another port",
                field="metrics_port",
            ) from error

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
