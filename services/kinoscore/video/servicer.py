"""VideoEncoderService: decodes, encodes frames while decoding goes on, then encodes the windows."""

from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import grpc

from kinoscore.errors import InvalidRequest, MediaTooLarge
from kinoscore.inference.embeddings import emotion_points
from kinoscore.inference.engine import Array, InferenceEngine
from kinoscore.inference.pipeline import infer_stream
from kinoscore.inference.repository import Manifest
from kinoscore.media.pool import DecodePool
from kinoscore.media.types import FrameBatch, FrameSpec, Limits
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.requests import first_settings, require_space
from kinoscore.runtime.settings import VideoSettings
from kinoscore.runtime.telemetry import StageTimer
from kinoscore.runtime.uploads import Upload
from kinoscore.v1 import common_pb2, video_pb2, video_pb2_grpc
from kinoscore.video.assembly import ClipWindows, EncodedFrames, WindowAssembler
from kinoscore.video.clip_head import encode_windows, key_frame_messages
from kinoscore.video.live import LiveEncoding, LiveParts
from kinoscore.video.pictures import sampled_batches

__all__ = ["VideoEncoderServicer"]


class VideoEncoderServicer(video_pb2_grpc.VideoEncoderServiceServicer):
    """Encodes clips. Of a clip only the features of its sampled frames are held, never its pictures.

    Args:
        pool: decodes uploads and live streams.
        engine: runs the frame encoder and the clip encoder.
        manifest: of the engine's models.
        settings: limits, the spool folder and the default deadline.
    """

    def __init__(
        self, pool: DecodePool, engine: InferenceEngine, manifest: Manifest, settings: VideoSettings
    ) -> None:
        self._pool = pool
        self._engine = engine
        self._manifest = manifest
        self._settings = settings
        video = manifest.video
        self._spec = FrameSpec(video.frame_width, video.frame_height, video.frames_per_second)
        self._limits = Limits(settings.max_upload_bytes, settings.max_clip_seconds, settings.max_pixels)

    async def check(self, deadline: Deadline) -> None:
        """Returns when the models answer.

        Raises:
            Unavailable, FailedPrecondition: as `InferenceEngine.check`.
        """
        await self._engine.check()

    async def EncodeClip(
        self,
        request_iterator: AsyncIterator[video_pb2.EncodeClipRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> video_pb2.EncodeClipResponse:
        timer = StageTimer()
        deadline = Deadline.of(context, self._settings.default_deadline_seconds)
        upload = Upload(request_iterator, max_bytes=self._settings.max_upload_bytes)
        settings = await upload.settings()
        require_space(settings.space, self._manifest.space, field="settings.space")
        if await upload.form() == "data":
            return await self._encode_file(upload, deadline, timer)
        return await self._encode_pictures(upload, deadline, timer)

    async def EncodeLive(
        self,
        request_iterator: AsyncIterator[video_pb2.EncodeLiveRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[video_pb2.EncodeLiveResponse]:
        settings = await first_settings(request_iterator)
        require_space(settings.space, self._manifest.space, field="settings.space")
        parts = LiveParts(
            self._pool, self._engine, self._manifest, self._limits, self._settings.live_lag_seconds
        )
        encoding = LiveEncoding(parts, settings)
        async with aclosing(encoding.answers(_chunks(request_iterator))) as answers:
            async for answer in answers:
                yield answer

    async def _encode_file(
        self, upload: Upload[Any], deadline: Deadline, timer: StageTimer
    ) -> video_pb2.EncodeClipResponse:
        async with upload.spooled(self._settings.spool_folder) as file:
            decoding = self._pool.decode_frames(file.path, self._spec, deadline.require())
            async with decoding as job:
                windows = await self._encode_frames(job, deadline, timer)
        timer.queue_seconds += job.queue_seconds
        timer.decode_seconds += job.summary.decode_seconds
        return await self._reply(windows, job.summary.duration_seconds, job.summary.warnings, deadline, timer)

    async def _encode_pictures(
        self, upload: Upload[Any], deadline: Deadline, timer: StageTimer
    ) -> video_pb2.EncodeClipResponse:
        async with aclosing(
            sampled_batches(self._pool, upload.frames(), self._spec, self._limits)
        ) as batches:
            windows = await self._encode_frames(batches, deadline, timer)
        seconds = len(windows.timestamps) / self._spec.frames_per_second
        return await self._reply(windows, seconds, (), deadline, timer)

    async def _encode_frames(
        self, batches: AsyncIterator[FrameBatch], deadline: Deadline, timer: StageTimer
    ) -> ClipWindows:
        assembler = WindowAssembler(self._manifest.video)
        timestamps: deque[Array] = deque()

        async def inputs() -> AsyncIterator[Mapping[str, Array]]:
            async for batch in batches:
                self._check_length(float(batch.timestamps[-1]))
                timestamps.append(batch.timestamps)
                yield {"frames": batch.frames}

        inferences = infer_stream(self._engine, "frame_encoder", inputs(), expires=deadline.moment)
        async with aclosing(inferences):
            async for inference in inferences:
                timer.queue_seconds += inference.queue_seconds
                timer.inference_seconds += inference.compute_seconds
                assembler.add(EncodedFrames.of(timestamps.popleft(), inference.outputs))
        return assembler.finish()

    def _check_length(self, seconds: float) -> None:
        # The pool's own limit may be higher: one pool may decode clips and tracks.
        longest = self._settings.max_clip_seconds
        if seconds > longest:
            raise MediaTooLarge(
                f"the clip is longer than the {longest:g} s allowed; send a shorter one",
                metadata={"limit": f"{longest:g}"},
            )

    async def _reply(
        self,
        windows: ClipWindows,
        seconds: float,
        warnings: tuple[str, ...],
        deadline: Deadline,
        timer: StageTimer,
    ) -> video_pb2.EncodeClipResponse:
        clip = await encode_windows(
            self._engine, self._manifest, windows, seconds, timeout=deadline.require(), timer=timer
        )
        interval = 1 / self._spec.frames_per_second
        return video_pb2.EncodeClipResponse(
            space=self._manifest.space,
            duration_seconds=seconds,
            clip=clip.whole,
            windows=clip.windows,
            key_frames=key_frame_messages(windows.key_frames),
            emotion_curve=emotion_points(
                windows.timestamps.tolist(),
                [interval] * len(windows.timestamps),
                windows.valence_arousal,
            ),
            warnings=warnings,
            timings=timer.timings(),
        )


async def _chunks(
    requests: AsyncIterator[video_pb2.EncodeLiveRequest],
) -> AsyncIterator[common_pb2.MediaChunk]:
    async for request in requests:
        if request.WhichOneof("part") == "settings":
            raise InvalidRequest("settings came twice; send them in the first message only", field="settings")
        yield request.chunk
