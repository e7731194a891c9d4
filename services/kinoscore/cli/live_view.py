"""What `kinoscore live` sends and shows."""

import asyncio
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kinoscore import EmotionPoint, Frame, LiveUpdate
from kinoscore.cli.presentation import clock, printable

if TYPE_CHECKING:
    from kinoscore.media.recording import StreamRecorder

__all__ = ["LiveView", "played"]

# The models sample 2 frames a second: twice that leaves them a choice.
_FRAMES_A_SECOND = 4.0
_LEVELS = "▁▂▃▄▅▆▇█"
_CURVE_POINTS = 60
_KEY_FRAMES_SHOWN = 8

T = TypeVar("T")


async def played(
    source: str, *, is_paced: bool, recorder: "StreamRecorder | None" = None
) -> AsyncIterator[Frame]:
    """The pictures of a source; a paced one gives each no earlier than it would be shown.

    Args:
        recorder: is given all pictures, also those that are not wanted here.

    Raises:
        KinoscoreError: as `kinoscore.media.live_source.iter_pictures`.
    """
    from kinoscore.media.live_source import iter_pictures

    # Not sys.stdin: its lock cannot be had at the end while a thread waits in it.
    file = os.fdopen(os.dup(0), "rb", buffering=0) if source == "-" else source
    started = time.monotonic()
    async for picture in _in_background(iter_pictures(file, _FRAMES_A_SECOND, recorder)):
        if is_paced:
            await asyncio.sleep(started + picture.timestamp_seconds - time.monotonic())
        yield Frame(picture.jpeg, picture.timestamp_seconds)


async def _in_background(items: Iterator[T]) -> AsyncIterator[T]:
    """Each item when it is asked for, from a thread that nothing waits for: a source that has fallen silent
    cannot be interrupted, and must not keep the command from ending."""
    loop = asyncio.get_running_loop()
    wanted: queue.SimpleQueue[asyncio.Future[T | None] | None] = queue.SimpleQueue()

    def settle(answer: "asyncio.Future[T | None]", item: T | None, error: Exception | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(item)
        else:
            answer.set_exception(error)

    def work() -> None:
        while (answer := wanted.get()) is not None:
            item, failure = None, None
            try:
                item = next(items, None)
            except Exception as error:
                failure = error
            # The loop is closed where the command has ended meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, answer, item, failure)

    threading.Thread(target=work, name="kinoscore-source", daemon=True).start()
    try:
        while True:
            answer: asyncio.Future[T | None] = loop.create_future()
            wanted.put(answer)
            item = await answer
            if item is None:
                return
            yield item
    finally:
        wanted.put(None)


class LiveView:
    """A terminal view that each update replaces; where stdout is no terminal, the last one stays.

    Args:
        source: as the user named it.
        is_shown: otherwise nothing is drawn.

    Attributes:
        last: the last update.
    """

    def __init__(self, source: str, *, is_shown: bool) -> None:
        self._source = printable(source)
        self._curve: deque[EmotionPoint] = deque(maxlen=_CURVE_POINTS)
        self.last: LiveUpdate | None = None
        width = None if sys.stdout.isatty() else 120
        console = Console(highlight=False, markup=False, width=width)
        self._live = Live(console=console, auto_refresh=False) if is_shown else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()
            # Rich ends the last line at a terminal only.
            if self.last is not None and not self._live.console.is_terminal:
                self._live.console.line()

    def show(self, update: LiveUpdate) -> None:
        """Draws an update in the place of the last one."""
        self.last = update
        if not update.ending:
            self._curve.append(update.emotion_now)
        if self._live:
            self._live.update(self._drawn(update), refresh=True)

    def _drawn(self, update: LiveUpdate) -> Group:
        losses = update.losses
        lost = f", {losses.frames_dropped} frames dropped" if losses.frames_dropped else ""
        lost += f", {losses.frames_damaged} damaged" if losses.frames_damaged else ""
        lost += f", {losses.gap_seconds:.0f} s without encoder" if losses.gap_seconds else ""
        now = update.emotion_now
        times = ", ".join(clock(frame.timestamp_seconds) for frame in update.key_frames[-_KEY_FRAMES_SHOWN:])
        lines = [
            f"{self._source}  {clock(update.stream_seconds)}  lag {update.lag_seconds:.1f} s{lost}",
            f"valence {now.valence:+.2f}  {sparkline([point.valence for point in self._curve])}",
            f"arousal {now.arousal:+.2f}  {sparkline([point.arousal for point in self._curve])}",
            f"key frames {times}",
            *(f"warning: {printable(warning)}" for warning in update.warnings),
        ]
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("", "#", "title", "artist", "passage", "score"):
            table.add_column(name, justify="right" if name in ("#", "score") else "left", no_wrap=True)
        for hit in update.hits:
            end = hit.passage_start_seconds + hit.passage_duration_seconds
            cells = [
                _mark(hit.track.track_id, update),
                str(hit.rank),
                hit.track.title,
                hit.track.artist,
                f"{clock(hit.passage_start_seconds)}-{clock(end)}",
                f"{hit.score:.3f}",
            ]
            table.add_row(*(Text(printable(cell)) for cell in cells))
        return Group(*(Text(line) for line in lines), table)


def sparkline(values: list[float]) -> str:
    """Numbers from -1 to 1 as a row of blocks."""
    top = len(_LEVELS) - 1
    return "".join(_LEVELS[min(top, max(0, round((value + 1) / 2 * top)))] for value in values)


def _mark(track_id: str, update: LiveUpdate) -> str:
    if track_id in update.changes.entered:
        return "+"
    return "~" if track_id in update.changes.moved else ""
