"""What serving with Triton costs: 32 clips at once and one alone, against a bare script; and shared memory.

The services run in one process (`kinoscore up`), the models in a real tritonserver on this machine: the one
of the tests, which runs them with ONNX Runtime through its Python backend. The bare script (bare.py) decodes
the same clips and runs the same models in this process; of 32 clips it works on as many at once as there are
cores, each in one thread. Each clip is another file, so none is known; but all look the same, so that ranking
knows its answer from the first one on. The two take turns.
"""

import asyncio
import itertools
import struct
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from bare import SPIN_SECONDS, BareRecommender
from harness import Spread, arguments, conditions, cores, progress, running_server, show
from material import Library, store, write_clip

from kinoscore import AsyncClient
from kinoscore.inference import ModelRepository, default_repository
from kinoscore.inference.conversion import convert_repositories
from kinoscore.inference.engine import Array
from kinoscore.inference.targets import Target, TargetOptions
from kinoscore.inference.triton import TritonEngine

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.triton import TritonServer, running_triton

K = 10
LIMIT_SECONDS = 600.0


class Clips:
    """Files that decode the same and are not the same: each ends with a number in a box that players skip."""

    def __init__(self, folder: Path, clip: Path | None) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        if clip is None:
            clip = folder / "clip.mp4"
            write_clip(clip)
        self._content = clip.read_bytes()

    def another(self) -> Path:
        number = next(self._numbers)
        path = self._folder / f"clip-{number:05d}.mp4"
        path.write_bytes(self._content + struct.pack(">I4sQ", 16, b"free", number))
        return path


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides of the comparison."""

    client: AsyncClient
    alone: BareRecommender
    many: BareRecommender
    weights: tuple[float, float, float]
    clips: Clips

    async def kinoscore(self, count: int) -> float:
        """Seconds for so many clips at once."""
        files = [self.clips.another() for _ in range(count)]
        started = time.perf_counter()
        await asyncio.gather(*(self.client.recommend(file, k=K, timeout=LIMIT_SECONDS) for file in files))
        return time.perf_counter() - started

    def bare(self, count: int) -> float:
        """Seconds for so many clips, as fast as a script can."""
        files = [self.clips.another() for _ in range(count)]
        started = time.perf_counter()
        if count == 1:
            self.alone.recommend(files[0], self.weights, K)
        else:
            with ThreadPoolExecutor(cores()) as threads:
                list(threads.map(lambda file: self.many.recommend(file, self.weights, K), files))
        return time.perf_counter() - started


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--clip", type=Path, help="an MP4 file of at most 12 s; one is made when not given")
    parser.add_argument("--clips", type=int, default=32, help="clips at once (default: 32)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of so many clips (default: 5)")
    parser.add_argument("--single-rounds", type=int, default=15, help="rounds of one clip (default: 15)")
    asyncio.run(measure(parser.parse_args()))


async def measure(options: Namespace) -> None:
    found = conditions()
    source = ModelRepository.load(options.repository or default_repository())
    library = Library.draw(source.manifest, tracks=50, passages=30)
    with (
        tempfile.TemporaryDirectory(prefix="kinoscore-bench-") as name,
        serving(source, Path(name)) as triton,
    ):
        folder = Path(name)
        progress("writing clips")
        clips = Clips(folder, options.clip)
        progress("measuring shared memory")
        sent, shared = await transfers(triton, source)
        with running_server(
            options.repository, inference=triton.url, max_concurrent_requests=256, decoder_workers=cores()
        ) as server:
            store(library, server.address, source.manifest)
            async with AsyncClient(server.address) as client:
                sides = Sides(
                    client,
                    BareRecommender(source.path, library.vectors, cores()),
                    BareRecommender(source.path, library.vectors, 1),
                    astuple(source.manifest.weights),
                    clips,
                )
                progress("measuring one clip")
                single = await rounds(sides, 1, options.single_rounds)
                progress(f"measuring {options.clips} clips at once")
                frame_encoder = source.manifest.models["frame_encoder"].name
                before = triton.batch_sizes(frame_encoder)
                many = await rounds(sides, options.clips, options.rounds)
                after = triton.batch_sizes(frame_encoder)
    batches = {size: count - before.get(size, 0) for size, count in after.items()}
    mean_batch = sum(size * count for size, count in batches.items()) / sum(batches.values())
    throughput = many["bare"].median / many["kinoscore"].median
    latency = single["kinoscore"].median / single["bare"].median
    rows = [
        (f"{options.clips} clips, services + Triton", many["kinoscore"].milliseconds()),
        (f"{options.clips} clips, bare script", many["bare"].milliseconds()),
        ("throughput, share of the bare script's", f"{throughput:.2f}"),
        ("one clip, services + Triton", single["kinoscore"].milliseconds()),
        ("one clip, bare script", single["bare"].milliseconds()),
        ("latency, ratio of medians", f"{latency:.2f}"),
        ("frame encoder, frames a batch", f"{mean_batch:.1f}"),
        *((f"{model}, sent", spread.milliseconds()) for model, spread in sent.items()),
        *((f"{model}, shared memory", spread.milliseconds()) for model, spread in shared.items()),
    ]
    facts = {
        "conditions": found,
        "many_seconds": many,
        "single_seconds": single,
        "throughput_ratio": throughput,
        "latency_ratio": latency,
        "batches": batches,
        "sent_seconds": sent,
        "shared_seconds": shared,
    }
    show(options, "triton: the services with Triton against a bare script", rows, facts)


@contextmanager
def serving(source: ModelRepository, folder: Path) -> Iterator[TritonServer]:
    """A tritonserver with these models."""
    convert_repositories([source], folder / "repository", TargetOptions(Target.PYTHON))
    names = [entry.name for entry in source.manifest.models.values()]
    with running_triton(folder / "repository", folder / "triton", names) as triton:
        yield triton


async def rounds(sides: Sides, count: int, number: int) -> dict[str, Spread]:
    """Seconds of either side, in turn; the first round is not counted."""
    seconds: dict[str, list[float]] = {"kinoscore": [], "bare": []}
    for turn in range(number + 1):
        # Both after the same pause: whoever comes first after one finds the machine asleep.
        ours = await sides.kinoscore(count)
        await asyncio.sleep(SPIN_SECONDS)
        theirs = await asyncio.to_thread(sides.bare, count)
        await asyncio.sleep(SPIN_SECONDS)
        if turn:
            seconds["kinoscore"].append(ours)
            seconds["bare"].append(theirs)
    return {side: Spread.of(values) for side, values in seconds.items()}


async def transfers(
    triton: TritonServer, source: ModelRepository, number: int = 30
) -> tuple[dict[str, Spread], dict[str, Spread]]:
    """Seconds for one largest batch of frames and of sound, sent and through shared memory."""
    video, music = source.manifest.video, source.manifest.music
    inputs: dict[str, dict[str, Array]] = {
        "frame_encoder": {"frames": np.zeros((64, video.frame_height, video.frame_width, 3), np.uint8)},
        "window_encoder": {
            "samples": np.zeros((32, music.window_samples), np.float32),
            "valid": np.ones(32, np.float32),
        },
    }
    seconds: dict[tuple[str, bool], list[float]] = {}
    async with (
        engine(triton, source, shared=False) as sending,
        engine(triton, source, shared=True) as sharing,
    ):
        for turn in range(number + 1):
            for model, arrays in inputs.items():
                for way in (sending, sharing):
                    inference = await way.infer(model, arrays, timeout=LIMIT_SECONDS)
                    if turn:
                        seconds.setdefault((model, way is sharing), []).append(inference.compute_seconds)
    return (
        {model: Spread.of(seconds[model, False]) for model in inputs},
        {model: Spread.of(seconds[model, True]) for model in inputs},
    )


@asynccontextmanager
async def engine(
    triton: TritonServer, source: ModelRepository, *, shared: bool
) -> AsyncIterator[TritonEngine]:
    """An engine of this process."""
    opened = await TritonEngine.open(triton.url, source.manifest, shared_memory=shared)
    try:
        yield opened
    finally:
        await opened.close()


if __name__ == "__main__":
    main()
