"""How a command runs: its loop, its signals, its errors and its exit status."""

import asyncio
import errno
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import click
from rich.console import Console

from kinoscore.errors import KinoscoreError

__all__ = ["console", "message", "run"]

# As shells count a process that a signal ended: 128 and the signal's number.
_INTERRUPTED = 130
_TERMINATED = 143


def console() -> Console:
    """The console for messages and progress: stderr, so that stdout holds results only."""
    return Console(stderr=True, highlight=False)


def message(text: str) -> None:
    """One line for people, on stderr."""
    click.echo(text, err=True)


def run(work: Coroutine[Any, Any, int | None]) -> None:
    """Runs a command to its end and leaves with its status.

    That is 0, 1 after an error, 130 after Ctrl-C and 143 after SIGTERM; servers and `index` end in good
    order at SIGTERM, and with 0.
    An error is one line on stderr; with `--debug` the traceback comes too.
    """
    debug = click.get_current_context().find_root().obj["debug"]
    # Read when numpy is loaded, after this. Its threads spin after each product, which took Milvus Lite
    # nearly twice the processor time for a search, and the cores from the decoders.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not debug:
        # What goes wrong is told as the command's own error; the libraries' logs would tell it again.
        logging.getLogger().addHandler(logging.NullHandler())
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        status = asyncio.run(_until_terminated(work))
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except asyncio.CancelledError:
        status = _TERMINATED
    except BrokenPipeError:
        # The reader of our output has left (`| head`): nothing more can be said there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except Exception as error:
        if debug:
            raise
        message(f"error: {_one_line(error)}")
        status = 1
    sys.exit(status or 0)


async def _until_terminated(work: Coroutine[Any, Any, int | None]) -> int | None:
    """Runs the work; SIGTERM cancels it, so that it cleans up, unless the work sets a handler of its own."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


def _one_line(error: Exception) -> str:
    if isinstance(error, KinoscoreError):
        return " ".join(error.message.split())
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return "the disk is full; make room and run the command again"
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return f"a defect of kinoscore ({type(error).__name__}); run `kinoscore --debug ...` to see where"
