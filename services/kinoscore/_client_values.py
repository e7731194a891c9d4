"""What the Python client gives and takes: plain values, made from the protos and turned into them."""

from collections.abc import Mapping
from dataclasses import dataclass

from kinoscore.errors import InvalidRequest
from kinoscore.v1 import common_pb2, ranking_pb2, recommend_pb2, video_pb2

__all__ = [
    "CatalogueDescription",
    "Emotion",
    "EmotionPoint",
    "Hit",
    "IndexedTrack",
    "KeyFrame",
    "Recommendation",
    "Spaces",
    "StoredTrack",
    "Timings",
    "Track",
    "TrackUpdate",
    "checked_count",
]


def checked_count(value: int | None, *, field: str) -> int | None:
    """The value itself.

    Raises:
        InvalidRequest: it is none that can be sent as an unsigned number.
    """
    if value is not None and not 0 <= value < 2**32:
        name = field.rpartition(".")[2]
        raise InvalidRequest(f"{name} must be a whole number from 0 up, not {value}", field=field)
    return value


@dataclass(frozen=True, slots=True)
class Emotion:
    """A place on Russell's circumplex, and the share of each emotion class.

    `valence` runs from -1 (unpleasant) to 1 (pleasant), `arousal` from -1 (calm) to 1 (excited); the
    deviations are the model's standard errors of the two, measured on withheld data. The `shares` sum to 1.
    """

    valence: float
    arousal: float
    valence_deviation: float
    arousal_deviation: float
    shares: Mapping[str, float]

    @classmethod
    def of(cls, message: common_pb2.Emotion) -> "Emotion":
        shares = {share.label: share.probability for share in message.shares}
        return cls(
            message.valence, message.arousal, message.valence_deviation, message.arousal_deviation, shares
        )


@dataclass(frozen=True, slots=True)
class EmotionPoint:
    """The emotion of one stretch of time."""

    start_seconds: float
    duration_seconds: float
    valence: float
    arousal: float

    @classmethod
    def of(cls, message: common_pb2.EmotionPoint) -> "EmotionPoint":
        return cls(message.start_seconds, message.duration_seconds, message.valence, message.arousal)


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """A frame that carries the emotion of the clip; `salience` is 0 to 1."""

    timestamp_seconds: float
    salience: float

    @classmethod
    def of(cls, message: video_pb2.KeyFrame) -> "KeyFrame":
        return cls(message.timestamp_seconds, message.salience)


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of a request went, in seconds."""

    queue_seconds: float
    decode_seconds: float
    inference_seconds: float
    search_seconds: float
    total_seconds: float

    @classmethod
    def of(cls, message: common_pb2.Timings) -> "Timings":
        return cls(
            message.queue_seconds,
            message.decode_seconds,
            message.inference_seconds,
            message.search_seconds,
            message.total_seconds,
        )


@dataclass(frozen=True, slots=True)
class Track:
    """What is known of a track besides its sound.

    For indexing every field may stay as it is: the id is then made from the digest of the sound, and the
    duration, the digest and the tempo (beats a minute, 0 when unknown) are measured.
    """

    track_id: str = ""
    title: str = ""
    artist: str = ""
    licence: str = ""
    attribution: str = ""
    tags: tuple[str, ...] = ()
    source_uri: str = ""
    digest: str = ""
    duration_seconds: float = 0.0
    tempo: float = 0.0

    @classmethod
    def of(cls, message: common_pb2.TrackMetadata) -> "Track":
        return cls(
            track_id=message.track_id,
            title=message.title,
            artist=message.artist,
            licence=message.licence,
            attribution=message.attribution,
            tags=tuple(message.tags),
            source_uri=message.source_uri,
            digest=message.digest,
            duration_seconds=message.duration_seconds,
            tempo=message.tempo,
        )

    def message(self) -> common_pb2.TrackMetadata:
        return common_pb2.TrackMetadata(
            track_id=self.track_id,
            title=self.title,
            artist=self.artist,
            licence=self.licence,
            attribution=self.attribution,
            tags=self.tags,
            source_uri=self.source_uri,
            digest=self.digest,
            duration_seconds=self.duration_seconds,
            tempo=self.tempo,
        )


@dataclass(frozen=True, slots=True)
class Hit:
    """A track that fits, the passage of it to lay under the clip, and why.

    `score` is what the tracks are ranked by; the other three scores are cosine similarities, -1 to 1.
    """

    rank: int
    track: Track
    passage_start_seconds: float
    passage_duration_seconds: float
    score: float
    fused_score: float
    content_score: float
    emotion_score: float
    track_emotion: Emotion
    clip_emotion: Emotion
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, message: ranking_pb2.Hit) -> "Hit":
        return cls(
            rank=message.rank,
            track=Track.of(message.track),
            passage_start_seconds=message.passage_start_seconds,
            passage_duration_seconds=message.passage_duration_seconds,
            score=message.score,
            fused_score=message.fused_score,
            content_score=message.content_score,
            emotion_score=message.emotion_score,
            track_emotion=Emotion.of(message.track_emotion),
            clip_emotion=Emotion.of(message.clip_emotion),
            reasons=tuple(message.reasons),
        )


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The ranked tracks for a clip, and what was seen in the clip.

    `warnings` tell what was wrong with the media and passed over, one line each. `stale` says that the vector
    store did not answer, and that these are the last hits known for this clip and these wishes.
    """

    space: str
    hits: tuple[Hit, ...]
    clip_duration_seconds: float
    clip_emotion: Emotion
    key_frames: tuple[KeyFrame, ...]
    emotion_curve: tuple[EmotionPoint, ...]
    warnings: tuple[str, ...]
    timings: Timings
    stale: bool = False

    @classmethod
    def of(cls, message: recommend_pb2.RecommendResponse) -> "Recommendation":
        return cls(
            space=message.space,
            hits=tuple(Hit.of(hit) for hit in message.hits),
            clip_duration_seconds=message.clip_duration_seconds,
            clip_emotion=Emotion.of(message.clip_emotion),
            key_frames=tuple(KeyFrame.of(frame) for frame in message.key_frames),
            emotion_curve=tuple(EmotionPoint.of(point) for point in message.emotion_curve),
            warnings=tuple(message.warnings),
            timings=Timings.of(message.timings),
            stale=message.stale,
        )


@dataclass(frozen=True, slots=True)
class IndexedTrack:
    """A track as it was added; `created` is false when one with the same id was replaced."""

    space: str
    track: Track
    created: bool
    emotion: Emotion
    passage_count: int
    warnings: tuple[str, ...]
    timings: Timings

    @classmethod
    def of(cls, message: recommend_pb2.IndexTrackResponse) -> "IndexedTrack":
        return cls(
            space=message.space,
            track=Track.of(message.track),
            created=message.created,
            emotion=Emotion.of(message.emotion),
            passage_count=message.passage_count,
            warnings=tuple(message.warnings),
            timings=Timings.of(message.timings),
        )


@dataclass(frozen=True, slots=True)
class StoredTrack:
    """A track as the index holds it, with the emotion of each passage."""

    track: Track
    emotion: Emotion
    passages: tuple[EmotionPoint, ...]

    @classmethod
    def of(cls, message: ranking_pb2.StoredTrack) -> "StoredTrack":
        return cls(
            track=Track.of(message.metadata),
            emotion=Emotion.of(message.emotion),
            passages=tuple(EmotionPoint.of(point) for point in message.passages),
        )


@dataclass(frozen=True, slots=True)
class TrackUpdate:
    """A track after an update; `changed` is false when nothing differed."""

    track: Track
    changed: bool

    @classmethod
    def of(cls, message: ranking_pb2.UpdateTrackMetadataResponse) -> "TrackUpdate":
        return cls(Track.of(message.track), message.changed)


@dataclass(frozen=True, slots=True)
class CatalogueDescription:
    """An embedding space, and how many tracks the catalogue holds in it."""

    space: str
    track_count: int

    @classmethod
    def of(cls, message: ranking_pb2.DescribeSpaceResponse) -> "CatalogueDescription":
        return cls(message.space, message.track_count)


@dataclass(frozen=True, slots=True)
class Spaces:
    """The embedding spaces of a server.

    `active` is the one that is searched; `served` are those whose models are there. `sole_owner` says that
    the index is a folder of this server alone.
    """

    active: str
    served: tuple[str, ...]
    sole_owner: bool

    @classmethod
    def of(cls, message: ranking_pb2.ListSpacesResponse) -> "Spaces":
        return cls(message.active_space, tuple(message.served_spaces), message.sole_owner)
