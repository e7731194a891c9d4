"""Writing a world to disk: pairs of media files and their index."""

import csv
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from kinoscore.errors import FailedPrecondition, InvalidRequest
from kinoscore.media.writing import write_audio, write_video
from kinoscore.world.music import SAMPLE_RATE, render_track
from kinoscore.world.pictures import render_clip
from kinoscore.world.plans import (
    CONTENT_FACTORS,
    MUSIC_LOADINGS,
    PICTURE_LOADINGS,
    WORLD_VERSION,
    PairPlan,
    Split,
    draw_pair,
)

__all__ = ["index_columns", "pair_row", "write_pair", "write_world"]

Progress = Callable[[int, int], None]


def write_world(
    folder: Path | str,
    split: Split,
    count: int,
    seed: int,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Writes `count` pairs to `<folder>/<split>`: NNNNNN.mp4, NNNNNN.ogg, and index.csv when all are there.

    Pair NNNNNN has the seed `seed * 1,000,000 + NNNNNN`. Pairs that are whole already are kept, so an
    interrupted run is resumed, and a larger count extends the world. Files appear under their names only when
    they are whole.

    Args:
        folder: made if absent.
        split: decides seeds and styles; see `kinoscore.world.styles`.
        count: of pairs, 1 to 1,000,000.
        seed: of the world, 0 or more.
        workers: processes.
        progress: called with the pairs that are whole and the count, in this process.

    Returns:
        The path of index.csv.

    Raises:
        InvalidRequest: a count, seed, split or number of workers out of range.
        FailedPrecondition: the folder holds another world (of another version or seed).
        StorageFull: the disk is full.
    """
    if not 1 <= count <= 1_000_000:
        raise InvalidRequest(f"the count is {count}: give 1 to 1,000,000", field="count")
    if workers < 1:
        raise InvalidRequest(f"the number of workers is {workers}: give 1 or more", field="workers")
    draw_pair(seed, split)  # refuses a bad seed or split before anything is made
    target = Path(folder) / split
    target.mkdir(parents=True, exist_ok=True)
    _claim(target, split, seed)
    wanted = [number for number in range(count) if not _is_whole(target, number)]
    done = count - len(wanted)
    if progress:
        progress(done, count)
    for _ in _written(target, split, seed, wanted, workers):
        done += 1
        if progress:
            progress(done, count)
    return _write_index(target, split, seed, count)


def write_pair(plan: PairPlan, clip_path: Path, track_path: Path) -> None:
    """Renders a pair and writes the two files."""
    write_video(clip_path, render_clip(plan.clip), plan.clip.frames_per_second)
    write_audio(track_path, render_track(plan.track), SAMPLE_RATE)


def index_columns() -> tuple[str, ...]:
    """The columns of index.csv.

    `clip` and `track` are file names; `passage_start` and `passage_seconds` tell which part of the track fits
    the clip; `factor_*` are the latent content factors, `picture_*` and `music_*` the cues as rendered on
    each side (of the passage), all standard scores.
    """
    return (
        *("id", "seed", "split", "clip", "track", "theme", "valence", "arousal"),
        *("passage_start", "passage_seconds", "track_seconds"),
        *(f"factor_{name}" for name in CONTENT_FACTORS),
        *(f"picture_{name}" for name in PICTURE_LOADINGS),
        *(f"music_{name}" for name in MUSIC_LOADINGS),
    )


def pair_row(number: int, plan: PairPlan) -> dict[str, str]:
    """The row of a pair in index.csv."""
    name = f"{number:06d}"
    numbers = {
        "valence": plan.factors.valence,
        "arousal": plan.factors.arousal,
        "passage_start": plan.passage.start_seconds,
        "passage_seconds": plan.passage.duration_seconds,
        "track_seconds": plan.track.duration_seconds,
        **{f"factor_{key}": value for key, value in plan.factors.content.items()},
        **{f"picture_{key}": value for key, value in plan.clip.cues.items()},
        **{f"music_{key}": value for key, value in plan.passage.cues.items()},
    }
    return {
        "id": name,
        "seed": str(plan.seed),
        "split": plan.split,
        "theme": plan.factors.theme,
        "clip": f"{name}.mp4",
        "track": f"{name}.ogg",
        **{key: f"{value:.6g}" for key, value in numbers.items()},
    }


def _pair_seed(seed: int, number: int) -> int:
    return seed * 1_000_000 + number


def _paths(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"{number:06d}.mp4", folder / f"{number:06d}.ogg"


def _is_whole(folder: Path, number: int) -> bool:
    return all(path.exists() for path in _paths(folder, number))


def _claim(folder: Path, split: Split, seed: int) -> None:
    """Writes down which world this folder holds, or refuses if it is another."""
    record = folder / "world.json"
    ours = {"world_version": WORLD_VERSION, "split": split, "seed": seed}
    if record.exists():
        try:
            theirs = json.loads(record.read_text())
        except ValueError:
            theirs = None
        if theirs != ours:
            raise FailedPrecondition(f"{folder} holds another world ({theirs}): choose an empty folder")
        return
    temporary = record.with_name(f".world.{os.getpid()}.json")
    temporary.write_text(json.dumps(ours))
    temporary.replace(record)


def _write_numbered(folder: Path, split: Split, seed: int, number: int) -> None:
    write_pair(draw_pair(_pair_seed(seed, number), split), *_paths(folder, number))


def _written(folder: Path, split: Split, seed: int, numbers: list[int], workers: int) -> Iterator[None]:
    """Writes the pairs of these numbers and yields after each."""
    if workers == 1:
        for number in numbers:
            _write_numbered(folder, split, seed, number)
            yield
        return
    with ProcessPoolExecutor(workers) as pool:
        futures = [pool.submit(_write_numbered, folder, split, seed, number) for number in numbers]
        try:
            for future in as_completed(futures):
                future.result()
                yield
        finally:
            pool.shutdown(cancel_futures=True)


def _write_index(folder: Path, split: Split, seed: int, count: int) -> Path:
    index = folder / "index.csv"
    temporary = folder / f".index.{os.getpid()}.csv"
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, index_columns())
        writer.writeheader()
        writer.writerows(
            pair_row(number, draw_pair(_pair_seed(seed, number), split)) for number in range(count)
        )
    temporary.replace(index)
    return index
