"""Recording a stream with the music that followed it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from support.media_files import noise_frames, sine, write_clip, write_sound

from kinoscore.errors import InvalidMedia, InvalidRequest, NotFound, Unavailable
from kinoscore.media import recording
from kinoscore.media.live_source import iter_pictures
from kinoscore.media.recording import MusicTurn, StreamRecorder
from kinoscore.media.writing import stereo_from

RATE = 25
SECONDS = 6


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    return write_clip(folder / "clip.mp4", noise_frames(RATE * SECONDS), rate=RATE)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`a.flac` has 440 Hz, then from 2 s on 1000 Hz, until 4 s; `b.flac` 2 s of 3000 Hz."""
    folder = tmp_path_factory.mktemp("tracks")
    two_tones = np.concatenate([sine(2.0, frequency=440.0), sine(2.0, frequency=1000.0)])
    write_sound(folder / "a.flac", (two_tones * 32767).astype(np.float32) / 32767, codec="flac")
    write_sound(folder / "b.flac", sine(2.0, frequency=3000.0), codec="flac")
    return folder


def record(clip: Path, destination: Path, *turns: MusicTurn) -> list[str]:
    with StreamRecorder(destination) as recorder:
        for _ in iter_pictures(str(clip), 4.0, recorder):
            pass
        return recorder.finish(turns)


def pictures(path: Path) -> list[av.VideoFrame]:
    with av.open(path) as container:
        return list(container.decode(video=0))


def sound(path: Path) -> tuple[NDArray[np.float32], int]:
    with av.open(path) as container:
        frames: Iterator[av.AudioFrame] = container.decode(audio=0)
        return np.concatenate([frame.to_ndarray()[0] for frame in frames]), container.streams.audio[0].rate


def pitch(path: Path, first: float, last: float) -> float:
    """The strongest frequency between two moments, 0 for silence."""
    samples, rate = sound(path)
    piece = samples[round(first * rate) : round(last * rate)]
    spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece))))
    return float(spectrum.argmax() * rate / len(piece)) if np.abs(piece).max() > 0.01 else 0.0


def test_all_pictures_are_kept_with_their_times_and_as_much_sound(
    clip: Path, tracks: Path, tmp_path: Path
) -> None:
    assert record(clip, tmp_path / "out.mp4", MusicTurn(0.0, tracks / "a.flac")) == []
    kept, shown = pictures(tmp_path / "out.mp4"), pictures(clip)
    assert [round(frame.time * RATE) for frame in kept] == list(range(RATE * SECONDS))
    assert (kept[0].width, kept[0].height) == (shown[0].width, shown[0].height)
    for mine, theirs in zip(kept[::20], shown[::20], strict=True):
        mine_pixels, their_pixels = (frame.to_ndarray(format="rgb24").astype(int) for frame in (mine, theirs))
        assert np.abs(mine_pixels - their_pixels).mean() < 12
    samples, rate = sound(tmp_path / "out.mp4")
    assert len(samples) / rate == pytest.approx(SECONDS, abs=0.05)
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


def test_the_music_changes_at_its_moment_begins_at_its_passage_and_is_played_again(
    clip: Path, tracks: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.mp4"
    # a from its second half, then b; b lasts 2 s.
    record(clip, out, MusicTurn(0.0, tracks / "a.flac", 2.0), MusicTurn(1.5, tracks / "b.flac"))
    assert pitch(out, 0.2, 1.4) == pytest.approx(1000.0, abs=5)
    for first in (2.6, 3.8, 4.6):
        assert pitch(out, first, first + 0.4) == pytest.approx(3000.0, abs=5)


def test_a_track_that_ends_begins_again(clip: Path, tracks: Path, tmp_path: Path) -> None:
    record(clip, tmp_path / "out.mp4", MusicTurn(0.0, tracks / "a.flac", 2.0))
    assert pitch(tmp_path / "out.mp4", 2.2, 3.8) == pytest.approx(440.0, abs=5)


def test_a_track_that_cannot_be_read_is_silent_and_told(clip: Path, tracks: Path, tmp_path: Path) -> None:
    (tmp_path / "noise.ogg").write_bytes(b"noise" * 1000)
    out = tmp_path / "out.mp4"
    turns = [
        MusicTurn(0.0, tmp_path / "gone.ogg"),
        MusicTurn(1.0, tmp_path / "noise.ogg"),
        MusicTurn(2.0, None),
        MusicTurn(3.0, tracks / "b.flac"),
    ]
    warnings = record(clip, out, *turns)
    assert len(warnings) == 2
    assert "gone.ogg does not exist" in warnings[0]
    assert "noise.ogg cannot be decoded" in warnings[1]
    assert pitch(out, 0.0, 2.9) == 0.0
    assert pitch(out, 4.0, 4.5) == pytest.approx(3000.0, abs=5)


def test_a_large_picture_is_kept_smaller_and_upright(tmp_path: Path) -> None:
    frames = [np.full((1440, 2560, 3), 80, np.uint8)] * 3
    clip = write_clip(tmp_path / "large.mp4", frames, rotation=90)
    record(clip, tmp_path / "out.mp4")
    kept = pictures(tmp_path / "out.mp4")
    assert (kept[0].width, kept[0].height) == (1920, 1080)
    assert kept[0].rotation == pictures(clip)[0].rotation != 0


def test_pictures_that_change_their_size_keep_that_of_the_first(tmp_path: Path) -> None:
    with StreamRecorder(tmp_path / "out.mkv") as recorder:
        for number, side in enumerate((64, 64, 48, 32)):
            picture = av.VideoFrame.from_ndarray(np.full((side, side, 3), 99, np.uint8), format="rgb24")
            recorder.add(picture, number / 10)
            recorder.add(picture, number / 10)
        assert recorder.seconds == pytest.approx(0.4)
        recorder.finish([])
        recorder.add(picture, 9.0)
    assert [(frame.width, frame.height) for frame in pictures(tmp_path / "out.mkv")] == [(64, 64)] * 4


def test_who_leaves_while_the_sound_is_made_ends_it_and_finds_no_file(clip: Path, tmp_path: Path) -> None:
    recorder = StreamRecorder(tmp_path / "out.mp4")
    with recorder:
        list(iter_pictures(str(clip), 4.0, recorder))

        def leave(*wanted: Any) -> Any:
            recorder.__exit__(None, None, None)
            return stereo_from(*wanted)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recording, "stereo_from", leave)
            with pytest.raises(Unavailable, match="given up"):
                recorder.finish([MusicTurn(1.0, tmp_path / "gone.ogg")])
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_recorded_is_told_at_once_and_leaves_nothing(tmp_path: Path, clip: Path) -> None:
    for name, kind, piece in (
        ("absent/out.mp4", NotFound, "create it first"),
        ("out.xyz", InvalidRequest, "no media container"),
        ("out.webm", InvalidRequest, "record to"),
    ):
        with pytest.raises(kind, match=piece), StreamRecorder(tmp_path / name):
            pass
    with StreamRecorder(tmp_path / "out.mp4") as recorder, pytest.raises(InvalidMedia, match="no picture"):
        recorder.finish([])
    with StreamRecorder(tmp_path / "out.mp4") as recorder:
        next(iter_pictures(str(clip), 4.0, recorder))
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
