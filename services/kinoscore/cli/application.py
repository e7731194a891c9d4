"""The root command: names every sub-command, and loads one only when it is called."""

from importlib import import_module

import click

from kinoscore import __version__

__all__ = ["main"]


class LazyGroup(click.Group):
    """A group whose sub-commands live in modules that are imported when they are called.

    Args:
        modules: for each command the module that defines it as `command`, and the line for the group's help.
    """

    def __init__(self, *, modules: dict[str, tuple[str, str]], **attributes: object) -> None:
        super().__init__(**attributes)  # type: ignore[arg-type]
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._modules:
            return None
        module, _ = self._modules[cmd_name]
        command: click.Command = import_module(module).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._modules.items()])


@click.group(
    cls=LazyGroup,
    modules={
        "demo": (
            "kinoscore.cli.commands.demo",
            "Make a small library and two clips, and recommend for them.",
        ),
        "index": ("kinoscore.cli.commands.index", "Add audio files to a catalogue, or bring it up to date."),
        "recommend": ("kinoscore.cli.commands.recommend", "Rank the tracks of a catalogue for a video."),
        "live": ("kinoscore.cli.commands.live", "Rank tracks for a stream while it plays."),
        "tracks": ("kinoscore.cli.commands.tracks", "List, show and remove the tracks of a catalogue."),
        "up": ("kinoscore.cli.commands.up", "Run all services in one process."),
        "serve": ("kinoscore.cli.commands.serve", "Run one service."),
        "health": ("kinoscore.cli.commands.health", "Ask a server whether it serves."),
        "ranking": ("kinoscore.cli.commands.ranking", "Prepare the vector store of the ranking service."),
        "spaces": (
            "kinoscore.cli.commands.spaces",
            "Show the embedding spaces of a vector store, and choose the one searched.",
        ),
        "reindex": (
            "kinoscore.cli.commands.reindex",
            "Encode the tracks of one embedding space for another.",
        ),
        "models": (
            "kinoscore.cli.commands.models",
            "Check a model repository, or write one for another target.",
        ),
        "doctor": ("kinoscore.cli.commands.doctor", "Check this installation and say what to do."),
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="kinoscore")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
@click.pass_context
def main(context: click.Context, debug: bool) -> None:
    """Recommends background music for video.

    Try `kinoscore demo` first; then `kinoscore index FOLDER` and `kinoscore recommend clip.mp4`.
    """
    context.obj = {"debug": debug}
