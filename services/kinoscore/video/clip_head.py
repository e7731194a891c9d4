"""From the windows of a clip to its embeddings: the clip encoder, and what it says as messages."""

from collections.abc import Iterable
from dataclasses import dataclass

from kinoscore.inference.embeddings import EncodedStretches
from kinoscore.inference.engine import InferenceEngine
from kinoscore.inference.repository import Manifest
from kinoscore.runtime.telemetry import StageTimer
from kinoscore.v1 import common_pb2, video_pb2
from kinoscore.video.assembly import ClipWindows

__all__ = ["EncodedClip", "encode_windows", "key_frame_messages"]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedClip:
    """The embedding of the whole clip, and those of its windows in order of time."""

    whole: common_pb2.Embedding
    windows: list[common_pb2.Embedding]


async def encode_windows(
    engine: InferenceEngine,
    manifest: Manifest,
    windows: ClipWindows,
    seconds: float,
    *,
    timeout: float,
    timer: StageTimer,
) -> EncodedClip:
    """Runs the clip encoder; of the whole, each window counts by its frames and its emotion.

    Args:
        seconds: where the last window ends; the first begins at 0.
        timeout: seconds.
        timer: takes the stages.

    Raises:
        KinoscoreError: as `InferenceEngine.infer`.
    """
    inputs = {
        "features": windows.features,
        "frame_mask": windows.frame_mask,
        "key_frame_mask": windows.key_frame_mask,
    }
    inference = await engine.infer("clip_encoder", inputs, timeout=timeout)
    timer.queue_seconds += inference.queue_seconds
    timer.inference_seconds += inference.compute_seconds
    encoded = EncodedStretches.of(inference.outputs)
    whole = encoded.whole(windows.frame_counts, windows.key_frame_salience)
    labels, calibration = manifest.emotion_labels, manifest.calibration.video
    starts = windows.timestamps[:: manifest.video.window_frames].tolist()
    ends = [*starts[1:], seconds]
    durations = [end - start for start, end in zip(starts, ends, strict=True)]
    return EncodedClip(
        whole=whole.messages([0.0], [seconds], labels, calibration)[0],
        windows=encoded.messages(starts, durations, labels, calibration),
    )


def key_frame_messages(key_frames: Iterable[tuple[float, float]]) -> list[video_pb2.KeyFrame]:
    """(timestamp in seconds, salience) as messages."""
    return [video_pb2.KeyFrame(timestamp_seconds=when, salience=salience) for when, salience in key_frames]
