"""The whole software as its users meet it: the `kinoscore` command, and gRPC calls to its server."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from kinoscore.errors import KinoscoreError
from kinoscore.runtime.status import DETAILS_KEY, DOMAIN, from_rpc_error
from kinoscore.v1 import (
    common_pb2,
    fusion_pb2_grpc,
    music_pb2_grpc,
    ranking_pb2_grpc,
    recommend_pb2,
    recommend_pb2_grpc,
    video_pb2_grpc,
)

__all__ = [
    "LIMIT_SECONDS",
    "HeldUpload",
    "Kinoscore",
    "Services",
    "Up",
    "chunks",
    "command_line",
    "recommend_requests",
    "refused",
    "track_requests",
    "wait_until",
]

LIMIT_SECONDS = 120
CHUNK_BYTES = 16 * 1024


@dataclass(frozen=True)
class Kinoscore:
    """The command with its surroundings: a model repository, a data folder and a spool folder of its own."""

    folder: Path
    repository: Path
    catalogue: str = "default"
    address: str = ""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("KINOSCORE_")},
            "KINOSCORE_REPOSITORY": str(self.repository),
            "KINOSCORE_DATA": str(self.data),
            "KINOSCORE_SPOOL_FOLDER": str(self.spool),
            "KINOSCORE_CATALOGUE": self.catalogue,
        }

    def __call__(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command_line(*arguments),
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command_line(*arguments), env=self.environment, stderr=subprocess.PIPE, text=True
        )

    @contextmanager
    def server(self, *arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
        """A server in the background, once it answers: the process and its address."""
        process = self.start(*arguments)
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if "answers at" in line:
                    yield process, line.split("answers at ")[1].split(";")[0].strip()
                    return
            raise AssertionError("the server ended before it answered")
        finally:
            process.terminate()
            process.communicate(timeout=LIMIT_SECONDS)

    @contextmanager
    def up(self, *arguments: object) -> "Iterator[Up]":
        """`kinoscore up` in the background, with what it takes to call it."""
        command = ("up", "--port", 0, "--log-level", "error", *arguments)
        with self.server(*command) as (process, address), grpc.insecure_channel(address) as channel:
            yield Up(self, process, address, Services(channel))

    def spooled_bytes(self) -> int:
        """What lies in the spool folder now."""
        return sum(file.stat().st_size for file in self.spool.glob("*"))


def command_line(*arguments: object) -> list[str]:
    installed = Path(sys.executable).with_name("kinoscore")
    program = [str(installed)] if installed.exists() else [sys.executable, "-m", "kinoscore"]
    return [*program, *map(str, arguments)]


class Services:
    """A stub of each service at one address."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.video = video_pb2_grpc.VideoEncoderServiceStub(channel)
        self.music = music_pb2_grpc.MusicEncoderServiceStub(channel)
        self.fusion = fusion_pb2_grpc.FusionServiceStub(channel)
        self.ranking = ranking_pb2_grpc.RankingServiceStub(channel)
        self.recommender = recommend_pb2_grpc.RecommenderServiceStub(channel)


@dataclass(frozen=True)
class Up:
    """A running `kinoscore up`."""

    command: Kinoscore
    process: subprocess.Popen[str]
    address: str
    services: Services

    def recommend(self, clip: Path, **settings: Any) -> recommend_pb2.RecommendResponse:
        requests = recommend_requests(chunks(clip), **settings)
        return self.services.recommender.Recommend(requests, timeout=LIMIT_SECONDS)

    def index(self, track: Path, **settings: Any) -> recommend_pb2.IndexTrackResponse:
        requests = track_requests(chunks(track), **settings)
        return self.services.recommender.IndexTrack(requests, timeout=LIMIT_SECONDS)


def chunks(file: Path) -> Iterator[common_pb2.MediaChunk]:
    data = file.read_bytes()
    for start in range(0, len(data), CHUNK_BYTES):
        yield common_pb2.MediaChunk(data=data[start : start + CHUNK_BYTES])


def recommend_requests(
    parts: Iterable[common_pb2.MediaChunk], **settings: Any
) -> Iterator[recommend_pb2.RecommendRequest]:
    yield recommend_pb2.RecommendRequest(settings=recommend_pb2.RecommendSettings(**settings))
    for chunk in parts:
        yield recommend_pb2.RecommendRequest(chunk=chunk)


def track_requests(
    parts: Iterable[common_pb2.MediaChunk], **settings: Any
) -> Iterator[recommend_pb2.IndexTrackRequest]:
    yield recommend_pb2.IndexTrackRequest(settings=recommend_pb2.IndexTrackSettings(**settings))
    for chunk in parts:
        yield recommend_pb2.IndexTrackRequest(chunk=chunk)


class HeldUpload:
    """The chunks of a file, of which the second half does not come before `release`."""

    def __init__(self, file: Path) -> None:
        whole = list(chunks(file))
        self._first, self._rest = whole[: len(whole) // 2], whole[len(whole) // 2 :]
        self._released = threading.Event()

    def release(self) -> None:
        self._released.set()

    def parts(self) -> Iterator[common_pb2.MediaChunk]:
        yield from self._first
        assert self._released.wait(LIMIT_SECONDS)
        yield from self._rest


def wait_until(condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
    """Returns when the condition holds; fails when it does not within `seconds`."""
    latest = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < latest, "the condition did not come true in time"
        time.sleep(0.005)


@dataclass
class Refusal:
    """What `refused` met; `error` is there when its block has ended."""

    error: KinoscoreError | None = None


@contextmanager
def refused(kind: type[KinoscoreError], *pieces: str, field: str = "") -> Iterator["Refusal"]:
    """The call inside ends with the status of `kind`, its details, and one line that holds all pieces.

    Args:
        field: the request field that google.rpc.BadRequest must name, where one is at fault.
    """
    refusal = Refusal()
    with pytest.raises(grpc.RpcError) as caught:
        yield refusal
    error = caught.value
    assert error.code().name == kind.status, error.details()
    status = _details(error)
    info, wrong, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    for detail in status.details:
        assert detail.Unpack(info) or detail.Unpack(wrong) or detail.Unpack(retry)
    assert (info.domain, info.reason) == (DOMAIN, kind.reason), status.message
    assert len(status.message.splitlines()) == 1
    assert error.details() == status.message
    for piece in pieces:
        assert piece in status.message
    if field:
        assert [violation.field for violation in wrong.field_violations] == [field]
    refusal.error = from_rpc_error(error)
    assert type(refusal.error) is kind


def _details(error: Any) -> status_pb2.Status:
    trailing = dict(error.trailing_metadata() or ())
    assert DETAILS_KEY in trailing, f"a status without details: {error.details()}"
    return status_pb2.Status.FromString(trailing[DETAILS_KEY])
