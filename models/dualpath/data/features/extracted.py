"""Features that `dualpath features` extracted from a user's own files.

Layout of a folder: `features.json` (which backbones, their rates and widths), `pairs.csv` with the columns
id, split, group, video, music, video_start, music_start, valence, arousal; `video/<item>.npy` [frames, width]
and `music/<item>.npy` [windows, width], one file a content.

Tokens: eight, spread evenly over the span that a pair has in common, each the nearest frame and the nearest
window, so that no token tells how long an item is. The span is the whole of both where the music is as long
as the video; from `music_start` on, as long as the video, where that is told; else each side's own whole.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualpath.config import EMOTION_LABELS
from dualpath.data.features.loading import load_array, load_json, read_rows
from dualpath.data.features.pairs import FeaturePairs, check_pairs, require_tokens
from dualpath.data.index import emotion_labels
from kinoscore.errors import InvalidRequest, NotFound

__all__ = ["COLUMNS", "FORMAT", "TOKENS", "read_extracted"]

FORMAT = 1
TOKENS = 8
COLUMNS = ("id", "split", "group", "video", "music", "video_start", "music_start", "valence", "arousal")
_SPLITS = {"train": "train", "validation": "val", "test": "test"}


def read_extracted(folder: Path) -> FeaturePairs:
    """All pairs of the folder. The emotion is given where every pair has one.

    Raises:
        NotFound: the folder or a file of features is missing; run `dualpath features` again.
        InvalidRequest: see `check_pairs`; a column is missing, a number does not parse, widths differ.
    """
    facts = _facts(folder)
    table = folder / "pairs.csv"
    if not table.is_file():
        raise NotFound(f"no {table}: run 'dualpath features --out {folder}' to its end")
    rows = read_rows(table, COLUMNS)
    items = {
        side: {name: _load(folder, side, name, facts[side]["width"]) for name in {row[side] for row in rows}}
        for side in ("video", "music")
    }
    try:
        spans = [_spans(row, items, facts) for row in rows]
        emotion = _emotion(rows)
        groups = np.array([int(row["group"]) for row in rows], np.int64)
        splits = tuple(_SPLITS[row["split"]] for row in rows)
    except KeyError as error:
        raise InvalidRequest(f"{table}: split is {', '.join(_SPLITS)}, not {error}") from error
    except ValueError as error:
        raise InvalidRequest(f"{table}: {error}") from error
    return check_pairs(
        FeaturePairs(
            identifiers=tuple(row["id"] for row in rows),
            splits=splits,
            video=_stacked([items["video"][row["video"]] for row in rows], [span[0] for span in spans]),
            music=_stacked([items["music"][row["music"]] for row in rows], [span[1] for span in spans]),
            video_blocks=(int(facts["video"]["width"]),),
            groups=groups,
            match=np.ones(len(rows), bool),
            emotion_names=EMOTION_LABELS if emotion is not None else (),
            video_emotion=emotion,
            music_emotion=emotion,
        )
    )


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / "features.json"
    if not path.is_file():
        raise NotFound(f"no {path}: extract features with 'dualpath features --data ... --out {folder}'")
    facts: dict[str, Any] = load_json(path)
    try:
        found = facts["format"]
        _ = [(float(facts[side]["seconds"]), int(facts[side]["width"])) for side in ("video", "music")]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(f"{path} does not say how features were made: extract them again") from error
    if found != FORMAT:
        raise InvalidRequest(f"{path} is of format {found}, not {FORMAT}: extract them again")
    return facts


def _load(folder: Path, side: str, name: str, width: int) -> NDArray[np.float32]:
    path = folder / side / f"{name}.npy"
    if not path.is_file():
        raise NotFound(f"no {path}: run 'dualpath features --out {folder}' again")
    return require_tokens(load_array(path), str(path), width)


def _spans(
    row: dict[str, str], items: dict[str, dict[str, NDArray[np.float32]]], facts: dict[str, Any]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """First and last position of each side, in steps of its own."""
    lengths = [len(items[side][row[side]]) for side in ("video", "music")]
    steps = [float(facts[side]["seconds"]) for side in ("video", "music")]
    first = [0.0, 0.0]
    last = [length - 1.0 for length in lengths]
    if row["video_start"]:
        first[0] = min(_seconds(row, "video_start") / steps[0], last[0])
    if row["music_start"]:
        begin = _seconds(row, "music_start") + first[0] * steps[0]
        first[1] = min(begin / steps[1], last[1])
        last[1] = min(last[1], first[1] + (last[0] - first[0]) * steps[0] / steps[1])
    return (first[0], last[0]), (first[1], last[1])


def _seconds(row: dict[str, str], name: str) -> float:
    value = float(row[name])
    if not 0.0 <= value < float("inf"):
        raise ValueError(f"{row['id']}: {name} is a second from 0 on, not {row[name]}")
    return value


def _stacked(
    items: Sequence[NDArray[np.float32]], spans: Sequence[tuple[float, float]]
) -> NDArray[np.float32]:
    """n times [any, width] -> [n, 8, width]."""
    positions = [np.round(np.linspace(*span, TOKENS)).astype(np.int64) for span in spans]
    return np.stack([steps[chosen] for steps, chosen in zip(items, positions, strict=True)])


def _emotion(rows: list[dict[str, str]]) -> NDArray[np.float32] | None:
    if not all(row["valence"] and row["arousal"] for row in rows):
        return None
    points = np.array([[float(row["valence"]), float(row["arousal"])] for row in rows], np.float32)
    if not np.isfinite(points).all():
        raise ValueError("valence and arousal are numbers, or empty")
    return np.eye(len(EMOTION_LABELS), dtype=np.float32)[emotion_labels(points)]
