"""What a row of the collection holds, and how a track becomes rows and back.

A track is one row in the partition `tracks` and one row a passage in the partition `passages`. Scalars to
filter by stand in every row; what is only shown (the metadata as JSON) in the track's own row.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf import json_format
from google.protobuf.message import Message
from numpy.typing import NDArray

from kinoscore.ranking.expressions import encode_tags
from kinoscore.v1 import common_pb2

TRACKS = "tracks"
PASSAGES = "passages"

TEXT_COLUMNS = {
    "catalogue": 64,
    "track_id": 256,
    "title": 1024,
    "artist": 1024,
    "licence": 256,
    "tags": 20480,
    "metadata": 49152,
    "emotion": 8192,
}
"""Column to the most bytes of UTF-8 that it takes."""
WHOLE_NUMBER_COLUMNS = ("passage", "passage_count")
NUMBER_COLUMNS = (
    "start_seconds",
    "duration_seconds",
    "valence",
    "arousal",
    "track_duration",
    "tempo",
    "track_valence",
    "track_arousal",
)
KEY_BYTES = 512

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Passage:
    """One stretch of a track; `vector` is float32 [448], made of the unit blocks fused, content and
    emotion.
    """

    start_seconds: float
    duration_seconds: float
    emotion: common_pb2.Emotion
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Track:
    """A track to be stored; `vector` is that of the whole, `passages` are in order of time, at least one."""

    metadata: common_pb2.TrackMetadata
    emotion: common_pb2.Emotion
    vector: NDArray[np.float32]
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """A stored track without its vectors."""

    metadata: common_pb2.TrackMetadata
    emotion: common_pb2.Emotion
    passage_count: int


def track_key(catalogue: str, track_id: str) -> str:
    """The primary key of a track's own row. A catalogue's name has no slash, so keys are unambiguous."""
    return f"{catalogue}/{track_id}/track"


def passage_key(catalogue: str, track_id: str, passage: int) -> str:
    return f"{catalogue}/{track_id}/{passage}"


def track_row(catalogue: str, track: Track) -> Row:
    whole = Passage(0.0, track.metadata.duration_seconds, track.emotion, track.vector)
    return {
        **_scalars(catalogue, track),
        **_stretch(whole),
        "pk": track_key(catalogue, track.metadata.track_id),
        "passage": -1,
        "metadata": _to_json(track.metadata),
    }


def passage_rows(catalogue: str, track: Track) -> Iterator[Row]:
    scalars = _scalars(catalogue, track)
    for number, passage in enumerate(track.passages):
        yield {
            **scalars,
            **_stretch(passage),
            "pk": passage_key(catalogue, track.metadata.track_id, number),
            "passage": number,
            "metadata": "",
        }


def metadata_scalars(metadata: common_pb2.TrackMetadata) -> Row:
    """The columns to filter by that come from the metadata."""
    return {
        "title": metadata.title,
        "artist": metadata.artist,
        "licence": metadata.licence,
        "tags": encode_tags(metadata.tags),
        "track_duration": metadata.duration_seconds,
        "tempo": tidy(metadata.tempo),
    }


def with_metadata(row: Mapping[str, Any], metadata: common_pb2.TrackMetadata) -> Row:
    """A stored row, of a track or a passage, with other metadata."""
    shown = _to_json(metadata) if row["metadata"] else ""
    return {**row, **metadata_scalars(metadata), "metadata": shown}


def to_record(row: Mapping[str, Any]) -> TrackRecord:
    return TrackRecord(to_metadata(row), _to_emotion(row), row["passage_count"])


def to_metadata(row: Mapping[str, Any]) -> common_pb2.TrackMetadata:
    return common_pb2.TrackMetadata(**_known(row["metadata"], common_pb2.TrackMetadata))


def to_passage(row: Mapping[str, Any]) -> Passage:
    vector = np.asarray(row["vector"], dtype=np.float32)
    return Passage(row["start_seconds"], row["duration_seconds"], _to_emotion(row), vector)


def tidy(value: float) -> float:
    """A float32 of a message as the number that people mean: 120.1, not 120.0999984741211."""
    return float(f"{value:.6g}")


def filtered_columns(metadata: common_pb2.TrackMetadata, emotion: common_pb2.Emotion) -> Row:
    """All columns of a track that filters ask about."""
    return {
        **metadata_scalars(metadata),
        "track_id": metadata.track_id,
        "track_valence": tidy(emotion.valence),
        "track_arousal": tidy(emotion.arousal),
    }


def _scalars(catalogue: str, track: Track) -> Row:
    return {
        **filtered_columns(track.metadata, track.emotion),
        "catalogue": catalogue,
        "passage_count": len(track.passages),
    }


def _stretch(passage: Passage) -> Row:
    return {
        "start_seconds": passage.start_seconds,
        "duration_seconds": passage.duration_seconds,
        "valence": tidy(passage.emotion.valence),
        "arousal": tidy(passage.emotion.arousal),
        "emotion": _to_json(passage.emotion),
        "vector": passage.vector,
    }


def _to_emotion(row: Mapping[str, Any]) -> common_pb2.Emotion:
    return common_pb2.Emotion(**_known(row["emotion"], common_pb2.Emotion))


def _known(text: str, kind: type[Message]) -> dict[str, Any]:
    """The fields of a message written by `_to_json`, those that a newer version added left out.

    Its own fields are all text, numbers and messages of such, so that `json` reads them as they are, five
    times as fast as `json_format`.
    """
    fields = kind.DESCRIPTOR.fields_by_name
    return {name: value for name, value in json.loads(text).items() if name in fields}


def _to_json(message: common_pb2.TrackMetadata | common_pb2.Emotion) -> str:
    return json_format.MessageToJson(
        message, preserving_proto_field_name=True, indent=None, ensure_ascii=False
    )
