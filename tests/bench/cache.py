"""How much longer a cached answer takes than a bare Redis GET behind the same gRPC server.

A server in a process of its own has the ranking service, over a real Redis and Milvus Lite, and beside it a
method that does nothing but GET the bytes of the very same answer. One client asks both in turn; requests are
equal, so that every search but the first is answered from the cache.
"""

import asyncio
import multiprocessing
import sys
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
from harness import Spread, arguments, conditions, progress, show
from material import Library, embedding, store
from redis.asyncio import Redis

from kinoscore.cache import open_cache
from kinoscore.inference import Manifest, ModelRepository, default_repository
from kinoscore.ranking.servicer import RankingServicer
from kinoscore.ranking.store import MilvusStore
from kinoscore.runtime.server import Server
from kinoscore.runtime.settings import RankingSettings
from kinoscore.stack import vector_dimension
from kinoscore.v1 import ranking_pb2, ranking_pb2_grpc

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.redis_server import redis_server

K = 10
START_SECONDS = 120
KEY = "bench:answer"
BARE = "/bench.Redis/Get"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--redis", help="the URL of a Redis; one is started when not given")
    parser.add_argument("--rounds", type=int, default=2000, help="measured rounds (default: 2000)")
    parser.add_argument("--warm-up", type=int, default=200, help="rounds before those (default: 200)")
    options = parser.parse_args()
    found = conditions()
    repository = options.repository or default_repository()
    manifest = ModelRepository.load(repository).manifest
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="kinoscore-bench-")))
        url = options.redis or opened.enter_context(redis_server(folder)).url
        address = opened.enter_context(ServerProcess(repository, folder / "vectors", url)).address
        progress("filling the library")
        library = Library.draw(manifest, tracks=50, passages=30)
        store(library, address, manifest)
        progress("measuring")
        cached, bare, size = asyncio.run(
            measure(address, url, request_for(library, manifest), options.warm_up, options.rounds)
        )
    ratio = cached.median / bare.median
    rows = [
        ("answer", f"{size} bytes, {K} tracks"),
        ("cached answer", cached.milliseconds()),
        ("bare GET", bare.milliseconds()),
        ("ratio of medians", f"{ratio:.2f}"),
    ]
    facts = {
        "conditions": found,
        "answer_bytes": size,
        "cached_seconds": cached,
        "bare_seconds": bare,
        "ratio": ratio,
    }
    show(options, "cache: a cached answer against a bare Redis GET", rows, facts)


def request_for(library: Library, manifest: Manifest) -> ranking_pb2.SearchTracksRequest:
    """A search for a clip of one window."""
    seconds = manifest.video.window_frames / manifest.video.frames_per_second
    clip = embedding(library.vectors[0, 0], library, manifest, 0.0, seconds)
    return ranking_pb2.SearchTracksRequest(space=manifest.space, clip=clip, windows=[clip], k=K)


async def measure(
    address: str, url: str, request: ranking_pb2.SearchTracksRequest, warm_up: int, rounds: int
) -> tuple[Spread, Spread, int]:
    """The seconds of cached answers and of bare GETs, and the size of the answer."""
    async with grpc.aio.insecure_channel(address) as channel, Redis.from_url(url) as redis:
        search = ranking_pb2_grpc.RankingServiceStub(channel).SearchTracks
        get = channel.unary_unary(BARE)
        answer = await search(request)
        await redis.set(KEY, answer.SerializeToString())
        cached, bare = [], []
        for _ in range(warm_up + rounds):
            started = time.perf_counter()
            answer = await search(request)
            between = time.perf_counter()
            value = await get(KEY.encode())
            ended = time.perf_counter()
            cached.append(between - started)
            bare.append(ended - between)
        if len(answer.hits) != K or ranking_pb2.SearchTracksResponse.FromString(value).hits != answer.hits:
            raise SystemExit("the two gave different answers")
    return Spread.of(cached[warm_up:]), Spread.of(bare[warm_up:]), len(value)


class ServerProcess:
    """The server; `address` is known inside the block."""

    def __init__(self, repository: Path, vectors: Path, url: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(repository, vectors, url, theirs))
        self.address = ""

    def __enter__(self) -> "ServerProcess":
        self._process.start()
        if not self._ours.poll(START_SECONDS):
            raise SystemExit("the server did not start")
        self.address = self._ours.recv()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.join()


def serve(repository: Path, vectors: Path, url: str, told: Connection) -> None:
    """Runs the server until SIGTERM."""

    async def run() -> None:
        manifest = ModelRepository.load(repository).manifest
        settings = RankingSettings(port=0, cache_seconds=3600, search_seconds=60)
        async with AsyncExitStack() as opened:
            vector_store = await MilvusStore.open(str(vectors), manifest.space, vector_dimension(manifest))
            opened.push_async_callback(vector_store.close)
            cache = open_cache(url)
            opened.push_async_callback(cache.close)
            redis = await opened.enter_async_context(Redis.from_url(url))

            async def get(key: bytes, context: Any) -> bytes:
                return await redis.get(key)

            server = Server(settings)
            server.add(RankingServicer(vector_store, cache, manifest, settings))
            service, _, method = BARE.strip("/").partition("/")
            handlers = {method: grpc.unary_unary_rpc_method_handler(get)}
            server._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service, handlers),)
            )
            told.send(await server.start())
            await server.run_until_signal()

    asyncio.run(run())


if __name__ == "__main__":
    main()
