"""Pairs of media from wherever they come, as the commands see them: a generated world, or a user's files."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dualpath.data.files import read_files
from dualpath.data.index import PairIndex, read_index
from dualpath.data.listing import SPLITS, is_listing
from kinoscore.errors import InvalidRequest, NotFound

__all__ = ["PairSource", "cache_beside", "open_pairs"]

_LEAST_PAIRS = 2
_DIGITS = 12


@dataclass(frozen=True, slots=True, eq=False)
class PairSource:
    """The splits that were asked for.

    Attributes:
        kind: "world" or "files".
        cache: the folder of decoded arrays; each split has one of its own in it.
        splits: name of a split -> its index.
        digests: every split of the data, asked for or not -> 12 hexadecimal digits of what it holds.
        notes: what a user should know, one line each.
    """

    kind: str
    cache: Path
    splits: dict[str, PairIndex]
    digests: dict[str, str] = field(default_factory=dict)
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
        listed = {split: data / split / "index.csv" for split in SPLITS}
        digests = {split: _short(file.read_bytes()) for split, file in listed.items() if file.is_file()}
        return PairSource("world", cache or cache_beside(data), indexes, digests)
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
    every = {split: pairs.of_split(split) for split in SPLITS}
    digests = {split: _short(_content(index)) for split, index in every.items() if len(index)}
    return PairSource("files", cache, indexes, digests, pairs.notes)


def _content(index: PairIndex) -> bytes:
    """What listed files hold and what is told of them, whatever they are called."""
    assert index.video_offsets is not None
    digests = " ".join((*index.video_digests, *index.music_digests)).encode()
    numbers = (index.video_offsets, index.offsets, index.valence_arousal)
    return b"".join((digests, *(values.tobytes() for values in numbers)))


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
