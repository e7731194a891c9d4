"""The common form of paired features, and what is refused.

Every layout ends here, so every method sees the same arrays: a fixed number of tokens an item, whatever its
length. That matters: the length of a music video and of its track identify the pair, so a number of tokens,
or of samples in a token, that depends on it would be an answer key.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kinoscore.errors import InvalidRequest

__all__ = ["POLARITY", "FeaturePairs", "LabelledMusic", "check_pairs", "require_tokens"]

POLARITY = {
    "exciting": 1.0,
    "joyful": 1.0,
    "calm": 1.0,
    "relax": 1.0,
    "relaxing": 1.0,
    "neutral": 0.0,
    "fear": -1.0,
    "fearful": -1.0,
    "tense": -1.0,
    "sad": -1.0,
}
"""The sign of valence of an emotion's name; unknown names count 0. Our choice."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledMusic:
    """Music without video, for emotion alone: tokens float32 [m, t, d] and classes float32 [m, e]."""

    tokens: NDArray[np.float32]
    emotion: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True, eq=False)
class FeaturePairs:
    """n rows of a video and a music each.

    Attributes:
        identifiers: one a row.
        splits: "train", "val" or "test" of each row.
        video: float32 [n, t, dv]. music: float32 [n, t', dm].
        video_blocks: widths of the parts of a video token that are of one kind; they sum to dv.
        groups: int64 [n]; rows that share a source have the same number and never part in a fold.
        match: bool [n], whether the two sides belong together; only such rows are pairs to retrieve.
        emotion_names: e names.
        video_emotion, music_emotion: float32 [n, e] or None. Classes of both sides sum to 1 with one entry
            1.0; scores that a machine gave the video are any numbers (`emotion_is_score`).
        more_music: labelled music beyond the pairs, or None.
    """

    identifiers: tuple[str, ...]
    splits: tuple[str, ...]
    video: NDArray[np.float32]
    music: NDArray[np.float32]
    video_blocks: tuple[int, ...]
    groups: NDArray[np.int64]
    match: NDArray[np.bool_]
    emotion_names: tuple[str, ...] = ()
    video_emotion: NDArray[np.float32] | None = None
    music_emotion: NDArray[np.float32] | None = None
    emotion_is_score: bool = False
    more_music: LabelledMusic | None = None

    def __len__(self) -> int:
        return len(self.identifiers)

    def rows(self, which: NDArray[np.int64]) -> "FeaturePairs":
        """These rows, in this order."""
        return replace(
            self,
            identifiers=tuple(self.identifiers[row] for row in which),
            splits=tuple(self.splits[row] for row in which),
            video=self.video[which],
            music=self.music[which],
            groups=self.groups[which],
            match=self.match[which],
            video_emotion=None if self.video_emotion is None else self.video_emotion[which],
            music_emotion=None if self.music_emotion is None else self.music_emotion[which],
        )

    def matching(self) -> "FeaturePairs":
        """The rows that belong together."""
        return self if self.match.all() else self.rows(np.flatnonzero(self.match))

    def digest(self) -> str:
        """A short hash of everything here; results of other data are not mixed with these."""
        more = self.more_music
        words = (self.identifiers, self.splits, self.video_blocks, self.emotion_names, self.emotion_is_score)
        content = hashlib.sha256(repr(words).encode())
        for values in (
            *(self.video, self.music, self.groups, self.match, self.video_emotion, self.music_emotion),
            *(() if more is None else (more.tokens, more.emotion)),
        ):
            if values is None:
                content.update(b"none")
                continue
            content.update(repr((values.dtype.str, values.shape)).encode())
            content.update(np.ascontiguousarray(values).tobytes())
        return content.hexdigest()[:12]


def require_tokens(values: NDArray[np.generic], name: str, width: int | None = None) -> NDArray[np.float32]:
    """A 2-D array of finite numbers as float32.

    Raises:
        InvalidRequest: it is empty, not of two axes, of another width, or holds NaN or infinity.
    """
    if values.ndim != 2 or not values.size:
        raise InvalidRequest(f"{name} is not [tokens, width] but of shape {values.shape}")
    if width is not None and values.shape[1] != width:
        raise InvalidRequest(f"{name} is {values.shape[1]} wide, the others {width}: extract it again")
    if not np.isfinite(values.astype(np.float32)).all():
        raise InvalidRequest(f"{name} holds NaN or infinity: extract it again or leave it out")
    return values.astype(np.float32)


def check_pairs(pairs: FeaturePairs) -> FeaturePairs:
    """The same pairs, or a refusal.

    Raises:
        InvalidRequest: NaN, widths that do not add up, one row in two splits, one content under two names.
    """
    for name, values in (("video", pairs.video), ("music", pairs.music)):
        if values.ndim != 3 or len(values) != len(pairs):
            raise InvalidRequest(f"{name} features are [pairs, tokens, width], not of shape {values.shape}")
        bad = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))
        if len(bad):
            raise InvalidRequest(
                f"the {name} features of {pairs.identifiers[bad[0]]} hold NaN or infinity: "
                "extract them again or leave the pair out"
            )
    if sum(pairs.video_blocks) != pairs.video.shape[2]:
        raise InvalidRequest(f"blocks {pairs.video_blocks} do not fill a width of {pairs.video.shape[2]}")
    _refuse_two_splits(pairs.identifiers, pairs.splits)
    _refuse_duplicates(pairs)
    return pairs


def _refuse_two_splits(identifiers: Sequence[str], splits: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for identifier, split in zip(identifiers, splits, strict=True):
        if identifier in seen:
            where = f"twice in {split}" if seen[identifier] == split else f"in {seen[identifier]} and {split}"
            raise InvalidRequest(f"pair {identifier} is listed {where}: keep one of them")
        seen[identifier] = split


def _refuse_duplicates(pairs: FeaturePairs) -> None:
    """The same two contents under two names would be each other's wrong answer, or leak between splits."""
    holders: dict[bytes, list[int]] = defaultdict(list)
    for row in range(len(pairs)):
        content = hashlib.sha256(pairs.video[row].tobytes() + pairs.music[row].tobytes())
        holders[content.digest()].append(row)
    for rows in holders.values():
        if len(rows) > 1:
            first, second = (pairs.identifiers[row] for row in rows[:2])
            raise InvalidRequest(f"{first} and {second} hold the same features: leave one of them out")
