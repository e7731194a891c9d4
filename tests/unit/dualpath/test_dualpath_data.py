import csv
import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dualpath.config import EMOTION_LABELS, MusicNumbers, NetworkConfig, VideoNumbers
from dualpath.data import cache as cache_module
from dualpath.data.batches import gather
from dualpath.data.cache import cut_passage, open_cache, prepare_clip
from dualpath.data.index import emotion_labels, read_index
from kinoscore.errors import InvalidRequest, NotFound, StorageFull

MUSIC = MusicNumbers()


def _row(number: int) -> dict[str, str]:
    return {
        "id": f"{number:06d}",
        "clip": f"{number:06d}.mp4",
        "track": f"{number:06d}.ogg",
        "theme": ("rain", "dance")[number % 2],
        "valence": "0.5",
        "arousal": "-0.5",
        "passage_start": "1.5",
        "picture_trend": "0.1",
        "music_trend": "0.2",
        "picture_cuts": "1",
        "music_mode": "2",
    }


def _world(folder: Path, rows: list[dict[str, str]]) -> Path:
    split = folder / "train"
    split.mkdir(parents=True)
    with (split / "index.csv").open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        (split / row["clip"]).write_bytes(b"video")
        (split / row["track"]).write_bytes(b"music")
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces decoding; lists the clips that were decoded."""
    clips: list[str] = []

    def read_clip(path: Path, video: object, start: float) -> np.ndarray:
        clips.append(path.name)
        return np.full((10, 80, 128, 3), 200, np.uint8)

    def read_passage(path: Path, music: MusicNumbers, start: float) -> np.ndarray:
        samples = np.r_[np.zeros(33075), np.full(99225, 0.5)].astype(np.float32)
        return samples[round(start * music.sample_rate) :]

    monkeypatch.setattr(cache_module, "read_clip", read_clip)
    monkeypatch.setattr(cache_module, "read_passage", read_passage)
    return clips


def test_an_index_gives_files_labels_and_the_attributes_of_both_sides(tmp_path: Path) -> None:
    index = read_index(_world(tmp_path, [_row(0), _row(1)]), "train")
    assert index.videos[1] == tmp_path / "train" / "000001.mp4"
    assert index.theme_names == ("dance", "rain")
    assert index.themes.tolist() == [1, 0]
    assert index.attribute_names == ("trend",)
    assert index.video_attributes.tolist() == [[pytest.approx(0.1)]] * 2
    assert index.music_attributes.tolist() == [[pytest.approx(0.2)]] * 2


def test_a_missing_index_says_how_to_make_a_world(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="dualpath generate"):
        read_index(tmp_path, "train")


def test_a_missing_column_or_number_is_named(tmp_path: Path) -> None:
    short = {name: value for name, value in _row(0).items() if name != "valence"}
    with pytest.raises(InvalidRequest, match="no column 'valence'"):
        read_index(_world(tmp_path / "a", [short]), "train")
    with pytest.raises(InvalidRequest, match="happy"):
        read_index(_world(tmp_path / "b", [{**_row(0), "valence": "happy"}]), "train")


def test_emotion_labels_are_quadrants_and_neutral_near_the_origin() -> None:
    points = np.array([[0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5], [0.5, -0.5], [0.1, -0.1]], np.float32)
    assert [EMOTION_LABELS[label] for label in emotion_labels(points)] == [
        "joyful",
        "tense",
        "sad",
        "calm",
        "neutral",
    ]


def test_a_short_clip_is_padded_and_a_long_one_cut() -> None:
    video = VideoNumbers()
    short = prepare_clip(np.full((10, 80, 128, 3), 200, np.uint8), video)
    pictures, texture = short["pictures"], short["texture"]
    assert (pictures.shape, len(texture), short["frame_count"]) == ((24, 3, 40, 64), 24, 10)
    assert (int(pictures[9].min()), int(pictures[10].max())) == (200, 0)
    assert bool(texture[9].any())
    assert not bool(texture[10:].any())
    assert prepare_clip(np.zeros((30, 80, 128, 3), np.uint8), video)["frame_count"] == 24


def test_the_valid_share_of_each_window_follows_the_length() -> None:
    _, valid = cut_passage(np.ones(MUSIC.window_samples * 3 // 2, np.float32), MUSIC)
    assert valid.tolist() == [1.0, 0.5, 0.0, 0.0]
    assert cut_passage(np.zeros(0, np.float32), MUSIC)[1].tolist() == [0.0] * 4


def test_the_cache_holds_the_passage_from_its_offset(tmp_path: Path, decoded: list[str]) -> None:
    index = read_index(_world(tmp_path, [_row(0)]), "train")
    arrays = open_cache(tmp_path / "cache", index, NetworkConfig())
    batch = gather(arrays, index, np.array([0]))
    assert batch.frame_mask[0].tolist() == [1.0] * 10 + [0.0] * 14
    # 1.5 s are skipped; 4.5 s of a constant 0.5 remain.
    assert batch.valid[0].tolist() == [1.0, 0.5, 0.0, 0.0]
    assert batch.spectra.loudness[0, :2].tolist() == [pytest.approx(20 * np.log10(0.5), abs=0.01)] * 2


def test_an_interrupted_cache_decodes_only_what_is_missing(tmp_path: Path, decoded: list[str]) -> None:
    index = read_index(_world(tmp_path, [_row(number) for number in range(4)]), "train")

    def stop_after_two(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_cache(tmp_path / "cache", index, NetworkConfig(), progress=stop_after_two)
    open_cache(tmp_path / "cache", index, NetworkConfig())
    assert decoded == ["000000.mp4", "000001.mp4", "000002.mp4", "000003.mp4"]


def test_a_cache_of_other_files_is_made_anew(tmp_path: Path, decoded: list[str]) -> None:
    world = _world(tmp_path, [_row(0)])
    open_cache(tmp_path / "cache", read_index(world, "train"), NetworkConfig())
    (world / "train" / "000000.mp4").write_bytes(b"another video")
    open_cache(tmp_path / "cache", read_index(world, "train"), NetworkConfig())
    assert decoded == ["000000.mp4"] * 2


def test_a_cache_of_other_pairs_leaves_the_arrays_that_a_fit_has_open(
    tmp_path: Path, decoded: list[str]
) -> None:
    before = read_index(_world(tmp_path, [_row(number) for number in range(4)]), "train")
    arrays = open_cache(tmp_path / "cache", before, NetworkConfig())
    kept = arrays.pictures.copy()
    fewer = open_cache(tmp_path / "cache", before.rows(np.arange(1)), NetworkConfig())
    fewer.pictures[:] = 7
    np.testing.assert_array_equal(arrays.pictures, kept)
    assert len(np.load(tmp_path / "cache" / "pictures.npy")) == 1


@pytest.mark.parametrize("damage", ["{", "[]", None])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, decoded: list[str], damage: str | None) -> None:
    index = read_index(_world(tmp_path, [_row(0)]), "train")
    open_cache(tmp_path / "cache", index, NetworkConfig())
    if damage is None:
        (tmp_path / "cache" / "mel.npy").unlink()
    else:
        (tmp_path / "cache" / "cache.json").write_text(damage)
    assert open_cache(tmp_path / "cache", index, NetworkConfig()).done.all()
    assert decoded == ["000000.mp4"] * 2


def test_the_space_of_a_cache_is_reserved_before_anything_is_decoded(
    tmp_path: Path, decoded: list[str]
) -> None:
    index = read_index(_world(tmp_path, [_row(number) for number in range(4)]), "train")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_cache(tmp_path / "cache", index, NetworkConfig(), progress=stop)
    status = (tmp_path / "cache" / "pictures.npy").stat()
    assert status.st_blocks * 512 >= status.st_size


def test_a_cache_that_does_not_fit_says_what_it_needs_and_leaves_nothing(
    tmp_path: Path, decoded: list[str]
) -> None:
    index = read_index(_world(tmp_path, [_row(number) for number in range(4)]), "train")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageFull, match=r"need 1 MB: File too large.*--cache"):
            open_cache(tmp_path / "cache", index, NetworkConfig())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "cache").glob("*.npy"))
    assert decoded == []


def test_a_sparse_cache_of_before_is_filled_up_or_refused(
    tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = read_index(_world(tmp_path, [_row(0)]), "train")
    arrays = open_cache(tmp_path / "cache", index, NetworkConfig())

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "posix_fallocate", full)
    open_cache(tmp_path / "cache", index, NetworkConfig())
    arrays.done[:] = 0
    with pytest.raises(StorageFull, match="--cache"):
        open_cache(tmp_path / "cache", index, NetworkConfig())


def test_processes_that_decode_ignore_ctrl_c_from_their_first_instant() -> None:
    before = signal.getsignal(signal.SIGINT)
    ask = "import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
    with cache_module._ignored_interrupts():
        child = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert child.stdout == "True\n"
    assert signal.getsignal(signal.SIGINT) == before
