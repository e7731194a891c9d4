"""An upgrade that brings other models, as the owner of a data folder meets it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.repository import write_tiny_repository
from support.stack import Kinoscore

from kinoscore.media.writing import write_audio, write_video

RATE = 22050


@pytest.fixture
def before(tmp_path: Path) -> Kinoscore:
    """The command with the models of before."""
    return Kinoscore(tmp_path, write_tiny_repository(tmp_path / "before", seed=0))


@pytest.fixture
def after(before: Kinoscore, tmp_path: Path) -> Kinoscore:
    """The same data folder, with other models."""
    return replace(before, repository=write_tiny_repository(tmp_path / "after", seed=1))


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    folder.mkdir()
    for pitch in (220, 440):
        seconds = np.arange(8 * RATE) / RATE
        tone = (0.3 * np.sin(2 * np.pi * pitch * seconds)).astype(np.float32)
        write_audio(folder / f"{pitch}.flac", tone, RATE)
    return folder


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    random = np.random.default_rng(1)
    path = tmp_path / "clip.mp4"
    write_video(path, (random.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(16)), 8.0)
    return path


def space_of(command: Kinoscore) -> str:
    space: str = json.loads((command.repository / "kinoscore.json").read_text())["space"]
    return space


def titles(command: Kinoscore, clip: Path) -> set[str]:
    told = command("recommend", clip, "--json")
    assert told.returncode == 0, told.stderr
    return {hit["track"]["title"] for hit in json.loads(told.stdout)["hits"]}


def test_reindexing_after_an_upgrade_brings_the_index_back_and_the_way_back_is_open(
    before: Kinoscore, after: Kinoscore, music: Path, clip: Path
) -> None:
    assert before("index", music).returncode == 0
    refused = after("recommend", clip)
    assert refused.returncode == 1
    assert "kinoscore reindex" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    (music / "440.flac").rename(music.parent / "moved.flac")
    told = after("reindex")
    assert told.returncode == 1
    first, missing, remedy = told.stderr.splitlines()
    assert first.startswith(f"1 encoded, 1 not taken over; {space_of(after)} is the active space now")
    assert missing.endswith(f"{music}/440.flac: no such file")
    assert remedy == f"to upload them again: kinoscore index --space {space_of(after)} FILE..."
    assert titles(after, clip) == {"220"}
    assert after("index", "--space", space_of(after), music.parent / "moved.flac").returncode == 0
    assert titles(after, clip) == {"220", "moved"}
    assert before("spaces", "switch", space_of(before)).returncode == 0
    assert titles(before, clip) == {"220", "440"}


def test_an_index_whose_every_file_is_indexed_again_follows_its_models(
    before: Kinoscore, after: Kinoscore, music: Path, clip: Path
) -> None:
    assert before("index", music).returncode == 0
    told = after("index", music / "220.flac")
    assert told.returncode == 0
    assert "1 tracks are not indexed with the new ones yet" in told.stderr
    told = after("index", music)
    assert told.returncode == 0
    assert f"{space_of(after)} is active" in told.stderr
    assert titles(after, clip) == {"220", "440"}


def test_a_running_server_of_a_folder_switches_between_the_spaces_it_serves(
    before: Kinoscore, after: Kinoscore, music: Path, clip: Path
) -> None:
    assert before("index", music).returncode == 0
    both = f"{before.repository}:{after.repository}"
    with after.up("--repository", both) as up:
        assert up.recommend(clip).space == space_of(before)
        told = after("reindex", "--switch")
        assert told.returncode == 0, told.stderr
        assert "2 encoded" in told.stderr
        answer = up.recommend(clip)
        assert (answer.space, len(answer.hits)) == (space_of(after), 2)
        told = after("spaces", "switch", space_of(before))
        assert told.returncode == 0, told.stderr
        assert up.recommend(clip).space == space_of(before)


def test_the_demo_just_works_on_a_demo_folder_of_before(before: Kinoscore, after: Kinoscore) -> None:
    assert before("demo", "-k", 1).returncode == 0
    told = after("demo", "-k", 1)
    assert told.returncode == 0, told.stderr
    assert f"{space_of(after)} is active" in told.stderr
