"""emomv: segments of music videos; each row is a video vector, a music vector, and whether they match.

Layout of a folder: `<set>_<split>.csv` (row, name, match, video_emotion, music_emotion) and, beside it, .npz
with `slowfast` [n, 2304] and `vggish` [n, 128]. `..._audio_only` sets hold music alone; they are labelled
music beyond the pairs, read on demand: they share sources with a withheld split.

A row's name is its source video, or two of them joined by `_PAIR_`: the video of the first, the music of the
second. Rows that share a source, directly or through other rows, are one group. A match is equality of the
two emotions, so a good figure here shows that emotion was learned, not that retrieval gains by it.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualpath.data.features.loading import load_archive, read_rows
from dualpath.data.features.pairs import FeaturePairs, LabelledMusic, check_pairs, require_tokens
from kinoscore.errors import InvalidRequest, NotFound

__all__ = ["EMOTIONS", "read_emomv", "source_groups"]

EMOTIONS = ("exciting", "fear", "tense", "relax", "sad")
_SEGMENT = re.compile(r"(_\d+|-\d+-of-\d+)$")
_COLUMNS = ("name", "match", "video_emotion", "music_emotion")


def read_emomv(folder: Path, *, more_music: bool = False) -> FeaturePairs:
    """All sets of the folder that hold both modalities.

    Args:
        more_music: read the music-only sets of training too.

    Raises:
        NotFound: no set with both modalities.
        InvalidRequest: see `check_pairs`; columns or arrays missing, files that cannot be read, an unknown
            emotion, or a match that is not 1 or 0.
    """
    identifiers, splits, sources = [], [], []
    video, music, match, video_emotion, music_emotion = [], [], [], [], []
    extra: list[LabelledMusic] = []
    for table in sorted(folder.glob("*.csv")):
        alone = table.stem.endswith("_audio_only")
        if alone and not (more_music and "train" in table.stem):
            continue
        rows = _rows(table)
        vggish = _array(table, "vggish", len(rows), 128)
        heard = _classes(table, [row["music_emotion"] for row in rows])
        if alone:
            extra.append(LabelledMusic(vggish[:, None], heard))
            continue
        names = [row["name"] for row in rows]
        identifiers += [f"{table.stem}/{name}" for name in names]
        splits += [next((split for split in ("train", "val", "test") if split in table.stem), "train")] * len(
            rows
        )
        sources += [tuple(_SEGMENT.sub("", part) for part in name.split("_PAIR_")) for name in names]
        match += [row["match"] == "1" for row in rows]
        video.append(_array(table, "slowfast", len(rows), 2304))
        music.append(vggish)
        video_emotion.append(_classes(table, [row["video_emotion"] for row in rows]))
        music_emotion.append(heard)
    if not identifiers:
        raise NotFound(f"{folder} holds no set with both modalities: is it a folder of emomv?")
    return check_pairs(
        FeaturePairs(
            identifiers=tuple(identifiers),
            splits=tuple(splits),
            video=np.concatenate(video)[:, None],
            music=np.concatenate(music)[:, None],
            video_blocks=(2304,),
            groups=source_groups(sources),
            match=np.array(match),
            emotion_names=EMOTIONS,
            video_emotion=np.concatenate(video_emotion),
            music_emotion=np.concatenate(music_emotion),
            more_music=LabelledMusic(
                np.concatenate([one.tokens for one in extra]), np.concatenate([one.emotion for one in extra])
            )
            if extra
            else None,
        )
    )


def source_groups(sources: Sequence[tuple[str, ...]]) -> NDArray[np.int64]:
    """Numbers of connected rows: rows of a common source have the same number. [n] tuples -> [n]."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for names in sources:
        for name in names[1:]:
            parent[root(names[0])] = root(name)
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(root(names[0]), len(numbers)) for names in sources], np.int64)


def _rows(table: Path) -> list[dict[str, str]]:
    rows = read_rows(table, _COLUMNS)
    for number, row in enumerate(rows, start=2):
        if row["match"] not in ("0", "1"):
            raise InvalidRequest(f"{table}, row {number}: match is 1 or 0, not {row['match']!r}")
    return rows


def _array(table: Path, name: str, count: int, width: int) -> NDArray[np.float32]:
    archive = table.with_suffix(".npz")
    if not archive.is_file():
        raise NotFound(f"no {archive} beside {table.name}")
    values = require_tokens(load_archive(archive, [name])[name], f"{name} of {archive}", width)
    if len(values) != count:
        raise InvalidRequest(f"{archive}: {name} has {len(values)} rows, {table.name} {count}")
    return values


def _classes(table: Path, names: list[str]) -> NDArray[np.float32]:
    """One-hot [n, 5]; set C writes the names with a capital."""
    try:
        positions = [EMOTIONS.index(name.lower()) for name in names]
    except ValueError as error:
        raise InvalidRequest(f"{table}: {error}; emotions are {', '.join(EMOTIONS)}") from error
    return np.eye(len(EMOTIONS), dtype=np.float32)[positions]
