"""Asking the fusion service for a request's embeddings."""

from collections.abc import Sequence

from kinoscore.recommend.backends import Backends
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.telemetry import StageTimer
from kinoscore.v1 import common_pb2, fusion_pb2

__all__ = ["fused"]


async def fused(
    backends: Backends,
    catalogue: str,
    space: str,
    embeddings: Sequence[common_pb2.Embedding],
    deadline: Deadline,
    timer: StageTimer,
) -> list[common_pb2.Embedding]:
    """The embeddings with `fused` filled, in their order.

    Raises:
        KinoscoreError: what the service raised.
    """
    request = fusion_pb2.FuseRequest(catalogue=catalogue, space=space, embeddings=embeddings)
    answer: fusion_pb2.FuseResponse = await backends.fusion.ask("Fuse", request, deadline)
    timer.include(answer.timings)
    return list(answer.embeddings)
