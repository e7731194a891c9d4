"""What the demo plays with."""

import numpy as np

from kinoscore.world import SAMPLE_RATE, demo_clips, demo_library, render_clip, render_track
from kinoscore.world.themes import THEMES


def test_the_library_has_twelve_tracks_of_four_moods_with_names_licences_and_tags() -> None:
    library = demo_library()
    assert len({track.file_name for track in library}) == 12
    assert len({track.title for track in library}) == 12
    assert {track.tags[0] for track in library} == {"joyful", "calm", "tense", "sad"}
    for track in library:
        assert track.tags[0] in track.title
        assert track.licence == "CC0-1.0"
        assert track.metadata["artist"] == track.artist
        assert 30.0 <= track.plan.duration_seconds <= 45.0
        assert len(track.plan.sections) == 3


def test_the_clips_are_of_opposite_mood() -> None:
    themes = {theme.name: theme for theme in THEMES}
    first, second = (themes[clip.plan.theme] for clip in demo_clips())
    assert first.valence * second.valence < -0.25
    assert first.arousal * second.arousal < -0.25


def test_the_library_and_the_clips_are_reproducible_by_seed() -> None:
    assert demo_library(1) == demo_library(1) != demo_library(2)
    assert demo_clips(1) == demo_clips(1) != demo_clips(2)


def test_the_demo_can_be_rendered() -> None:
    track, clip = demo_library()[0], demo_clips()[0]
    assert len(render_track(track.plan)) == round(track.plan.duration_seconds * SAMPLE_RATE)
    assert next(iter(render_clip(clip.plan))).shape == (200, 320, 3)
    assert np.abs(render_track(track.plan)).max() > 0.05
