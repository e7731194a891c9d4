"""The server that a command talks to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kinoscore import AsyncClient
from kinoscore.data_folder import DataFolder
from kinoscore.errors import DataFolderInUse, KinoscoreError

if TYPE_CHECKING:
    from kinoscore.stack import Stack

__all__ = ["Connection", "connected"]

# `kinoscore up` loads its models before it serves; a command that comes meanwhile waits this long for it.
_START_SECONDS = 20.0
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Connection:
    """A client of the server; `stack` is set where the services run in this process."""

    client: AsyncClient
    stack: "Stack | None"


@asynccontextmanager
async def connected(*, data: Path, address: str | None, purpose: str) -> AsyncIterator[Connection]:
    """Talks to `address`; without one to the running `kinoscore up` that owns the data folder, or else to the
    whole stack in this process.

    Raises:
        DataFolderInUse: a process that does not serve owns the folder.
        KinoscoreError: the stack cannot be started.
    """
    if address is None:
        stack, address = await _stack_or_owner(data, purpose)
    else:
        stack = None
    try:
        async with AsyncClient(address) as client:
            yield Connection(client, stack)
    finally:
        if stack is not None:
            await stack.close()


async def _stack_or_owner(data: Path, purpose: str) -> "tuple[Stack | None, str]":
    """The stack in this process with its address, or the address of the process that owns the data folder."""
    owned = await _folder_or_address(data, purpose)
    if isinstance(owned, str):
        return None, owned

    from kinoscore.runtime.settings import StackSettings
    from kinoscore.stack import Stack

    try:
        # A free port, and none for metrics, so that the command disturbs no server.
        settings = StackSettings.load(host="127.0.0.1", port=0, metrics_port=0, log_level="error")
        stack = Stack(owned, settings)
    except KinoscoreError:
        owned.release()
        raise
    return stack, await stack.start()


async def _folder_or_address(data: Path, purpose: str) -> DataFolder | str:
    """The data folder as ours, or the address at which its owner serves."""
    clock = asyncio.get_running_loop().time
    latest = clock() + _START_SECONDS
    while True:
        try:
            return DataFolder(data, purpose=purpose)
        except DataFolderInUse as error:
            if address := error.metadata.get("address"):
                return address
            if error.metadata.get("purpose") != "up" or clock() > latest:
                raise
        await asyncio.sleep(_LOOK_SECONDS)
