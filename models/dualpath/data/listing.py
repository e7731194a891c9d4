"""Which files belong together: a CSV, or a folder of equal names. Nothing is opened here.

CSV: a header, then one pair a row; paths are relative to the CSV.

    video         a file with moving pictures
    music         a file with sound; empty, or no such column: the video's own sound
    split         train, validation or test, in every row or in none
    emotion       a name, see `EMOTION_POINTS`
    valence, arousal   in -1..1; they win over `emotion`. Any row may leave its emotion out.
    video_start   where in the video its window begins, s
    music_start   what second of the music sounds at the beginning of the video

Folder: videos/NAME.* beside music/NAME.*, a pair for each name; without a folder music each video has its own
sound. A folder that holds pairs.csv is that CSV.
"""

import csv
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dualpath.config import EMOTION_LABELS, nearest
from kinoscore.errors import InvalidRequest, NotFound

__all__ = ["EMOTION_POINTS", "SPLITS", "ListedPair", "is_listing", "read_listing"]

SPLITS = ("train", "validation", "test")
_SPLIT_NAMES = {**{name: name for name in SPLITS}, "val": "validation", "valid": "validation"}
_COLUMNS = (
    *("video", "music", "split", "emotion", "valence", "arousal"),
    *("video_start", "music_start"),
)
_POINTS = ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5), (0.0, 0.0))
EMOTION_POINTS: Mapping[str, tuple[float, float]] = {
    **dict(zip(EMOTION_LABELS, _POINTS, strict=True)),
    "happy": (0.5, 0.5),
    "exciting": (0.5, 0.5),
    "fear": (-0.5, 0.5),
    "angry": (-0.5, 0.5),
    "relax": (0.5, -0.5),
}
"""Valence and arousal of a named emotion: the middle of its quadrant (our choice)."""
_NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class ListedPair:
    """A pair as it is listed.

    Attributes:
        name: unique within the listing.
        music: the video itself where its own sound is the music.
        split: one of SPLITS, or "" where the listing has none.
        valence_arousal: None where no emotion is told.
        video_start, music_start: seconds, None where they are not told.
    """

    name: str
    video: Path
    music: Path
    split: str = ""
    valence_arousal: tuple[float, float] | None = None
    video_start: float | None = None
    music_start: float | None = None


def is_listing(data: Path) -> bool:
    """Whether this is a CSV of files or a folder of files, and no generated world."""
    return data.is_file() or (data / "pairs.csv").is_file() or (data / "videos").is_dir()


def read_listing(data: Path) -> tuple[list[ListedPair], tuple[str, ...]]:
    """The pairs in their order, and the columns of the CSV that have no meaning here.

    Raises:
        NotFound: files that are listed do not exist; the message names them.
        InvalidRequest: a column is missing, a value does not parse, a pair is listed twice.
    """
    if not data.is_file() and (data / "pairs.csv").is_file():
        data = data / "pairs.csv"
    pairs, unused = _read_csv(data) if data.is_file() else (_read_folder(data), ())
    if not pairs:
        raise InvalidRequest(f"{data} lists no pairs")
    _refuse_twice(pairs, data)
    missing = dict.fromkeys(
        str(file) for pair in pairs for file in (pair.video, pair.music) if not file.is_file()
    )
    if missing:
        raise NotFound(f"{data} lists files that do not exist: {name_some(missing)}")
    return pairs, unused


def name_some(names: Iterable[str]) -> str:
    """The first five, and how many more there are."""
    listed = list(names)
    more = len(listed) - _NAMED_AT_MOST
    return ", ".join(listed[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _read_csv(path: Path) -> tuple[list[ListedPair], tuple[str, ...]]:
    try:
        # A spreadsheet begins its CSV with a byte order mark.
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"{path} is no CSV in UTF-8: {error}") from error
    columns = [name for name in rows[0] if name] if rows else []
    if rows and "video" not in columns:
        raise InvalidRequest(
            f"{path} has no column 'video' but {', '.join(columns)}: its first line is 'video,music', more "
            "columns may follow",
            field="video",
        )
    unknown = [name for name in columns if name not in _COLUMNS]
    meant = difflib.get_close_matches("music", unknown, n=1)
    if meant and "music" not in columns:
        raise InvalidRequest(
            f"{path} has no column 'music' but {meant[0]!r}: call it music, or remove it where the videos' "
            "own sound is the music",
            field="music",
        )
    if ("valence" in columns) != ("arousal" in columns):
        raise InvalidRequest(f"{path} has one of the columns valence and arousal: both are needed")
    pairs = [_pair(row, path, number) for number, row in enumerate(rows, start=2)]
    told = [number for number, pair in enumerate(pairs, start=2) if pair.split]
    if told and len(told) < len(pairs):
        first = min(set(range(2, len(pairs) + 2)) - set(told))
        raise InvalidRequest(
            f"{path}, row {first} has no split, others have: tell it in every row or in none"
        )
    return pairs, tuple(unknown)


def _pair(row: Mapping[str, str | None], path: Path, number: int) -> ListedPair:
    cells = {name: (row.get(name) or "").strip() for name in _COLUMNS}
    where = f"{path}, row {number}"
    if not cells["video"]:
        raise InvalidRequest(f"{where} names no video")
    split = _SPLIT_NAMES.get(cells["split"].lower(), "")
    if cells["split"] and not split:
        raise InvalidRequest(f"{where}: split is train, validation or test, not {cells['split']!r}")
    music = cells["music"] or cells["video"]
    return ListedPair(
        name=f"{cells['video']}+{cells['music'] or 'its own sound'}{_starts(cells)}",
        video=path.parent / cells["video"],
        music=path.parent / music,
        split=split,
        valence_arousal=_emotion(cells, where),
        video_start=_number(cells, "video_start", where, 0.0, float("inf")),
        music_start=_number(cells, "music_start", where, 0.0, float("inf")),
    )


def _starts(cells: Mapping[str, str]) -> str:
    told = [cells[name] for name in ("video_start", "music_start")]
    return f"@{'/'.join(told)}" if any(told) else ""


def _emotion(cells: Mapping[str, str], where: str) -> tuple[float, float] | None:
    valence, arousal = (_number(cells, name, where, -1.0, 1.0) for name in ("valence", "arousal"))
    if (valence is None) != (arousal is None):
        raise InvalidRequest(f"{where} has one of valence and arousal: both or none are needed")
    if valence is not None and arousal is not None:
        return valence, arousal
    name = cells["emotion"].lower()
    if not name:
        return None
    if name not in EMOTION_POINTS:
        raise InvalidRequest(
            f"{where}: no emotion {cells['emotion']!r}{nearest(name, EMOTION_POINTS)}; known are "
            f"{', '.join(EMOTION_POINTS)}",
            field="emotion",
        )
    return EMOTION_POINTS[name]


def _number(cells: Mapping[str, str], name: str, where: str, low: float, high: float) -> float | None:
    if not cells[name]:
        return None
    try:
        value = float(cells[name])
    except ValueError:
        value = float("nan")
    if not low <= value <= high or value == float("inf"):
        span = f"{low:g} to {high:g}" if high < float("inf") else "0 or more"
        raise InvalidRequest(f"{where}: {name} is a number, {span}, not {cells[name]!r}", field=name)
    return value


def _read_folder(folder: Path) -> list[ListedPair]:
    videos = _by_stem(folder / "videos")
    if not (folder / "music").is_dir():
        return [
            ListedPair(name=f"videos/{file.name}+its own sound", video=file, music=file)
            for file in videos.values()
        ]
    music = _by_stem(folder / "music")
    alone = [
        str(file)
        for side, other in ((videos, music), (music, videos))
        for stem, file in side.items()
        if stem not in other
    ]
    if alone:
        raise InvalidRequest(
            f"{folder}: videos/NAME and music/NAME belong together; these have no partner: {name_some(alone)}"
        )
    return [
        ListedPair(name=f"videos/{file.name}+music/{music[stem].name}", video=file, music=music[stem])
        for stem, file in videos.items()
    ]


def _by_stem(folder: Path) -> dict[str, Path]:
    """Name without its ending -> file, in order of the names; hidden files are left out."""
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if not file.is_file() or file.name.startswith("."):
            continue
        if file.stem in found:
            raise InvalidRequest(f"{found[file.stem]} and {file.name} have one name: keep one of them")
        found[file.stem] = file
    return found


def _refuse_twice(pairs: list[ListedPair], data: Path) -> None:
    seen: dict[tuple[object, ...], str] = {}
    for pair in pairs:
        key = (pair.video.resolve(), pair.music.resolve(), pair.video_start, pair.music_start)
        if key in seen:
            where = f"in {seen[key]} and {pair.split}" if seen[key] != pair.split else "twice"
            raise InvalidRequest(f"{data}: the pair {pair.name} is listed {where}: keep one of them")
        seen[key] = pair.split
