"""Bootstrap of a grpc.aio server: services, health, reflection, and the way down."""

import asyncio
import logging
import signal
from typing import Any, Protocol, runtime_checkable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from kinoscore.errors import FailedPrecondition, KinoscoreError
from kinoscore.runtime.calls import LocalService
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.interceptor import RequestInterceptor
from kinoscore.runtime.metrics import MetricsEndpoint
from kinoscore.runtime.settings import ServerSettings
from kinoscore.v1 import fusion_pb2_grpc, music_pb2_grpc, ranking_pb2_grpc, recommend_pb2_grpc, video_pb2_grpc

__all__ = ["Checked", "Drained", "Server"]

_logger = logging.getLogger(__name__)

CHECK_EVERY_SECONDS = 2.0
CHECK_SECONDS = 5.0
"""How long a check may take: longer than a busy engine, shorter than an orchestrator's patience."""
CHECK_OVERRUN_SECONDS = 1.0
"""How much longer a check is waited for: it can say better than we what does not answer."""


@runtime_checkable
class Checked(Protocol):
    """A servicer that needs something which may go away."""

    async def check(self, deadline: Deadline) -> None:
        """Returns when the service can do its work.

        Args:
            deadline: the most that looking may take.

        Raises:
            KinoscoreError: it cannot; the message says why.
        """
        ...


@runtime_checkable
class Drained(Protocol):
    """A servicer with requests that would last longer than anybody waits."""

    def drain(self) -> None:
        """Brings them to their end, soon; called when the server begins to stop."""
        ...


_SERVICES: tuple[tuple[type, str, Any], ...] = (
    (
        video_pb2_grpc.VideoEncoderServiceServicer,
        "kinoscore.v1.VideoEncoderService",
        video_pb2_grpc.add_VideoEncoderServiceServicer_to_server,
    ),
    (
        music_pb2_grpc.MusicEncoderServiceServicer,
        "kinoscore.v1.MusicEncoderService",
        music_pb2_grpc.add_MusicEncoderServiceServicer_to_server,
    ),
    (
        fusion_pb2_grpc.FusionServiceServicer,
        "kinoscore.v1.FusionService",
        fusion_pb2_grpc.add_FusionServiceServicer_to_server,
    ),
    (
        ranking_pb2_grpc.RankingServiceServicer,
        "kinoscore.v1.RankingService",
        ranking_pb2_grpc.add_RankingServiceServicer_to_server,
    ),
    (
        recommend_pb2_grpc.RecommenderServiceServicer,
        "kinoscore.v1.RecommenderService",
        recommend_pb2_grpc.add_RecommenderServiceServicer_to_server,
    ),
)


class Server:
    """One grpc.aio server with any of the five services.

        server = Server(settings)
        server.add(FusionServicer(...))
        print(await server.start())
        await server.run_until_signal()

    Health is on for each service and for the whole (the empty name); reflection is on. On the way down health
    turns NOT_SERVING, new requests are refused with UNAVAILABLE, running ones get `grace_seconds` to finish;
    metrics are shown to the end. A service that has a `check` is not SERVING while that fails, and neither is
    the whole.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._interceptor = RequestInterceptor(
            default_deadline_seconds=settings.default_deadline_seconds,
            max_concurrent_requests=settings.max_concurrent_requests,
        )
        self._server = grpc.aio.server(
            interceptors=[self._interceptor],
            options=[
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", settings.max_message_bytes),
                # Without this a second server on the same port would silently take half of the calls.
                ("grpc.so_reuseport", 0),
            ],
        )
        self._health = health.aio.HealthServicer()
        self._names: list[str] = []
        self._checked: dict[str, Checked] = {}
        self._drained: list[Drained] = []
        self._failing: set[str] = set()
        self._watching: list[asyncio.Task[None]] = []
        self._address = ""
        self._metrics: MetricsEndpoint | None = None

    def add(self, servicer: object) -> LocalService:
        """Adds a servicer; its class says which service it is. Returns the way to call it in this process."""
        for kind, name, register in _SERVICES:
            if isinstance(servicer, kind):
                register(servicer, self._server)
                local = LocalService(self._interceptor)
                register(servicer, local)
                self._names.append(name)
                if isinstance(servicer, Checked):
                    self._checked[name] = servicer
                if isinstance(servicer, Drained):
                    self._drained.append(servicer)
                return local
        raise TypeError(f"{type(servicer).__name__} is no servicer of kinoscore.v1")

    def bind(self) -> str:
        """Takes the address to listen on and returns it as `host:port`; calls wait until `start`.

        For those who must know the port before they can add a servicer that calls this very server.

        Raises:
            FailedPrecondition: the address cannot be listened on.
        """
        host, port = self._settings.host, self._settings.port
        try:
            port = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise FailedPrecondition(
                f"cannot listen on {host}:{port}; another program may use the port: choose another",
                field="port",
            ) from error
        self._address = f"{host}:{port}"
        return self._address

    async def start(self) -> str:
        """Starts to answer, after `bind` where that was not called; returns the address as `host:port`.

        Raises:
            FailedPrecondition: the address, or that for the metrics, cannot be listened on.
        """
        address = self._address or self.bind()
        if self._settings.metrics_port:
            self._metrics = MetricsEndpoint.open(self._settings.host, self._settings.metrics_port)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        await self._server.start()
        for name in ("", *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._watching = [asyncio.create_task(self._watch(name)) for name in self._checked]
        _logger.info("serving", extra={"facts": {"address": address, "services": self._names}})
        return address

    async def run_until_signal(self) -> None:
        """Serves until SIGTERM or SIGINT, then stops in good order; a second signal acts at once."""
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, stopping.set)
        try:
            await stopping.wait()
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
        await self.stop()

    async def stop(self) -> None:
        """Refuses new requests, lets the running ones finish within `grace_seconds`, cancels the rest."""
        await self._health.enter_graceful_shutdown()
        for watch in self._watching:
            watch.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        for servicer in self._drained:
            servicer.drain()
        finished = await self._interceptor.drain(self._settings.grace_seconds)
        _logger.info("stopping", extra={"facts": {"all_requests_finished": finished}})
        await self._server.stop(grace=None)
        if self._metrics is not None:
            await self._metrics.close()
            self._metrics = None

    async def _watch(self, name: str) -> None:
        """Keeps what health says of a service in step with its check."""
        while True:
            await asyncio.sleep(CHECK_EVERY_SECONDS)
            problem = await _problem(self._checked[name])
            if problem is None:
                if name in self._failing:
                    _logger.info("serving again", extra={"facts": {"service": name}})
                self._failing.discard(name)
            else:
                if name not in self._failing:
                    _logger.error("not serving", extra={"facts": {"service": name, "reason": problem}})
                self._failing.add(name)
            states = {name: name not in self._failing, "": not self._failing}
            for told, well in states.items():
                status = health_pb2.HealthCheckResponse
                await self._health.set(told, status.SERVING if well else status.NOT_SERVING)


async def _problem(servicer: Checked) -> str | None:
    """Why the service cannot do its work; None when it can."""
    try:
        async with asyncio.timeout(CHECK_SECONDS + CHECK_OVERRUN_SECONDS):
            await servicer.check(Deadline.after(CHECK_SECONDS))
    except KinoscoreError as error:
        return error.message
    except TimeoutError:
        return f"what it needs does not answer within {CHECK_SECONDS:g} s"
    except Exception as error:  # a defect must not end the watch: health would stay as it is for ever
        _logger.exception("a check failed")
        return f"a defect of kinoscore ({type(error).__name__})"
    return None
