"""Rows: what is written of a track is read back."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kinoscore.ranking import rows
from kinoscore.ranking.rows import Passage, Track
from kinoscore.v1 import common_pb2

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
numbers = st.floats(-1, 1, width=32)
emotions = st.builds(
    common_pb2.Emotion,
    valence=numbers,
    arousal=numbers,
    valence_deviation=numbers,
    shares=st.lists(st.builds(common_pb2.EmotionShare, label=texts, probability=numbers), max_size=4),
)
documents = st.builds(
    common_pb2.TrackMetadata,
    track_id=texts,
    title=texts,
    tags=st.lists(texts, max_size=4),
    duration_seconds=st.floats(0, 1e6),
    tempo=st.floats(0, 400, width=32),
)


def track_row(metadata: common_pb2.TrackMetadata, emotion: common_pb2.Emotion) -> rows.Row:
    vector = np.zeros(4, np.float32)
    return rows.track_row("default", Track(metadata, emotion, vector, (Passage(0, 1, emotion, vector),)))


@given(documents, emotions)
def test_metadata_and_emotion_are_read_as_they_were_written(
    metadata: common_pb2.TrackMetadata, emotion: common_pb2.Emotion
) -> None:
    row = track_row(metadata, emotion)
    assert rows.to_record(row) == rows.TrackRecord(metadata, emotion, 1)
    assert rows.to_passage(row).emotion == emotion


def test_what_a_newer_version_adds_to_the_metadata_is_left_out() -> None:
    row = track_row(common_pb2.TrackMetadata(title="A"), common_pb2.Emotion())
    row["metadata"] = json.dumps({**json.loads(row["metadata"]), "mood": "calm"})
    assert rows.to_metadata(row) == common_pb2.TrackMetadata(title="A")
