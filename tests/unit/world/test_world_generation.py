"""Worlds on disk."""

import csv
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from kinoscore.errors import FailedPrecondition, InvalidRequest
from kinoscore.world import generation, write_world
from kinoscore.world.plans import PairPlan, Split, draw_pair


@pytest.fixture(autouse=True)
def short_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of 1 s in place of 12 s; how they are drawn is not at stake here."""

    def draw_short(seed: int, split: Split) -> PairPlan:
        pair = draw_pair(seed, split)
        passage = replace(pair.passage, start_seconds=0.0, duration_seconds=1.0)
        return replace(
            pair,
            passage=passage,
            clip=replace(pair.clip, duration_seconds=1.0),
            track=replace(pair.track, sections=(passage,)),
        )

    monkeypatch.setattr(generation, "draw_pair", draw_short)


def _rows(index: Path) -> list[dict[str, str]]:
    with index.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_world_is_pairs_of_media_files_with_an_index(tmp_path: Path) -> None:
    index = write_world(tmp_path, "train", 2, seed=3)
    rows = _rows(index)
    assert index == tmp_path / "train" / "index.csv"
    assert [row["id"] for row in rows] == ["000000", "000001"]
    for row in rows:
        with av.open(str(index.parent / row["clip"])) as clip:
            assert clip.streams.video[0].codec_context.name == "h264"
            assert not clip.streams.audio
        with av.open(str(index.parent / row["track"])) as track:
            assert track.streams.audio[0].codec_context.name == "opus"
    assert not [path for path in index.parent.iterdir() if path.name.startswith(".")]


def test_the_index_tells_what_was_drawn(tmp_path: Path) -> None:
    row = _rows(write_world(tmp_path, "test", 1, seed=9))[0]
    pair = draw_pair(int(row["seed"]), "test")
    assert set(row) == set(generation.index_columns())
    assert row["theme"] == pair.factors.theme
    assert float(row["valence"]) == pytest.approx(pair.factors.valence, abs=1e-5)
    assert float(row["picture_tilt"]) == pytest.approx(pair.clip.cues["tilt"], rel=1e-5)
    assert float(row["music_flux"]) == pytest.approx(pair.passage.cues["flux"], rel=1e-5)


def test_an_interrupted_world_is_resumed_without_rendering_whole_pairs_again(tmp_path: Path) -> None:
    folder = write_world(tmp_path, "train", 2, seed=3).parent
    (folder / "000001.ogg").unlink()
    before = (folder / "000000.mp4").stat().st_mtime_ns
    seen: list[tuple[int, int]] = []
    write_world(tmp_path, "train", 3, seed=3, progress=lambda done, count: seen.append((done, count)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert (folder / "000000.mp4").stat().st_mtime_ns == before
    assert (folder / "000001.ogg").exists()
    assert len(_rows(folder / "index.csv")) == 3


def test_the_same_seed_gives_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    folders = [
        write_world(tmp_path / name, "train", 1, seed=seed).parent
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    contents = [(folder / "000000.mp4").read_bytes() for folder in folders]
    assert contents[0] == contents[1] != contents[2]


def test_a_folder_that_holds_another_world_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    index = write_world(tmp_path, "train", 1, seed=1)
    before = index.read_bytes()
    with pytest.raises(FailedPrecondition, match="another world"):
        write_world(tmp_path, "train", 1, seed=2)
    assert index.read_bytes() == before


@pytest.mark.parametrize("wrong", [{"count": 0}, {"seed": -1}, {"split": "dev"}, {"workers": 0}])
def test_impossible_worlds_are_refused_before_anything_is_made(
    tmp_path: Path, wrong: dict[str, object]
) -> None:
    wanted = {"split": "train", "count": 1, "seed": 1, "workers": 1, **wrong}
    split, count, seed = wanted.pop("split"), wanted.pop("count"), wanted.pop("seed")
    with pytest.raises(InvalidRequest):
        write_world(tmp_path / "world", split, count, seed, **wanted)  # type: ignore[arg-type]
    assert not (tmp_path / "world").exists()


def test_several_workers_write_the_same_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With real pairs: worker processes do not see this module's short ones."""
    monkeypatch.undo()
    index = write_world(tmp_path, "validation", 1, seed=4, workers=2)
    pair = draw_pair(4_000_000, "validation")
    with av.open(str(index.parent / "000000.mp4")) as clip:
        frames = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
    assert len(frames) == round(pair.clip.duration_seconds * pair.clip.frames_per_second)
    rendered = np.stack(list(generation.render_clip(pair.clip))).astype(float)
    assert np.abs(np.stack(frames) - rendered).mean() < 15.0
