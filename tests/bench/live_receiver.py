"""The least that live frames over gRPC cost in Python: a grpc.aio server that receives them, and answers an
update for each second of frames with nothing in it. No decoding, no model, no search.

    python live_receiver.py       serves until it is terminated
"""

import asyncio
import sys
from collections.abc import AsyncIterator

import grpc
from live_material import RATE

from kinoscore.v1 import recommend_pb2, recommend_pb2_grpc


class Receiver(recommend_pb2_grpc.RecommenderServiceServicer):
    """Reads frames, and keeps none."""

    async def RecommendLive(
        self, requests: AsyncIterator[recommend_pb2.RecommendLiveRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[recommend_pb2.RecommendLiveResponse]:
        frames = 0
        async for request in requests:
            frames += request.WhichOneof("part") == "chunk"
            if frames and frames % round(RATE) == 0:
                yield recommend_pb2.RecommendLiveResponse(stream_seconds=frames / RATE)
        yield recommend_pb2.RecommendLiveResponse(ending=recommend_pb2.LIVE_ENDING_COMPLETE)


async def serve() -> None:
    server = grpc.aio.server()
    recommend_pb2_grpc.add_RecommenderServiceServicer_to_server(Receiver(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"answers at 127.0.0.1:{port};", file=sys.stderr, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve())
