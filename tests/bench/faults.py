"""The fault table: what callers of the front door meet while a part fails, and how fast all is well again.

All programs are real: tritonserver (that of the tests, with its Python backend), a Milvus server, Redis, and
the five services, each a process of its own. Four kinds of requests go on all the while; `support.faults`
says what each fault must and must not do to them. The exit status is 1 when one did otherwise.

- recommend: a clip that no cache knows;  again: the same clip each time;
- list: the tracks of a catalogue;        index: a track, into a catalogue of its own.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from harness import arguments, conditions, progress, show

from kinoscore.inference import default_repository

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.deployment import deployed
from support.faults import FAULTS, OPERATIONS, Fault, Library, Played, play

COLUMN_WIDTH = 22


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--only", nargs="+", default=[""], help="the faults whose names begin with one of these, as `milvus`"
    )
    options = parser.parse_args()
    found = conditions()
    chosen = [fault for fault in FAULTS if str(fault).startswith(tuple(options.only))]
    played: list[tuple[Fault, Played | str]] = []
    with (
        tempfile.TemporaryDirectory(prefix="kinoscore-bench-") as folder,
        deployed(options.repository or default_repository(), Path(folder)) as deployment,
    ):
        library = Library(deployment)
        asyncio.run(library.fill())
        for fault in chosen:
            played.append((fault, outcome(fault, library)))
            progress(f"{fault.part}: {fault.name}: {line(played[-1][1])}")
    heading = "".join(
        f"{name:<{COLUMN_WIDTH}}" for name in (*OPERATIONS, "slowest (deadline)", "healed after")
    )
    rows = [("", heading), *((f"{fault.part}: {fault.name}", line(one)) for fault, one in played)]
    facts = {"conditions": found, "faults": {str(fault): one for fault, one in played}}
    show(options, "faults: what callers meet, and how fast all is well again", rows, facts)
    if any(isinstance(one, str) for _, one in played):
        raise SystemExit(1)


def outcome(fault: Fault, library: Library) -> Played | str:
    """What was met, or what the table does not allow."""
    try:
        return asyncio.run(play(fault, library))
    except AssertionError as error:
        return f"NOT AS PROMISED: {error}"


def line(played: Played | str) -> str:
    if isinstance(played, str):
        return played
    cells = [
        *(" or ".join(played.statuses[operation]) for operation in OPERATIONS),
        f"{played.slowest_seconds:.1f} s ({played.deadline_seconds:.1f} s)",
        f"{played.healed_seconds:.1f} s",
    ]
    return "".join(f"{cell:<{COLUMN_WIDTH}}" for cell in cells)


if __name__ == "__main__":
    main()
