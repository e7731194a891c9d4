"""How well and how fast a Milvus server is searched: recall against exact search, and what the service adds.

The library is passages of generated music, encoded by the shipped models, and drawn vectors up to the number
of rows: each drawn track lies around an encoded passage, so far away that fused embeddings of two tracks are
as alike as those of encoded music (their nearest neighbours have a median cosine of .87, encoded ones .90),
and its passages lie near it. Content and emotion are drawn, and fused by the models.
Half of the queries are other encoded passages, half are drawn. Recall@10 compares what the store finds with
an exact search by numpy, without a filter and with one that keeps 5 % of the tracks. The ratio compares a
request to the ranking service, answered by no cache, with the very calls of pymilvus that it makes, made
again bare in the same process, in turn. The server is started for the run, or named with --vectors.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from harness import Spread, arguments, conditions, progress, running_server, show
from material import Library, embedding, encoded_passages, write_tracks
from numpy.typing import NDArray

from kinoscore.cache import open_cache
from kinoscore.inference import Manifest, ModelRepository, default_repository
from kinoscore.inference.onnx import OnnxEngine
from kinoscore.ranking import rows, spaces
from kinoscore.ranking.engines import open_engine
from kinoscore.ranking.filters import Comparison
from kinoscore.ranking.rows import PASSAGES, TRACKS, Passage, Row, Track
from kinoscore.ranking.scoring import Blocks, Weights, to_query
from kinoscore.ranking.servicer import RankingServicer
from kinoscore.ranking.store import MilvusStore
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.server import Server
from kinoscore.runtime.settings import RankingSettings
from kinoscore.stack import vector_dimension
from kinoscore.v1 import common_pb2, ranking_pb2, ranking_pb2_grpc

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.milvus_server import milvus_server

K = 10
TRACK_NOISE = 1.0  # length of what is added to a block of length 1, for each track
PASSAGE_NOISE = 0.4  # and for each of its passages
TRACK_SECONDS = 12.0  # one passage; generated music is hardly longer
KEPT_SHARE = 20  # one track in so many passes the filter
KEPT, OTHER = "CC0-1.0", "CC-BY-4.0"
BATCH_ROWS = 1000
CALL_SECONDS = 600.0
CALLS = ("describe_alias", "query", "search")


Fuse = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""Content [n, c] and emotion [n, e] to fused embeddings [n, f]."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What is stored and what is asked.

    Attributes:
        tracks: float32 [tracks, passages, dimension]; where encoded passages are, they come from several
            tracks.
        encoded_count: how many of the passages were encoded.
        queries: by how they came about, float32 [n, dimension].
    """

    tracks: NDArray[np.float32]
    encoded_count: int
    queries: dict[str, NDArray[np.float32]]

    @classmethod
    def draw(
        cls,
        blocks: Blocks,
        encoded: NDArray[np.float32],
        fuse: "Fuse",
        *,
        tracks: int,
        passages: int,
        queries: int,
    ) -> "Material":
        """Fills up with tracks around encoded passages, of which some are kept back as queries."""
        random = np.random.default_rng(0)
        asked, stored = np.split(random.permutation(encoded), [queries // 2])
        whole_tracks = stored[: len(stored) // passages * passages].reshape(-1, passages, blocks.total)

        def noisy(block: NDArray[np.float32], noise: float) -> NDArray[np.float32]:
            moved = block + noise * random.standard_normal(block.shape) / np.sqrt(block.shape[-1])
            return (moved / np.linalg.norm(moved, axis=-1, keepdims=True)).astype(np.float32)

        def drawn_tracks(count: int, passages: int) -> NDArray[np.float32]:
            _, *centres = blocks.split(stored[random.integers(0, len(stored), count)])
            content, emotion = (
                noisy(np.repeat(noisy(centre, TRACK_NOISE), passages, axis=0), PASSAGE_NOISE)
                for centre in centres
            )
            drawn = np.concatenate([fuse(content, emotion), content, emotion], axis=-1)
            return drawn.reshape(count, passages, -1)

        drawn = drawn_tracks(tracks - len(whole_tracks), passages)
        return cls(
            random.permutation(np.concatenate([whole_tracks, drawn])),
            len(whole_tracks) * passages,
            {"encoded": asked, "drawn": drawn_tracks(queries - len(asked), 1)[:, 0]},
        )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--vectors", help="the URL of a Milvus server; one is started when not given")
    parser.add_argument("--tracks", type=int, default=3334, help="tracks in the library (default: 3334)")
    parser.add_argument("--passages", type=int, default=30, help="passages a track (default: 30)")
    parser.add_argument(
        "--encoded", type=int, default=400, help="generated tracks that are encoded (default: 400)"
    )
    parser.add_argument("--queries", type=int, default=200, help="queries measured (default: 200)")
    options = parser.parse_args()
    found = conditions()
    repository = ModelRepository.load(options.repository or default_repository())
    manifest = repository.manifest
    sizes = manifest.dimensions
    blocks = Blocks(sizes.fused, sizes.content, sizes.emotion)
    encoded = encode(options.encoded, options.repository)
    material = Material.draw(
        blocks,
        encoded,
        fusion(repository),
        tracks=options.tracks,
        passages=options.passages,
        queries=options.queries,
    )
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="kinoscore-bench-")))
        url = options.vectors or opened.enter_context(milvus_server(folder)).url
        asyncio.run(spaces.migrate(url, manifest.space, vector_dimension(manifest)))
        progress("filling the collection")
        fill(url, manifest, material)
        progress("measuring")
        facts = asyncio.run(measure(url, manifest, blocks, material))
    table = [
        ("rows", f"{options.tracks * options.passages}, of them {material.encoded_count} encoded music"),
        *(
            (
                f"recall@{K}, {name}",
                ", ".join(f"{kind} queries {value:.4f}" for kind, value in values.items()),
            )
            for name, values in facts["recall"].items()
        ),
        ("request to the service", facts["service"].milliseconds()),
        ("its calls of pymilvus, bare", facts["bare"].milliseconds()),
        ("ratio of the medians", f"{facts['service'].median / facts['bare'].median:.2f}"),
    ]
    show(options, "Search on a Milvus server", table, {**facts, "conditions": found})


def encode(count: int, repository: Path | None) -> NDArray[np.float32]:
    """Passages of so many generated tracks: [n, dimension]."""
    with tempfile.TemporaryDirectory() as folder, running_server(repository) as server:
        progress(f"rendering {count} tracks")
        paths = write_tracks(Path(folder), count=count, seconds=TRACK_SECONDS)
        progress("encoding them")
        return np.concatenate(list(encoded_passages(paths, server.address)))


def fusion(repository: ModelRepository) -> Fuse:
    """The fusion model of a repository, in this process."""
    engine = OnnxEngine(repository)

    def fuse(content: NDArray[np.float32], emotion: NDArray[np.float32]) -> NDArray[np.float32]:
        inputs = {"content": content, "emotion": emotion}
        return asyncio.run(engine.infer("fusion", inputs, timeout=CALL_SECONDS)).outputs["fused"]

    return fuse


def fill(url: str, manifest: Manifest, material: Material) -> None:
    """Writes the rows straight into the collection, and waits until their index is built and loaded."""
    engine = open_engine(url)
    engine.open(CALL_SECONDS)
    name = spaces.collection_name(manifest.space)
    for partition, all_rows in ((TRACKS, _track_rows(material)), (PASSAGES, _passage_rows(material))):
        for batch in _batches(all_rows):
            engine.client.upsert(name, batch, partition_name=partition, timeout=CALL_SECONDS)
    engine.client.flush(name, timeout=CALL_SECONDS)
    while engine.client.describe_index(name, "vector", timeout=CALL_SECONDS)["pending_index_rows"]:
        time.sleep(1.0)
    # Until it is loaded anew a part of the rows is searched by an index that Milvus made on the way.
    engine.client.release_collection(name, timeout=CALL_SECONDS)
    engine.client.load_collection(name, timeout=CALL_SECONDS)
    engine.settle(name, lambda: CALL_SECONDS)
    engine.close()


async def measure(url: str, manifest: Manifest, blocks: Blocks, material: Material) -> dict[str, Any]:
    store = await MilvusStore.open(url, manifest.space, blocks.total)
    facts: dict[str, Any] = {"recall": {}}
    for name, keep in (("no filter", False), (f"filter keeps 1/{KEPT_SHARE}", True)):
        facts["recall"][name] = {
            kind: await recall(store, manifest, blocks, material.tracks, queries, keep=keep)
            for kind, queries in material.queries.items()
        }
    facts["service"], facts["bare"] = await compare(store, manifest, blocks, material)
    await store.close()
    return facts


async def recall(
    store: MilvusStore,
    manifest: Manifest,
    blocks: Blocks,
    tracks: NDArray[np.float32],
    asked: NDArray[np.float32],
    *,
    keep: bool,
) -> float:
    """The share of the exact `K` nearest passages that the store finds, over all queries."""
    weights = Weights(manifest.weights.fused, manifest.weights.content, manifest.weights.emotion)
    queries = to_query(asked, blocks, weights)
    step = KEPT_SHARE if keep else 1
    wanted = tracks[::step]
    exact = queries @ wanted.reshape(-1, blocks.total).T
    passages = wanted.shape[1]
    hits = 0
    for query, scores in zip(queries, exact, strict=True):
        nearest = {
            (f"t{number // passages * step}", number % passages)
            for number in np.argsort(-scores, kind="stable")[:K].tolist()
        }
        [answer] = await store.search(
            "default",
            query[None],
            Comparison("licence", "=", KEPT) if keep else None,
            partition=PASSAGES,
            limit=K,
            deadline=Deadline.after(CALL_SECONDS),
        )
        hits += len(nearest & {(hit.track_id, hit.passage) for hit in answer})
    return hits / (K * len(queries))


async def compare(
    store: MilvusStore, manifest: Manifest, blocks: Blocks, material: Material
) -> tuple[Spread, Spread]:
    """Seconds of a request to the service, and of its calls of pymilvus made bare, in turn."""
    settings = RankingSettings(port=0, search_seconds=CALL_SECONDS)
    cache = open_cache("memory:")
    servicer = RankingServicer(store, cache, manifest, settings)
    server = Server(settings)
    server.add(servicer)
    recorder = Recorder(store._engine.client)
    store._engine.client = recorder  # type: ignore[assignment]
    library = Library(material.tracks, (blocks.fused, blocks.fused + blocks.content))
    service, bare = [], []
    async with grpc.aio.insecure_channel(await server.start()) as channel:
        stub: Any = ranking_pb2_grpc.RankingServiceStub(channel)
        for number, query in enumerate(np.concatenate([*material.queries.values()])):
            clip = embedding(query, library, manifest, 0.0, 12.0)
            request = ranking_pb2.SearchTracksRequest(space=manifest.space, clip=clip, windows=[clip], k=K)
            recorder.calls.clear()
            started = time.perf_counter()
            await stub.SearchTracks(request)
            seconds = time.perf_counter() - started
            again = await asyncio.to_thread(recorder.again)
            # The first request also learns what is neutral in the catalogue: a scan that is not repeated.
            if number:
                service.append(seconds)
                bare.append(again)
    await server.stop()
    await servicer.close()
    await cache.close()
    store._engine.client = recorder.client
    return Spread.of(service), Spread.of(bare)


class Recorder:
    """A client of pymilvus that remembers its calls."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.calls: list[Callable[[], Any]] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        if name not in CALLS:
            return method

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append(lambda: method(*arguments, **options))
            return method(*arguments, **options)

        return call

    def again(self) -> float:
        """The seconds that the remembered calls take, one after the other."""
        started = time.perf_counter()
        for call in self.calls:
            call()
        return time.perf_counter() - started


def _tracks(material: Material) -> Iterator[Track]:
    neutral = common_pb2.Emotion()
    for number, vectors in enumerate(material.tracks):
        metadata = common_pb2.TrackMetadata(
            track_id=f"t{number}",
            artist=f"Artist {number % 100}",
            licence=OTHER if number % KEPT_SHARE else KEPT,
            duration_seconds=6.0 * (len(vectors) + 1),
        )
        passages = (Passage(6.0 * place, 12.0, neutral, vector) for place, vector in enumerate(vectors))
        yield Track(metadata, neutral, vectors[0], tuple(passages))


def _track_rows(material: Material) -> Iterator[Row]:
    for track in _tracks(material):
        yield rows.track_row("default", track)


def _passage_rows(material: Material) -> Iterator[Row]:
    for track in _tracks(material):
        yield from rows.passage_rows("default", track)


def _batches(all_rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in all_rows:
        batch.append(row)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


if __name__ == "__main__":
    main()
