"""A generated world as features: what the fixed front ends of the network see, as tokens.

For methods that have no encoders of their own. Eight tokens an item, 1.5 s each, of both sides at the same
times. A token of a clip holds every fixed cue of its frames (`PictureCues`, `PictureTexture`, the luminance
grid relative to its mean) and how much each changes from frame to frame. A token of a passage holds the cues
of its time bins and windows (`MusicCues`, `KeyCues`), its log-mel profile and level, and the statistics of
its window and of the whole passage (`WindowStatistics`, `PassageStatistics`), the latter in every token.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dualpath.config import EMOTION_LABELS, MusicNumbers
from dualpath.data.augmentation import to_unit
from dualpath.data.batches import Batch, gather
from dualpath.data.cache import PairArrays
from dualpath.data.features.pairs import FeaturePairs, check_pairs
from dualpath.data.index import PairIndex, emotion_labels
from dualpath.networks.music_cues import KeyCues, MusicCues, masked_mean, mel_relative_to_level
from dualpath.networks.music_spectra import BINS, MEL_BANDS, Spectra, frame_mask
from dualpath.networks.music_statistics import PassageStatistics, WindowStatistics
from dualpath.networks.picture_cues import GRID_HEIGHT, GRID_WIDTH, PictureCues
from dualpath.networks.picture_texture import PictureTexture

__all__ = ["MUSIC_WIDTH", "TOKENS", "VIDEO_WIDTH", "FrontEnds", "world_features"]

TOKENS = 8
_OF_PASSAGE = PassageStatistics.WIDTH - 2 * WindowStatistics.STATISTICS
VIDEO_WIDTH = 2 * (PictureCues.CUES + PictureTexture.TEXTURE + GRID_HEIGHT * GRID_WIDTH)
MUSIC_WIDTH = (
    MusicCues.BIN_CUES
    + MEL_BANDS
    + MusicCues.WINDOW_CUES
    + KeyCues.CUES
    + 2
    + WindowStatistics.STATISTICS
    + _OF_PASSAGE
)
_FORMAT = 1
_ROWS = 32


class FrontEnds:
    """The fixed cues of both modalities; nothing in it is learned."""

    def __init__(self, numbers: MusicNumbers) -> None:
        self._pictures = PictureCues()
        self._music = MusicCues(numbers.window_samples / numbers.sample_rate)
        self._key = KeyCues()
        self._passage = PassageStatistics(numbers)

    def video(self, batch: Batch) -> Tensor:
        """n clips -> [n, 8, VIDEO_WIDTH]."""
        count, steps = batch.frame_mask.shape
        cues, grids = self._pictures(to_unit(batch.pictures.flatten(0, 1)))
        grids = grids - grids.mean(dim=1, keepdim=True)
        values = torch.cat(
            [cues.unflatten(0, (count, steps)), batch.texture, grids.unflatten(0, (count, steps))], 2
        )
        values = values * batch.frame_mask.unsqueeze(2)
        before = torch.cat([values[:, :1], values[:, :-1]], dim=1)
        both = batch.frame_mask * torch.cat([batch.frame_mask[:, :1], batch.frame_mask[:, :-1]], dim=1)
        change = (values - before).abs() * both.unsqueeze(2)
        return _token_means(torch.cat([values, change], dim=2), batch.frame_mask)

    def music(self, batch: Batch) -> Tensor:
        """n passages -> [n, 8, MUSIC_WIDTH]."""
        count, windows = batch.valid.shape
        each = TOKENS // windows
        flat = Spectra(*(field.flatten(0, 1) for field in batch.spectra))
        valid = batch.valid.flatten()
        cues = self._music(flat.mel, flat.pitch, valid)
        sounding = frame_mask(valid, BINS)
        bins = _token_means(
            cues.bins.unflatten(0, (count, windows)).flatten(1, 2), sounding.reshape(count, -1)
        )
        frames = frame_mask(valid, flat.mel.shape[1])
        mel = mel_relative_to_level(flat.mel, valid).unflatten(0, (count, windows))
        mel = _token_means(mel.flatten(1, 2), frames.reshape(count, -1))
        window_mask = (batch.valid > 0).to(torch.float32)
        loudness = batch.spectra.loudness.unsqueeze(2)
        swell = loudness - masked_mean(loudness, window_mask).unsqueeze(1)
        of_windows = torch.cat(
            [
                torch.cat([cues.window, self._key(cues.chroma)], dim=1).unflatten(0, (count, windows)),
                loudness,
                swell,
                batch.statistics[:, :, WindowStatistics.CURVES :],
            ],
            dim=2,
        ) * window_mask.unsqueeze(2)
        whole = self._passage(batch.statistics, window_mask)[:, -_OF_PASSAGE:]
        return torch.cat(
            [bins, mel, of_windows.repeat_interleave(each, dim=1), whole.unsqueeze(1).expand(-1, TOKENS, -1)],
            dim=2,
        )


def world_features(
    folder: Path,
    index: PairIndex,
    arrays: PairArrays,
    numbers: MusicNumbers,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    pairs: int | None = None,
) -> FeaturePairs:
    """The pairs of one split of a world, extracted once and kept.

    Args:
        folder: of this split's features; made where missing, started anew when it is of other pairs. An
            interrupted extraction goes on.
        progress: called with (pairs done, pairs in all).
        pairs: how many, from the first; a later call with more goes on.

    Raises:
        InvalidRequest: see `check_pairs`.
    """
    count = len(index) if pairs is None else min(pairs, len(index))
    video, music = _extract(folder, index, arrays, numbers, count, progress)
    emotion = np.eye(len(EMOTION_LABELS), dtype=np.float32)[emotion_labels(index.valence_arousal[:count])]
    return check_pairs(
        FeaturePairs(
            identifiers=index.identifiers[:count],
            splits=("train",) * count,
            video=video,
            music=music,
            video_blocks=(VIDEO_WIDTH,),
            groups=np.arange(count),
            match=np.ones(count, bool),
            emotion_names=EMOTION_LABELS,
            video_emotion=emotion,
            music_emotion=emotion,
        )
    )


def _extract(
    folder: Path,
    index: PairIndex,
    arrays: PairArrays,
    numbers: MusicNumbers,
    count: int,
    progress: Callable[[int, int], None],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    marker = folder / "features.json"
    key = _key(index)
    there: dict[str, Any] = json.loads(marker.read_text(encoding="utf-8")) if marker.is_file() else {}
    fresh = there.get("key") != key
    done = 0 if fresh else int(there["done"])
    folder.mkdir(parents=True, exist_ok=True)
    sides = [
        np.lib.format.open_memmap(
            folder / f"{name}.npy", mode="w+", dtype=np.float16, shape=(len(index), TOKENS, width)
        )
        if fresh
        else np.lib.format.open_memmap(folder / f"{name}.npy", mode="r+")
        for name, width in (("video", VIDEO_WIDTH), ("music", MUSIC_WIDTH))
    ]
    front_ends = FrontEnds(numbers)
    progress(done, count)
    while done < count:
        rows = np.arange(done, min(done + _ROWS, count))
        batch = gather(arrays, index, rows)
        with torch.no_grad():
            for side, tokens in zip(sides, (front_ends.video(batch), front_ends.music(batch)), strict=True):
                side[rows] = tokens.numpy()
        done = int(rows[-1]) + 1
        marker.write_text(json.dumps({"key": key, "done": done}), encoding="utf-8")
        progress(done, count)
    video, music = (np.asarray(side[:count], np.float32) for side in sides)
    return video, music


def _key(index: PairIndex) -> str:
    """Names repeat from world to world; what was drawn for them does not."""
    content = hashlib.sha256(f"{_FORMAT} {' '.join(index.identifiers)}".encode())
    for values in (index.valence_arousal, index.video_attributes, index.music_attributes):
        content.update(np.ascontiguousarray(values).tobytes())
    return content.hexdigest()


def _token_means(steps: Tensor, mask: Tensor) -> Tensor:
    """[n, t, c], [n, t] -> [n, 8, c]: the mean of the real steps of each eighth."""
    count, length = mask.shape
    parts = steps.reshape(count * TOKENS, length // TOKENS, -1)
    return masked_mean(parts, mask.reshape(count * TOKENS, -1)).unflatten(0, (count, TOKENS))
