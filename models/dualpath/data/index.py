"""The index of a split: which pairs there are, and their labels; and how a world tells it."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dualpath.config import EMOTION_LABELS
from kinoscore.errors import InvalidRequest, NotFound

__all__ = ["NEUTRAL_RADIUS", "PairIndex", "emotion_labels", "read_index", "same_item"]

NEUTRAL_RADIUS = 0.25
"""Valence and arousal this close to the origin are of the class "neutral" (our choice)."""
_PICTURE_PREFIX = "picture_"
_MUSIC_PREFIX = "music_"

Named = TypeVar("Named", str, Path)


@dataclass(frozen=True, slots=True, eq=False)
class PairIndex:
    """The pairs of one split, row by row.

    Attributes:
        videos, tracks: files.
        offsets: float64 [n], where in the track the matching passage begins, in seconds.
        valence_arousal: float32 [n, 2] in -1..1; NaN where a pair's emotion is not known.
        themes: int64 [n], positions in `theme_names`.
        theme_names: sorted.
        attribute_names: content cues that the index holds for both sides.
        video_attributes, music_attributes: float32 [n, a], each side's own value of them.
        video_offsets: float64 [n], where the clip's window begins, in seconds; None is 0.
        video_digests, music_digests: of the content of each side's file. Equal ones are one item: such rows
            are never each other's wrong answer. Empty where every row is an item of its own.
    """

    identifiers: tuple[str, ...]
    videos: tuple[Path, ...]
    tracks: tuple[Path, ...]
    offsets: NDArray[np.float64]
    valence_arousal: NDArray[np.float32]
    themes: NDArray[np.int64]
    theme_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    video_attributes: NDArray[np.float32]
    music_attributes: NDArray[np.float32]
    video_offsets: NDArray[np.float64] | None = None
    video_digests: tuple[str, ...] = ()
    music_digests: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.identifiers)

    @property
    def known_emotion(self) -> NDArray[np.bool_]:
        """[n], whether a pair's emotion is known."""
        return np.asarray(np.isfinite(self.valence_arousal).all(axis=1))

    @property
    def valence_centre(self) -> float:
        """Mean valence of the pairs whose emotion is known; 0 without any."""
        known = self.known_emotion
        return float(self.valence_arousal[known, 0].mean()) if known.any() else 0.0

    def rows(self, rows: NDArray[np.int64]) -> "PairIndex":
        """Some of the pairs, in the order of `rows`, int64 [r]."""

        def chosen(values: tuple[Named, ...]) -> tuple[Named, ...]:
            return tuple(values[row] for row in rows) if values else ()

        return replace(
            self,
            identifiers=chosen(self.identifiers),
            videos=chosen(self.videos),
            tracks=chosen(self.tracks),
            offsets=self.offsets[rows],
            valence_arousal=self.valence_arousal[rows],
            themes=self.themes[rows],
            video_attributes=self.video_attributes[rows],
            music_attributes=self.music_attributes[rows],
            video_offsets=None if self.video_offsets is None else self.video_offsets[rows],
            video_digests=chosen(self.video_digests),
            music_digests=chosen(self.music_digests),
        )

    def items(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """Numbers [r] of the videos and of the tracks of these rows; nothing where no two rows share one."""
        sides = [
            np.unique([digests[row] for row in rows], return_inverse=True)[1].astype(np.int64)
            for digests in (self.video_digests, self.music_digests)
            if digests
        ]
        return tuple(numbers for numbers in sides if len(numbers) and numbers.max() + 1 < len(numbers))


def same_item(items: tuple[NDArray[np.int64], ...], rows: int) -> NDArray[np.bool_]:
    """[r, r] from `PairIndex.items` of r rows: which share a video or a track with another."""
    same = np.zeros((rows, rows), bool)
    for numbers in items:
        same |= numbers[:, None] == numbers[None, :]
    np.fill_diagonal(same, False)
    return same


def read_index(world: Path, split: str) -> PairIndex:
    """Reads <world>/<split>/index.csv, in the order of the file.

    Raises:
        NotFound: there is no index.
        InvalidRequest: a column or a number is missing.
    """
    path = world / split / "index.csv"
    if not path.is_file():
        raise NotFound(f"no {path}: make a world with 'dualpath generate {world}'")
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    if not rows:
        raise InvalidRequest(f"{path} lists no pairs")
    columns = set(rows[0])
    attributes = tuple(
        sorted(
            name.removeprefix(_PICTURE_PREFIX)
            for name in columns
            if name.startswith(_PICTURE_PREFIX)
            and _MUSIC_PREFIX + name.removeprefix(_PICTURE_PREFIX) in columns
        )
    )
    try:
        identifiers = tuple(row["id"] for row in rows)
        names = [row["theme"] for row in rows]
        theme_names = tuple(sorted(set(names)))
        position = {name: number for number, name in enumerate(theme_names)}
        return PairIndex(
            identifiers=identifiers,
            videos=tuple(path.parent / row["clip"] for row in rows),
            tracks=tuple(path.parent / row["track"] for row in rows),
            offsets=np.array([float(row["passage_start"]) for row in rows]),
            valence_arousal=_table(rows, ("valence", "arousal")),
            themes=np.array([position[name] for name in names], dtype=np.int64),
            theme_names=theme_names,
            attribute_names=attributes,
            video_attributes=_table(rows, tuple(_PICTURE_PREFIX + name for name in attributes)),
            music_attributes=_table(rows, tuple(_MUSIC_PREFIX + name for name in attributes)),
        )
    except KeyError as error:
        raise InvalidRequest(f"{path} has no column {error}") from error
    except ValueError as error:
        raise InvalidRequest(f"{path}: {error}") from error


def emotion_labels(valence_arousal: NDArray[np.float32]) -> NDArray[np.int64]:
    """[n, 2] -> [n], positions in EMOTION_LABELS: the quadrant, or neutral near the origin."""
    valence, arousal = valence_arousal[:, 0], valence_arousal[:, 1]
    quadrant = np.select([(valence >= 0) & (arousal >= 0), arousal >= 0, valence < 0], [0, 1, 2], 3)
    neutral = np.hypot(valence, arousal) < NEUTRAL_RADIUS
    return np.where(neutral, EMOTION_LABELS.index("neutral"), quadrant).astype(np.int64)


def _table(rows: list[dict[str, str]], names: tuple[str, ...]) -> NDArray[np.float32]:
    return np.array([[float(row[name]) for name in names] for row in rows], dtype=np.float32).reshape(
        len(rows), -1
    )
