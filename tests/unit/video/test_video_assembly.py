"""Windows hold every frame once, carry key frames, and add up to the whole clip."""

from collections.abc import Iterable
from dataclasses import fields
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kinoscore.inference.repository import VideoSpec
from kinoscore.video.assembly import ClipWindows, EncodedFrames, WindowAssembler

SPEC = VideoSpec(
    frame_width=128,
    frame_height=80,
    frames_per_second=2.0,
    window_frames=24,
    key_frames=6,
    key_frame_separation_seconds=1.0,
    feature_dimension=3,
)


def frames(count: int, seed: int = 0) -> EncodedFrames:
    random = np.random.default_rng(seed)
    return EncodedFrames(
        timestamps=np.arange(count) / SPEC.frames_per_second,
        features=random.normal(size=(count, 3)).astype(np.float32),
        valence_arousal=random.uniform(-1, 1, (count, 2)).astype(np.float32),
        salience=random.uniform(0, 1, count).astype(np.float32),
    )


def assembled(clip: EncodedFrames, cuts: Iterable[int] = ()) -> ClipWindows:
    """The windows of a clip whose frames arrive in portions, cut before the frames of these numbers."""
    assembler = WindowAssembler(SPEC)
    edges = [0, *sorted(cuts), len(clip.timestamps)]
    for first, end in pairwise(edges):
        assembler.add(
            EncodedFrames(
                clip.timestamps[first:end],
                clip.features[first:end],
                clip.valence_arousal[first:end],
                clip.salience[first:end],
            )
        )
    return assembler.finish()


counts = st.integers(1, 120)


@given(st.data(), counts)
def test_it_makes_no_difference_in_what_portions_frames_arrive(data: st.DataObject, count: int) -> None:
    clip = frames(count)
    cuts = data.draw(st.sets(st.integers(0, count)))
    at_once, in_portions = assembled(clip), assembled(clip, cuts)
    for field in fields(ClipWindows):
        np.testing.assert_array_equal(getattr(in_portions, field.name), getattr(at_once, field.name))


@given(counts)
def test_every_frame_is_in_exactly_one_window_in_order(count: int) -> None:
    clip = frames(count)
    windows = assembled(clip)
    np.testing.assert_array_equal(windows.features[windows.frame_mask == 1], clip.features)
    assert windows.frame_mask.shape == (-(-count // 24), 24)
    assert windows.frame_counts.sum() == count
    assert not windows.features[windows.frame_mask == 0].any()


@given(counts, st.integers(0, 5))
def test_key_frames_are_few_salient_apart_and_marked(count: int, seed: int) -> None:
    clip = frames(count, seed)
    windows = assembled(clip)
    marked = (windows.key_frame_mask == 1)[windows.frame_mask == 1]
    times, saliences = zip(*windows.key_frames, strict=True)
    np.testing.assert_array_equal(clip.timestamps[marked], times)
    np.testing.assert_array_equal(clip.salience[marked], np.array(saliences, np.float32))
    per_window = windows.key_frame_mask.sum(axis=1)
    assert (per_window >= 1).all()
    assert (per_window <= SPEC.key_frames).all()
    for start in range(0, count, 24):
        inside = [time for time in times if start / 2 <= time < (start + 24) / 2]
        assert (np.diff(inside) >= SPEC.key_frame_separation_seconds).all()
        assert clip.timestamps[start + int(np.argmax(clip.salience[start : start + 24]))] in inside


@given(counts)
def test_the_emotion_of_a_window_weighs_its_key_frames_salience(count: int) -> None:
    windows = assembled(frames(count))
    total = sum(salience for _, salience in windows.key_frames)
    np.testing.assert_allclose(windows.key_frame_salience.sum(), total, rtol=1e-5)


def test_frames_without_salience_still_have_a_key_frame() -> None:
    clip = frames(5)
    silent = EncodedFrames(clip.timestamps, clip.features, clip.valence_arousal, np.zeros(5, np.float32))
    windows = assembled(silent)
    assert windows.key_frame_mask.sum() >= 1
    assert not windows.key_frame_salience.any()
