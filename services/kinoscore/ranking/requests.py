"""What a request must be to be answered, and the values that it becomes."""

import math
import unicodedata
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kinoscore.errors import InvalidRequest, SpaceMismatch
from kinoscore.inference.repository import DefaultWeights
from kinoscore.ranking.rows import TEXT_COLUMNS, Passage, Track
from kinoscore.ranking.scoring import Blocks, Weights
from kinoscore.runtime.requests import MOST_TRACKS, require_track_count
from kinoscore.v1 import common_pb2, ranking_pb2

DEFAULT_TRACKS = 10
DEFAULT_PAGE = 100
MOST_PAGE = 1000
MOST_PASSAGES = 16384
MOST_WINDOWS = 16384

_TEXT_BYTES = {
    "track_id": TEXT_COLUMNS["track_id"],
    "title": TEXT_COLUMNS["title"],
    "artist": TEXT_COLUMNS["artist"],
    "licence": TEXT_COLUMNS["licence"],
    "attribution": 8192,
    "source_uri": 4096,
    "digest": 128,
}
_MOST_TAGS = 64
_TAG_BYTES = 64


def to_track_count(request: ranking_pb2.SearchTracksRequest) -> int:
    """k, 10 when it is not set.

    Raises:
        InvalidRequest: it is not 1 to 1000.
    """
    k = request.k if request.HasField("k") else DEFAULT_TRACKS
    require_track_count(k)
    return k


def require_compared(request: ranking_pb2.SearchTracksRequest) -> None:
    """Raises InvalidRequest: more than 1000 tracks are to be compared."""
    if len(request.compared_track_ids) > MOST_TRACKS:
        raise InvalidRequest(
            f"at most {MOST_TRACKS} tracks can be compared, not {len(request.compared_track_ids)}",
            field="compared_track_ids",
        )


def to_page_size(requested: int) -> int:
    """The tracks on a page, 100 when not set.

    Raises:
        InvalidRequest: it is more than 1000.
    """
    if requested > MOST_PAGE:
        raise InvalidRequest(f"page_size must be at most {MOST_PAGE}, not {requested}", field="page_size")
    return requested or DEFAULT_PAGE


def to_weights(message: common_pb2.Weights, defaults: DefaultWeights) -> Weights:
    """The weights of a request; one that is not set takes the default.

    Raises:
        InvalidRequest: one is negative or not finite, or all are 0.
    """
    values = {}
    for name in ("fused", "content", "emotion"):
        value = float(getattr(message if message.HasField(name) else defaults, name))
        if not math.isfinite(value) or value < 0:
            raise InvalidRequest(f"the {name} weight must be 0 or more", field=f"weights.{name}")
        values[name] = value
    if not any(values.values()):
        raise InvalidRequest("at least one weight must be more than 0", field="weights")
    return Weights(**values)


def to_passage(embedding: common_pb2.Embedding, blocks: Blocks, field: str) -> Passage:
    """An embedding with its vector as unit blocks.

    Raises:
        SpaceMismatch: a block has another dimension.
        InvalidRequest: a block is zero, or something is not finite.
    """
    parts = (
        _to_unit(embedding.fused, blocks.fused, f"{field}.fused"),
        _to_unit(embedding.content, blocks.content, f"{field}.content"),
        _to_unit(embedding.emotion_vector, blocks.emotion, f"{field}.emotion_vector"),
    )
    numbers = {
        "start_seconds": embedding.start_seconds,
        "duration_seconds": embedding.duration_seconds,
        "emotion.valence": embedding.emotion.valence,
        "emotion.arousal": embedding.emotion.arousal,
    }
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise InvalidRequest(f"{name} is not finite", field=f"{field}.{name}")
    if embedding.start_seconds < 0 or embedding.duration_seconds < 0:
        raise InvalidRequest("times must not be negative", field=field)
    vector = np.concatenate(parts)
    return Passage(embedding.start_seconds, embedding.duration_seconds, embedding.emotion, vector)


def to_windows(request: ranking_pb2.SearchTracksRequest, blocks: Blocks) -> tuple[Passage, ...]:
    """The clip's windows in order, if it has any.

    Raises:
        InvalidRequest: they are too many, not in order, or last no time.
    """
    if len(request.windows) > MOST_WINDOWS:
        raise InvalidRequest(f"a clip has at most {MOST_WINDOWS} windows", field="windows")
    windows = tuple(
        to_passage(window, blocks, f"windows[{number}]") for number, window in enumerate(request.windows)
    )
    for number, window in enumerate(windows):
        if window.duration_seconds <= 0:
            raise InvalidRequest("a window must last some time", field=f"windows[{number}].duration_seconds")
        if number and window.start_seconds <= windows[number - 1].start_seconds:
            raise InvalidRequest("windows must be in order of time", field=f"windows[{number}].start_seconds")
    return windows


def to_track(request: ranking_pb2.UpsertTrackRequest, blocks: Blocks) -> Track:
    """The track to be stored.

    Raises:
        InvalidRequest: the metadata or an embedding is not usable, or there is no passage.
        SpaceMismatch: a vector has another dimension.
    """
    check_metadata(request.metadata)
    if not 1 <= len(request.passages) <= MOST_PASSAGES:
        raise InvalidRequest(f"a track has 1 to {MOST_PASSAGES} passages", field="passages")
    whole = to_passage(request.track, blocks, "track")
    passages = tuple(
        to_passage(passage, blocks, f"passages[{number}]") for number, passage in enumerate(request.passages)
    )
    return Track(request.metadata, whole.emotion, whole.vector, passages)


def check_metadata(metadata: common_pb2.TrackMetadata) -> None:
    """Refuses metadata that cannot be stored.

    Raises:
        InvalidRequest: a text is too long, there are too many tags, or a number is not finite.
    """
    check_track_id(metadata.track_id, "metadata.track_id")
    for name, most in _TEXT_BYTES.items():
        _check_text(getattr(metadata, name), most, f"metadata.{name}")
    if len(metadata.tags) > _MOST_TAGS:
        raise InvalidRequest(f"a track has at most {_MOST_TAGS} tags", field="metadata.tags")
    for number, tag in enumerate(metadata.tags):
        if not tag:
            raise InvalidRequest("a tag is empty", field=f"metadata.tags[{number}]")
        _check_text(tag.casefold(), _TAG_BYTES, f"metadata.tags[{number}]")
    for name in ("duration_seconds", "tempo"):
        value = getattr(metadata, name)
        if not math.isfinite(value) or value < 0:
            raise InvalidRequest(f"{name} must be 0 or more", field=f"metadata.{name}")


def check_track_id(track_id: str, field: str) -> None:
    """Refuses a track id that is empty, too long, or holds control characters.

    Raises:
        InvalidRequest: it does.
    """
    if not track_id:
        raise InvalidRequest("a track id is needed", field=field)
    _check_text(track_id, TEXT_COLUMNS["track_id"], field)


def check_track_ids(track_ids: Sequence[str]) -> None:
    """Refuses a list of track ids that is empty, too long, or holds one that cannot be.

    Raises:
        InvalidRequest: it does.
    """
    if not 1 <= len(track_ids) <= MOST_TRACKS:
        raise InvalidRequest(f"1 to {MOST_TRACKS} track ids are needed", field="track_ids")
    for number, track_id in enumerate(track_ids):
        check_track_id(track_id, f"track_ids[{number}]")


def to_page_token(last_track_id: str) -> str:
    """The token for the page after `last_track_id`."""
    return urlsafe_b64encode(last_track_id.encode()).decode()


def from_page_token(token: str) -> str:
    """The id of the last track of the page before; empty for the first page.

    Raises:
        InvalidRequest: the token is none of ours.
    """
    try:
        return urlsafe_b64decode(token.encode()).decode()
    except (Base64Error, UnicodeError) as error:
        raise InvalidRequest("the page token is not one that an answer gave", field="page_token") from error


def _check_text(text: str, most_bytes: int, field: str) -> None:
    if len(text.encode()) > most_bytes:
        raise InvalidRequest(f"{field} is longer than {most_bytes} bytes", field=field)
    if any(unicodedata.category(character) == "Cc" and character not in "\n\r\t" for character in text):
        raise InvalidRequest(f"{field} holds a control character", field=field)


def _to_unit(values: Sequence[float], dimension: int, field: str) -> NDArray[np.float32]:
    if len(values) != dimension:
        raise SpaceMismatch(f"{field} has {len(values)} numbers, not {dimension}", field=field)
    vector = np.fromiter(values, dtype=np.float32, count=dimension)
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not math.isfinite(length) or length == 0.0:
        raise InvalidRequest(f"{field} must be finite and not zero", field=field)
    unit: NDArray[np.float32] = (vector / length).astype(np.float32)
    return unit
