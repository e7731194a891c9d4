"""`kinoscore live`, in a process of its own."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.repository import write_tiny_repository
from support.stack import LIMIT_SECONDS, Kinoscore, command_line

from kinoscore.media.writing import write_audio, write_video

RATE = 22050


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Kinoscore:
    """A catalogue of two tracks, and a clip of 4 s."""
    kinoscore = Kinoscore(
        tmp_path_factory.mktemp("library"), write_tiny_repository(tmp_path_factory.mktemp("repository"))
    )
    random = np.random.default_rng(3)
    pictures = [random.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(32)]
    for name in ("clip.mp4", "clip.ts"):
        write_video(kinoscore.folder / name, iter(pictures), 8.0)
    music = kinoscore.folder / "music"
    music.mkdir()
    for number, pitch in enumerate((220.0, 330.0)):
        samples = 0.3 * np.sin(2 * np.pi * pitch * np.arange(13 * RATE) / RATE)
        write_audio(
            music / f"{number}.ogg", samples.astype(np.float32), RATE, tags={"title": f"Tone {number}"}
        )
    indexed = kinoscore("index", music)
    assert indexed.returncode == 0, indexed.stderr
    return kinoscore


def test_a_file_gets_an_update_a_line(library: Kinoscore) -> None:
    result = library("live", library.folder / "clip.mp4", "--fast", "--json", "-k", 2)
    assert result.returncode == 0, result.stderr
    *running, last = [json.loads(line) for line in result.stdout.splitlines()]
    assert [update["stream_seconds"] for update in running] == [1.0, 2.0, 3.0, 4.0]
    assert last["ending"] == "complete"
    assert len(last["hits"]) == 2


def test_a_pipe_is_read_at_its_own_pace_and_the_view_shows_the_list(library: Kinoscore) -> None:
    result = subprocess.run(
        command_line("live", "-", "-k", 2),
        env=library.environment,
        input=(library.folder / "clip.ts").read_bytes(),
        capture_output=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()
    for piece in ("Tone 0", "Tone 1", "valence", "key frames"):
        assert piece in result.stdout.decode()


def test_what_is_no_video_is_one_line_and_no_traceback(library: Kinoscore, tmp_path: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(b"noise" * 1000)
    for source, piece in (
        (tmp_path / "none.mp4", "no such file"),
        (tmp_path / "noise.mp4", "cannot be opened"),
    ):
        result = library("live", source, "--fast")
        assert result.returncode == 1
        assert piece in result.stderr
        assert len(result.stderr.splitlines()) == 1
