"""Pairs of media from wherever they come, as the commands see them: a generated world, or a user's files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dualpath.data.files import read_files
from dualpath.data.index import PairIndex, read_index
from dualpath.data.listing import is_listing
from kinoscore.errors import InvalidRequest, NotFound

__all__ = ["PairSource", "cache_beside", "open_pairs"]

_LEAST_PAIRS = 2


@dataclass(frozen=True, slots=True, eq=False)
class PairSource:
    """The splits that were asked for.

    Attributes:
        kind: "world" or "files".
        cache: the folder of decoded arrays; each split has one of its own in it.
        splits: name of a split -> its index.
        notes: what a user should know, one line each.
    """

    kind: str
    cache: Path
    splits: dict[str, PairIndex]
    notes: tuple[str, ...] = ()


def cache_beside(data: Path) -> Path:
    """Where decoded arrays are kept by default: NAME.cache beside a CSV, cache in a folder."""
    return data.with_suffix(".cache") if data.is_file() else data / "cache"


def open_pairs(
    data: Path,
    splits: Sequence[str],
    cache: Path | None = None,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PairSource:
    """Finds out what `data` is and reads these splits of it.

    Args:
        data: the folder of a world, or what `read_listing` reads.
        cache: the default is `cache_beside`.
        progress: called with (files read, files in all); a world's files are not read.

    Raises:
        NotFound: there is nothing of the kind.
        InvalidRequest: see `read_index` and `read_files`; fewer than two pairs in a split.
    """
    if not is_listing(data):
        if not any((data / split / "index.csv").is_file() for split in splits):
            raise NotFound(
                f"{data} is no CSV, no folder with pairs.csv or videos/, and no world: "
                f"make one with 'dualpath generate {data}'"
            )
        indexes = {split: read_index(data, split) for split in splits}
        return PairSource("world", cache or cache_beside(data), indexes)
    cache = cache or cache_beside(data)
    pairs = read_files(data, cache, workers=workers, progress=progress)
    indexes = {split: pairs.of_split(split) for split in splits}
    for split, index in indexes.items():
        if len(index) < _LEAST_PAIRS:
            raise InvalidRequest(
                f"{data} has {len(index)} pairs for {split}, {_LEAST_PAIRS} are the least: "
                "name the splits in a column 'split', or add pairs",
                field="split",
            )
    return PairSource("files", cache, indexes, pairs.notes)
