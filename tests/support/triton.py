"""The real tritonserver, from the nvidia-pytriton wheel in an environment of its own.

It has the Python backend only, so it serves repositories of the target `python`.
"""

import os
import signal
import subprocess
import sys
import sysconfig
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import tritonclient.grpc as triton_grpc
from support.environments import private_environment
from support.servers import became_ready, free_ports

__all__ = ["TritonServer", "running_triton", "triton_environment"]

START_SECONDS = 300
STOP_SECONDS = 30
# With numpy 2 the wheel's Python backend answers with empty outputs.
REQUIREMENTS = ["nvidia-pytriton==0.7.0", "numpy<2", "onnxruntime==1.32.*"]


def triton_environment() -> Path:
    """The environment that tritonserver lives in."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return private_environment(f"triton-0.7.0-python{version}", REQUIREMENTS)


class TritonServer:
    """A tritonserver over a repository folder, on free ports that stay the same over restarts.

    Args:
        repository: the models that it may load.
        folder: for logs and the backend; of this server alone.
        models: those loaded at start, by their names in Triton.
    """

    def __init__(self, repository: Path, folder: Path, models: list[str]) -> None:
        self.repository = repository
        self._models = models
        self._program = _program(triton_environment())
        self._backends = _backends(self._program, folder)
        self._log_path = folder / "triton.log"
        self._regions = f"kinoscore-test-{uuid.uuid4().hex}"
        self._process: subprocess.Popen[bytes]
        self._ports: list[int]

    @property
    def address(self) -> str:
        """Where it answers gRPC."""
        return f"127.0.0.1:{self._ports[1]}"

    @property
    def url(self) -> str:
        """What the setting `inference` takes."""
        return f"triton://{self.address}"

    @property
    def log(self) -> str:
        """What it wrote since it was made."""
        return self._log_path.read_text(errors="replace")

    def start(self) -> None:
        """Starts it on free ports and waits until all models are ready."""
        for _ in range(5):  # another process may take a port first
            self._ports = free_ports(3)
            if self._launch():
                return
        raise AssertionError(f"tritonserver did not start:\n{self.log[-4000:]}")

    def restart(self) -> None:
        """Starts it again after `kill`, at the same address, and waits until all models are ready."""
        assert self._launch(), f"tritonserver did not start again:\n{self.log[-4000:]}"

    def kill(self) -> None:
        """Ends the server and its models' processes at once, and removes what they leave in /dev/shm."""
        # Those started it in a session of its own, so the group holds nothing else.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_SECONDS)
        for name in self.shared_memory():
            Path("/dev/shm", name).unlink(missing_ok=True)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the server alone: SIGSTOP makes it hang."""
        os.kill(self._process.pid, number)

    def stubs(self) -> list[psutil.Process]:
        """The processes that run the Python models."""
        return [
            child
            for child in psutil.Process(self._process.pid).children(recursive=True)
            if "triton_python_backend_stub" in _command_line(child)
        ]

    def stubs_of(self, model: str) -> list[psutil.Process]:
        """Those of one model."""
        return [stub for stub in self.stubs() if f"/{model}/" in _command_line(stub)]

    def shared_memory(self) -> list[str]:
        """The regions of this server in /dev/shm."""
        return [path.name for path in Path("/dev/shm").iterdir() if path.name.startswith(self._regions)]

    def client(self) -> triton_grpc.InferenceServerClient:
        """A client of the test's own."""
        return triton_grpc.InferenceServerClient(self.address)

    def batch_sizes(self, model: str) -> dict[int, int]:
        """How many batches of each size the model has run; the warm-up ran one of each preferred size."""
        with self.client() as client:
            statistics: Any = client.get_inference_statistics(model, as_json=True)
        return {
            int(batch["batch_size"]): int(batch["compute_infer"]["count"])
            for version in statistics["model_stats"]
            for batch in version.get("batch_stats", [])
        }

    def waiting(self, model: str) -> int:
        """How many requests wait in the model's queue."""
        text = _read(f"http://127.0.0.1:{self._ports[2]}/metrics")
        pending = [
            line
            for line in text.splitlines()
            if line.startswith("nv_inference_pending_request_count{") and f'model="{model}"' in line
        ]
        return sum(int(float(line.split()[-1])) for line in pending)

    def serve(self, repository: Path, models: list[str]) -> None:
        """What it serves from its next start on."""
        self.repository, self._models = repository, models

    def _launch(self) -> bool:
        http, grpc, metrics = self._ports
        options = {
            "model-repository": self.repository,
            "backend-directory": self._backends,
            "backend-config": f"python,shm-region-prefix-name={self._regions}",
            "cache-directory": self._program.parents[1] / "caches",
            "model-control-mode": "explicit",
            "exit-timeout-secs": 3,
            "http-address": "127.0.0.1",
            "grpc-address": "127.0.0.1",
            "metrics-address": "127.0.0.1",
            "http-port": http,
            "grpc-port": grpc,
            "metrics-port": metrics,
        }
        command = [
            str(self._program),
            "--disable-auto-complete-config",
            *(f"--{name}={value}" for name, value in options.items()),
            *(f"--load-model={name}" for name in self._models),
        ]
        environment = {
            **os.environ,
            "PATH": f"{triton_environment() / 'bin'}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR"),
        }
        environment.pop("PYTHONPATH", None)
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )

        def ready() -> bool:
            _read(f"http://127.0.0.1:{http}/v2/health/ready")
            return True

        if became_ready(self._process, ready, seconds=START_SECONDS):
            return True
        self.kill()
        return False


@contextmanager
def running_triton(repository: Path, folder: Path, models: list[str]) -> Iterator[TritonServer]:
    """A server that is stopped at the end, with all that it started."""
    folder.mkdir(parents=True, exist_ok=True)
    server = TritonServer(repository, folder, models)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _program(environment: Path) -> Path:
    (program,) = environment.glob("lib/python*/site-packages/pytriton/tritonserver/bin/tritonserver")
    return program


def _backends(program: Path, folder: Path) -> Path:
    """The Python backend with the stub for this Python; links, for a copy of them hangs."""
    home = program.parents[1]
    python = folder / "backends" / "python"
    python.mkdir(parents=True, exist_ok=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    parts = [
        *(home / "backends" / "python").iterdir(),
        home / "python_backend_stubs" / version / "triton_python_backend_stub",
    ]
    for part in parts:
        (python / part.name).symlink_to(part)
    return python.parent


def _command_line(process: psutil.Process) -> str:
    """Empty once the process has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _read(url: str) -> str:
    """The body of a page; OSError when there is none."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as response:
        return str(response.read(), "utf-8")
