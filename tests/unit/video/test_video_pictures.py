"""Single frames are sampled as a file is, and wrong ones are named."""

import math
from collections.abc import AsyncIterator, Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import InThisProcess

from kinoscore.errors import InvalidMedia, InvalidRequest, MediaTooLarge
from kinoscore.media.types import FrameSpec, Limits
from kinoscore.v1 import common_pb2
from kinoscore.video.pictures import SampleCounter, sampled_batches

SPEC = FrameSpec(width=4, height=2, frames_per_second=2.0)
LIMITS = Limits(max_duration_seconds=60.0, max_pixels=100)


def plain_frame(timestamp: float, grey: int) -> common_pb2.Frame:
    return common_pb2.Frame(
        format=common_pb2.FRAME_FORMAT_RGB24,
        data=bytes([grey]) * (4 * 2 * 3),
        timestamp_seconds=timestamp,
        width=4,
        height=2,
    )


async def stream(frames: Iterable[common_pb2.Frame]) -> AsyncIterator[common_pb2.Frame]:
    for frame in frames:
        yield frame


async def sampled(*frames: common_pb2.Frame) -> tuple[list[float], list[int]]:
    """The times and the greys of the samples."""
    times: list[float] = []
    greys: list[int] = []
    async for batch in sampled_batches(InThisProcess(), stream(frames), SPEC, LIMITS):
        times.extend(batch.timestamps.tolist())
        greys.extend(np.rint(batch.frames.mean(axis=(1, 2, 3))).astype(int).tolist())
    return times, greys


def offline(timestamps: list[float], rate: float) -> list[int]:
    """For each sample the number of its frame, straight from the definition."""
    first, last = timestamps[0], timestamps[-1]
    samples = range(math.floor((last - first) * rate + 1e-6) + 1)
    return [
        max(i for i, time in enumerate(timestamps) if time - first <= sample / rate + 1e-6 / rate)
        for sample in samples
    ]


@given(st.lists(st.integers(0, 120), min_size=1, max_size=30))
def test_each_sample_takes_the_last_frame_not_later(eighths: list[int]) -> None:
    timestamps = [moment / 8 for moment in sorted(eighths)]
    counter = SampleCounter(2.0, 60.0)
    before = [counter.offer(time) for time in timestamps]
    given_samples = [*before[1:], counter.finish()]
    assert [i for i, count in enumerate(given_samples) for _ in range(count)] == offline(timestamps, 2.0)


async def test_a_fast_stream_is_thinned_and_a_slow_one_repeated() -> None:
    thirty_a_second = [plain_frame(i / 30, i) for i in range(46)]
    assert await sampled(*thirty_a_second) == ([0.0, 0.5, 1.0, 1.5], [0, 15, 30, 45])
    assert await sampled(plain_frame(0, 10), plain_frame(1.75, 20)) == ([0, 0.5, 1, 1.5], [10, 10, 10, 10])


async def test_times_count_from_the_first_frame() -> None:
    assert await sampled(plain_frame(1000.0, 1), plain_frame(1000.5, 2)) == ([0.0, 0.5], [1, 2])


async def test_one_frame_is_a_clip() -> None:
    assert await sampled(plain_frame(7.0, 9)) == ([0.0], [9])


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, -1.0])
async def test_a_time_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await sampled(plain_frame(0, 0), plain_frame(wrong, 0))
    assert caught.value.field == "chunk.frame.timestamp_seconds"


async def test_frames_out_of_order_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"1\.0 s came after 2\.0 s") as caught:
        await sampled(plain_frame(0, 0), plain_frame(2, 0), plain_frame(1, 0))
    assert caught.value.field == "chunk.frame.timestamp_seconds"


async def test_frames_over_too_long_a_time_are_refused() -> None:
    with pytest.raises(MediaTooLarge, match="60 s"):
        await sampled(plain_frame(0, 0), plain_frame(61, 0))


async def test_a_frame_without_format_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        await sampled(common_pb2.Frame(data=b"x"))
    assert caught.value.field == "chunk.frame.format"


async def test_a_damaged_picture_is_named_by_its_time() -> None:
    damaged = common_pb2.Frame(
        format=common_pb2.FRAME_FORMAT_JPEG, data=b"not a picture", timestamp_seconds=2.5
    )
    with pytest.raises(InvalidMedia, match=r"frame at 2\.5 s") as caught:
        await sampled(plain_frame(0, 0), damaged)
    assert caught.value.field == "chunk.frame.data"


async def test_a_picture_of_too_many_pixels_is_refused() -> None:
    wide = common_pb2.Frame(format=common_pb2.FRAME_FORMAT_RGB24, data=b"\0" * (3 * 101), width=101, height=1)
    with pytest.raises(MediaTooLarge):
        await sampled(wide)
