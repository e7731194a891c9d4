"""The whole stack in the process of a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from kinoscore import AsyncClient
from kinoscore.data_folder import DataFolder
from kinoscore.runtime.settings import StackSettings
from kinoscore.stack import Stack

__all__ = ["running_stack"]


@asynccontextmanager
async def running_stack(folder: Path, settings: StackSettings) -> AsyncIterator[tuple[AsyncClient, Stack]]:
    """A stack over a folder for its data, and a client of it; closed whatever the test meets.

    One that stayed open would keep the process of the tests from ending.
    """
    stack = Stack(DataFolder(folder, purpose="test"), settings)
    address = await stack.start()
    try:
        async with AsyncClient(address) as client:
            yield client, stack
    finally:
        await stack.close()
