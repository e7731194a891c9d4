"""`kinoscore serve`: one service, wired to the others by settings."""

from typing import Any

import click

from kinoscore.cli.running import message, run
from kinoscore.cli.settings_options import given, settings_options
from kinoscore.runtime.settings import (
    FusionSettings,
    MusicSettings,
    RankingSettings,
    RecommendSettings,
    ServerSettings,
    VideoSettings,
)

__all__ = ["command"]


@click.group(name="serve")
def command() -> None:
    """Run one service until SIGTERM or Ctrl-C.

    Each option can be set in the environment or in a settings file too; the command line wins, then the
    environment.
    """


def _add(name: str, model: type[ServerSettings], help_line: str) -> None:
    @command.command(name=name, help=help_line)
    @settings_options(model)
    def serve(**options: Any) -> None:
        run(_serve(name, model, given(options)))


async def _serve(name: str, model: type[ServerSettings], options: dict[str, Any]) -> None:
    from kinoscore.runtime.telemetry import configure_logging
    from kinoscore.stack import serve_one

    settings = model.load(**options)
    configure_logging(settings.log_level)
    await serve_one(name, settings, lambda address: message(f"kinoscore {name} answers at {address}"))


_add("video", VideoSettings, "Encode video.")
_add("music", MusicSettings, "Encode music.")
_add("fusion", FusionSettings, "Map content and emotion into the fused space.")
_add("ranking", RankingSettings, "Keep the index, search it and rank what is found.")
_add("recommend", RecommendSettings, "Be the front door to the other four.")
