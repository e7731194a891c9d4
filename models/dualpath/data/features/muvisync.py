"""muvisync: whole music videos and the symbolic description of their music, at 1 Hz.

Layout of a folder: `<split>.csv` (id, seconds, key), `<split>.npz` with the arrays of all items one after
another in the order of the CSV, chord_attr.json. An item of s seconds has s // 2 rows in clip_l14, emotion6
and motion, and s rows in scene_offset, loudness, note_density, chord_root and chord_attr.

Tokens: 32 windows of 6 s, their starts spread evenly from the first second to the last window. Each window
holds the same number of samples whatever the length of the item. With windows of a 64th of the length
instead, pooled features tell the length of the item with r = .9, and the length identifies the pair.

Passages instead of whole tracks: an item is cut into consecutive passages of equal length, each with windows
of 6 s that start 2 s apart. The other passages of a track are wrong answers; a track is never parted.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualpath.data.features.loading import load_archive, load_json, read_rows
from dualpath.data.features.pairs import FeaturePairs, check_pairs
from kinoscore.errors import InvalidRequest, NotFound

__all__ = ["LEFT_OUT", "TOKENS", "WINDOW_SECONDS", "read_muvisync"]

TOKENS = 32
WINDOW_SECONDS = 6
LEFT_OUT = frozenset({"712", "305"})
"""305 looks like the same song as 012; 712 occurs again in the withheld test split."""
_EVERY_2_S = ("clip_l14", "emotion6", "motion")
_EVERY_1_S = ("scene_offset", "loudness", "note_density", "chord_root", "chord_attr")
_AMOUNTS = ("motion", "scene_offset", "loudness", "note_density")
_TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_SILENCE = 1e-3
_CLIP = 768

Item = dict[str, NDArray[np.generic]]


def read_muvisync(folder: Path, *, trim: int = 0, passage_seconds: int = 0) -> FeaturePairs:
    """All splits that the folder holds (train, val, test).

    Args:
        trim: tokens, or passages, left out at each end: intro and outro give themselves away (fades, titles,
            black).
        passage_seconds: even, at least a window and a step long (8); 0 for whole tracks.

    Raises:
        NotFound: no split, or half of one.
        InvalidRequest: see `check_pairs`; columns or arrays missing or of another length; no passage is left.
    """
    if passage_seconds % 2 or (passage_seconds and passage_seconds < WINDOW_SECONDS + 2):
        raise InvalidRequest(
            f"passages have an even number of seconds, {WINDOW_SECONDS + 2} at least, not {passage_seconds}",
            field="passage_seconds",
        )
    if not passage_seconds and not 0 <= trim < TOKENS // 2:
        raise InvalidRequest(f"trim is 0 to {TOKENS // 2 - 1} tokens, not {trim}", field="trim")
    names = _names(folder, "emotion6_names.json")
    attributes = len(_names(folder, "chord_attr.json"))
    identifiers, splits, groups, video, music, emotion = [], [], [], [], [], []
    tracks = 0
    for split in ("train", "val", "test"):
        if not (folder / f"{split}.csv").is_file():
            continue
        for identifier, key, item in _items(folder, split, len(names)):
            if identifier in LEFT_OUT and split != "test":
                continue
            for name, part, starts in _parts(item, passage_seconds, trim):
                identifiers.append(f"{identifier}{name}")
                splits.append(split)
                groups.append(tracks)
                video.append(_video_tokens(part, starts))
                music.append(_music_tokens(part, key, attributes, starts))
                emotion.append(np.asarray(part["emotion6"], np.float32).mean(axis=0))
            tracks += 1
    if not tracks:
        raise NotFound(f"{folder} holds no train.csv, val.csv or test.csv: is it a folder of muvisync?")
    if not identifiers:
        raise InvalidRequest("no track is long enough for such passages: make them shorter", field="trim")
    tokens = np.stack(video)
    return check_pairs(
        FeaturePairs(
            identifiers=tuple(identifiers),
            splits=tuple(splits),
            video=tokens,
            music=np.stack(music),
            video_blocks=(_CLIP, tokens.shape[2] - _CLIP),
            groups=np.array(groups, np.int64),
            match=np.ones(len(identifiers), bool),
            emotion_names=tuple(names),
            video_emotion=np.stack(emotion),
            emotion_is_score=True,
        )
    )


def _names(folder: Path, name: str) -> list[str]:
    path = folder / name
    if not path.is_file():
        raise NotFound(f"no {path}: is {folder} a folder of muvisync?")
    names = load_json(path)
    if not isinstance(names, list | dict) or not names:
        raise InvalidRequest(f"{path} holds no names: fetch it again")
    return list(names)


def _items(folder: Path, split: str, emotions: int) -> list[tuple[str, str, Item]]:
    """(id, key, arrays) of each item of a split."""
    table, archive = folder / f"{split}.csv", folder / f"{split}.npz"
    if not archive.is_file():
        raise NotFound(f"no {archive} beside {table}")
    rows = read_rows(table, ("id", "seconds", "key"))
    whole = load_archive(archive, (*_EVERY_2_S, *_EVERY_1_S))
    widths = {"clip_l14": (_CLIP,), "emotion6": (emotions,)}
    for name, values in whole.items():
        if values.shape[1:] != widths.get(name, ()) or not values.ndim:
            wanted = ", ".join(["n", *map(str, widths.get(name, ()))])
            raise InvalidRequest(
                f"{archive}: {name} is of shape {values.shape}, not [{wanted}]: fetch it again"
            )
        if not np.isfinite(np.asarray(values, np.float32)).all() or (name in _AMOUNTS and (values < 0).any()):
            raise InvalidRequest(f"{archive}: {name} holds NaN, infinity, or less than 0: fetch it again")
    try:
        lengths = [int(row["seconds"]) for row in rows]
    except ValueError as error:
        raise InvalidRequest(f"{table}: seconds are whole numbers ({error})") from error
    facts = [(row["id"], row["key"]) for row in rows]
    for identifier, key in facts:
        tonic, _, mode = key.partition(" ")
        if tonic not in _TONICS or mode not in ("major", "minor"):
            raise InvalidRequest(
                f"{table}: a key is a tonic and a mode such as 'C# minor', not {key!r} as of {identifier}"
            )
    for name, values in whole.items():
        expected = sum(length // 2 for length in lengths) if name in _EVERY_2_S else sum(lengths)
        if len(values) != expected:
            raise InvalidRequest(f"{archive}: {name} has {len(values)} rows where {table} needs {expected}")
    items, fine, coarse = [], 0, 0
    for length, (identifier, key) in zip(lengths, facts, strict=True):
        if length < WINDOW_SECONDS:
            raise InvalidRequest(f"{table}: {identifier} is shorter than {WINDOW_SECONDS} s")
        item = {name: whole[name][coarse : coarse + length // 2] for name in _EVERY_2_S}
        item |= {name: whole[name][fine : fine + length] for name in _EVERY_1_S}
        items.append((identifier, key, item))
        fine, coarse = fine + length, coarse + length // 2
    return items


def _parts(item: Item, passage_seconds: int, trim: int) -> Iterator[tuple[str, Item, NDArray[np.int64]]]:
    """What is retrieved of an item: ("", or "@" and the start of the passage in s; arrays; first 2-s row of
    each window)."""
    if not passage_seconds:
        last = len(item["motion"]) - WINDOW_SECONDS // 2
        starts = np.round(np.linspace(0, last, TOKENS)).astype(np.int64)
        yield "", item, starts[trim : TOKENS - trim]
        return
    rows = {name: passage_seconds // 2 if name in _EVERY_2_S else passage_seconds for name in item}
    starts = np.arange(passage_seconds // 2 - WINDOW_SECONDS // 2 + 1)
    count = len(item["motion"]) // rows["motion"]
    for number in range(trim, count - trim):
        passage = {name: item[name][number * size : (number + 1) * size] for name, size in rows.items()}
        yield f"@{number * passage_seconds}", passage, starts


def _windows(values: NDArray[np.generic], starts: NDArray[np.int64], length: int) -> NDArray[np.float32]:
    """[rows, ...] -> [tokens, length, ...]."""
    return np.asarray(values, np.float32)[starts[:, None] + np.arange(length)]


def _video_tokens(item: Item, starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """[tokens, 768 + 11]: CLIP mean; its spread, six emotions, motion and its spread, cuts, time since."""
    half = WINDOW_SECONDS // 2
    clip = _windows(item["clip_l14"], starts, half)
    motion = np.log1p(_windows(item["motion"], starts, half))
    since = _windows(item["scene_offset"], 2 * starts, WINDOW_SECONDS)
    return np.concatenate(
        [
            clip.mean(axis=1),
            clip.std(axis=1).mean(axis=1, keepdims=True),
            _windows(item["emotion6"], starts, half).mean(axis=1),
            np.stack(
                [
                    motion.mean(axis=1),
                    motion.std(axis=1),
                    (since == 0).mean(axis=1),
                    np.log1p(since).mean(axis=1),
                ],
                axis=1,
            ),
        ],
        axis=1,
    )


def _music_tokens(
    item: Item, key: str, attributes: int, video_starts: NDArray[np.int64]
) -> NDArray[np.float32]:
    """[tokens, 39]: loudness, its logarithm and note density (mean, spread, change), chord changes, kinds of
    chord, roots relative to the key, mode."""
    starts = 2 * video_starts
    tonic, _, mode = key.partition(" ")
    root = np.asarray(item["chord_root"], np.int64)
    relative = np.where(root > 0, (root - 1 - _TONICS.index(tonic)) % 12, 12)
    attribute = np.clip(np.asarray(item["chord_attr"], np.int64), 0, attributes - 1)
    changed = np.zeros(len(root), np.float32)
    changed[1:] = (np.diff(root) != 0) | (np.diff(attribute) != 0)
    loudness = _windows(item["loudness"], starts, WINDOW_SECONDS)
    density = _windows(item["note_density"], starts, WINDOW_SECONDS)
    curves = np.stack([loudness, np.log(loudness + _SILENCE), density, np.log1p(density)], axis=2)
    return np.concatenate(
        [
            curves.mean(axis=1),
            curves.std(axis=1),
            np.abs(np.diff(curves[:, :, [1, 3]], axis=1)).mean(axis=1),
            _windows(changed, starts, WINDOW_SECONDS).mean(axis=1)[:, None],
            _windows(np.eye(attributes)[attribute], starts, WINDOW_SECONDS).mean(axis=1),
            _windows(np.eye(13)[relative], starts, WINDOW_SECONDS).mean(axis=1),
            np.full((len(starts), 1), float(mode == "major"), np.float32),
        ],
        axis=1,
    )
