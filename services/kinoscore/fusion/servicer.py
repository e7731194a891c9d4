"""FusionService over the fusion model."""

from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from kinoscore.errors import InvalidRequest, SpaceMismatch
from kinoscore.inference.engine import InferenceEngine
from kinoscore.inference.repository import Manifest
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.requests import catalogue_name, require_space
from kinoscore.runtime.settings import ServerSettings
from kinoscore.runtime.telemetry import StageTimer
from kinoscore.v1 import common_pb2, fusion_pb2, fusion_pb2_grpc

__all__ = ["FusionServicer"]


class FusionServicer(fusion_pb2_grpc.FusionServiceServicer):
    """Fuses all embeddings of a request in one call to the model."""

    def __init__(self, engine: InferenceEngine, manifest: Manifest, settings: ServerSettings) -> None:
        self._engine = engine
        self._manifest = manifest
        self._settings = settings

    async def check(self, deadline: Deadline) -> None:
        """Returns when the models answer.

        Raises:
            Unavailable, FailedPrecondition: as `InferenceEngine.check`.
        """
        await self._engine.check()

    async def Fuse(
        self, request: fusion_pb2.FuseRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> fusion_pb2.FuseResponse:
        timer = StageTimer()
        deadline = Deadline.of(context, self._settings.default_deadline_seconds)
        catalogue_name(request.catalogue)
        require_space(request.space, self._manifest.space)
        if not request.embeddings:
            raise InvalidRequest("there is nothing to fuse; send at least one embedding", field="embeddings")
        dimensions = self._manifest.dimensions
        inputs = {
            "content": _matrix("content", [e.content for e in request.embeddings], dimensions.content),
            "emotion": _matrix(
                "emotion_vector", [e.emotion_vector for e in request.embeddings], dimensions.emotion
            ),
        }
        inference = await self._engine.infer("fusion", inputs, timeout=deadline.require())
        timer.queue_seconds += inference.queue_seconds
        timer.inference_seconds += inference.compute_seconds
        return fusion_pb2.FuseResponse(
            space=self._manifest.space,
            embeddings=[
                _with_fused(embedding, fused)
                for embedding, fused in zip(request.embeddings, inference.outputs["fused"], strict=True)
            ],
            timings=timer.timings(),
        )


def _matrix(name: str, vectors: Sequence[Sequence[float]], dimension: int) -> NDArray[np.float32]:
    """The vectors as rows.

    Raises:
        SpaceMismatch: one has another dimension than the space.
        InvalidRequest: one holds a number that is not finite.
    """
    for index, vector in enumerate(vectors):
        if len(vector) != dimension:
            raise SpaceMismatch(
                f"a vector of {len(vector)} dimensions came where the space has {dimension}; "
                "encode with the models of this space",
                field=f"embeddings[{index}].{name}",
            )
    matrix = np.array(vectors, np.float32)
    wrong = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if wrong.size:
        raise InvalidRequest("a vector holds NaN or infinity", field=f"embeddings[{wrong[0]}].{name}")
    return matrix


def _with_fused(embedding: common_pb2.Embedding, fused: NDArray[np.float32]) -> common_pb2.Embedding:
    filled = common_pb2.Embedding()
    filled.CopyFrom(embedding)
    filled.ClearField("fused")
    filled.fused.extend(fused.tolist())
    return filled
