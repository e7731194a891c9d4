"""`kinoscore live`, in a process of its own."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
from support.repository import write_tiny_repository
from support.stack import LIMIT_SECONDS, Kinoscore, command_line

from kinoscore.media.writing import write_audio, write_video

RATE = 22050
PITCHES = (220.0, 330.0)


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
    scenes = [np.full((64, 96, 3), colour, np.uint8) for colour in ((250, 220, 40), (10, 20, 60))]
    write_video(kinoscore.folder / "scenes.mp4", (scenes[number // 64] for number in range(128)), 8.0)
    music = kinoscore.folder / "music"
    music.mkdir()
    for number, pitch in enumerate(PITCHES):
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


def test_a_pipe_that_falls_silent_is_left_at_the_first_ctrl_c(library: Kinoscore) -> None:
    command = command_line("live", "-", "--json")
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, env=library.environment, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write((library.folder / "clip.ts").read_bytes())
        process.stdin.flush()
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        # Not communicate: it would close the pipe, which ends the stream.
        assert process.wait(LIMIT_SECONDS) == 130
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


def test_a_server_that_shuts_down_is_told_with_a_remedy(library: Kinoscore) -> None:
    with library.up() as up:
        command = command_line("live", library.folder / "scenes.mp4", "--json", "--address", up.address)
        with subprocess.Popen(
            command, env=library.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["resume_token"]
            up.process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 1
    assert "the server shuts down; start again" in told


def heard(path: Path, first: float, last: float) -> float:
    """The strongest frequency between two moments."""
    with av.open(path) as container:
        rate = container.streams.audio[0].rate
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    piece = samples[round(first * rate) : round(last * rate)]
    assert np.abs(piece).max() > 0.05
    return float(np.abs(np.fft.rfft(piece * np.hanning(len(piece)))).argmax() * rate / len(piece))


def seconds_of_pictures(path: Path) -> float:
    with av.open(path) as container:
        return max(float(frame.time) for frame in container.decode(video=0)) + 1 / 8


def test_a_recording_has_the_pictures_and_the_track_that_was_first_at_each_moment(library: Kinoscore) -> None:
    out = library.folder / "out.mp4"
    out.write_bytes(b"what was here before")
    wishes = ("--fast", "--json", "-k", 1, "--margin", 0, "--hold", 0, "--window", 2)
    result = library("live", library.folder / "scenes.mp4", *wishes, "--record", out)
    assert result.returncode == 0, result.stderr
    assert f"wrote {out}" in result.stderr
    assert seconds_of_pictures(out) == 16.0
    updates = [json.loads(line) for line in result.stdout.splitlines()]
    first = {update["stream_seconds"]: update["hits"][0]["track"]["title"] for update in updates}
    # Before a second's update the track of the update before is heard, and during it the two may mix.
    for second in range(2, 15):
        if first[second] == first[second - 1]:
            pitch = PITCHES[int(first[second].removeprefix("Tone "))]
            assert heard(out, second + 0.05, second + 0.95) == pytest.approx(pitch, abs=6)


def test_a_recording_that_is_stopped_holds_what_was_recorded(library: Kinoscore, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    command = command_line("live", library.folder / "scenes.mp4", "--json", "--record", out)
    with subprocess.Popen(
        command, env=library.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 130
    assert f"wrote {out}" in told
    assert 1.5 <= seconds_of_pictures(out) < 16.0
    assert heard(out, 0.2, 1.2) in [pytest.approx(pitch, abs=6) for pitch in PITCHES]
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


def test_a_pipe_is_recorded_and_tracks_out_of_reach_are_silent_with_one_warning(
    library: Kinoscore, tmp_path: Path
) -> None:
    music = tmp_path / "music"
    shutil.copytree(library.folder / "music", music)
    elsewhere = Kinoscore(tmp_path / "elsewhere", library.repository)
    assert elsewhere("index", music).returncode == 0
    shutil.rmtree(music)
    out = tmp_path / "out.mp4"
    result = subprocess.run(
        command_line("live", "-", "--fast", "--record", out),
        env=elsewhere.environment,
        input=(library.folder / "clip.ts").read_bytes(),
        capture_output=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()
    warnings = [line for line in result.stderr.decode().splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "silent in the recording: Tone" in warnings[0]
    assert seconds_of_pictures(out) == 4.0


def test_what_cannot_be_recorded_or_opened_is_told_in_one_line(library: Kinoscore, tmp_path: Path) -> None:
    clip = library.folder / "clip.mp4"
    for arguments, piece in (
        ((clip, "--record", tmp_path / "absent" / "out.mp4"), "create it first"),
        ((clip, "--record", tmp_path / "out.txt"), "no media container"),
        (("camera:/dev/no-such-camera", "--record", tmp_path / "out.mp4"), "the camera"),
    ):
        result = library("live", *arguments)
        assert result.returncode == 1
        assert piece in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
