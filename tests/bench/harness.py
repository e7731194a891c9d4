"""What the benchmarks share: kinoscore in processes of its own, the conditions of a run, and the output."""

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

__all__ = [
    "Server",
    "Spread",
    "arguments",
    "command_line",
    "conditions",
    "cores",
    "environment",
    "progress",
    "running_server",
    "show",
]

START_SECONDS = 120
STOP_SECONDS = 60
PACKAGES = ("kinoscore", "av", "grpcio", "milvus-lite", "numpy", "onnxruntime", "pymilvus")


def arguments(description: str | None) -> ArgumentParser:
    """A parser with the options of every benchmark, which SIGTERM ends in good order from now on.

    Without that it would leave the servers that it started.
    """
    signal.signal(signal.SIGTERM, _leave)
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON line instead of the table")
    parser.add_argument(
        "--repository", type=Path, help="a model repository; the one shipped with kinoscore when not given"
    )
    return parser


def _leave(number: int, frame: object) -> None:
    # Another one, as `timeout` sends it to the whole group, must not cut the cleaning-up short.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + number)


@dataclass(frozen=True, slots=True)
class Server:
    """A running `kinoscore up`."""

    address: str
    process: psutil.Process

    def tree(self) -> list[psutil.Process]:
        """The process and its decoders."""
        return [self.process, *self.process.children(recursive=True)]

    def processor_seconds(self) -> float:
        """What the tree has used of the cores so far; a decoder that was replaced is forgotten."""
        times = [process.cpu_times() for process in self.tree()]
        return sum(time.user + time.system for time in times)


@contextmanager
def running_server(repository: Path | None, **settings: object) -> Iterator[Server]:
    """`kinoscore up` in a process of its own, with a fresh data folder, on a free port.

    Args:
        settings: further ones, by their names.
    """
    with tempfile.TemporaryDirectory(prefix="kinoscore-bench-") as folder:
        # The first search after many upserts flushes them: no figure here, but long on a busy machine.
        options = {"port": 0, "data": Path(folder, "data"), "log-level": "error", "search-seconds": 60}
        options |= {name.replace("_", "-"): value for name, value in settings.items()}
        command = command_line("up", *(f"--{name}={value}" for name, value in options.items()))
        with running(command, Path(folder, "log"), environment(repository)) as server:
            yield server


@contextmanager
def running(command: Sequence[str], log_path: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """A command that says "answers at ADDRESS;" on stderr and serves until it is terminated."""
    with log_path.open("w") as log:
        process = subprocess.Popen(command, env=environment, stderr=log)
    try:
        yield Server(_await_address(process, log_path), psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _await_address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    limit = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < limit:
        said = log.read_text()
        if "answers at " in said and said.endswith("\n"):
            return said.split("answers at ")[1].split(";")[0]
        time.sleep(0.02)
    raise SystemExit(f"the server did not start:\n{log.read_text()}")


def command_line(*arguments: object) -> list[str]:
    """The installed `kinoscore`, or the module where it runs from a source tree."""
    installed = Path(sys.executable).with_name("kinoscore")
    program = [str(installed)] if installed.exists() else [sys.executable, "-m", "kinoscore"]
    return [*program, *map(str, arguments)]


def environment(repository: Path | None) -> dict[str, str]:
    """This process's environment without settings of kinoscore but the repository."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KINOSCORE_")}
    return kept if repository is None else {**kept, "KINOSCORE_REPOSITORY": str(repository.resolve())}


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def conditions() -> dict[str, Any]:
    """What the figures of this run hang on. A load average well above 0 at the start spoils times."""
    return {
        "cores": cores(),
        "load_average_at_start": round(os.getloadavg()[0], 1),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "source tree"


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of repeated measurements, and their quartiles."""

    median: float
    lower_quartile: float
    upper_quartile: float
    repetitions: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        lower, median, upper = np.percentile(values, [25, 50, 75]).tolist()
        return cls(median, lower, upper, len(values))

    def milliseconds(self) -> str:
        low, high = 1e3 * self.lower_quartile, 1e3 * self.upper_quartile
        return f"{1e3 * self.median:.1f} ms  (middle half {low:.1f} to {high:.1f}, n = {self.repetitions})"


def progress(text: str) -> None:
    """One line on stderr, so that stdout holds the result only."""
    print(text, file=sys.stderr, flush=True)


def show(options: Namespace, title: str, rows: Sequence[tuple[str, str]], facts: Mapping[str, Any]) -> None:
    """Prints what was measured: a table, or with `--json` the facts as one line."""
    if options.json:
        print(json.dumps({"benchmark": title, **facts}, default=asdict))
        return
    found = facts["conditions"]
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    about = [
        ("machine", f"{found['cores']} cores, {found['system']} {found['machine']}"),
        ("load average at start", f"{found['load_average_at_start']}"),
        ("versions", f"python {found['python']}, {versions}"),
    ]
    width = max(len(name) for name, _ in [*rows, *about])
    print(f"\n{title}\n{'-' * len(title)}")
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
    print()
    for name, value in about:
        print(f"{name:<{width}}  {value}")
