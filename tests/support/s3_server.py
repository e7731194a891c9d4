"""A server that speaks S3, for tests: moto, in an environment of its own."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.environments import private_environment
from support.servers import became_ready, free_ports

__all__ = ["s3_server"]

START_SECONDS = 60


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """Runs the server, which is empty, and gives its URL; any key opens it."""
    python = private_environment("moto-5", ["moto[server]>=5,<6"]) / "bin/python"
    [port] = free_ports(1)
    log = folder / "moto.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [python, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        ready = became_ready(process, lambda: "Running on" in log.read_text(), seconds=START_SECONDS)
        assert ready, f"moto did not start:\n{log.read_text()}"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
