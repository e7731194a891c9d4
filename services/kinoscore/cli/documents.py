"""What programs read: canonical JSON.

Equal answers give equal bytes: keys are sorted, and numbers are rounded to what batching cannot change.
"""

import json
from typing import Any

from kinoscore import Emotion, Hit, LiveUpdate, Recommendation, StoredTrack, Timings, Track

__all__ = [
    "live_document",
    "recommendation_document",
    "stored_track_document",
    "to_json",
    "to_json_line",
    "track_document",
]

_SCORE_DIGITS = 4
_EMOTION_DIGITS = 3
_SECONDS_DIGITS = 3


def to_json(document: Any) -> str:
    """The document as text, without a newline at its end."""
    return json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False)


def to_json_line(document: Any) -> str:
    """The document as text of one line, without a newline at its end."""
    return json.dumps(document, ensure_ascii=False, sort_keys=True, allow_nan=False)


def live_document(update: LiveUpdate) -> dict[str, Any]:
    """One update of a live session."""
    now = update.emotion_now
    return {
        "changes": {
            "entered": list(update.changes.entered),
            "left": list(update.changes.left),
            "moved": list(update.changes.moved),
        },
        "emotion": _emotion(update.emotion),
        "emotion_now": {
            "start_seconds": _seconds(now.start_seconds),
            "duration_seconds": _seconds(now.duration_seconds),
            "valence": _rounded(now.valence, _EMOTION_DIGITS),
            "arousal": _rounded(now.arousal, _EMOTION_DIGITS),
        },
        "ending": update.ending,
        "hits": [_hit(hit) for hit in update.hits],
        "key_frames": [_seconds(frame.timestamp_seconds) for frame in update.key_frames],
        "lag_seconds": _seconds(update.lag_seconds),
        "losses": {
            "frames_dropped": update.losses.frames_dropped,
            "frames_damaged": update.losses.frames_damaged,
            "times_repaired": update.losses.times_repaired,
            "gap_seconds": _seconds(update.losses.gap_seconds),
        },
        "pin": update.pin
        and {
            "track_id": update.pin.track_id,
            "time_to_change": update.pin.time_to_change,
            "moved_away_seconds": update.pin.moved_away_seconds,
            "better_track_id": update.pin.better_track_id,
        },
        "resume_token": update.resume_token,
        "space": update.space,
        "stale": update.stale,
        "stream_seconds": _seconds(update.stream_seconds),
        "warnings": list(update.warnings),
    }


def recommendation_document(
    recommendation: Recommendation, *, catalogue: str, timings: bool = False
) -> dict[str, Any]:
    """A recommendation; how long it took differs each time, and is told only when asked for."""
    document: dict[str, Any] = {
        "catalogue": catalogue,
        "clip": {
            "duration_seconds": _seconds(recommendation.clip_duration_seconds),
            "emotion": _emotion(recommendation.clip_emotion),
            "key_frames": [
                {
                    "timestamp_seconds": _seconds(frame.timestamp_seconds),
                    "salience": _rounded(frame.salience, _EMOTION_DIGITS),
                }
                for frame in recommendation.key_frames
            ],
        },
        "hits": [_hit(hit) for hit in recommendation.hits],
        "space": recommendation.space,
        "stale": recommendation.stale,
        "warnings": list(recommendation.warnings),
    }
    if timings:
        document["timings"] = _timings(recommendation.timings)
    return document


def track_document(track: Track) -> dict[str, Any]:
    """What is known of a track."""
    return {
        "artist": track.artist,
        "attribution": track.attribution,
        "digest": track.digest,
        "duration_seconds": _seconds(track.duration_seconds),
        "licence": track.licence,
        "source_uri": track.source_uri,
        "tags": list(track.tags),
        "tempo": _rounded(track.tempo, 1),
        "title": track.title,
        "track_id": track.track_id,
    }


def stored_track_document(stored: StoredTrack) -> dict[str, Any]:
    """What the index holds of a track."""
    return {
        "emotion": _emotion(stored.emotion),
        "passages": [
            {
                "start_seconds": _seconds(point.start_seconds),
                "duration_seconds": _seconds(point.duration_seconds),
                "valence": _rounded(point.valence, _EMOTION_DIGITS),
                "arousal": _rounded(point.arousal, _EMOTION_DIGITS),
            }
            for point in stored.passages
        ],
        "track": track_document(stored.track),
    }


def _hit(hit: Hit) -> dict[str, Any]:
    return {
        "clip_emotion": _emotion(hit.clip_emotion),
        "passage": {
            "start_seconds": _seconds(hit.passage_start_seconds),
            "duration_seconds": _seconds(hit.passage_duration_seconds),
        },
        "rank": hit.rank,
        "reasons": list(hit.reasons),
        "scores": {
            "total": _rounded(hit.score, _SCORE_DIGITS),
            "fused": _rounded(hit.fused_score, _SCORE_DIGITS),
            "content": _rounded(hit.content_score, _SCORE_DIGITS),
            "emotion": _rounded(hit.emotion_score, _SCORE_DIGITS),
        },
        "track": track_document(hit.track),
        "track_emotion": _emotion(hit.track_emotion),
    }


def _emotion(emotion: Emotion) -> dict[str, Any]:
    return {
        "valence": _rounded(emotion.valence, _EMOTION_DIGITS),
        "arousal": _rounded(emotion.arousal, _EMOTION_DIGITS),
        "shares": {label: _rounded(share, _EMOTION_DIGITS) for label, share in emotion.shares.items()},
    }


def _timings(timings: Timings) -> dict[str, float]:
    return {
        "queue_seconds": round(timings.queue_seconds, 6),
        "decode_seconds": round(timings.decode_seconds, 6),
        "inference_seconds": round(timings.inference_seconds, 6),
        "search_seconds": round(timings.search_seconds, 6),
        "total_seconds": round(timings.total_seconds, 6),
    }


def _seconds(value: float) -> float:
    return _rounded(value, _SECONDS_DIGITS)


def _rounded(value: float, digits: int) -> float:
    # Adding 0.0 turns -0.0 into 0.0: the two are equal, but print differently.
    return round(value, digits) + 0.0
