"""How light kinoscore is: the time of `kinoscore --help`, what an import pulls, the memory of a busy server.

Memory is the proportional set size (PSS) of `kinoscore up` and its decoders together: pages that several
processes share count once. It is looked at twenty times a second while eight clips at once are answered, and
after each of many requests in turn, to see whether it grows. Linux only. The kernel's own high-water marks of
resident memory are told too: no peak escapes them, but they count shared pages once for every process.
"""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import psutil
from harness import (
    Server,
    arguments,
    command_line,
    conditions,
    environment,
    progress,
    running_server,
    show,
)
from material import Library, distinct, store, write_clip

from kinoscore import Client
from kinoscore.inference import ModelRepository, default_repository

HELP_RUNS = 5
HEAVY = ("av", "grpc", "milvus_lite", "numpy", "onnxruntime", "pymilvus", "redis")
LOOK_SECONDS = 0.05
MEBIBYTE = 1 << 20
# Each request weighs a little differently, and its clip has a number, so that none is answered from the cache
# and the cache fills.
WEIGHT_STEP = 1e-4


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--clip", type=Path, help="a clip; one is made when not given")
    parser.add_argument("--at-once", type=int, default=8, help="clips at once (default: 8)")
    parser.add_argument("--requests", type=int, default=200, help="requests in turn (default: 200)")
    options = parser.parse_args()
    found = conditions()
    help_seconds = min(help_time() for _ in range(HELP_RUNS))
    pulled = modules_pulled()
    manifest = ModelRepository.load(options.repository or default_repository()).manifest
    with tempfile.TemporaryDirectory() as folder, running_server(options.repository) as server:
        clip = options.clip or Path(folder, "clip.mp4")
        if options.clip is None:
            progress("writing a clip")
            write_clip(clip)
        store(Library.draw(manifest, tracks=50, passages=30), server.address, manifest)
        with closing(Client(server.address)) as client:
            client.recommend(clip)
            idle = proportional_bytes(server)
            progress(f"{options.at_once} clips at once")
            with watched(server) as seen, ThreadPoolExecutor(options.at_once) as threads:
                clips = [distinct(clip, number) for number in range(3 * options.at_once)]
                list(threads.map(client.recommend, clips))
            high_water = sum(map(resident_high_water, server.tree()))
            progress(f"{options.requests} requests in turn")
            series = []
            for number in range(options.requests):
                client.recommend(distinct(clip, 1000 + number), content_weight=1 + number * WEIGHT_STEP)
                series.append(proportional_bytes(server))

    peak, slope = max(seen), growth(series)
    quarter = max(1, len(series) // 4)
    early, late = float(np.median(series[:quarter])), float(np.median(series[-quarter:]))
    rows = [
        ("kinoscore --help", f"{help_seconds:.3f} s, the best of {HELP_RUNS}"),
        ("import kinoscore pulls", ", ".join(pulled) or f"none of {', '.join(HEAVY)}"),
        ("memory of up, idle", f"{idle / MEBIBYTE:.0f} MiB"),
        (f"peak, {options.at_once} clips at once", f"{peak / MEBIBYTE:.0f} MiB"),
        ("sum of resident high-water marks", f"{high_water / MEBIBYTE:.0f} MiB"),
        (
            f"over {options.requests} requests",
            f"{early / MEBIBYTE:.1f} MiB in the first quarter, {late / MEBIBYTE:.1f} MiB in the last",
        ),
        ("slope", f"{100 * slope / MEBIBYTE:+.2f} MiB in 100 requests"),
    ]
    facts = {
        "conditions": found,
        "help_seconds": help_seconds,
        "modules_pulled": pulled,
        "idle_bytes": idle,
        "clips_at_once": options.at_once,
        "peak_bytes": peak,
        "resident_high_water_bytes": high_water,
        "requests": options.requests,
        "first_quarter_bytes": early,
        "last_quarter_bytes": late,
        "bytes_per_request": slope,
    }
    show(options, "footprint: start, imports, memory", rows, facts)


def help_time() -> float:
    started = time.perf_counter()
    subprocess.run(command_line("--help"), env=environment(None), stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def modules_pulled() -> list[str]:
    """Those of HEAVY that `import kinoscore` loads."""
    program = f"import sys, kinoscore; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return run.stdout.split()


def proportional_bytes(server: Server) -> int:
    """The proportional set size of the server and its decoders."""
    total = 0
    for process in server.tree():
        # A decoder may be replaced while we look.
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


def resident_high_water(process: psutil.Process) -> int:
    """The most resident memory that a process ever had, in bytes (VmHWM)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])


@contextmanager
def watched(server: Server) -> Iterator[list[int]]:
    """A list that fills with the server's memory in bytes, as long as the block runs."""
    seen = [proportional_bytes(server)]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            seen.append(proportional_bytes(server))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def growth(series: list[int]) -> float:
    """Bytes a request: the slope of the least-squares line through the second half, when all is warm."""
    half = series[len(series) // 2 :]
    return float(np.polyfit(np.arange(len(half)), half, 1)[0]) if len(half) > 1 else 0.0


if __name__ == "__main__":
    main()
