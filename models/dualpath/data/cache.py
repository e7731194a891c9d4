"""Files to arrays, once: a memory-mapped cache of prepared pictures and music spectra.

The fixed front end of the music runs here, in float32 as in the exported graph; training then reads spectra,
not waveforms. A pair is marked as done after its arrays are written, so an interrupted build resumes.

Several commands may read one cache. Arrays of other pairs are new files in place of the old ones, never the
old files changed: who has those open keeps them. Their space on the disk is reserved before anything is
decoded, since a full disk would kill a process that writes through a memory map.
"""

import fcntl
import functools
import hashlib
import json
import math
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dualpath.config import MusicNumbers, NetworkConfig, VideoNumbers
from dualpath.data.index import PairIndex
from dualpath.data.reading import read_clip, read_passage
from dualpath.disk import is_full
from dualpath.memory import keep_freed_memory
from dualpath.networks.music_spectra import MusicSpectra
from dualpath.networks.music_statistics import WindowStatistics
from dualpath.networks.picture_cues import PicturePreparation
from dualpath.networks.picture_texture import PictureTexture
from kinoscore.errors import StorageFull

__all__ = ["PairArrays", "cut_passage", "open_cache", "prepare_clip", "prepare_passage"]

_FORMAT = 3
_Shapes = Mapping[str, tuple[tuple[int, ...], Any]]


@dataclass(frozen=True, slots=True, eq=False)
class PairArrays:
    """Memory-mapped arrays of n pairs.

    Attributes:
        pictures: uint8 [n, 24, 3, 40, 64], prepared frames in 0..255.
        texture: float16 [n, 24, 333], see PictureTexture.
        frame_count: int32 [n], how many of them are real.
        mel: float16 [n, 4, 126, 64]. pitch: float16 [n, 4, 30, 84]. loudness: float32 [n, 4]. See Spectra.
        statistics: float16 [n, 4, WindowStatistics.WIDTH].
        valid: float32 [n, 4], the share of each window that is sound.
        done: uint8 [n].
    """

    pictures: NDArray[np.uint8]
    texture: NDArray[np.float16]
    frame_count: NDArray[np.int32]
    mel: NDArray[np.float16]
    pitch: NDArray[np.float16]
    loudness: NDArray[np.float32]
    statistics: NDArray[np.float16]
    valid: NDArray[np.float32]
    done: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.done)


def open_cache(
    folder: Path,
    index: PairIndex,
    config: NetworkConfig,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PairArrays:
    """The arrays of all pairs of an index, decoding what is missing.

    Args:
        folder: of this split's cache; made where missing, started anew when it was made for other pairs or
            numbers.
        workers: processes that decode.
        progress: called with (pairs done, pairs in all).

    Raises:
        NotFound, InvalidRequest, InvalidMedia, MediaTooLarge: of a file that cannot be decoded; the message
            names it.
        StorageFull: the arrays do not fit on the disk.
    """
    arrays = _open_arrays(folder, index, config)
    missing = np.flatnonzero(arrays.done == 0)
    total = len(arrays)
    progress(total - len(missing), total)
    starts = np.zeros(total) if index.video_offsets is None else index.video_offsets
    jobs = [
        _Job(
            int(row),
            index.videos[row],
            index.tracks[row],
            float(starts[row]),
            float(index.offsets[row]),
            config,
        )
        for row in missing
    ]
    if workers <= 1 or len(jobs) < 8:
        results = map(_decode_pair, jobs)
        for number, (row, decoded) in enumerate(results):
            _store(arrays, row, decoded)
            progress(total - len(missing) + number + 1, total)
        return arrays
    with _ignored_interrupts():
        pool = multiprocessing.get_context("spawn").Pool(workers)
    with pool:
        for number, (row, decoded) in enumerate(pool.imap_unordered(_decode_pair, jobs, chunksize=4)):
            _store(arrays, row, decoded)
            progress(total - len(missing) + number + 1, total)
    return arrays


def prepare_clip(frames: NDArray[np.uint8], video: VideoNumbers) -> dict[str, Any]:
    """uint8 [m, 80, 128, 3] -> the video arrays of one pair; cut or padded with zeros."""
    count = min(len(frames), video.window_frames)
    with torch.no_grad():
        pictures, texture = _picture_front_end(video)(torch.from_numpy(frames[:count]))
    padding = ((0, video.window_frames - count),)
    return {
        "pictures": np.pad(torch.round(pictures * 255.0).to(torch.uint8).numpy(), (*padding, *3 * ((0, 0),))),
        "texture": np.pad(texture.numpy().astype(np.float16), (*padding, (0, 0))),
        "frame_count": count,
    }


def cut_passage(
    samples: NDArray[np.float32], music: MusicNumbers
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """float32 [m] -> (windows [4, window_samples], valid [4]); cut or padded with zeros."""
    length = music.passage_windows * music.window_samples
    padded = np.zeros(length, np.float32)
    padded[: min(length, len(samples))] = samples[:length]
    starts = np.arange(music.passage_windows) * music.window_samples
    valid = np.clip((len(samples) - starts) / music.window_samples, 0.0, 1.0).astype(np.float32)
    return padded.reshape(music.passage_windows, music.window_samples), valid


def prepare_passage(samples: NDArray[np.float32], music: MusicNumbers) -> dict[str, NDArray[Any]]:
    """float32 [m] -> the music arrays of one pair."""
    windows, valid = cut_passage(samples, music)
    with torch.no_grad():
        to_spectra, to_statistics = _music_front_end(music)
        spectra = to_spectra(torch.from_numpy(windows), torch.from_numpy(valid))
        statistics = to_statistics(spectra, torch.from_numpy(valid))
    return {
        "mel": spectra.mel.numpy().astype(np.float16),
        "pitch": spectra.pitch.numpy().astype(np.float16),
        "loudness": spectra.loudness.numpy(),
        "statistics": statistics.numpy().astype(np.float16),
        "valid": valid,
    }


@functools.cache
def _picture_front_end(video: VideoNumbers) -> PicturePreparation:
    return PicturePreparation(video)


@functools.cache
def _music_front_end(music: MusicNumbers) -> tuple[MusicSpectra, WindowStatistics]:
    return MusicSpectra(music), WindowStatistics()


@contextmanager
def _ignored_interrupts() -> Iterator[None]:
    """Processes that are started meanwhile ignore Ctrl-C from their first instant on: this one ends them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Job(NamedTuple):
    row: int
    video: Path
    track: Path
    video_offset: float
    offset: float
    config: NetworkConfig


def _decode_pair(job: _Job) -> tuple[int, dict[str, Any]]:
    torch.set_num_threads(1)
    keep_freed_memory()
    video, music = job.config.video, job.config.music
    frames = read_clip(job.video, video, job.video_offset)
    samples = read_passage(job.track, music, job.offset)
    return job.row, {**prepare_clip(frames, video), **prepare_passage(samples, music)}


def _store(arrays: PairArrays, row: int, decoded: dict[str, Any]) -> None:
    for name, values in decoded.items():
        getattr(arrays, name)[row] = values
    arrays.done[row] = 1


def _open_arrays(folder: Path, index: PairIndex, config: NetworkConfig) -> PairArrays:
    shapes, key, marker = _shapes(len(index), config), _key(index, config), folder / "cache.json"
    files = {name: folder / f"{name}.npy" for name in shapes}
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder), _full_disk_told(folder, shapes):
        if _read_key(marker) != key or not all(file.is_file() for file in files.values()):
            for file in (marker, *files.values()):
                file.unlink(missing_ok=True)
            _make_files(files, shapes)
            marker.write_text(json.dumps({"key": key}), encoding="utf-8")
        arrays = PairArrays(
            **{name: np.lib.format.open_memmap(file, mode="r+") for name, file in files.items()}
        )
        if not arrays.done.all():
            _reserve(files.values())
    return arrays


def _shapes(count: int, config: NetworkConfig) -> _Shapes:
    """Name of an array of `count` pairs -> its shape and dtype."""
    video = config.video
    height, width = video.frame_height // 2, video.frame_width // 2
    bare = prepare_passage(np.zeros(0, np.float32), config.music)
    return {
        "pictures": ((count, video.window_frames, 3, height, width), np.uint8),
        "texture": ((count, video.window_frames, PictureTexture.TEXTURE), np.float16),
        "frame_count": ((count,), np.int32),
        **{name: ((count, *values.shape), values.dtype) for name, values in bare.items()},
        "done": ((count,), np.uint8),
    }


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time makes or opens the arrays of a folder; the kernel drops the lock with it."""
    with (folder / "cache.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_key(marker: Path) -> str | None:
    """What the arrays were made for; None where nothing can be read."""
    try:
        key: str | None = json.loads(marker.read_text(encoding="utf-8"))["key"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return key


def _make_files(files: Mapping[str, Path], shapes: _Shapes) -> None:
    """Arrays of zeros; none is left where they do not all fit."""
    try:
        for name, (shape, dtype) in shapes.items():
            np.lib.format.open_memmap(files[name], mode="w+", dtype=dtype, shape=shape)
            _reserve([files[name]])
    except OSError:
        for file in files.values():
            file.unlink(missing_ok=True)
        raise


@contextmanager
def _full_disk_told(folder: Path, shapes: _Shapes) -> Iterator[None]:
    """Raises StorageFull, which says how much is needed, where the disk is full."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        needed = sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in shapes.values())
        free = shutil.disk_usage(folder).free
        raise StorageFull(
            f"the decoded arrays in {folder} need {needed / 1e6:,.0f} MB: {os.strerror(error.errno)} "
            f"({free / 1e6:,.0f} MB are free); make room, or choose another disk with --cache"
        ) from error


def _reserve(files: Iterable[Path]) -> None:
    """Room on the disk for whole files, which are sparse until something is written to them."""
    for file in files:
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)


def _key(index: PairIndex, config: NetworkConfig) -> str:
    facts: dict[str, Any] = {
        "format": _FORMAT,
        "video": asdict(config.video),
        "music": asdict(config.music),
        "pairs": [
            [identifier, video.name, track.name, video.stat().st_size, track.stat().st_size, float(offset)]
            for identifier, video, track, offset in zip(
                index.identifiers, index.videos, index.tracks, index.offsets, strict=True
            )
        ],
    }
    if index.video_offsets is not None:
        facts["video_offsets"] = index.video_offsets.tolist()
    if index.video_digests:
        facts["digests"] = [index.video_digests, index.music_digests]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
