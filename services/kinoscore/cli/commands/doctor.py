"""`kinoscore doctor`: what is wrong here, and what to do."""

from pathlib import Path
from typing import Any

import click

from kinoscore.cli.options import data_option
from kinoscore.cli.running import run
from kinoscore.cli.settings_options import given, settings_options
from kinoscore.runtime.settings import StackSettings

__all__ = ["command"]

_WIDTH_OF_A_SUBJECT = 26


@click.command(name="doctor")
@data_option
@settings_options(StackSettings)
def command(data: Path, **options: Any) -> None:
    """Check codecs, models, index, cache, port and disks, and say what to do about each finding.

    The options are those of `kinoscore up`: give the same to check the same. The exit status is 1 when
    something is broken.
    """

    async def work() -> int:
        from kinoscore.cli.checks import Verdict, examine

        broken = False
        async for finding in examine(StackSettings.load(**given(options)), data):
            broken = broken or finding.verdict is Verdict.BROKEN
            click.echo(f"{finding.verdict.value:<8}{finding.subject:<{_WIDTH_OF_A_SUBJECT}}{finding.text}")
            if finding.remedy:
                click.echo(f"{'':<8}{'':<{_WIDTH_OF_A_SUBJECT}}-> {finding.remedy}")
        return 1 if broken else 0

    run(work())
