"""How much longer a recommendation through kinoscore takes than the same work in a bare script.

Both rank the same library for the same clip, in turn, in one run: kinoscore as a client sees it (the clip
uploaded through gRPC to `kinoscore up`, decoded in a worker process, answered with tracks and reasons), and
the script of bare.py (decoding, models and an inner product in this process). No answer comes from the
cache: each request weighs a little differently, and its clip has a number. The answers are compared; a
difference ends the run.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from bare import SPIN_SECONDS, BareRecommender
from harness import Spread, arguments, conditions, cores, progress, running_server, show
from material import Library, distinct, store, write_clip

from kinoscore import Client, Recommendation
from kinoscore.inference import Manifest, ModelRepository, default_repository
from kinoscore.media.decoding import probe

K = 10
# Below the resolution of a score, above that of the weight on the wire (float32).
WEIGHT_STEP = 1e-6
SCORE_TOLERANCE = 1e-3
BOOTSTRAP_DRAWS = 10_000

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Round:
    """One recommendation by either side; seconds, those of the processor in this process only."""

    kinoscore_seconds: float
    kinoscore_client_processor_seconds: float
    answer: Recommendation
    bare_seconds: float
    bare_processor_seconds: float


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--clip", type=Path, help="a clip of at most 12 s; one is made when not given")
    parser.add_argument("--rounds", type=int, default=25, help="measured rounds (default: 25)")
    parser.add_argument("--warm-up", type=int, default=3, help="rounds before those (default: 3)")
    options = parser.parse_args()
    found = conditions()
    repository = options.repository or default_repository()
    manifest = ModelRepository.load(repository).manifest
    library = Library.draw(manifest, tracks=50, passages=30)
    bare = BareRecommender(repository, library.vectors, cores())
    with tempfile.TemporaryDirectory() as folder, running_server(options.repository) as server:
        clip = options.clip or Path(folder, "clip.mp4")
        if options.clip is None:
            progress("writing a clip")
            write_clip(clip)
        window_seconds = manifest.video.window_frames / manifest.video.frames_per_second
        if probe(clip).duration_seconds > window_seconds:
            raise SystemExit(f"{clip} is longer than one window: give a clip of at most {window_seconds:g} s")
        progress("filling the library")
        store(library, server.address, manifest)
        progress("measuring")
        with closing(Client(server.address)) as client:
            for number in range(options.warm_up):
                measure(number, client, bare, clip, manifest)
            before = server.processor_seconds()
            rounds = [
                measure(options.warm_up + number, client, bare, clip, manifest)
                for number in range(options.rounds)
            ]
            server_processor_seconds = (server.processor_seconds() - before) / len(rounds)
        size = clip.stat().st_size

    kinoscore = Spread.of([one.kinoscore_seconds for one in rounds])
    script = Spread.of([one.bare_seconds for one in rounds])
    ratio, low, high = ratio_of_medians(rounds)
    stages = stage_medians(rounds)
    processor = {
        "kinoscore_server": server_processor_seconds,
        "kinoscore_client": float(np.mean([one.kinoscore_client_processor_seconds for one in rounds])),
        "bare": float(np.mean([one.bare_processor_seconds for one in rounds])),
    }
    seconds = rounds[0].answer.clip_duration_seconds
    rows = [
        ("clip", f"{seconds:.1f} s, {size / 1e6:.2f} MB"),
        ("library", "{} tracks of {} passages".format(*library.vectors.shape[:2])),
        ("kinoscore", kinoscore.milliseconds()),
        ("bare script", script.milliseconds()),
        ("ratio of medians", f"{ratio:.3f}  (95 % bootstrap interval {low:.3f} to {high:.3f})"),
        *(
            (f"  {name} in kinoscore", f"{1e3 * value:.1f} ms, {value / kinoscore.median:.0%}")
            for name, value in stages.items()
        ),
        *(
            (f"  processor time, {name}", f"{1e3 * value:.1f} ms a request")
            for name, value in processor.items()
        ),
    ]
    facts = {
        "conditions": found,
        "clip_seconds": seconds,
        "clip_bytes": size,
        "kinoscore_seconds": kinoscore,
        "bare_seconds": script,
        "ratio": ratio,
        "ratio_interval": [low, high],
        "stage_seconds": stages,
        "processor_seconds": processor,
    }
    show(options, "recommend: kinoscore through gRPC against a bare script", rows, facts)


def measure(number: int, client: Client, bare: BareRecommender, clip: Path, manifest: Manifest) -> Round:
    """One recommendation by either side; who is first alternates."""
    fused, content, emotion = astuple(manifest.weights)
    weights = (fused, content + number * WEIGHT_STEP, emotion)
    upload = distinct(clip, number)

    def by_kinoscore() -> Recommendation:
        return client.recommend(
            upload, k=K, fused_weight=weights[0], content_weight=weights[1], emotion_weight=weights[2]
        )

    def by_script() -> list[tuple[int, float]]:
        return bare.recommend(clip, weights, K)

    if number % 2:
        script, script_seconds, script_processor = timed(by_script)
        answer, seconds, processor = timed(by_kinoscore)
    else:
        answer, seconds, processor = timed(by_kinoscore)
        script, script_seconds, script_processor = timed(by_script)
    require_same(answer, script)
    return Round(seconds, processor, answer, script_seconds, script_processor)


def timed(work: Callable[[], Answer]) -> tuple[Answer, float, float]:
    """What the work returns, its seconds, and those of the processor in this process."""
    time.sleep(SPIN_SECONDS)
    processor, clock = time.process_time(), time.perf_counter()
    answer = work()
    return answer, time.perf_counter() - clock, time.process_time() - processor


def require_same(answer: Recommendation, script: list[tuple[int, float]]) -> None:
    """Ends the run when the two sides did not do the same work."""
    ours = [hit.score for hit in answer.hits]
    theirs = [score for _, score in script]
    if len(ours) != len(theirs) or np.abs(np.subtract(ours, theirs)).max() > SCORE_TOLERANCE:
        raise SystemExit(f"the answers differ, so their times mean nothing: {ours} and {theirs}")


def ratio_of_medians(rounds: list[Round]) -> tuple[float, float, float]:
    """Kinoscore's median time over the script's, and the ends of its 95 % bootstrap interval over rounds."""
    seconds = np.array([(one.kinoscore_seconds, one.bare_seconds) for one in rounds])
    drawn = np.random.default_rng(0).integers(len(rounds), size=(BOOTSTRAP_DRAWS, len(rounds)))
    medians = np.median(seconds[drawn], axis=1)
    low, high = np.percentile(medians[:, 0] / medians[:, 1], [2.5, 97.5])
    ours, theirs = np.median(seconds, axis=0)
    return float(ours / theirs), float(low), float(high)


def stage_medians(rounds: list[Round]) -> dict[str, float]:
    """Seconds a stage, as the replies tell them; decoding and inference overlap."""
    timings = [one.answer.timings for one in rounds]
    outside = [one.kinoscore_seconds - one.answer.timings.total_seconds for one in rounds]
    return {
        "queueing": float(np.median([one.queue_seconds for one in timings])),
        "decoding": float(np.median([one.decode_seconds for one in timings])),
        "inference": float(np.median([one.inference_seconds for one in timings])),
        "search": float(np.median([one.search_seconds for one in timings])),
        "outside the server": float(np.median(outside)),
    }


if __name__ == "__main__":
    main()
