"""kinoscore as in production: tritonserver, Milvus, Redis and the five services, each a program of its own.

They reach one another over links, on which a bad network can be played.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
from pymilvus import MilvusClient, MilvusException
from support.links import Link, Network
from support.milvus_server import MilvusServer, milvus_server
from support.redis_server import RedisServer, redis_server
from support.servers import became_ready, free_ports
from support.stack import command_line
from support.triton import TritonServer, running_triton

from kinoscore.inference import Manifest, ModelRepository
from kinoscore.inference.conversion import convert_repositories
from kinoscore.inference.targets import Target, TargetOptions
from kinoscore.ranking.spaces import collection_name, migrate
from kinoscore.stack import vector_dimension

__all__ = ["ENGINES", "OTHER_SPACE", "SERVICES", "Deployment", "Part", "deployed"]

OTHER_SPACE = "s000000000000"
"""A space that the vector store has, and for which there are no models."""
START_SECONDS = 300
STOP_SECONDS = 60
QUERY_SECONDS = 2.0
ENGINES = ("triton", "milvus", "redis")
SERVICES = ("video", "music", "fusion", "ranking", "recommend")


class Service:
    """A `kinoscore serve`, on a port that stays the same when it is started again.

    Args:
        name: `video`, ...
        settings: by their names, as on the command line.
        folder: for its log.
    """

    def __init__(self, name: str, settings: Mapping[str, object], folder: Path) -> None:
        [self.port] = free_ports(1)
        options = (f"--{key}={value}" for key, value in {**settings, "port": self.port}.items())
        self._command = command_line("serve", name, *options)
        self._log = folder / f"{name}.log"
        self._heard = 0
        self.process: subprocess.Popen[bytes]

    def launch(self) -> None:
        """Starts it; it does not answer yet."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("KINOSCORE_")}
        with self._log.open("ab") as log:
            self._heard = log.tell()
            self.process = subprocess.Popen(
                self._command, env=environment, stderr=log, start_new_session=True
            )

    def wait(self) -> None:
        """Returns once it answers."""
        if not became_ready(self.process, lambda: "answers at" in self._said(), seconds=START_SECONDS):
            raise AssertionError(f"a service did not start:\n{self._said()}")

    def start(self) -> None:
        self.launch()
        self.wait()

    def kill(self) -> None:
        """Ends it at once; its decoders end by themselves."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ends it in good order."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def _said(self) -> str:
        return self._log.read_text()[self._heard :]


@dataclass(frozen=True, slots=True)
class Part:
    """What may fail: an engine or a service.

    Attributes:
        link: over which the others reach it; shut while it does not run, so that its port refuses them.
    """

    link: Link
    end: Callable[[], None]
    begin: Callable[[], None]
    freeze: Callable[[], None]
    thaw: Callable[[], None]

    def kill(self) -> None:
        self.end()
        self.link.shut()

    def restart(self) -> None:
        """Starts it again; returns when it is ready."""
        self.begin()
        self.link.open()


@dataclass(frozen=True, slots=True)
class Deployment:
    """A running one.

    Attributes:
        folder: of all its files.
        source: the models.
        served: the same, as Triton has them.
        parts: the engines and the services, by name.
    """

    folder: Path
    source: ModelRepository
    served: ModelRepository
    triton: TritonServer
    milvus: MilvusServer
    redis: RedisServer
    services: Mapping[str, Service]
    parts: Mapping[str, Part]

    @property
    def manifest(self) -> Manifest:
        return self.source.manifest

    @property
    def address(self) -> str:
        """Of the front door."""
        return self.parts["recommend"].link.address

    @property
    def spool(self) -> Path:
        """Where uploads wait."""
        return self.folder / "spool"

    def tree(self, service: str) -> list[psutil.Process]:
        """A service's process and its decoders."""
        process = psutil.Process(self.services[service].process.pid)
        return [process, *process.children(recursive=True)]

    def migrate(self) -> None:
        """Makes the collection where the store lacks it, and an empty one for `OTHER_SPACE`."""
        for space in (self.manifest.space, OTHER_SPACE):
            asyncio.run(migrate(self.milvus.url, space, vector_dimension(self.manifest)))

    def restart_milvus(self) -> None:
        """Starts it again; returns when it answers questions about the index.

        One that was killed takes half a minute for that: it waits for the lease of its former life to end,
        and may call the index loaded all the while.
        """
        self.milvus.start()
        name = collection_name(self.manifest.space)
        client = MilvusClient(self.milvus.url, timeout=START_SECONDS, dedicated=True)

        def answers() -> bool:
            with suppress(MilvusException, grpc.RpcError):
                client.query(name, 'pk == ""', consistency_level="Strong", timeout=QUERY_SECONDS)
                return True
            return False

        try:
            client.load_collection(name, timeout=START_SECONDS)
            assert self.milvus.process is not None
            assert became_ready(self.milvus.process, answers, seconds=START_SECONDS), "Milvus has no index"
        finally:
            client.close()


@contextmanager
def deployed(repository: Path, folder: Path) -> Iterator[Deployment]:
    """All of it, running; gone at the end, with all that it started.

    The ranking service's answers are fresh for a second only, so that old ones can be met.

    Args:
        repository: the models.
        folder: an empty one.
    """
    source = ModelRepository.load(repository)
    convert_repositories([source], folder / "served", TargetOptions(Target.PYTHON))
    served = ModelRepository.load(folder / "served")
    for name in ("spool", "milvus", "redis"):
        (folder / name).mkdir()
    with ExitStack() as opened:
        network = opened.enter_context(Network())
        models = [entry.name for entry in source.manifest.models.values()]
        triton = opened.enter_context(running_triton(served.path, folder / "triton", models))
        redis = opened.enter_context(redis_server(folder / "redis"))
        milvus = opened.enter_context(milvus_server(folder / "milvus"))
        parts = {
            "triton": Part(
                network.link(_port(triton.address)),
                triton.kill,
                triton.restart,
                lambda: triton.signal(signal.SIGSTOP),
                lambda: triton.signal(signal.SIGCONT),
            ),
            "milvus": Part(
                network.link(_port(milvus.url)),
                milvus.kill,
                lambda: running.restart_milvus(),
                milvus.hang,
                milvus.go_on,
            ),
            "redis": Part(network.link(redis.port), redis.kill, redis.start, redis.hang, redis.resume),
        }
        services: dict[str, Service] = {}
        running = Deployment(folder, source, served, triton, milvus, redis, services, parts)
        running.migrate()
        for name in SERVICES:
            service = services[name] = Service(name, _settings(name, running), folder)
            service.launch()
            opened.callback(service.stop)
            parts[name] = _part(service, network)
        opened.callback(_terminate, services.values())
        for service in services.values():
            service.wait()
        yield running


def _terminate(services: Iterable[Service]) -> None:
    """Lets all end at once, so that only the slowest is waited for."""
    for service in services:
        service.process.terminate()


def _part(service: Service, network: Network) -> Part:
    return Part(
        network.link(service.port),
        service.kill,
        service.start,
        lambda: service.process.send_signal(signal.SIGSTOP),
        lambda: service.process.send_signal(signal.SIGCONT),
    )


def _settings(name: str, running: Deployment) -> dict[str, object]:
    """What a service is told; of the parts, those before it are there."""
    parts = running.parts
    models = {"repository": running.source.path, "inference": f"triton://{parts['triton'].link.address}"}
    media = {"decoder-workers": 1, "spool-folder": running.spool}
    cache = {"cache": f"redis://{parts['redis'].link.address}"}
    own: dict[str, dict[str, object]] = {
        "video": {**models, **media},
        "music": {**models, **media},
        "fusion": models,
        "ranking": {
            "repository": running.source.path,
            "vectors": f"http://{parts['milvus'].link.address}",
            "cache-seconds": 1,
            "search-seconds": 60,
            **cache,
        },
    }
    if name in own:
        return {"log-level": "error", **own[name]}
    addresses = {f"{part}-address": parts[part].link.address for part in own}
    return {"log-level": "error", **addresses, **cache}


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
