"""`kinoscore up`: all services in one process."""

from pathlib import Path
from typing import Any

import click

from kinoscore.cli.options import data_option
from kinoscore.cli.running import message, run
from kinoscore.cli.settings_options import given, settings_options
from kinoscore.runtime.settings import StackSettings

__all__ = ["command"]


@click.command(name="up")
@data_option
@settings_options(StackSettings)
def command(data: Path, **options: Any) -> None:
    """Run all services in one process, on one port, until SIGTERM or Ctrl-C.

    Each option can be set in the environment or in a settings file too; the command line wins, then the
    environment.
    """

    async def work() -> None:
        from kinoscore.data_folder import DataFolder
        from kinoscore.runtime.telemetry import configure_logging

        settings = StackSettings.load(**given(options))
        configure_logging(settings.log_level)
        folder = DataFolder(data, purpose="up")

        from kinoscore.stack import Stack, local_address

        stack = Stack(folder, settings)
        address = await stack.start()
        folder.announce(local_address(address))
        message(f"kinoscore answers at {address}; its data folder is {data}")
        await stack.serve_until_signal()

    run(work())
