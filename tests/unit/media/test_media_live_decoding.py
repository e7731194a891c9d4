"""The bytes of a live stream to pictures, in this process, against the same file decoded whole."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.media_files import grey_frames, grey_numbers, noise_frames, write_clip
from support.streams import FORMS, cut, remuxed, write_stream

from kinoscore.errors import InvalidMedia
from kinoscore.media import box_filter, live_decoding
from kinoscore.media.decoding import read_frames
from kinoscore.media.live_decoding import Degradation, LiveVideo
from kinoscore.media.live_feed import ByteFeed, Piece
from kinoscore.media.live_sampling import LiveGate, LiveSampler, StreamClock
from kinoscore.media.live_worker import Watch
from kinoscore.media.sampling import samples_before
from kinoscore.media.types import FrameSpec, Limits

SPEC = FrameSpec(width=64, height=40, frames_per_second=2.0)


class Source:
    """Pieces that came one second after the other, or just now."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces = iter(pieces)

    def receive(self) -> Piece | None:
        return next(self._pieces, None)


def now(pieces: Iterable[bytes], waiting: float = 0.0) -> Iterator[Piece]:
    for piece in pieces:
        yield Piece(piece, time.monotonic(), waiting)


def video_of(pieces: Iterable[Piece], lag_seconds: float | None = None) -> LiveVideo:
    feed = ByteFeed(Source(pieces), is_resumed=False)
    return LiveVideo(feed, SPEC, Limits(), StreamClock(), 0, lag_seconds)


def samples(video: LiveVideo) -> tuple[list[int], NDArray[np.uint8]]:
    """The numbers of all samples and what each shows."""
    numbers: list[int] = []
    shown = []
    for picture in video.pictures():
        pixels = picture.pixels if picture.pixels is not None else shown[-1]
        numbers += picture.numbers
        shown += [pixels] * len(picture.numbers)
    return numbers, np.stack(shown)


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("streams")
    return {form: write_stream(folder, form, noise_frames(90), group=20) for form in FORMS}


def assert_as_whole(video: LiveVideo, path: Path) -> None:
    _, frames = read_frames(path, SPEC)
    numbers, shown = samples(video)
    assert numbers == list(range(len(frames)))
    assert np.array_equal(shown, frames)


@pytest.mark.parametrize("size", [500, 3000, 1 << 20])
@pytest.mark.parametrize("form", FORMS)
def test_pictures_are_those_of_the_file(streams: dict[str, Path], form: str, size: int) -> None:
    video = video_of(now(cut(streams[form].read_bytes(), size)))
    assert_as_whole(video, streams[form])
    assert (video.counts.damaged, video.counts.dropped) == (0, 0)


@pytest.mark.parametrize(
    ("codec", "parameters"),
    [
        ("libx264", {"x264-params": "open-gop=1:keyint=20"}),
        ("libx264", {"x264-params": "intra-refresh=1:keyint=20"}),
        ("libx265", {"x265-params": "open-gop=1:keyint=20:log-level=none"}),
    ],
)
def test_groups_that_refer_to_the_one_before_lose_nothing(
    tmp_path: Path, codec: str, parameters: dict[str, str]
) -> None:
    path = write_clip(tmp_path / "stream.ts", noise_frames(90), codec=codec, options=parameters)
    assert_as_whole(video_of(now(cut(path.read_bytes(), 3000))), path)


@pytest.mark.parametrize("container_format", ["mpegts", "mp4"])
def test_nothing_is_decoded_after_the_last_sample_of_a_group_of_pictures(
    tmp_path: Path, decoded: list[object], container_format: str
) -> None:
    # Groups of a second, sampled at their frames 0 and 13 (half a second is in the midst of frame 12).
    options = {"x264-params": "bframes=0:keyint=25:scenecut=0"}
    path = write_clip(
        tmp_path / "stream", noise_frames(101), container_format=container_format, options=options
    )
    if container_format == "mp4":
        path = remuxed(path, tmp_path / "fragmented", "frag_keyframe+empty_moov+default_base_moof")
    _, frames = read_frames(path, SPEC)
    decoded.clear()
    numbers, shown = samples(video_of(now(cut(path.read_bytes(), 3000))))
    assert numbers == list(range(len(frames)))
    assert np.array_equal(shown, frames)
    assert len(decoded) <= 4 * 14 + 1


@pytest.mark.parametrize("offsets", ["", "+default_base_moof"])
def test_another_demuxer_that_takes_over_makes_no_difference(
    streams: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offsets: str
) -> None:
    path = remuxed(streams["mp4"], tmp_path / "other.mp4", f"frag_keyframe+empty_moov{offsets}")
    monkeypatch.setattr(box_filter, "SAMPLES_OF_A_DEMUXER", 10)
    restarts = []
    restart = ByteFeed.restart
    monkeypatch.setattr(ByteFeed, "restart", lambda feed: restarts.append(feed) or restart(feed))
    video = video_of(now(cut(path.read_bytes(), 1000)))
    assert_as_whole(video, path)
    assert len(restarts) == 4
    assert video.counts.damaged == 0


def test_a_slow_video_gives_each_picture_once(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "slow.ts", grey_frames(4), rate=1, container_format="mpegts")
    pictures = list(video_of(now([path.read_bytes()])).pictures())
    fresh = [picture.numbers for picture in pictures if picture.pixels is not None]
    assert fresh == [range(number, number + 1) for number in (0, 2, 4, 6)]
    assert sum(len(picture.numbers) for picture in pictures) == 8


def test_a_picture_comes_with_the_time_at_which_its_bytes_did(streams: dict[str, Path]) -> None:
    for form in FORMS:
        pieces = cut(streams[form].read_bytes(), 2000)
        video = video_of(Piece(piece, float(number)) for number, piece in enumerate(pieces))
        arrivals = [picture.arrived for picture in video.pictures()]
        assert arrivals == sorted(arrivals)
        assert arrivals[0] < len(pieces) / 3
        assert arrivals[-1] > 2 * len(pieces) / 3


def test_an_ordinary_file_ends_where_its_index_says(streams: dict[str, Path], tmp_path: Path) -> None:
    path = remuxed(streams["mp4"], tmp_path / "front.mp4", "faststart")
    assert_as_whole(video_of(now(cut(path.read_bytes() + bytes(5000), 1000))), path)


@pytest.mark.parametrize("form", ["mp4", "mpegts", "webm"])
def test_a_stream_that_is_behind_leaves_frames_out_and_counts_the_samples(
    streams: dict[str, Path], form: str
) -> None:
    # All pieces are old: only key frames are decoded.
    pieces = [Piece(piece, time.monotonic() - 100.0) for piece in cut(streams[form].read_bytes(), 2000)]
    video = video_of(pieces, lag_seconds=1.0)
    numbers, shown = samples(video)
    _, frames = read_frames(streams[form], SPEC)
    assert video.counts.dropped > 0
    assert len(numbers) + video.counts.dropped == pytest.approx(len(frames), abs=1)
    for number, pixels in zip(numbers, shown, strict=True):
        assert np.array_equal(pixels, frames[number])


def test_time_goes_on_where_frames_without_times_are_left_out(tmp_path: Path) -> None:
    path = write_stream(tmp_path, "h264", grey_frames(60), group=10)
    pieces = [Piece(piece, time.monotonic() - 100.0) for piece in cut(path.read_bytes(), 100)]
    video = video_of(pieces, lag_seconds=1.0)
    numbers, shown = samples(video)
    assert numbers[-1] == 4
    assert grey_numbers(shown)[-1] == 50
    assert video.counts.dropped > 0


def test_a_stream_that_was_taken_up_before_any_picture_is_told(streams: dict[str, Path]) -> None:
    with pytest.raises(InvalidMedia, match="no frame of the stream"):
        samples(video_of(now([streams["mp4"].read_bytes()[:1500]])))


def test_bytes_without_end_that_show_nothing_are_given_up(
    streams: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_decoding, "_FRUITLESS_BYTES", 10000)
    data = streams["h264"].read_bytes()
    slices = b"".join(b"\0\0\1" + unit for unit in data.split(b"\0\0\1")[4:] if unit[0] & 0x1F == 1)
    with pytest.raises(InvalidMedia, match="no frame of the stream"):
        samples(video_of(now(cut(slices * 20, 1000))))


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1), st.booleans()), max_size=60))
def test_decoding_is_degraded_only_behind_and_is_whole_again_at_a_key_frame(
    packets: list[tuple[float, float, bool]],
) -> None:
    degradation, endless = Degradation(1.0), Degradation(None)
    before = 0
    for lag, waiting, is_key in packets:
        level = degradation.update(lag, waiting, is_key=is_key)
        load = max(lag, 2 * waiting)
        assert load > 0.5 or level == 0 or (before == 2 and not is_key)
        assert load <= 1 or level > 0
        assert before < 2 or level == 2 or is_key
        assert endless.update(lag, waiting, is_key=is_key) == 0
        before = level


@given(times=st.lists(st.integers(0, 400), min_size=1, max_size=60, unique=True), seed=st.randoms())
def test_the_gate_lets_every_frame_through_that_a_sample_takes(times: list[int], seed: object) -> None:
    gate = LiveGate(2.0)
    wanted = {time for time in times if gate.wants(time / 25)}
    ordered = sorted(times)
    for time_, following in zip(ordered, [*ordered[1:], 10_000], strict=True):
        if samples_before(time_ / 25, 2.0) != samples_before(following / 25, 2.0):
            assert time_ in wanted


def test_frames_without_times_follow_each_other_and_the_stream_before_them() -> None:
    clock = StreamClock()
    assert [clock.place_next(0.5) for _ in range(3)] == [0.0, 0.5, 1.0]
    resumed = StreamClock(0.0, 7.0)
    assert resumed.place_next(0.5) == 7.5


def test_a_container_that_counts_anew_goes_on_after_the_last_frame() -> None:
    clock = StreamClock(0.0, 0.4)
    assert clock.place(0.0, 0.04, may_restart=True) == pytest.approx(0.44)
    assert clock.place(0.04, 0.04) == pytest.approx(0.48)


def test_the_last_frame_shows_samples_until_the_end() -> None:
    sampler = LiveSampler(2.0)
    assert sampler.offer(0.0).now == range(1)
    assert sampler.finish(2.0) == range(1, 4)
    assert sampler.finish(2.0) == range(4, 4)


def test_a_watch_tells_who_has_worked_for_long() -> None:
    watch = Watch()
    started = time.monotonic()
    assert watch.longest(started) == 0.0
    watch.works()
    assert watch.longest(started + 20.0) > 19.0
    watch.waits()
    assert watch.longest(started + 20.0) == 0.0
