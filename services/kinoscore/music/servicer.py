"""MusicEncoderService: decodes, encodes windows while decoding goes on, then encodes the passages."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from kinoscore.errors import InvalidMedia, InvalidRequest, MediaTooLarge
from kinoscore.inference.embeddings import EncodedStretches, emotion_points
from kinoscore.inference.engine import Array, InferenceEngine
from kinoscore.inference.pipeline import infer_stream
from kinoscore.inference.repository import Manifest
from kinoscore.media.pool import DecodePool
from kinoscore.media.types import AudioBlock, MediaSummary
from kinoscore.music.assembly import TrackPassages, WindowCutter, arrange_passages
from kinoscore.music.tempo import estimate_tempo
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.requests import require_space
from kinoscore.runtime.settings import MusicSettings
from kinoscore.runtime.telemetry import StageTimer
from kinoscore.runtime.uploads import Upload
from kinoscore.v1 import music_pb2, music_pb2_grpc

__all__ = ["MusicEncoderServicer"]


class MusicEncoderServicer(music_pb2_grpc.MusicEncoderServiceServicer):
    """Encodes tracks. Of a track only the features of its windows are held, never its samples.

    Args:
        pool: decodes the uploaded files.
        engine: runs the window encoder and the track encoder.
        manifest: of the engine's models.
        settings: limits, the spool folder and the default deadline.
    """

    def __init__(
        self, pool: DecodePool, engine: InferenceEngine, manifest: Manifest, settings: MusicSettings
    ) -> None:
        self._pool = pool
        self._engine = engine
        self._manifest = manifest
        self._settings = settings

    async def check(self, deadline: Deadline) -> None:
        """Returns when the models answer.

        Raises:
            Unavailable, FailedPrecondition: as `InferenceEngine.check`.
        """
        await self._engine.check()

    async def EncodeTrack(
        self,
        request_iterator: AsyncIterator[music_pb2.EncodeTrackRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> music_pb2.EncodeTrackResponse:
        timer = StageTimer()
        deadline = Deadline.of(context, self._settings.default_deadline_seconds)
        upload = Upload(request_iterator, max_bytes=self._settings.max_upload_bytes)
        settings = await upload.settings()
        require_space(settings.space, self._manifest.space, field="settings.space")
        if await upload.form() != "data":
            raise InvalidRequest("a track is uploaded as bytes, not as frames", field="chunk.frame")
        async with upload.spooled(self._settings.spool_folder) as file:
            decoding = self._pool.decode_audio(
                file.path, self._manifest.music.sample_rate, deadline.require()
            )
            async with decoding as job:
                outputs = await self._encode_windows(job, deadline, timer)
        timer.queue_seconds += job.queue_seconds
        timer.decode_seconds += job.summary.decode_seconds
        return await self._reply(outputs, job.summary, deadline, timer)

    async def _encode_windows(
        self, blocks: AsyncIterator[AudioBlock], deadline: Deadline, timer: StageTimer
    ) -> dict[str, Array]:
        """What the window encoder says of each window, and `valid`, the share of each that is sound."""
        valid: list[NDArray[np.float32]] = []

        async def inputs() -> AsyncIterator[Mapping[str, Array]]:
            async for windows, share in _cut(blocks, self._manifest.music.window_samples):
                valid.append(np.full(len(windows), share, np.float32))
                self._check_length(sum(map(len, valid)))
                yield {"samples": windows, "valid": valid[-1]}

        encoded: list[Mapping[str, Array]] = []
        inferences = infer_stream(self._engine, "window_encoder", inputs(), expires=deadline.moment)
        async with aclosing(inferences):
            async for inference in inferences:
                timer.queue_seconds += inference.queue_seconds
                timer.inference_seconds += inference.compute_seconds
                encoded.append(inference.outputs)
        if not encoded:
            raise InvalidMedia("the track holds no sound")
        outputs: dict[str, Array] = {
            name: np.concatenate([outputs[name] for outputs in encoded])
            for name in ("features", "valence_arousal", "onset_strength")
        }
        outputs["valid"] = np.concatenate(valid)
        return outputs

    def _check_length(self, windows: int) -> None:
        # The pool's own limit may be higher: one pool may decode clips and tracks.
        longest = self._settings.max_track_seconds
        if (windows - 1) * self._manifest.music.window_seconds > longest:
            raise MediaTooLarge(
                f"the track is longer than the {longest:g} s allowed; send a shorter one",
                metadata={"limit": f"{longest:g}"},
            )

    async def _encode_passages(
        self, passages: TrackPassages, deadline: Deadline, timer: StageTimer
    ) -> EncodedStretches:
        inputs = {"features": passages.features, "window_mask": passages.window_mask}
        inference = await self._engine.infer("track_encoder", inputs, timeout=deadline.require())
        timer.queue_seconds += inference.queue_seconds
        timer.inference_seconds += inference.compute_seconds
        return EncodedStretches.of(inference.outputs)

    async def _reply(
        self, outputs: Mapping[str, Array], summary: MediaSummary, deadline: Deadline, timer: StageTimer
    ) -> music_pb2.EncodeTrackResponse:
        music, labels = self._manifest.music, self._manifest.emotion_labels
        calibration = self._manifest.calibration.music
        passages = arrange_passages(outputs["features"], outputs["valid"], music)
        encoded = await self._encode_passages(passages, deadline, timer)
        equally = np.ones(len(passages.durations))
        whole = encoded.whole(equally, equally)
        starts = (passages.first_windows * music.window_seconds).tolist()
        return music_pb2.EncodeTrackResponse(
            space=self._manifest.space,
            duration_seconds=summary.duration_seconds,
            digest=summary.digest or "",
            tempo=estimate_tempo(outputs["onset_strength"].ravel(), music.onset_rate),
            track=whole.messages([0.0], [summary.duration_seconds], labels, calibration)[0],
            passages=encoded.messages(starts, passages.durations.tolist(), labels, calibration),
            emotion_curve=emotion_points(
                (np.arange(len(outputs["valid"])) * music.window_seconds).tolist(),
                (outputs["valid"] * music.window_seconds).tolist(),
                outputs["valence_arousal"],
            ),
            warnings=summary.warnings,
            timings=timer.timings(),
        )


async def _cut(
    blocks: AsyncIterator[AudioBlock], window_samples: int
) -> AsyncIterator[tuple[NDArray[np.float32], float]]:
    """Windows, float32 [k, window_samples], with the share of each that is sound."""
    cutter = WindowCutter(window_samples)
    async for block in blocks:
        windows = cutter.cut(block.samples)
        if len(windows):
            yield windows, 1.0
    if rest := cutter.finish():
        yield rest
