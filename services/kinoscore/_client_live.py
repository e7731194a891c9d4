"""What the Python client gives and takes in live sessions."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from kinoscore._client_values import Emotion, EmotionPoint, Hit, KeyFrame, Timings, checked_count
from kinoscore.errors import InvalidRequest
from kinoscore.runtime.channels import MAX_MESSAGE_BYTES
from kinoscore.v1 import common_pb2, recommend_pb2, video_pb2

__all__ = [
    "Frame",
    "LiveChanges",
    "LiveControl",
    "LiveInput",
    "LiveLosses",
    "LivePin",
    "LiveUpdate",
    "live_messages",
    "live_messages_of",
    "live_settings",
]

_FORMATS = {
    "jpeg": common_pb2.FRAME_FORMAT_JPEG,
    "png": common_pb2.FRAME_FORMAT_PNG,
    "webp": common_pb2.FRAME_FORMAT_WEBP,
    "rgb24": common_pb2.FRAME_FORMAT_RGB24,
    "i420": common_pb2.FRAME_FORMAT_I420,
}
_ENDINGS: dict[int, Literal["", "complete", "draining", "session time"]] = {
    recommend_pb2.LIVE_ENDING_UNSPECIFIED: "",
    recommend_pb2.LIVE_ENDING_COMPLETE: "complete",
    recommend_pb2.LIVE_ENDING_DRAINING: "draining",
    recommend_pb2.LIVE_ENDING_SESSION_TIME: "session time",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a stream.

    `format` is `jpeg`, `png`, `webp`, `rgb24` (rows from top to bottom, 3 bytes a pixel) or `i420` (planar
    YUV 4:2:0); the last two need `width` and `height`.
    """

    data: bytes
    timestamp_seconds: float
    format: Literal["jpeg", "png", "webp", "rgb24", "i420"] = "jpeg"
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class LiveControl:
    """Changes what is wanted while the stream plays; what is not set stays as it is.

    `pin` is the id of the track that is playing: it stays in the list until another one is pinned; empty for
    none. `skip` are ids of tracks that are never to come again in this session.
    """

    k: int | None = None
    filter: str | None = None
    fused_weight: float | None = None
    content_weight: float | None = None
    emotion_weight: float | None = None
    pin: str | None = None
    skip: tuple[str, ...] = ()


LiveInput = Frame | bytes | bytearray | memoryview | LiveControl
"""A frame, the next bytes of a container or elementary stream, or a change. Frames and bytes do not mix."""

# Far below what a server takes in one message.
_MESSAGE_BYTES = 1 << 18
_LARGEST_FRAME_BYTES = MAX_MESSAGE_BYTES - (1 << 10)


@dataclass(frozen=True, slots=True)
class LiveChanges:
    """What differs from the update before: ids of tracks that entered, left, or are further up or down."""

    entered: tuple[str, ...]
    left: tuple[str, ...]
    moved: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LivePin:
    """The pinned track. At `time_to_change` the scene has moved away from it, since `moved_away_seconds`, and
    `better_track_id`, in the list or not, fits best; while the pinned one fits they are None and empty."""

    track_id: str
    time_to_change: bool
    moved_away_seconds: float | None
    better_track_id: str


@dataclass(frozen=True, slots=True)
class LiveLosses:
    """What the session has lost so far: frames left out, frames that could not be read, times that were put
    right, and seconds without an encoder."""

    frames_dropped: int
    frames_damaged: int
    times_repaired: int
    gap_seconds: float


@dataclass(frozen=True, slots=True)
class LiveUpdate:
    """The list as it is now, and what was seen of the stream.

    `emotion_now` is that since the last update, `emotion` that of the window; `key_frames` are the most
    salient of the stream so far. `stale` says that ranking did not answer: the hits are older than the rest.
    `ending` is set in the last update: `complete`, `draining` (the server shuts down) or `session time`;
    after the last two go on in a new call with `resume_token`.
    """

    space: str
    hits: tuple[Hit, ...]
    changes: LiveChanges
    stream_seconds: float
    emotion_now: EmotionPoint
    emotion: Emotion
    key_frames: tuple[KeyFrame, ...]
    lag_seconds: float
    losses: LiveLosses
    pin: LivePin | None
    resume_token: str
    resume_until_seconds: float
    warnings: tuple[str, ...]
    stale: bool
    ending: Literal["", "complete", "draining", "session time"]
    timings: Timings

    @classmethod
    def of(cls, message: recommend_pb2.RecommendLiveResponse) -> "LiveUpdate":
        changes, losses, pin = message.changes, message.losses, message.pin
        return cls(
            space=message.space,
            hits=tuple(map(Hit.of, message.hits)),
            changes=LiveChanges(
                tuple(changes.entered_track_ids),
                tuple(changes.left_track_ids),
                tuple(changes.moved_track_ids),
            ),
            stream_seconds=message.stream_seconds,
            emotion_now=EmotionPoint.of(message.emotion_now),
            emotion=Emotion.of(message.emotion),
            key_frames=tuple(map(KeyFrame.of, message.key_frames)),
            lag_seconds=message.lag_seconds,
            losses=LiveLosses(
                losses.frames_dropped, losses.frames_damaged, losses.times_repaired, losses.gap_seconds
            ),
            pin=LivePin(
                pin.track_id,
                pin.time_to_change,
                pin.moved_away_seconds if pin.HasField("moved_away_seconds") else None,
                pin.better_track_id,
            )
            if message.HasField("pin")
            else None,
            resume_token=message.resume_token,
            resume_until_seconds=message.resume_until_seconds,
            warnings=tuple(message.warnings),
            stale=message.stale,
            ending=_ENDINGS[message.ending],
            timings=Timings.of(message.timings),
        )


def live_settings(
    *,
    k: int | None,
    filter: str,
    fused_weight: float | None,
    content_weight: float | None,
    emotion_weight: float | None,
    interval_seconds: float | None,
    window_seconds: float | None,
    margin: float | None,
    hold_seconds: float | None,
    latest: bool,
    resume_token: str,
    catalogue: str,
    space: str,
) -> recommend_pb2.RecommendLiveRequest:
    """The first message of a session."""
    settings = recommend_pb2.RecommendLiveSettings(
        catalogue=catalogue,
        k=checked_count(k, field="settings.k"),
        weights=common_pb2.Weights(fused=fused_weight, content=content_weight, emotion=emotion_weight),
        filter=filter,
        space=space,
        interval_seconds=interval_seconds,
        window_seconds=window_seconds,
        flow=video_pb2.LIVE_FLOW_LATEST if latest else video_pb2.LIVE_FLOW_LOSSLESS,
        margin=margin,
        hold_seconds=hold_seconds,
        resume_token=resume_token,
    )
    return recommend_pb2.RecommendLiveRequest(settings=settings)


def live_messages_of(part: LiveInput) -> Iterator[recommend_pb2.RecommendLiveRequest]:
    """The messages that carry a frame, bytes or a change.

    Raises:
        InvalidRequest: the format of a frame is unknown, or a number is none that can be sent.
    """
    if isinstance(part, Frame | LiveControl):
        yield _message(part)
        return
    if not isinstance(part, bytes | bytearray | memoryview):
        raise InvalidRequest(
            f"a stream consists of Frame, bytes and LiveControl, not of {type(part).__name__}", field="stream"
        )
    data = bytes(part)
    for start in range(0, len(data), _MESSAGE_BYTES):
        chunk = common_pb2.MediaChunk(data=data[start : start + _MESSAGE_BYTES])
        yield recommend_pb2.RecommendLiveRequest(chunk=chunk)


def _message(part: Frame | LiveControl) -> recommend_pb2.RecommendLiveRequest:
    if isinstance(part, Frame):
        if part.format not in _FORMATS:
            raise InvalidRequest(f"a frame's format must be one of {', '.join(_FORMATS)}", field="format")
        if len(part.data) > _LARGEST_FRAME_BYTES:
            raise InvalidRequest(
                f"a frame of {len(part.data) >> 20} MiB does not fit into a message; send it smaller, or as "
                "JPEG: the models see about 100 lines",
                field="data",
            )
        frame = common_pb2.Frame(
            format=_FORMATS[part.format],
            data=part.data,
            timestamp_seconds=part.timestamp_seconds,
            width=part.width,
            height=part.height,
        )
        return recommend_pb2.RecommendLiveRequest(chunk=common_pb2.MediaChunk(frame=frame))
    if isinstance(part.skip, str):
        raise InvalidRequest("skip takes several track ids, not one text", field="control.skip_track_ids")
    weights = (part.fused_weight, part.content_weight, part.emotion_weight)
    control = recommend_pb2.LiveControl(
        k=checked_count(part.k, field="settings.k"),
        filter=part.filter,
        weights=None
        if weights == (None, None, None)
        else common_pb2.Weights(fused=weights[0], content=weights[1], emotion=weights[2]),
        pin_track_id=part.pin,
        skip_track_ids=part.skip,
    )
    return recommend_pb2.RecommendLiveRequest(control=control)


async def live_messages(
    settings: recommend_pb2.RecommendLiveRequest, stream: AsyncIterable[LiveInput] | Iterable[LiveInput]
) -> AsyncIterator[recommend_pb2.RecommendLiveRequest]:
    """All messages of a session, from a source of either kind."""
    yield settings
    if isinstance(stream, AsyncIterable):
        async for part in stream:
            for message in live_messages_of(part):
                yield message
    else:
        for part in stream:
            for message in live_messages_of(part):
                yield message
