"""What is kept of a live stream: the features of its last seconds, and its key frames."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinoscore.errors import InvalidRequest
from kinoscore.inference.repository import VideoSpec
from kinoscore.media.keyframes import KeyFrameSelector
from kinoscore.v1 import video_pb2
from kinoscore.video.assembly import EncodedFrames
from kinoscore.video.clip_head import key_frame_messages

__all__ = ["EncodedRow", "LiveWindow"]

# Key frames of the whole stream that are kept.
_STREAM_KEY_FRAMES = 24


@dataclass(frozen=True, slots=True, eq=False)
class EncodedRow:
    """The outputs of the frame encoder for one picture."""

    features: NDArray[np.float32]
    valence_arousal: NDArray[np.float32]
    salience: float


class LiveWindow:
    """The last seconds of a stream, as the models see them, and the key frames of all of it."""

    def __init__(self, spec: VideoSpec, seconds: float) -> None:
        self._spec = spec
        self._seconds = seconds
        self._rows: deque[tuple[float, EncodedRow]] = deque()
        self._fresh: deque[tuple[float, EncodedRow]] = deque()
        self._salient = KeyFrameSelector(_STREAM_KEY_FRAMES, spec.key_frame_separation_seconds)

    def add(self, seconds: float, row: EncodedRow) -> None:
        self._salient.offer(seconds, row.salience)
        for rows in (self._rows, self._fresh):
            rows.append((seconds, row))
            while rows[0][0] <= seconds - self._seconds:
                rows.popleft()

    def restore(self, window: video_pb2.LiveWindow) -> None:
        """Takes the window of an earlier call.

        Raises:
            InvalidRequest: a frame is none of this space, or a time or number is not one.
        """
        for frame in window.frames:
            if len(frame.features) != self._spec.feature_dimension:
                raise InvalidRequest(
                    f"a frame of this space has {self._spec.feature_dimension} features, "
                    f"not {len(frame.features)}",
                    field="settings.resumed.frames",
                )
            features = np.array(frame.features, np.float32)
            affect = np.array([frame.valence, frame.arousal], np.float32)
            self.add(frame.timestamp_seconds, EncodedRow(features, affect, frame.salience))
        for key_frame in window.key_frames:
            self._salient.offer(key_frame.timestamp_seconds, key_frame.salience)
        self._fresh.clear()

    @property
    def has_news(self) -> bool:
        return bool(self._fresh)

    def frames(self) -> EncodedFrames:
        """All frames, their times in seconds since the first."""
        start = self._rows[0][0]
        return EncodedFrames(
            timestamps=np.array([seconds - start for seconds, _ in self._rows]),
            features=np.stack([row.features for _, row in self._rows]),
            valence_arousal=np.stack([row.valence_arousal for _, row in self._rows]),
            salience=np.array([row.salience for _, row in self._rows], np.float32),
        )

    @property
    def start_seconds(self) -> float:
        """Of the first frame; 0 while there is none."""
        return self._rows[0][0] if self._rows else 0.0

    @property
    def end_seconds(self) -> float:
        """Of the last frame's sample; 0 while there is none."""
        return self._rows[-1][0] + 1 / self._spec.frames_per_second if self._rows else 0.0

    def take_news(self) -> list[video_pb2.EncodedFrame]:
        """The frames since the last call."""
        news = [
            video_pb2.EncodedFrame(
                timestamp_seconds=seconds,
                features=row.features.tolist(),
                valence=float(row.valence_arousal[0]),
                arousal=float(row.valence_arousal[1]),
                salience=row.salience,
            )
            for seconds, row in self._fresh
        ]
        self._fresh.clear()
        return news

    def key_frames(self) -> list[video_pb2.KeyFrame]:
        """The most salient of the stream so far."""
        return key_frame_messages(self._salient.selected())
