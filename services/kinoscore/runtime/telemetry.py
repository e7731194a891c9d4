"""Structured logs, the identity of a request, and where its time went."""

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from kinoscore.v1 import common_pb2

__all__ = [
    "REQUEST_ID_KEY",
    "REQUEST_TOKEN_KEY",
    "JsonFormatter",
    "RequestIdentity",
    "StageTimer",
    "configure_logging",
    "current_request",
    "outgoing_metadata",
]

REQUEST_ID_KEY = "kinoscore-request-id"
REQUEST_TOKEN_KEY = "kinoscore-request-token"


@dataclass(frozen=True, slots=True)
class RequestIdentity:
    """Which request is being served.

    Attributes:
        id: the same in the logs of every service that takes part; the caller may choose it.
        token: known to this process and those it calls only: proof that a call serves a request running here.
    """

    id: str
    token: str


current_request: ContextVar[RequestIdentity | None] = ContextVar("kinoscore_request", default=None)


def outgoing_metadata() -> tuple[tuple[str, str], ...]:
    """What a service sends along when it calls another on behalf of the request that it serves.

    Logs of all services then show one id, and a draining server still answers its own running requests.
    """
    request = current_request.get()
    return ((REQUEST_ID_KEY, request.id), (REQUEST_TOKEN_KEY, request.token)) if request else ()


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request id, and the `facts` of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := current_request.get():
            line["request_id"] = request.id
        line.update(getattr(record, "facts", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logging(level: str) -> None:
    """Sends the logs of kinoscore to stderr as JSON lines, from `level` (`debug` to `error`) up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("kinoscore")
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


class StageTimer:
    """Adds up the seconds that one request spends in each stage.

    Stages overlap (frames are encoded while later ones are decoded), so their sum may exceed the total.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.queue_seconds = 0.0
        self.decode_seconds = 0.0
        self.inference_seconds = 0.0
        self.search_seconds = 0.0

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Counts the time inside the block as search."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.search_seconds += time.perf_counter() - started

    def include(self, timings: common_pb2.Timings) -> None:
        """Adds the stages of a downstream service; its total is part of ours already."""
        self.queue_seconds += timings.queue_seconds
        self.decode_seconds += timings.decode_seconds
        self.inference_seconds += timings.inference_seconds
        self.search_seconds += timings.search_seconds

    def timings(self) -> common_pb2.Timings:
        """The message for the reply; the total runs from the timer's creation to now."""
        return common_pb2.Timings(
            queue_seconds=self.queue_seconds,
            decode_seconds=self.decode_seconds,
            inference_seconds=self.inference_seconds,
            search_seconds=self.search_seconds,
            total_seconds=time.perf_counter() - self._started,
        )
