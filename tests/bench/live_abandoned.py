"""Live sessions that clients open and abandon: does the process hold more after thousands of them?

Server and clients share this process, so that what either leaks shows; the models are the tests' tiny ones.
The run is as it should be, and the exit status 0, when nothing of a session is left: no object, task, file or
thread. What the cache keeps of each, to resume it, stays until the cache is full.
"""

import asyncio
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path

from harness import arguments, conditions, progress, show

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.abandoned import Held, abandon
from support.live_sessions import index_tones, served
from support.repository import write_tiny_repository

LOOKS = 5
"""How often it is looked at what the process holds; the first look is what the others are compared with."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sessions", type=int, default=10_000, help="how many (%(default)s)")
    parser.add_argument("--at-once", type=int, default=16, help="how many at a time (%(default)s)")
    options = parser.parse_args()
    found = conditions()
    with tempfile.TemporaryDirectory(prefix="kinoscore-bench-") as folder:
        looks, seconds = asyncio.run(_run(Path(folder), options))
    rows = [
        (
            f"after {number}",
            f"{held.memory:.0f} MiB, {held.tasks} tasks, {held.descriptors} files, {held.threads} threads",
        )
        for number, held in looks.items()
    ]
    rows.append(("time of a session", f"{1e3 * seconds / options.sessions:.1f} ms"))
    facts = {"conditions": found, "looks": looks, "seconds": seconds}
    show(options, f"{options.sessions} live sessions, opened and abandoned", rows, facts)
    first, *_, last = looks.values()
    if (
        last.tasks > first.tasks + options.at_once
        or last.descriptors > first.descriptors + 2
        or last.threads > first.threads + 2
    ):
        raise SystemExit(1)


async def _run(folder: Path, options: Namespace) -> tuple[dict[int, Held], float]:
    repository = options.repository or write_tiny_repository(folder / "repository")
    room = {"live_sessions": options.at_once}
    looks = {}
    started = time.monotonic()
    async with served(repository, folder / "data", **room) as (client, _):
        await index_tones(client, folder, 2)
        for look in range(1, LOOKS + 1):
            await abandon(client.address, options.sessions // LOOKS, options.at_once)
            number = look * options.sessions // LOOKS
            looks[number] = await Held.now()
            progress(f"{number}: {looks[number]}")
    return looks, time.monotonic() - started


if __name__ == "__main__":
    main()
