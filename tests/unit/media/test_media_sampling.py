import math

from hypothesis import example, given
from hypothesis import strategies as st

from kinoscore.media.sampling import LOOKAHEAD_PACKETS, FrameClock, FrameSampler, PacketGate, samples_before

RATES = st.sampled_from([0.5, 1.0, 2.0, 3.0, 7.5])
# Milliseconds, as many containers keep them; strictly increasing.
TIMES = st.lists(st.integers(1, 900), min_size=1, max_size=120).map(
    lambda steps: [sum(steps[:number]) / 1000 for number in range(len(steps))]
)


def sample(frames: list[float], rate: float, end: float) -> dict[int, float]:
    """Which frame each sample takes; the frames are their own times."""
    sampler: FrameSampler[float] = FrameSampler(rate)
    shown = [sampler.offer(frame, frame) for frame in frames] + [sampler.finish(end)]
    return {number: item.frame for item in shown if item for number in range(item.first, item.end)}


@given(TIMES, RATES)
def test_each_sample_takes_the_last_frame_that_is_not_later(times: list[float], rate: float) -> None:
    end = times[-1] + 0.04
    samples = sample(times, rate, end)
    assert list(samples) == list(range(max(1, samples_before(end, rate))))
    for number, frame in samples.items():
        assert frame == max(time for time in times if time <= number / rate + 1e-6)


@given(TIMES, RATES, st.booleans(), st.data())
def test_frames_that_the_gate_does_not_want_are_not_missed(
    times: list[float], rate: float, is_foreseen: bool, data: st.DataObject
) -> None:
    # Order of decoding: within groups of up to 8 frames anything goes, as with pyramids of B frames.
    decoding_order: list[float] = []
    rest = times
    while rest:
        size = data.draw(st.integers(1, 8))
        decoding_order += data.draw(st.permutations(rest[:size]))
        rest = rest[size:]
    gate: PacketGate[float] = PacketGate(rate)
    if is_foreseen:
        gate.expect_start(decoding_order[0] + 5.0)
    else:
        gate.start_at(5.0)
    decided = [item for time in decoding_order for item in gate.offer(time + 5.0, time)] + list(gate.finish())

    last_wanted = max(number for number, (_, is_wanted) in enumerate(decided) if is_wanted)
    assert [packet for packet, _ in decided] == decoding_order[: len(decided)]
    assert last_wanted == len(decided) - 1
    wanted = sorted(packet for packet, is_wanted in decided if is_wanted)
    end = times[-1] + 0.04
    assert sample(wanted, rate, end) == sample(times, rate, end)


def test_the_gate_wants_no_frame_that_serves_no_sample() -> None:
    gate: PacketGate[int] = PacketGate(2.0)
    gate.start_at(0.0)
    decided = [item for number in range(100) for item in gate.offer(number / 25, number)] + list(
        gate.finish()
    )
    # 0.5 s falls between the frames 12 and 13; how long the last frame stays is not known.
    assert [number for number, wanted in decided if wanted] == [0, 12, 25, 37, 50, 62, 75, 87, 99]


def test_where_the_last_frame_leaves_the_screen_it_need_not_be_decoded_to_know_it() -> None:
    gate: PacketGate[int] = PacketGate(2.0)
    gate.start_at(10.0)
    decided = [
        item
        for number in range(100)
        for item in gate.offer(10 + number / 25, number, end=10.04 + number / 25)
    ]
    decided += gate.finish()
    assert [number for number, wanted in decided if wanted] == [0, 12, 25, 37, 50, 62, 75, 87]
    assert [number for number, _ in decided] == list(range(88))
    assert math.isclose(gate.end_seconds, 4.0)


def test_the_gate_leaves_out_what_carries_no_wanted_frame() -> None:
    gate: PacketGate[int] = PacketGate(2.0)
    gate.start_at(0.0)
    decided = [
        item for number in range(100) for item in gate.offer(number / 25, number, restarts=number % 25 == 0)
    ]
    decided += gate.finish()
    # Groups of 25 frames: after the 12th, the 37th and so on nothing of the group is wanted.
    assert [number for number, _ in decided] == [
        number for number in range(100) if number % 25 <= 12 or number > 75
    ]
    assert [number for number, wanted in decided if wanted] == [0, 12, 25, 37, 50, 62, 75, 87, 99]


def test_the_gate_keeps_what_a_frame_shown_before_a_new_group_may_refer_to() -> None:
    gate: PacketGate[int] = PacketGate(2.0)
    gate.start_at(0.0)
    # In order of decoding, a new group begins with the frame of 0.56 s; the one of 0.48 s is shown before it.
    times = (
        [number / 25 for number in range(12)] + [0.56, 0.48, 0.52] + [number / 25 for number in range(15, 40)]
    )
    decided = [
        item for number, time in enumerate(times) for item in gate.offer(time, number, restarts=number == 12)
    ]
    decided += gate.finish()
    assert [number for number, _ in decided] == list(range(40))


def test_until_the_first_frame_is_shown_every_packet_is_wanted() -> None:
    gate: PacketGate[int] = PacketGate(2.0)
    decided = [item for number in range(50) for item in gate.offer(number / 25, number)]
    gate.start_at(0.04)
    decided += gate.finish()
    early = 50 - LOOKAHEAD_PACKETS
    # Half a second after the first frame is 0.54 s, in the midst of frame 13; and so on.
    assert [number for number, wanted in decided if wanted] == [*range(early), 26, 38, 49]


def test_a_first_packet_that_is_shown_first_starts_the_clip() -> None:
    gate: PacketGate[int] = PacketGate(2.0)
    gate.expect_start(0.04)
    decided = [item for number in range(1, 51) for item in gate.offer(number / 25, number)]
    decided += gate.finish()
    assert [number for number, wanted in decided if wanted] == [1, 13, 26, 38, 50]


def test_a_first_packet_that_others_are_shown_before_does_not() -> None:
    gate: PacketGate[int] = PacketGate(2.0)
    gate.expect_start(0.08)
    times = [0.08, 0.0, 0.04, *(number / 25 for number in range(3, 50))]
    decided = [item for number, time in enumerate(times) for item in gate.offer(time, number)]
    assert decided
    assert all(wanted for _, wanted in decided)


def test_without_timestamps_every_packet_is_wanted() -> None:
    gate: PacketGate[int] = PacketGate(2.0)
    decided = [item for number in range(50) for item in gate.offer(None, number)]
    assert decided == [(number, True) for number in range(50)]


def test_after_a_jump_back_every_packet_is_wanted() -> None:
    gate: PacketGate[int] = PacketGate(2.0)
    gate.start_at(0.0)
    times = [number / 25 for number in range(100)] + [number / 25 for number in range(100)]
    decided = [item for number, time in enumerate(times) for item in gate.offer(time, number)] + list(
        gate.finish()
    )
    assert all(wanted for number, wanted in decided if number >= 100)


@given(st.lists(st.one_of(st.none(), st.floats(), st.integers(-3, 3).map(float)), max_size=40))
@example([0.0, 8.98846567431158e307, 0.0, 8.988465674311579e307])
def test_the_clock_never_goes_back(timestamps: list[float | None]) -> None:
    clock = FrameClock(0.04)
    placed = [clock.place(timestamp) for timestamp in timestamps]
    assert all(math.isfinite(time) for time in placed)
    assert placed == sorted(placed)
    assert all(time >= 0 for time in placed)


@given(TIMES, st.floats(-1000, 1000))
def test_the_clock_keeps_good_timestamps_and_starts_at_zero(times: list[float], start: float) -> None:
    clock = FrameClock(0.04)
    placed = [clock.place(start + time) for time in times]
    assert all(abs(one - other) < 1e-6 for one, other in zip(placed, times, strict=True))
    assert clock.repaired == 0


def test_joined_recordings_follow_each_other() -> None:
    clock = FrameClock(0.5)
    placed = [clock.place(time) for time in [100.0, 100.5, 101.0, 101.5, 0.0, 0.5, 1.0]]
    assert placed == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert clock.repaired == 1


def test_two_swapped_timestamps_do_not_delay_what_follows() -> None:
    clock = FrameClock(0.1)
    placed = [clock.place(time) for time in [0.0, 0.2, 0.1, 0.3]]
    assert placed == [0.0, 0.2, 0.2, 0.3]
    assert clock.repaired == 1
