"""Writing clips and tracks, and laying music under a clip."""

import errno
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from kinoscore.errors import FailedPrecondition, InvalidMedia, InvalidRequest, NotFound, StorageFull
from kinoscore.media import writing
from kinoscore.media.writing import lay_music_under, write_audio, write_video

RATE = 22_050


def _frames(count: int = 24, height: int = 48, width: int = 64) -> list[NDArray[np.uint8]]:
    """A bright bar that moves over a dark ground."""
    frames = np.full((count, height, width, 3), 40, np.uint8)
    for number in range(count):
        frames[number, :, number * 2 : number * 2 + 8] = (200, 120, 60)
    return list(frames)


def _tone(seconds: float, hertz: float = 440.0) -> NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def _sound(path: Path) -> tuple[NDArray[np.float32], int]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=stream.rate)
        frames = [part for frame in container.decode(stream) for part in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray()[0] for frame in frames]), int(stream.rate)


def _packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two seconds of pictures."""
    write_video(tmp_path / "clip.mp4", _frames(), 12.0)
    return tmp_path / "clip.mp4"


@pytest.fixture
def track(tmp_path: Path) -> Path:
    """Two seconds at 440 Hz, then four at 880 Hz."""
    write_audio(tmp_path / "track.flac", np.concatenate([_tone(2.0), _tone(4.0, 880.0)]), RATE)
    return tmp_path / "track.flac"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_video_comes_back_as_it_was_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip{suffix}"
    write_video(path, iter(_frames()), 12.0, quality=12)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate or 0) == pytest.approx(12.0)
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
    assert decoded.shape == (24, 48, 64, 3)
    assert np.abs(decoded.astype(float) - np.stack(_frames())).mean() < 12.0


@pytest.mark.parametrize(("suffix", "rate"), [(".ogg", 48_000), (".flac", RATE), (".wav", RATE)])
def test_a_track_comes_back_with_its_length_level_and_pitch(tmp_path: Path, suffix: str, rate: int) -> None:
    path = tmp_path / f"tone{suffix}"
    write_audio(path, _tone(1.5), RATE)
    heard, heard_rate = _sound(path)
    assert heard_rate == rate
    assert len(heard) / rate == pytest.approx(1.5, abs=0.03)
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
    peak = np.argmax(np.abs(np.fft.rfft(heard))) * rate / len(heard)
    assert peak == pytest.approx(440.0, abs=2.0)


@pytest.mark.parametrize("suffix", [".ogg", ".flac"])
def test_tags_are_written_where_readers_look(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tone{suffix}"
    write_audio(path, _tone(0.5), RATE, {"title": "Low Sun", "artist": "Åse"})
    with av.open(str(path)) as container:
        found = {**container.metadata, **container.streams.audio[0].metadata}
    found = {key.lower(): value for key, value in found.items()}
    assert (found["title"], found["artist"]) == ("Low Sun", "Åse")


def test_samples_beyond_full_scale_are_clipped_not_wrapped(tmp_path: Path) -> None:
    write_audio(tmp_path / "loud.wav", np.full(RATE, 3.0, np.float32), RATE)
    heard, _ = _sound(tmp_path / "loud.wav")
    assert heard.min() > 0.99


def test_a_preview_has_the_clips_pictures_untouched_and_the_passage_under_them(
    tmp_path: Path, clip: Path, track: Path
) -> None:
    preview = tmp_path / "preview.mp4"
    lay_music_under(clip, track, 2.0, preview)
    assert _packets(preview) == _packets(clip)
    heard, rate = _sound(preview)
    assert len(heard) / rate == pytest.approx(2.0, abs=0.06)
    middle = heard[rate // 2 : rate * 3 // 2]
    assert np.argmax(np.abs(np.fft.rfft(middle))) * rate / len(middle) == pytest.approx(880.0, abs=3.0)


def test_the_music_of_a_preview_fades_in_and_out(tmp_path: Path, clip: Path, track: Path) -> None:
    lay_music_under(clip, track, 0.0, tmp_path / "preview.mp4")
    heard, rate = _sound(tmp_path / "preview.mp4")
    short = rate // 20
    loud = np.abs(heard[rate // 2 : rate]).max()
    assert np.abs(heard[:short]).max() < 0.3 * loud
    assert np.abs(heard[2 * rate - short : 2 * rate]).max() < 0.3 * loud


def test_a_preview_replaces_the_sound_that_the_clip_had(tmp_path: Path, clip: Path, track: Path) -> None:
    first, second = tmp_path / "first.mp4", tmp_path / "second.mp4"
    lay_music_under(clip, track, 0.0, first)
    lay_music_under(first, track, 2.0, second)
    with av.open(str(second)) as container:
        assert (len(container.streams.video), len(container.streams.audio)) == (1, 1)
    heard, rate = _sound(second)
    middle = heard[rate // 2 : rate * 3 // 2]
    assert np.argmax(np.abs(np.fft.rfft(middle))) * rate / len(middle) == pytest.approx(880.0, abs=3.0)


def test_music_that_ends_before_the_clip_is_laid_as_far_as_it_goes(
    tmp_path: Path, clip: Path, track: Path
) -> None:
    lay_music_under(clip, track, 5.0, tmp_path / "preview.mp4")
    heard, rate = _sound(tmp_path / "preview.mp4")
    assert len(heard) / rate == pytest.approx(1.0, abs=0.06)
    assert _packets(tmp_path / "preview.mp4") == _packets(clip)


def test_a_passage_behind_the_end_of_the_track_is_refused(tmp_path: Path, clip: Path, track: Path) -> None:
    with pytest.raises(InvalidMedia, match="ends before"):
        lay_music_under(clip, track, 60.0, tmp_path / "preview.mp4")
    assert not (tmp_path / "preview.mp4").exists()


def test_a_clip_without_pictures_and_a_track_without_sound_are_refused(
    tmp_path: Path, clip: Path, track: Path
) -> None:
    with pytest.raises(InvalidMedia, match="no video stream"):
        lay_music_under(track, track, 0.0, tmp_path / "preview.mp4")
    with pytest.raises(InvalidMedia, match="no audio stream"):
        lay_music_under(clip, clip, 0.0, tmp_path / "preview.mp4")


def test_files_that_are_absent_or_no_media_are_named(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "notes.ogg").write_text("no music at all")
    with pytest.raises(NotFound, match="absent"):
        lay_music_under(clip, tmp_path / "absent.ogg", 0.0, tmp_path / "preview.mp4")
    with pytest.raises(InvalidMedia, match="notes"):
        lay_music_under(clip, tmp_path / "notes.ogg", 0.0, tmp_path / "preview.mp4")


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [np.zeros((47, 64, 3), np.uint8)],
        [np.zeros((48, 64), np.uint8)],
        [np.zeros((48, 64, 3), np.uint8), np.zeros((48, 66, 3), np.uint8)],
    ],
    ids=["none", "odd side", "no colour", "changing shape"],
)
def test_frames_that_make_no_video_are_refused_and_leave_no_file(
    tmp_path: Path, frames: list[NDArray[np.uint8]]
) -> None:
    with pytest.raises(InvalidRequest):
        write_video(tmp_path / "clip.mp4", frames, 12.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "samples"),
    [
        ("tone.mp3", np.zeros(100, np.float32)),
        ("tone.wav", np.zeros(0, np.float32)),
        ("tone.wav", np.full(100, np.nan, np.float32)),
        ("tone.wav", np.zeros((2, 100), np.float32)),
    ],
    ids=["suffix", "empty", "not a number", "two-dimensional"],
)
def test_samples_that_make_no_track_are_refused_and_leave_no_file(
    tmp_path: Path, name: str, samples: NDArray[np.float32]
) -> None:
    with pytest.raises(InvalidRequest):
        write_audio(tmp_path / name, samples, RATE)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path: Path, clip: Path) -> None:
    before = clip.read_bytes()

    def broken() -> Iterator[NDArray[np.uint8]]:
        yield from _frames(5)
        raise RuntimeError("the renderer stopped")

    with pytest.raises(RuntimeError, match="the renderer stopped"):
        write_video(clip, broken(), 12.0)
    assert clip.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_full_disk_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing.Path, "replace", refuse)
    with pytest.raises(StorageFull, match="disk is full"):
        write_audio(tmp_path / "tone.wav", _tone(0.1), RATE)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="create it first"):
        write_audio(tmp_path / "absent" / "tone.wav", _tone(0.1), RATE)


def test_a_place_that_may_not_be_written_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "tone.wav").mkdir()
    with pytest.raises(FailedPrecondition, match="choose another place"):
        write_audio(tmp_path / "tone.wav", _tone(0.1), RATE)
