"""Many requests while the engines are restarted: is each answered or refused, and does memory stay flat?

All programs are real, as in faults.py. At even distances one engine after another (Triton, Milvus, Redis) is
killed and started again. A client that is refused waits for a second before its next request. The run is as
it should be, and the exit status 0, when every request ended with a status, no answer was wrong, none was
refused but from an engine's end until all was well again, and nothing is left at the end: no process, and no
region of shared memory.
"""

import asyncio
import itertools
import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from footprint import MEBIBYTE, growth
from harness import Spread, arguments, conditions, progress, show

from kinoscore import AsyncClient
from kinoscore.inference import default_repository

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.deployment import ENGINES, SERVICES, Deployment, deployed
from support.faults import Library, Outcome

SECONDS = 30.0
PAUSE_SECONDS = 1.0
LOOKS = 100
"""How often the memory is looked at in a run."""
WARM_UP_SHARE = 10
"""One request in so many is over before memory counts as what it is at the start."""


@dataclass(frozen=True, slots=True)
class Restart:
    """One engine's; times on the monotonic clock in seconds.

    Attributes:
        well: when the first request had been answered that began after it was ready.
    """

    engine: str
    killed: float
    ready: float
    well: float


@dataclass(frozen=True, slots=True)
class State:
    """What our services hold."""

    bytes: int
    threads: int
    descriptors: int

    @classmethod
    def of(cls, deployment: Deployment) -> "State":
        held = []
        for process in all_processes(deployment):
            # A decoder may be replaced while we look.
            with suppress(psutil.NoSuchProcess):
                held.append((process.memory_full_info().pss, process.num_threads(), process.num_fds()))
        return cls(*map(sum, zip(*held, strict=True)))


@dataclass(slots=True)
class Run:
    """What has happened so far."""

    outcomes: list[Outcome] = field(default_factory=list)
    restarts: list[Restart] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    seconds: float = 0.0

    def refused_when_well(self) -> list[Outcome]:
        """Those that were not answered though no engine was away."""
        return [
            one
            for one in self.outcomes
            if one.status != "OK"
            and not any(one.ended >= away.killed and one.started <= away.well for away in self.restarts)
        ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="requests, at least (default: 2000)")
    parser.add_argument("--at-once", type=int, default=4, help="clients (default: 4)")
    parser.add_argument("--restarts", type=int, default=9, help="restarts of engines (default: 9)")
    options = parser.parse_args()
    found = conditions()
    regions = shared_memory()
    with (
        tempfile.TemporaryDirectory(prefix="kinoscore-bench-") as folder,
        deployed(options.repository or default_repository(), Path(folder)) as deployment,
    ):
        run = asyncio.run(endure(deployment, options))
        ours = all_processes(deployment)
    left = [process.pid for process in ours if process.is_running()]
    left_regions = sorted(shared_memory() - regions)
    report(options, found, run, [*left, *left_regions])


async def endure(deployment: Deployment, options: Namespace) -> Run:
    """All requests, and all restarts between them; more requests where the last restart takes longer."""
    library, run = Library(deployment), Run()
    await library.fill()
    restarted = asyncio.Event()
    numbers = itertools.count()
    look_every = max(1, options.requests // LOOKS)
    started = time.monotonic()
    async with AsyncClient(deployment.address) as client:

        async def ask() -> None:
            while (number := next(numbers)) < options.requests or not restarted.is_set():
                outcome = await library.request(client, "recommend", SECONDS)
                run.outcomes.append(outcome)
                if number % look_every == 0:
                    run.states.append(await asyncio.to_thread(State.of, deployment))
                if outcome.status != "OK":
                    await asyncio.sleep(PAUSE_SECONDS)

        clients = [asyncio.create_task(ask()) for _ in range(options.at_once)]
        for number in range(options.restarts):
            due = options.requests * (number + 1) // (options.restarts + 1)
            while len(run.outcomes) < due:  # noqa: ASYNC110 - the list tells nothing by itself
                await asyncio.sleep(0.05)
            engine = ENGINES[number % len(ENGINES)]
            progress(f"{len(run.outcomes)} requests have ended; restarting {engine}")
            run.restarts.append(await restart(deployment, engine, run.outcomes))
        restarted.set()
        await asyncio.gather(*clients)
    run.seconds = time.monotonic() - started
    return run


async def restart(deployment: Deployment, engine: str, outcomes: list[Outcome]) -> Restart:
    """Kills an engine, starts it again, and returns when a request has been answered after that."""
    part = deployment.parts[engine]
    killed = time.monotonic()
    await asyncio.to_thread(part.kill)
    await asyncio.to_thread(part.restart)
    ready = time.monotonic()
    while True:
        well = [one.ended for one in outcomes if one.started >= ready and one.status == "OK"]
        if well:
            return Restart(engine, killed, ready, well[0])
        await asyncio.sleep(0.05)


def report(options: Namespace, found: dict[str, Any], run: Run, left: list[Any]) -> None:
    statuses = Counter(one.status for one in run.outcomes)
    refused = run.refused_when_well()
    answered = [one.seconds for one in run.outcomes if one.status == "OK"]
    warm = run.states[len(run.states) // WARM_UP_SHARE]
    end = run.states[-1]
    a_look = growth([state.bytes for state in run.states])
    slope = a_look / max(1, options.requests // LOOKS)
    healing = {
        engine: [one.well - one.ready for one in run.restarts if one.engine == engine] for engine in ENGINES
    }
    rows = [
        ("requests", f"{len(run.outcomes)} in {run.seconds:.0f} s, {options.at_once} at once"),
        ("ended with", ", ".join(f"{count} {status}" for status, count in statuses.most_common())),
        ("not answered though all was well", f"{len(refused)}"),
        ("an answer took", Spread.of(answered).milliseconds()),
        *(
            (
                f"{engine}, restarted {len(seconds)} times",
                f"all well {max(seconds):.1f} s after it was ready, at most",
            )
            for engine, seconds in healing.items()
            if seconds
        ),
        (
            "memory of our services",
            f"{warm.bytes / MEBIBYTE:.0f} MiB, {end.bytes / MEBIBYTE:.0f} MiB at the end",
        ),
        ("slope of its second half", f"{100 * slope / MEBIBYTE:+.2f} MiB in 100 requests"),
        ("threads", f"{warm.threads}, {end.threads} at the end"),
        ("open files and sockets", f"{warm.descriptors}, {end.descriptors} at the end"),
        ("left behind", ", ".join(map(str, left)) or "nothing"),
    ]
    facts = {
        "conditions": found,
        "requests": len(run.outcomes),
        "seconds": run.seconds,
        "statuses": statuses,
        "refused_when_well": refused,
        "answer_seconds": Spread.of(answered),
        "healing_seconds": healing,
        "warm": warm,
        "end": end,
        "bytes_per_request": slope,
        "left": left,
    }
    show(options, "endurance: many requests while engines are restarted", rows, facts)
    if refused or left or "WRONG" in statuses or len(run.outcomes) < options.requests:
        raise SystemExit(1)


def all_processes(deployment: Deployment) -> list[psutil.Process]:
    """Those of our services."""
    return [process for service in SERVICES for process in deployment.tree(service)]


def shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir()}


if __name__ == "__main__":
    main()
