"""The benchmarks clean up after themselves."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from support.repository import write_tiny_repository

LIMIT_SECONDS = 120
BENCHMARK = """
import asyncio
from harness import arguments, running_server

options = arguments("waits for ever").parse_args()
with running_server(options.repository) as server:
    print(server.process.pid, flush=True)
    asyncio.run(asyncio.Event().wait())
"""


def test_a_benchmark_that_is_terminated_stops_the_servers_that_it_started(tmp_path: Path) -> None:
    repository = write_tiny_repository(tmp_path / "repository")
    harness = Path(__file__).parents[2] / "bench"
    search = [str(harness), *filter(None, [os.environ.get("PYTHONPATH")])]
    with subprocess.Popen(
        [sys.executable, "-c", BENCHMARK, f"--repository={repository}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(search)},
        stdout=subprocess.PIPE,
        text=True,
    ) as benchmark:
        assert benchmark.stdout is not None
        server = psutil.Process(int(benchmark.stdout.readline()))
        processes = [server, *server.children(recursive=True)]
        benchmark.send_signal(signal.SIGTERM)
        assert benchmark.wait(LIMIT_SECONDS) == 128 + signal.SIGTERM
    assert not [process for process in processes if process.is_running()]
