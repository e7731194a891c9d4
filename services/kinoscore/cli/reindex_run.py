"""One run of `kinoscore reindex`: the tracks with progress on stderr, then one line that sums up."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kinoscore import AsyncClient, Spaces
from kinoscore.cli.presentation import printable
from kinoscore.cli.reindexing import Outcome, Reindexer, Result, Work, missing_tracks
from kinoscore.cli.running import console, message
from kinoscore.cli.workers import work_through
from kinoscore.errors import InvalidRequest

__all__ = ["follow_models", "reindex_run"]

# What was indexed while one pass went over all tracks is found by the next; a busy catalogue is never done.
_MOST_PASSES = 10


async def reindex_run(client: AsyncClient, *, old: str, new: str, switch: bool) -> int:
    """Takes the tracks of all catalogues over from one space into another.

    SIGTERM ends the run in good order: the tracks in work are finished, no other is begun.

    Args:
        old: the space whose tracks are taken; the active one when empty.
        new: the space to fill; when empty the one that is served and not active.
        switch: make the new space the active one, unless a track could not be taken over.

    Returns:
        The exit status: 1 when a track could not be taken over.

    Raises:
        InvalidRequest: it is not clear which space is to be filled.
        KinoscoreError: what would end every track alike, such as a full disk or a lost server.
    """
    spaces = await client.spaces()
    old = old or spaces.active
    new = new or _to_fill(spaces, old)
    if new == old:
        message(f"nothing to do: {old} is the active space, and no other one is served")
        return 0
    run = _Run(client, old, new)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await run.fill(stopping, old_leads=new != spaces.active)
    # Nothing can be searched in a folder whose models are gone: whatever is in the new space is more.
    abandoned = spaces.sole_owner and spaces.active not in spaces.served
    if stopping.is_set():
        hint = "; stopped: run the same command again to go on"
    elif new == spaces.active:
        hint = ""
    elif abandoned or (switch and not run.failed):
        await client.switch_space(new, force=abandoned)
        # What was indexed between the last look and the switch.
        await run.fill(stopping, old_leads=False)
        hint = f"; {new} is the active space now, {old} stays until it is dropped"
    else:
        hint = f"; to search in it: kinoscore spaces switch {new}"
    message(run.summary() + hint)
    run.list_failures()
    return 1 if run.failed else 0


async def follow_models(client: AsyncClient, *, complete: bool = True) -> None:
    """Makes the space of the models here the active one, in a folder whose active space has no models now.

    After an upgrade that brought other models nothing can be searched in such a folder. Nobody else searches
    it, so nobody can be surprised when it follows its models, once no track would be lost to searches. A
    server's index may be searched with the old models elsewhere: there an operator decides.

    Args:
        complete: only when the new space has every track of the old one.
    """
    spaces = await client.spaces()
    if not spaces.sole_owner or spaces.active in spaces.served:
        return
    old, new = spaces.active, spaces.served[0]
    if complete and (missing := await missing_tracks(client, old, new)):
        message(
            f"note: the models have changed, and {missing} tracks are not indexed with the new ones yet; "
            "nothing can be recommended until they are: run `kinoscore reindex`, or index their files"
        )
        return
    await client.switch_space(new, force=True)
    message(f"note: the models have changed, and every track is indexed with the new ones: {new} is active")


def _to_fill(spaces: Spaces, old: str) -> str:
    """The one space that is served, is not the old one and, where there is a choice, not active."""
    others = [space for space in spaces.served if space != old]
    if len(others) > 1:
        raise InvalidRequest(f"several spaces can be filled: {', '.join(others)}; name one with --space")
    return others[0] if others else old


class _Run:
    """Counts and progress; the bar is shown in a terminal only."""

    def __init__(self, client: AsyncClient, old: str, new: str) -> None:
        self.counts: Counter[Outcome] = Counter()
        self.failed: dict[tuple[str, str], Result] = {}
        self._client = client
        self._old = old
        self._new = new
        self._first_pass = True

    async def fill(self, stopping: asyncio.Event, *, old_leads: bool) -> None:
        """Goes over all tracks until nothing is left to do."""
        reindexer = Reindexer(self._client, self._old, self._new, old_leads=old_leads)
        for _ in range(_MOST_PASSES):
            changed = await self._go_over(reindexer, stopping)
            self._first_pass = False
            if not changed or stopping.is_set():
                return

    async def _go_over(self, reindexer: Reindexer, stopping: asyncio.Event) -> bool:
        """One pass; True when it changed something."""
        total = sum((await self._client.catalogues(space=self._old)).values())
        progress = Progress(
            TextColumn("reindexing"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[track]}", markup=False),
            console=console(),
            disable=not console().is_terminal,
            transient=True,
        )
        bar = progress.add_task("reindexing", total=total, track="")
        changed = False

        def report(result: Result) -> None:
            nonlocal changed
            progress.update(bar, advance=1, track=printable(result.track.title or result.track.track_id))
            if self._first_pass or result.outcome is not Outcome.PRESENT:
                self.counts[result.outcome] += 1
            if result.outcome is Outcome.FAILED:
                self.failed[_key(result)] = result
            elif result.outcome is not Outcome.PRESENT:
                changed = True

        async def remaining() -> AsyncIterator[Work]:
            async for work in reindexer.work():
                if _key(work) not in self.failed:
                    yield work

        with progress:
            await work_through(remaining(), reindexer.take_over, report, stopping)
        return changed

    def summary(self) -> str:
        """What the run did, in a few words."""
        parts = [f"{self.counts[outcome]} {outcome.value}" for outcome in Outcome if self.counts[outcome]]
        return ", ".join(parts) or f"{self._old} has no tracks"

    def list_failures(self) -> None:
        """Says which tracks were not taken over and why, and what to do."""
        for result in self.failed.values():
            name = f"{result.catalogue}/{result.track.track_id} ({result.track.title})"
            message(printable(f"not taken over: {name}: {result.reason}"))
        if self.failed:
            message(f"to upload them again: kinoscore index --space {self._new} FILE...")


def _key(one: Work | Result) -> tuple[str, str]:
    return one.catalogue, one.track.track_id
