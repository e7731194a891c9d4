"""The layout of MGSV-EC (Xin et al., "Music Grounding by Short Video", ICCV 2025).

Layout of a folder: `train_data.csv`, `val_data.csv`, `test_data.csv` with the columns video_id, music_id,
music_start and music_end (s); `vit_feature1/<video_id>.npy` [frames, width], one frame a second;
`ast_feature2p5/<music_id>.npy` [windows, width], one window every 2.5 s. A pair is a video and the moment of
its track; pairs of one track are one group. Only the splits are needed that exist.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualpath.data.features.loading import load_array, read_rows
from dualpath.data.features.pairs import FeaturePairs, check_pairs, require_tokens
from kinoscore.errors import InvalidRequest, NotFound

__all__ = ["MUSIC_STRIDE_SECONDS", "TOKENS", "read_mgsv"]

TOKENS = 8
MUSIC_STRIDE_SECONDS = 2.5
_COLUMNS = ("video_id", "music_id", "music_start", "music_end")


def read_mgsv(folder: Path) -> FeaturePairs:
    """All splits that the folder holds.

    Raises:
        NotFound: no split, or a feature file is missing.
        InvalidRequest: see `check_pairs`; a column is missing, a number does not parse, widths differ, a file
            cannot be read, or a moment is none of its track.
    """
    identifiers, splits, tracks, video, music = [], [], [], [], []
    for split in ("train", "val", "test"):
        table = folder / f"{split}_data.csv"
        if not table.is_file():
            continue
        for number, row in enumerate(read_rows(table, _COLUMNS), start=2):
            identifiers.append(f"{row['video_id']}+{row['music_id']}")
            splits.append(split)
            tracks.append(row["music_id"])
            video.append(_resampled(_load(folder / "vit_feature1", row["video_id"], video)))
            windows = _load(folder / "ast_feature2p5", row["music_id"], music)
            music.append(_resampled(_moment(windows, row, f"{table}, row {number}")))
    if not identifiers:
        raise NotFound(f"{folder} holds no train_data.csv, val_data.csv or test_data.csv")
    return check_pairs(
        FeaturePairs(
            identifiers=tuple(identifiers),
            splits=tuple(splits),
            video=np.stack(video),
            music=np.stack(music),
            video_blocks=(video[0].shape[1],),
            groups=np.unique(tracks, return_inverse=True)[1].astype(np.int64),
            match=np.ones(len(identifiers), bool),
        )
    )


def _load(folder: Path, identifier: str, others: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    path = folder / f"{identifier}.npy"
    if not path.is_file():
        raise NotFound(f"no {path}: extract it, or leave {identifier} out of the CSV")
    return require_tokens(load_array(path), str(path), others[0].shape[1] if others else None)


def _moment(windows: NDArray[np.float32], row: dict[str, str], where: str) -> NDArray[np.float32]:
    """The windows that begin within the moment; at least one.

    Raises:
        InvalidRequest: it is no moment of the track; its end may be up to a window after the last.
    """
    try:
        start, end = float(row["music_start"]), float(row["music_end"])
    except ValueError as error:
        raise InvalidRequest(f"{where}: music_start and music_end are seconds: {error}") from error
    length = len(windows) * MUSIC_STRIDE_SECONDS
    # Not-a-number compares as False, and is refused here too.
    if not (0.0 <= start < end and start < length and end <= length + MUSIC_STRIDE_SECONDS):
        raise InvalidRequest(
            f"{where}: {start:g} to {end:g} s is no moment of {row['music_id']}, which lasts {length:g} s: "
            "correct music_start and music_end, or leave the row out"
        )
    first = int(start / MUSIC_STRIDE_SECONDS)
    return windows[first : max(first + 1, int(np.ceil(end / MUSIC_STRIDE_SECONDS)))]


def _resampled(steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """[any, width] -> [8, width]: the nearest steps at even distances, so that no token tells the length."""
    return steps[np.round(np.linspace(0, len(steps) - 1, TOKENS)).astype(np.int64)]
