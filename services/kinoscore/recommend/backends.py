"""The four services behind the front door, and one way to call each of them."""

from collections.abc import AsyncIterator
from typing import Any

import grpc

from kinoscore.runtime.channels import channel_options
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.relay import answer_to_stream
from kinoscore.runtime.status import from_rpc_error
from kinoscore.runtime.telemetry import outgoing_metadata
from kinoscore.v1 import fusion_pb2_grpc, music_pb2_grpc, ranking_pb2_grpc, video_pb2_grpc

__all__ = ["Backends", "ask", "ask_with_stream"]


class Backends:
    """Stubs of the four services; equal addresses share a channel.

    Who makes one, closes it.
    """

    def __init__(self, *, video: str, music: str, fusion: str, ranking: str) -> None:
        self._channels = {
            address: grpc.aio.insecure_channel(address, options=channel_options(address))
            for address in (video, music, fusion, ranking)
        }
        self.video = video_pb2_grpc.VideoEncoderServiceStub(self._channels[video])
        self.music = music_pb2_grpc.MusicEncoderServiceStub(self._channels[music])
        self.fusion = fusion_pb2_grpc.FusionServiceStub(self._channels[fusion])
        self.ranking = ranking_pb2_grpc.RankingServiceStub(self._channels[ranking])

    async def close(self) -> None:
        """Closes the connections; calls that still run are cancelled."""
        for channel in self._channels.values():
            await channel.close()


async def ask(method: Any, request: object, deadline: Deadline) -> Any:
    """One answer for one request, within what is left of the deadline.

    Raises:
        KinoscoreError: what the service raised, as the same class.
    """
    try:
        return await method(request, timeout=deadline.require(), metadata=outgoing_metadata())
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def ask_with_stream(method: Any, requests: AsyncIterator[object], deadline: Deadline) -> Any:
    """One answer for a stream of requests, within what is left of the deadline.

    Raises:
        KinoscoreError: what the service raised, as the same class.
        Exception: whatever `requests` raised.
    """
    call = method(timeout=deadline.require(), metadata=outgoing_metadata())
    try:
        return await answer_to_stream(call, requests)
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
