"""Opening pairs for a command: a progress bar, and what a user should know of them on stderr."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dualpath.progress import Bar

if TYPE_CHECKING:
    from dualpath.data.sources import PairSource

__all__ = ["open_data"]


def open_data(data: Path, splits: Sequence[str], cache: Path | None, workers: int) -> "PairSource":
    """These splits of a world, or of listed files, which are read first; see `open_pairs`."""
    from dualpath.data.listing import is_listing
    from dualpath.data.sources import open_pairs

    if not is_listing(data):
        return open_pairs(data, splits, cache)
    with Bar("reading files") as bar:
        source = open_pairs(data, splits, cache, workers=workers, progress=bar.update)
    for note in source.notes:
        click.echo(note, err=True)
    return source
