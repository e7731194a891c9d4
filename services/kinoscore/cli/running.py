"""How a command runs: its loop, its signals, its errors and its exit status."""

import asyncio
import errno
import logging
import os
import sys
from collections.abc import Coroutine
from typing import Any

import click
from rich.console import Console

from kinoscore.errors import KinoscoreError

__all__ = ["console", "message", "run"]

_INTERRUPTED = 130


def console() -> Console:
    """The console for messages and progress: stderr, so that stdout holds results only."""
    return Console(stderr=True, highlight=False)


def message(text: str) -> None:
    """One line for people, on stderr."""
    click.echo(text, err=True)


def run(work: Coroutine[Any, Any, Any]) -> None:
    """Runs a command to its end and leaves with its status: 0, 1 after an error, 130 after Ctrl-C.

    An error is one line on stderr; with `--debug` the traceback comes too.
    """
    debug = click.get_current_context().find_root().obj["debug"]
    if not debug:
        # What goes wrong is told as the command's own error.
        logging.getLogger().addHandler(logging.NullHandler())
    try:
        status = asyncio.run(work)
    except KeyboardInterrupt:
        status = _INTERRUPTED
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


def _one_line(error: Exception) -> str:
    if isinstance(error, KinoscoreError):
        return " ".join(error.message.split())
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return "the disk is full; make room and run the command again"
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return f"a defect of kinoscore ({type(error).__name__}); run `kinoscore --debug ...` to see where"
