"""A real redis-server for tests: on a free port that stays the same over restarts, stopped exactly."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.servers import became_ready, free_ports

__all__ = ["START_SECONDS", "RedisServer", "needs_redis", "redis_server"]

START_SECONDS = 30

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="redis-server is not installed: apt-get install redis-server"
)


class RedisServer:
    """Nothing is written to the disk: a server that is killed and started again is empty.

    Args:
        folder: the server's working folder.
        options: further options, as on a command line.
        tls: whether the port speaks TLS only; the options then name the certificates.
    """

    def __init__(self, folder: Path, options: Sequence[str] = (), *, tls: bool = False) -> None:
        [self.port] = free_ports(1)
        ports = ["--port", "0", "--tls-port", str(self.port)] if tls else ["--port", str(self.port)]
        own = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
        self._command = ["redis-server", *ports, *own, *options]
        self._log = folder / "redis.log"
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)

        def ready() -> bool:
            return "Ready to accept connections" in self._log.read_text()

        if not became_ready(self.process, ready, seconds=START_SECONDS):
            raise AssertionError(f"redis-server did not start:\n{self._log.read_text()}")

    def hang(self) -> None:
        """The server keeps its connections and answers nothing."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def redis_server(folder: Path, options: Sequence[str] = (), *, tls: bool = False) -> Iterator[RedisServer]:
    """A running server, gone at the end of the block; the arguments are those of RedisServer."""
    server = RedisServer(folder, options, tls=tls)
    try:
        yield server
    finally:
        server.kill()
