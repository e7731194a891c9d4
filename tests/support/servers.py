"""What every real server of the tests needs: free ports, and a start that is waited for."""

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack

__all__ = ["became_ready", "free_ports"]

_BETWEEN_LOOKS_SECONDS = 0.05


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on, all different."""
    with ExitStack() as opened:
        probes = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


def became_ready(process: "subprocess.Popen[bytes]", ready: Callable[[], bool], *, seconds: float) -> bool:
    """Waits until the server is ready; False when it ended, or was not ready in time.

    Args:
        ready: asks the server; an OSError is a no.
    """
    latest = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < latest:
        try:
            if ready():
                return True
        except OSError:
            pass
        time.sleep(_BETWEEN_LOOKS_SECONDS)
    return False
