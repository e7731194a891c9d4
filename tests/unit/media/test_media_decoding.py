import contextlib
import hashlib
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from support.media_files import (
    copy_from,
    grey_frames,
    grey_numbers,
    noise_frames,
    sine,
    write_clip,
    write_sound,
)

from kinoscore.errors import InvalidMedia, InvalidRequest, KinoscoreError, MediaTooLarge, NotFound
from kinoscore.media.decoding import (
    BATCH_FRAMES,
    BLOCK_SAMPLES,
    iter_audio,
    iter_frames,
    probe,
    read_audio,
    read_frames,
)
from kinoscore.media.salvage import StreamReader
from kinoscore.media.types import FrameSpec, Limits, MediaSummary

LIMITS = Limits()
SPEC = FrameSpec(width=32, height=20, frames_per_second=2.0)
CODECS = [
    ("clip.mp4", "libx264", {"bf": "3", "g": "30", "b-pyramid": "normal"}),
    ("clip.mkv", "libx264", {"bf": "2", "x264-params": "open-gop=1:keyint=12"}),
    ("clip.ts", "libx264", {"bf": "2", "g": "20"}),
    ("refresh.ts", "libx264", {"x264-params": "intra-refresh=1:keyint=20"}),
    ("refresh.mp4", "libx264", {"x264-params": "intra-refresh=1:keyint=20"}),
    ("open.mkv", "libx265", {"x265-params": "open-gop=1:keyint=20:log-level=none"}),
    ("clip.mov", "mpeg4", {"bf": "2"}),
    ("clip.avi", "mjpeg", {}),
    ("clip.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
]
SOUND_FORMATS = [
    ("t.wav", "pcm_s16le", 22050),
    ("t.flac", "flac", 44100),
    ("t.ogg", "libopus", 24000),
    ("t.mp3", "libmp3lame", 44100),
    ("t.m4a", "aac", 22050),
]


def summary_of_frames(path: Path, limits: Limits = LIMITS) -> tuple[NDArray[np.uint8], MediaSummary]:
    decoding = iter_frames(path, SPEC, limits)
    frames = np.concatenate([batch.frames for batch in decoding])
    return frames, decoding.summary


def summary_of_audio(path: Path, rate: int = 22050) -> tuple[NDArray[np.float32], MediaSummary]:
    decoding = iter_audio(path, rate)
    samples = np.concatenate([block.samples for block in decoding])
    return samples, decoding.summary


def decode_everything(path: Path, spec: FrameSpec) -> NDArray[np.uint8]:
    """Decodes every frame, and then chooses by the definition."""
    reformatter = VideoReformatter()
    times, pictures = [], []
    with av.open(path) as container:
        for frame in container.decode(video=0):
            times.append(frame.time)
            small = reformatter.reformat(
                frame, spec.width, spec.height, "rgb24", interpolation="AREA", threads=1
            )
            pictures.append(small.to_ndarray())
    since_start = np.array(times) - times[0]
    _, summary = summary_of_frames(path)
    chosen = [
        pictures[np.flatnonzero(since_start <= number / spec.frames_per_second + 1e-6)[-1]]
        for number in range(int(np.ceil(summary.duration_seconds * spec.frames_per_second - 1e-6)))
    ]
    return np.stack(chosen)


# --- frames


@pytest.mark.parametrize(("name", "codec", "options"), CODECS)
@pytest.mark.parametrize("threads", [1, 2])
def test_skipping_frames_changes_no_sample(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], threads: int
) -> None:
    path = write_clip(tmp_path / name, noise_frames(110), codec=codec, options=options)
    frames = np.concatenate([batch.frames for batch in iter_frames(path, SPEC, threads=threads)])
    assert frames.shape == (9, 20, 32, 3)
    assert np.array_equal(frames, decode_everything(path, SPEC))


@pytest.mark.parametrize("first", [15, 18, 22])
@pytest.mark.parametrize(("name", "hidden"), [("cut.mp4", True), ("cut.mp4", False), ("cut.ts", False)])
@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"bf": "3", "g": "30", "b-pyramid": "normal"}),
        ("libx265", {"x265-params": "keyint=12:log-level=none"}),
    ],
)
def test_skipping_frames_changes_no_sample_of_a_clip_cut_without_encoding(
    tmp_path: Path, codec: str, options: dict[str, str], name: str, hidden: bool, first: int
) -> None:
    source = write_clip(tmp_path / "clip.mp4", noise_frames(80), codec=codec, options=options)
    path = copy_from(source, tmp_path / name, first, hidden=hidden)
    frames, _ = summary_of_frames(path)
    assert np.array_equal(frames, decode_everything(path, SPEC))


def test_frames_that_no_sample_needs_are_not_decoded(tmp_path: Path, decoded: list[object]) -> None:
    read_frames(write_clip(tmp_path / "clip.avi", noise_frames(100), codec="mjpeg"), SPEC)
    assert len(decoded) == 8
    decoded.clear()
    options = {"x264-params": "bframes=2:b-pyramid=none:b-adapt=0:scenecut=0"}
    read_frames(write_clip(tmp_path / "clip.mp4", noise_frames(100), options=options), SPEC)
    # A third of the frames carries the others; of those, only the sampled ones are added.
    assert 34 <= len(decoded) <= 45


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts", "clip.mkv"])
def test_nothing_is_decoded_after_the_last_sample_of_a_group_of_pictures(
    tmp_path: Path, decoded: list[object], name: str
) -> None:
    # Groups of a second, sampled at their frames 0 and 13 (half a second is in the midst of frame 12).
    options = {"x264-params": "bframes=0:keyint=25:scenecut=0"}
    path = write_clip(tmp_path / name, noise_frames(101), options=options)
    assert np.array_equal(read_frames(path, SPEC)[1], decode_everything(path, SPEC))
    decoded.clear()
    read_frames(path, SPEC)
    assert len(decoded) == 4 * 13 + 1


def test_each_sample_is_the_frame_on_the_screen_at_its_time(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", grey_frames(50), codec="ffv1", rate=10)
    timestamps, frames = read_frames(path, SPEC)
    assert timestamps.dtype == np.float64
    assert timestamps.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5]
    assert frames.dtype == np.uint8
    assert grey_numbers(frames) == list(range(0, 50, 5))


def test_a_slow_video_repeats_its_frames(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", grey_frames(3), codec="ffv1", rate=1)
    _, frames = read_frames(path, SPEC)
    assert grey_numbers(frames) == [0, 0, 1, 1, 2, 2]


def test_variable_frame_distances_are_respected(tmp_path: Path) -> None:
    times = [0, 2, 3, 11, 12, 13, 14, 29]
    path = write_clip(tmp_path / "clip.mkv", grey_frames(8), codec="ffv1", rate=10, times=times.__getitem__)
    _, frames = read_frames(path, SPEC)
    assert grey_numbers(frames) == [0, 2, 2, 6, 6, 6]


def test_a_clip_that_does_not_start_at_zero_is_counted_from_its_first_frame(tmp_path: Path) -> None:
    early = write_clip(tmp_path / "early.mkv", noise_frames(40))
    late = write_clip(tmp_path / "late.ts", noise_frames(40), times=lambda number: number + 5000)
    assert read_frames(late, SPEC)[0].tolist() == read_frames(early, SPEC)[0].tolist()


def test_a_clip_of_a_tenth_of_a_second_has_one_frame(tmp_path: Path) -> None:
    for count in (1, 2, 3):
        path = write_clip(tmp_path / f"{count}.mp4", noise_frames(count), rate=30)
        timestamps, frames = read_frames(path, SPEC)
        assert timestamps.tolist() == [0.0]
        assert frames.shape == (1, 20, 32, 3)


def test_the_whole_picture_is_squashed_and_its_colours_stay(tmp_path: Path) -> None:
    frame = np.zeros((240, 64, 3), np.uint8)
    frame[:120, :, 0] = 255
    frame[120:, :, 2] = 255
    path = write_clip(tmp_path / "clip.mp4", [frame] * 5, options={"crf": "1"})
    picture = read_frames(path, SPEC)[1][0].astype(int)
    assert np.abs(picture[:9] - [255, 0, 0]).max() < 12
    assert np.abs(picture[11:] - [0, 0, 255]).max() < 12


@pytest.mark.parametrize(("rotation", "bright"), [(0, "top"), (90, "left"), (180, "bottom"), (-90, "right")])
def test_a_rotation_that_the_file_asks_for_is_done(tmp_path: Path, rotation: int, bright: str) -> None:
    frame = np.zeros((96, 128, 3), np.uint8)
    frame[:48] = 255
    path = write_clip(tmp_path / "clip.mp4", [frame] * 3, rotation=rotation)
    picture = read_frames(path, SPEC)[1][0].astype(float)
    halves = {
        "top": picture[:8],
        "bottom": picture[12:],
        "left": picture[:, :12],
        "right": picture[:, 20:],
    }
    assert picture.shape == (20, 32, 3)
    assert {name for name, half in halves.items() if half.mean() > 240} == {bright}


def test_batches_are_bounded_and_in_order(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", noise_frames(100), rate=10)
    batches = list(iter_frames(path, SPEC))
    assert [len(batch.frames) for batch in batches] == [BATCH_FRAMES, 20 - BATCH_FRAMES]
    assert np.concatenate([batch.timestamps for batch in batches]).tolist() == [n / 2 for n in range(20)]


def test_the_summary_tells_duration_and_time(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", noise_frames(50))
    decoding = iter_frames(path, SPEC)
    with pytest.raises(RuntimeError):
        _ = decoding.summary
    list(decoding)
    assert decoding.summary.duration_seconds == pytest.approx(2.0)
    assert decoding.summary.decode_seconds > 0
    assert decoding.summary.warnings == ()
    assert decoding.summary.digest is None


# --- bad video


def test_corrupt_packets_in_the_middle_cost_only_themselves(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", noise_frames(100), options={"g": "10"})
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + (data.index(b"moov") - data.index(b"mdat")) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(data)
    frames, summary = summary_of_frames(path)
    assert len(frames) == 8
    assert len(summary.warnings) == 1
    assert "damaged packets" in summary.warnings[0]


def test_a_truncated_file_yields_what_can_be_decoded(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", noise_frames(100), options={"g": "10", "movflags": "faststart"})
    path = remux_with_index_first(path)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2])
    frames, summary = summary_of_frames(path)
    assert 3 <= len(frames) <= 5
    assert any("the file is cut off" in warning for warning in summary.warnings)


def remux_with_index_first(path: Path) -> Path:
    target = path.with_name("index_first.mp4")
    with av.open(path) as source, av.open(target, "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    return target


def test_a_file_cut_before_its_index_is_named_so(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", noise_frames(50))
    data = path.read_bytes()
    assert data.index(b"mdat") < data.index(b"moov")
    path.write_bytes(data[: data.index(b"moov") - 10])
    with pytest.raises(InvalidMedia, match=r"cut off before its index \(moov\)"):
        read_frames(path, SPEC)


@pytest.mark.parametrize("content", [b"these bytes are no media at all" * 100, bytes(5000), b"\x00"])
def test_bytes_that_are_not_media_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    for read in (lambda: read_frames(path, SPEC), lambda: read_audio(path, 22050), lambda: probe(path)):
        with pytest.raises(InvalidMedia):
            read()


def test_an_empty_file_is_named_so(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.touch()
    with pytest.raises(InvalidMedia, match="empty"):
        read_frames(path, SPEC)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_frames(tmp_path / "nothing.mp4", SPEC)
    with pytest.raises(InvalidRequest, match="directory"):
        read_frames(tmp_path, SPEC)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "track.ogg", sine(1), rate=24000, codec="libopus")
    with pytest.raises(InvalidMedia, match="no video stream"):
        read_frames(path, SPEC)


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "track.m4a"
    with av.open(path, "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=22050, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(sine(1)[None], "fltp", "mono")
        frame.sample_rate = 22050
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        container.mux(cover.encode(None))
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(InvalidMedia, match="no video stream"):
        read_frames(path, SPEC)
    assert not probe(path).has_video
    assert len(read_audio(path, 22050)) > 20000


def test_a_video_without_decodable_frames_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", noise_frames(20))
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    with pytest.raises(InvalidMedia, match="no frame"):
        read_frames(path, SPEC)


def test_recordings_joined_byte_by_byte_play_one_after_the_other(tmp_path: Path) -> None:
    one = write_clip(tmp_path / "one.ts", noise_frames(50))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(one.read_bytes() * 2)
    frames, summary = summary_of_frames(joined)
    assert len(frames) == 8
    assert summary.duration_seconds == pytest.approx(4.0, abs=0.1)
    assert any("put in order" in warning for warning in summary.warnings)


def test_a_stream_without_timestamps_runs_at_its_nominal_rate(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.h264", noise_frames(50), container_format="h264")
    frames, summary = summary_of_frames(path)
    assert len(frames) == 4
    assert summary.duration_seconds == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(
    "playlist", ["#EXTM3U\n#EXTINF:2,\nclip.ts\n", "ffconcat version 1.0\nfile clip.ts\n"]
)
def test_a_playlist_never_opens_another_file(tmp_path: Path, playlist: str) -> None:
    write_clip(tmp_path / "clip.ts", noise_frames(50))
    for name in ("clip.mp4", "list.m3u8", "list.ffconcat"):
        path = tmp_path / name
        path.write_text(playlist)
        with pytest.raises(InvalidMedia):
            read_frames(path, SPEC)


def test_a_name_that_looks_like_an_address_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "clip.mp4", noise_frames(5)).rename(tmp_path / "http:clip.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(read_frames("http:clip.mp4", SPEC)[1]) == 1


# --- limits


def test_a_file_above_the_size_limit_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", noise_frames(20))
    with pytest.raises(MediaTooLarge, match="bytes") as caught:
        read_frames(path, SPEC, Limits(max_bytes=1000))
    assert caught.value.metadata == {"limit": "1000"}


def test_a_declared_duration_above_the_limit_is_refused_before_decoding(tmp_path: Path) -> None:
    twelve_hours = 12 * 3600 * 25
    path = write_clip(tmp_path / "clip.mp4", grey_frames(2), times=lambda number: number * twelve_hours)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start : start + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(MediaTooLarge, match="lasts longer"):
        read_frames(path, SPEC)
    with pytest.raises(MediaTooLarge, match="lasts longer"):
        probe(path)


def test_an_undeclared_duration_is_limited_by_the_running_clock(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.h264", noise_frames(100), container_format="h264")
    with pytest.raises(MediaTooLarge, match="lasts longer"):
        read_frames(path, SPEC, Limits(max_duration_seconds=2))


def test_sound_above_the_duration_limit_is_refused(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "track.wav", sine(3))
    with pytest.raises(MediaTooLarge, match="lasts longer"):
        read_audio(path, 22050, Limits(max_duration_seconds=2))


def test_sound_of_a_false_header_is_limited_by_what_is_decoded(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "track.aac", sine(3), codec="aac")
    with pytest.raises(MediaTooLarge, match="lasts longer"):
        read_audio(path, 22050, Limits(max_duration_seconds=2.9))


def test_pictures_of_16k_are_refused_by_their_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.mov"
    with av.open(path, "w") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16000, 16000, "monob"
        packet = av.Packet(black_png(16000))
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 1)
        packet.is_keyframe = True
        container.mux(packet)
    monkeypatch.setattr(StreamReader, "packets", lambda reader: pytest.fail("a packet was asked for"))
    for read in (lambda: read_frames(path, SPEC), lambda: probe(path)):
        with pytest.raises(MediaTooLarge, match="16000 x 16000 pixels"):
            read()


def black_png(side: int) -> bytes:
    """A square PNG of one bit a pixel: little memory for many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(side * (side // 8 + 1)), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


# --- sound


def test_sound_is_resampled_to_mono(tmp_path: Path) -> None:
    tone = sine(2, rate=48000, frequency=1000)
    path = write_sound(tmp_path / "track.flac", np.stack([tone, tone]), rate=48000, codec="flac")
    samples, summary = summary_of_audio(path)
    assert samples.dtype == np.float32
    assert abs(len(samples) - 44100) <= 32
    assert summary.duration_seconds == pytest.approx(2.0, abs=0.01)
    assert np.abs(samples[1000:-1000] - sine(2, frequency=1000)[1000 : len(samples) - 1000]).max() < 0.01


def test_mixing_loud_channels_does_not_clip(tmp_path: Path) -> None:
    tone = sine(1, level=0.95)
    samples, _ = summary_of_audio(write_sound(tmp_path / "track.wav", np.stack([tone, tone])))
    assert np.abs(samples - tone).max() < 1e-3


def test_opposite_channels_cancel(tmp_path: Path) -> None:
    tone = sine(1)
    _, summary = summary_of_audio(write_sound(tmp_path / "track.wav", np.stack([tone, -tone])))
    assert summary.warnings == ("the sound is silent",)


@pytest.mark.parametrize(("name", "codec", "rate"), SOUND_FORMATS)
def test_every_format_of_the_library_is_read(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    path = write_sound(tmp_path / name, sine(2, rate=rate), rate=rate, codec=codec)
    samples, summary = summary_of_audio(path)
    assert summary.duration_seconds == pytest.approx(2.0, abs=0.1)
    assert summary.warnings == ()
    spectrum = np.abs(np.fft.rfft(samples[4000:26050]))
    assert abs(int(spectrum.argmax()) - 440) <= 1


def test_samples_that_are_not_numbers_become_zero_with_a_warning(tmp_path: Path) -> None:
    tone = sine(1)
    tone[[100, 5000]] = np.nan, np.inf
    samples, summary = summary_of_audio(write_sound(tmp_path / "track.wav", tone))
    assert np.isfinite(samples).all()
    assert samples[[100, 5000]].tolist() == [0.0, 0.0]
    assert summary.warnings == ("2 samples that are not finite numbers were taken as 0",)


def test_samples_stay_within_full_scale(tmp_path: Path) -> None:
    samples, _ = summary_of_audio(write_sound(tmp_path / "track.wav", sine(1, level=3.0)))
    assert np.abs(samples).max() == 1.0


def test_a_silent_track_is_read_and_named(tmp_path: Path) -> None:
    samples, summary = summary_of_audio(write_sound(tmp_path / "track.wav", np.zeros(22050, np.float32)))
    assert len(samples) == 22050
    assert summary.warnings == ("the sound is silent",)


def test_a_track_of_half_a_second_is_read(tmp_path: Path) -> None:
    samples, summary = summary_of_audio(write_sound(tmp_path / "track.wav", sine(0.5)))
    assert len(samples) == 11025
    assert summary.warnings == ()


def test_blocks_are_cut_to_one_size(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "track.wav", sine(13))
    blocks = [block.samples for block in iter_audio(path, 22050)]
    assert [len(block) for block in blocks] == [BLOCK_SAMPLES, BLOCK_SAMPLES, 13 * 22050 - 2 * BLOCK_SAMPLES]
    assert np.abs(np.concatenate(blocks) - sine(13)).max() < 1e-6


def test_a_video_without_sound_is_no_track(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", noise_frames(5))
    with pytest.raises(InvalidMedia, match="no audio stream"):
        read_audio(path, 22050)


def test_the_sound_of_a_video_is_read(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", noise_frames(50), sound=sine(2))
    assert len(read_audio(path, 22050)) == pytest.approx(44100, abs=3000)
    assert len(read_frames(path, SPEC)[1]) == 4


def test_damaged_sound_is_read_around_the_damage(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "track.flac", sine(10), codec="flac")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    samples, summary = summary_of_audio(path)
    assert len(samples) > 8 * 22050
    assert any("s of sound are missing" in warning for warning in summary.warnings)


# --- probe


def test_probe_tells_what_a_clip_holds(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", noise_frames(50), sound=sine(2))
    found = probe(path)
    assert (found.has_video, found.has_audio, found.width, found.height) == (True, True, 128, 96)
    assert found.duration_seconds == pytest.approx(2.0, abs=0.1)
    assert found.digest is not None


def test_probe_of_a_silent_clip_has_no_digest(tmp_path: Path) -> None:
    found = probe(write_clip(tmp_path / "clip.mp4", noise_frames(5)))
    assert (found.has_audio, found.digest) == (False, None)


@pytest.mark.parametrize(("name", "codec", "rate"), SOUND_FORMATS[1:4])
def test_probe_reads_tags(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    tags = {
        "title": "Harbour  at Dawn",
        "artist": "Ä. Nyström",
        "genre": "ambient; calm",
        "copyright": "Ä. Nyström, CC-BY 4.0",
    }
    found = probe(write_sound(tmp_path / name, sine(1), rate=rate, codec=codec, tags=tags)).tags
    assert (found.title, found.artist, found.tags) == ("Harbour at Dawn", "Ä. Nyström", ("ambient", "calm"))
    assert found.attribution == "Ä. Nyström, CC-BY 4.0"


@pytest.mark.parametrize(
    ("text", "tempo"), [("120", 120.0), ("98.5", 98.5), ("140 BPM", 140.0), ("fast", 0.0)]
)
def test_probe_reads_the_tempo(tmp_path: Path, text: str, tempo: float) -> None:
    path = write_sound(tmp_path / "t.flac", sine(1), codec="flac", tags={"BPM": text, "LICENSE": "CC0-1.0"})
    found = probe(path).tags
    assert (found.tempo, found.licence) == (tempo, "CC0-1.0")


@pytest.mark.parametrize(("name", "codec", "rate"), SOUND_FORMATS)
def test_the_digest_is_of_the_sound_and_not_of_its_tags(
    tmp_path: Path, name: str, codec: str, rate: int
) -> None:
    tags = {"title": "Another name", "comment": "x" * 5000}
    plain = write_sound(tmp_path / f"plain_{name}", sine(2), rate=rate, codec=codec)
    tagged = write_sound(tmp_path / f"tagged_{name}", sine(2), rate=rate, codec=codec, tags=tags)
    other = write_sound(tmp_path / f"other_{name}", sine(2, frequency=450), rate=rate, codec=codec)
    assert plain.read_bytes() != tagged.read_bytes()
    assert probe(plain).digest == probe(tagged).digest != probe(other).digest
    assert len(probe(plain).digest or "") == len(hashlib.sha256().hexdigest())


def test_decoding_gives_the_same_digest_as_probing(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "track.ogg", sine(3), rate=24000, codec="libopus")
    assert summary_of_audio(path)[1].digest == probe(path).digest


def test_no_damage_escapes_the_tree_of_errors(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "clip.mp4", noise_frames(30), sound=sine(1)).read_bytes()
    random = np.random.default_rng(3)
    path = tmp_path / "damaged.mp4"
    for _ in range(40):
        data = bytearray(whole)
        for position in random.integers(0, len(data), 30):
            data[position] = random.integers(0, 256)
        path.write_bytes(data[: random.integers(1, len(data))] if random.random() < 0.3 else data)
        for read in (lambda: read_frames(path, SPEC), lambda: read_audio(path, 22050), lambda: probe(path)):
            with contextlib.suppress(KinoscoreError):
                read()
