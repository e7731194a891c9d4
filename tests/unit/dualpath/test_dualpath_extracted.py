"""`dualpath features`: from a user's own files to the tokens that the benchmark reads."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.media_files import noise_frames, sine, write_clip, write_sound

from dualpath.data.features import extract
from dualpath.data.features.extract import MusicFeatures, VideoFeatures, extract_all
from dualpath.data.features.extracted import TOKENS, read_extracted
from dualpath.networks.backbones import open_backbone
from kinoscore.errors import InvalidMedia, InvalidRequest, NotFound, StorageFull


@pytest.fixture
def pairs(tmp_path: Path) -> Callable[..., Path]:
    """A CSV of three pairs of 4, 5 and 6 s; the music is 9 s long."""
    for number in range(3):
        write_clip(tmp_path / f"v{number}.mp4", noise_frames(4 + number, 48, 64), rate=1)
        write_sound(tmp_path / f"m{number}.wav", sine(9.0, frequency=220.0 * (number + 1)))

    def make(**columns: list[str]) -> Path:
        path = tmp_path / "pairs.csv"
        columns = {
            "video": [f"v{number}.mp4" for number in range(3)],
            "music": [f"m{number}.wav" for number in range(3)],
            "split": ["train", "validation", "test"],
            **columns,
        }
        with path.open("w", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        return path

    return make


def test_features_are_extracted_once_and_read_by_the_benchmark(
    pairs, dualpath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = pairs(emotion=["joyful", "sad", "calm"]), tmp_path / "features"
    status, printed, _ = dualpath("features", "--data", data, "--out", out)
    assert (status, "3 pairs" in printed) == (0, True)
    read = read_extracted(out)
    assert (read.video.shape, read.music.shape[:2]) == ((3, TOKENS, 28 + 333), (3, TOKENS))
    assert read.splits == ("train", "val", "test")
    assert read.video_emotion is not None
    assert read.video_emotion.argmax(axis=1).tolist() == [0, 2, 3]
    decoded: list[object] = []
    monkeypatch.setattr(extract, "iter_frames", lambda *_: decoded.append(1))
    assert dualpath("features", "--data", data, "--out", out)[0] == 0
    assert not decoded


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told_before_anything_is_read(pairs, dualpath, tmp_path: Path) -> None:
    out = tmp_path / "features"
    status, _, told = dualpath("features", "--data", pairs(), "--out", out, "--accelerator", "cuda")
    assert status != 0
    assert "torch finds 0 GPUs here, not 1: use --accelerator cpu" in told
    assert not out.exists()


def test_an_interrupted_extraction_goes_on(tmp_path: Path) -> None:
    class Slow:
        seconds, width = 1.0, 2

        def __init__(self) -> None:
            self.seen: list[str] = []

        def extract(self, path: Path) -> np.ndarray:
            if path.name == "b" and self.seen == ["a"]:
                self.seen.append("interrupted")
                raise KeyboardInterrupt
            self.seen.append(path.name)
            return np.ones((3, 2), np.float32)

    slow, files = Slow(), {name: Path(name) for name in "abc"}
    with pytest.raises(KeyboardInterrupt):
        extract_all(slow, files, tmp_path)
    extract_all(slow, files, tmp_path)
    assert slow.seen == ["a", "interrupted", "b", "c"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.npy", "b.npy", "c.npy"]


def test_a_full_disk_keeps_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Quick:
        seconds, width = 1.0, 2

        def extract(self, path: Path) -> np.ndarray:
            return np.ones((3, 2), np.float32)

    extract_all(Quick(), {"a": Path("a")}, tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(StorageFull, match="run again"):
        extract_all(Quick(), {"a": Path("a"), "b": Path("b")}, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.npy"]


def test_a_backbone_with_weights_gives_its_own_width(pairs, tmp_path: Path) -> None:
    pairs()
    for channels in (3, 1):
        weights = open_backbone("small", channels, ((2, 2), (2, 2), (1, 1))).state_dict()
        torch.save(weights, tmp_path / f"small{channels}.pt")
    video = VideoFeatures("small", f"file:{tmp_path / 'small3.pt'}")
    assert video.extract(tmp_path / "v1.mp4").shape == (5, video.width) == (5, 96)
    music = MusicFeatures("small", f"file:{tmp_path / 'small1.pt'}")
    assert music.extract(tmp_path / "m1.wav").shape == (3, music.width) == (3, 96)


def test_a_short_rest_of_music_is_no_window(tmp_path: Path) -> None:
    music = MusicFeatures("none", "")
    steps = [
        len(music.extract(write_sound(tmp_path / f"{seconds}.wav", sine(seconds))))
        for seconds in (0.5, 4.0, 5.0)
    ]
    assert steps == [1, 1, 2]


def test_a_backbone_without_weights_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="random"):
        VideoFeatures("small", "")


def test_another_backbone_needs_another_folder(pairs, dualpath, tmp_path: Path) -> None:
    data, out = pairs(), tmp_path / "features"
    dualpath("features", "--data", data, "--out", out)
    facts = json.loads((out / "features.json").read_text())
    facts["video"]["backbone"] = "torchvision:resnet18"
    (out / "features.json").write_text(json.dumps(facts))
    status, _, message = dualpath("features", "--data", data, "--out", out)
    assert status == 1
    assert "another --out" in message.splitlines()[-1]


def test_unreadable_media_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no media")
    with pytest.raises(InvalidMedia, match=r"bad\.mp4"):
        VideoFeatures("none", "").extract(tmp_path / "bad.mp4")


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Extracted features whose steps are their own numbers: a video of 10 s and a track of 60 s."""

    def make(**row: str) -> Path:
        facts = {side: {"seconds": 1.0, "width": 1} for side in ("video", "music")}
        (tmp_path / "features.json").write_text(json.dumps({"format": 1, **facts}))
        for side, steps in (("video", 10), ("music", 60)):
            (tmp_path / side).mkdir()
            np.save(tmp_path / side / "a.npy", np.arange(steps, dtype=np.float16)[:, None])
        row = {
            **dict.fromkeys(("id", "video", "music"), "a"),
            "split": "train",
            "group": "0",
            **dict.fromkeys(("video_start", "music_start", "valence", "arousal"), ""),
            **row,
        }
        with (tmp_path / "pairs.csv").open("w", newline="") as lines:
            writer = csv.DictWriter(lines, list(row))
            writer.writeheader()
            writer.writerow(row)
        return tmp_path

    return make


def test_tokens_span_what_a_pair_has_in_common(folder) -> None:
    read = read_extracted(folder(music_start="20"))
    assert read.video[0, [0, -1], 0].tolist() == [0, 9]
    assert read.music[0, [0, -1], 0].tolist() == [20, 29]


def test_without_a_start_each_side_gives_its_whole(folder) -> None:
    assert read_extracted(folder()).music[0, [0, -1], 0].tolist() == [0, 59]


def test_no_emotion_is_given_where_a_pair_has_none(folder) -> None:
    assert read_extracted(folder()).video_emotion is None


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"group": "x"}, "invalid literal"),
        ({"split": "training"}, "training"),
        ({"valence": "1", "arousal": "x"}, "x"),
    ],
)
def test_a_bad_table_is_named(folder, row: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"pairs\.csv.*{words}"):
        read_extracted(folder(**row))


def test_features_of_another_width_or_missing_ones_are_named(folder) -> None:
    path = folder()
    np.save(path / "video" / "a.npy", np.ones((10, 2), np.float16))
    with pytest.raises(InvalidRequest, match="2 wide"):
        read_extracted(path)
    (path / "video" / "a.npy").unlink()
    with pytest.raises(NotFound, match=r"a\.npy"):
        read_extracted(path)
    with pytest.raises(NotFound, match="dualpath features"):
        read_extracted(path / "video")
