"""Starting and confining the processes in which hostile media is decoded.

`start_process` is the parent's side, `confine` the child's. A child's program is called with a file
descriptor and a memory limit; it writes one line to standard output once it can work, and ends when its
standard input does, so that it never outlives its parent.
"""

import asyncio
import math
import os
import resource
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from kinoscore import errors
from kinoscore.errors import InternalError, KinoscoreError, Unavailable

__all__ = [
    "anonymous_file",
    "confine",
    "end_process",
    "end_with_parent",
    "memory_left",
    "start_process",
    "told_error",
]

START_SECONDS = 30.0
_TOLD: Mapping[str, type[KinoscoreError]] = {
    name: getattr(errors, name)
    for name in ("InvalidMedia", "InvalidRequest", "MediaTooLarge", "NotFound", "InternalError")
}
LINE_LIMIT = 1 << 20


async def start_process(
    module: str, descriptor: int, memory_limit_bytes: int
) -> tuple[asyncio.subprocess.Process, asyncio.StreamWriter, asyncio.StreamReader]:
    """Starts the program `module` and waits for its first line: the process, its input and its output.

    Args:
        module: its function `main` is the program.
        descriptor: of a file or socket that the child inherits.
        memory_limit_bytes: how far its address space may grow above its idle size; on Linux only.

    Raises:
        Unavailable: it did not start in time.
        InternalError: it cannot start.
    """
    process = await asyncio.create_subprocess_exec(
        *_command(module, descriptor, memory_limit_bytes),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        pass_fds=(descriptor,),
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
        limit=LINE_LIMIT,
    )
    assert process.stdin
    assert process.stdout
    try:
        async with asyncio.timeout(START_SECONDS):
            ready = await process.stdout.readline()
    except TimeoutError:
        await end_process(process)
        raise Unavailable(
            f"a decoder process did not start within {START_SECONDS:g} s: the machine is too busy"
        ) from None
    except BaseException:
        await end_process(process)
        raise
    if not ready:
        await end_process(process)
        raise InternalError("a decoder process cannot start; its complaint is on standard error")
    return process, process.stdin, process.stdout


async def end_process(process: asyncio.subprocess.Process) -> None:
    """Kills the process, whatever it does."""
    if process.returncode is None:
        process.kill()
    if process.stdin:
        process.stdin.close()
    await process.wait()


def told_error(name: str, message: str, metadata: Mapping[str, str]) -> KinoscoreError:
    """The error that a child tells, from the name of its class."""
    return _TOLD.get(name, InternalError)(message, metadata=metadata)


def _command(module: str, descriptor: int, memory_limit_bytes: int) -> tuple[str, ...]:
    # The child must find this very package, wherever it was imported from; -P keeps the working folder out.
    folder = str(Path(errors.__file__).parents[1])
    program = f"import sys; sys.path.append(sys.argv.pop()); from {module} import main; main()"
    return sys.executable, "-P", "-c", program, str(descriptor), str(memory_limit_bytes), folder


def confine(memory_limit_bytes: int) -> TextIO:
    """Called first by a child: limits its memory, leaves signals to the parent, and gives its output.

    Whatever a library prints goes to standard error: it must not get between the lines of the conversation.
    """
    # A terminal's Ctrl-C and a supervisor's SIGTERM reach the whole group: the parent decides when its
    # children end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit_memory(memory_limit_bytes)
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return output


def end_with_parent() -> None:
    """Ends this process, whatever it does, when the parent closes its standard input, or is gone."""

    def wait() -> None:
        sys.stdin.read()
        # Not sys.exit: a codec may hang in another thread.
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def anonymous_file() -> int:
    """A descriptor of a file in memory that has no name, so that nothing is left of it, whatever dies."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("kinoscore-decoder")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def memory_left() -> float:
    """By how many bytes the address space may still grow."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return math.inf if limit == resource.RLIM_INFINITY else limit - _address_space_bytes()


def _limit_memory(extra_bytes: int) -> None:
    """Lets the address space grow by so much over that of the idle process; works on Linux only."""
    try:
        limit = _address_space_bytes() + extra_bytes
    except FileNotFoundError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _address_space_bytes() -> int:
    """Of this process. Raises FileNotFoundError where the system does not tell."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
