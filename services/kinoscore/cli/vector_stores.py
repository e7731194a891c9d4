"""The vector store that a command works on without a server of kinoscore in between."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kinoscore.cli.options import data_option
from kinoscore.cli.settings_options import settings_options
from kinoscore.data_folder import DataFolder
from kinoscore.runtime.settings import RankingSettings

__all__ = ["owned_store", "store_options"]


def store_options(*settings: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that say which store is meant, and those for the named settings of the ranking service."""
    wanted = {"settings", "vectors", *settings}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        return data_option(
            settings_options(RankingSettings, leave_out=RankingSettings.model_fields.keys() - wanted)(command)
        )

    return decorate


@contextmanager
def owned_store(settings: RankingSettings, data: Path, *, purpose: str) -> Iterator[str]:
    """The folder or the URL of the store; the data folder is owned meanwhile where the store is a part of it.

    Raises:
        DataFolderInUse: another process owns the data folder.
    """
    from kinoscore.stack import vector_store

    location = vector_store(settings, data)
    if "vectors" in settings.model_fields_set:
        yield location
        return
    folder = DataFolder(data, purpose=purpose)
    try:
        yield location
    finally:
        folder.release()
