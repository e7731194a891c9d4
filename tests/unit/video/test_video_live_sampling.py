import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinoscore.media.live_sampling import LiveSampler, StreamClock
from kinoscore.video.pictures import SampleCounter

# Of two frames within the rounding of a sample's time an upload takes the later, a live stream the earlier.
TIMES = st.lists(st.integers(0, 60_000).map(lambda n: n / 1000), min_size=1, unique=True).map(sorted)


@given(TIMES, st.sampled_from([1.0, 2.0, 3.0]))
def test_a_live_stream_is_sampled_as_an_upload_is(times: list[float], rate: float) -> None:
    counter, upload = SampleCounter(rate, math.inf), []
    for number, time in enumerate(times):
        upload += [number - 1] * counter.offer(time)
    upload += [len(times) - 1] * counter.finish()

    sampler, live = LiveSampler(rate), {}
    for number, time in enumerate(times):
        samples = sampler.offer(time - times[0])
        live.update(dict.fromkeys(samples.before, number - 1) | dict.fromkeys(samples.now, number))
    assert [live[sample] for sample in range(len(live))] == upload


def test_a_frame_that_comes_on_time_is_taken_at_once() -> None:
    sampler = LiveSampler(2.0)
    assert sampler.offer(0.0).now == range(1)
    assert sampler.offer(0.5).now == range(1, 2)
    assert sampler.offer(0.7).now == range(0)
    assert sampler.offer(1.2).before == range(2, 3)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32)))
def test_whatever_the_times_are_the_stream_never_goes_back_nor_jumps(times: list[float]) -> None:
    clock, last = StreamClock(), 0.0
    for time in times:
        seconds = clock.place(time, 0.5)
        if seconds is not None:
            assert last <= seconds <= last + 10.0
            last = seconds


@pytest.mark.parametrize(
    ("time", "expected"),
    [(math.nan, None), (-3000.0, 5.5), (3605.0, 5.5), (4.5, 5.0), (14.0, 14.0)],
    ids=["no number", "far back", "an hour ahead", "a little back", "a pause"],
)
def test_a_time_that_cannot_be_is_repaired_and_counted(time: float, expected: float | None) -> None:
    clock = StreamClock()
    clock.place(0.0, 0.5)
    clock.place(5.0, 0.5)
    assert clock.place(time, 0.5) == expected
    assert clock.repaired == (time != 14.0)


@pytest.mark.parametrize("stray", [[-3000.0], [0.0, 0.5], [3605.0]])
def test_frames_with_stray_times_do_not_move_those_that_follow(stray: list[float]) -> None:
    clock = StreamClock()
    for time in (0.0, 5.0, 10.0, *stray):
        clock.place(time, 0.1)
    after = [clock.place(time, 0.1) for time in (10.5, 11.0, 11.5)]
    assert after == pytest.approx([10.5, 11.0, 11.5], abs=0.6)
