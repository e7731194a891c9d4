"""One run of `kinoscore index`: the files with progress on stderr, then one line that sums up."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kinoscore.cli.catalogue_files import Manifest
from kinoscore.cli.connection import Connection
from kinoscore.cli.indexing import Indexer, Outcome, Result, index_files, prune
from kinoscore.cli.presentation import printable
from kinoscore.cli.running import console, message
from kinoscore.media.pool import DecodePool
from kinoscore.media.types import Limits

__all__ = ["index_run"]

# The server has limits of its own, and tells them when it is asked to index.
_NO_LIMITS = Limits(max_bytes=1 << 50, max_duration_seconds=1e9, max_pixels=1 << 40)

_KIND_OF_NOTE = {Outcome.FAILED: "error", Outcome.DUPLICATE: "note"}


async def index_run(
    server: Connection,
    files: Sequence[Path],
    manifest: Manifest,
    *,
    places_to_prune: Sequence[Path] = (),
    catalogue: str,
    space: str = "",
) -> int:
    """Brings a catalogue up to date with files.

    SIGTERM ends the run in good order: the files in flight are finished, no other is begun.

    Args:
        places_to_prune: absolute paths; tracks whose files lay there and are gone are removed.
        space: the embedding space; the active one when empty.

    Returns:
        The exit status: 1 when a file could not be used.

    Raises:
        KinoscoreError: what would end every file alike, such as a full disk or a lost server.
    """
    for note in manifest.notes:
        message(f"note: {printable(note)}")
    # Tells a wrong address or catalogue once, before any file does.
    await server.client.describe(catalogue=catalogue)

    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    display = _Display(len(files))
    async with _probing_pool(server) as pool:
        indexer = Indexer(server.client, pool, manifest, catalogue, space)
        with display.progress:
            await index_files(files, indexer.index, display.report, stopping)
    removed = 0
    if places_to_prune and not stopping.is_set():
        removed = await prune(server.client, places_to_prune, catalogue)
    message(display.summary(removed))
    return 1 if display.counts[Outcome.FAILED] else 0


@asynccontextmanager
async def _probing_pool(server: Connection) -> AsyncIterator[DecodePool]:
    """The decoders of the stack where it runs in this process, or else one of our own."""
    if server.stack is not None:
        yield server.stack.decoders
    else:
        async with DecodePool(workers=1, limits=_NO_LIMITS) as pool:
            yield pool


class _Display:
    """Progress and messages on stderr; the bar is shown in a terminal only."""

    def __init__(self, total: int) -> None:
        self.counts: Counter[Outcome] = Counter()
        self.progress = Progress(
            TextColumn("indexing"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[file]}", markup=False),
            console=console(),
            disable=not console().is_terminal,
            transient=True,
        )
        self._total = total
        self._bar = self.progress.add_task("indexing", total=total, file="")

    def report(self, result: Result) -> None:
        """Counts one file, and says what there is to say about it."""
        self.counts[result.outcome] += 1
        self.progress.update(self._bar, advance=1, file=printable(result.file.name))
        kind = _KIND_OF_NOTE.get(result.outcome, "warning")
        for note in result.notes:
            line = printable(f"{kind}: {result.file}: {note}")
            self.progress.console.print(line, markup=False, soft_wrap=True)

    def summary(self, removed: int) -> str:
        """What the run did, in one line."""
        parts = [f"{self.counts[outcome]} {outcome.value}" for outcome in Outcome if self.counts[outcome]]
        if removed:
            parts.append(f"{removed} removed")
        text = ", ".join(parts) or "nothing to index"
        if left := self._total - self.counts.total():
            text += f"; stopped with {left} left: run the same command again to go on"
        return text
