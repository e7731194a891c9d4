"""The generated world: paired clips and music, rendered from common factors, endless and reproducible by
seed.

It stands in for a collection of scored films: the shipped model is trained and measured on it, and `kinoscore
demo` plays with it. Emotion is carried by the cues that carry it in real pictures and music; the rest varies
without meaning.

    draw_pair(seed, split)        draw the factors, the cues and the styles of a pair
    render_clip, render_track     turn a plan into frames, into samples
    write_world                   write many pairs as media files with an index
    demo_library, demo_clips      what `kinoscore demo` plays with
"""

from kinoscore.world.demo import DemoClip, DemoTrack, demo_clips, demo_library
from kinoscore.world.generation import write_pair, write_world
from kinoscore.world.music import SAMPLE_RATE, render_track
from kinoscore.world.pictures import render_clip
from kinoscore.world.plans import (
    CLIP_SECONDS,
    WORLD_VERSION,
    ClipPlan,
    Factors,
    PairPlan,
    Section,
    Split,
    TrackPlan,
    draw_pair,
)

__all__ = [
    "CLIP_SECONDS",
    "SAMPLE_RATE",
    "WORLD_VERSION",
    "ClipPlan",
    "DemoClip",
    "DemoTrack",
    "Factors",
    "PairPlan",
    "Section",
    "Split",
    "TrackPlan",
    "demo_clips",
    "demo_library",
    "draw_pair",
    "render_clip",
    "render_track",
    "write_pair",
    "write_world",
]
