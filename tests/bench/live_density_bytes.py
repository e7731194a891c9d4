"""How many live streams of H.264 the cores carry, against the bare work on the same bytes.

The streams are fragmented MP4 of 16 to 9 and 30 frames a second, in pieces of 64 KiB, and long enough for
their ends to count little: decoders run ahead, and have nothing to do while the last updates are made. The
bare side decodes them in a thread on each core, skips the frames that nobody needs, and runs the frame
encoder on two samples a second and the clip head once an update: no server, no network, no search. It does so
twice: with one stream after the other on each core, which no live service can, and with as many streams open
at once as ours has, whose decoders push each other's pictures out of the processor's caches.

Ours are sent as fast as they are answered, through whole sessions; see live_density.py for how they are
counted, and for single frames.
"""

import tempfile
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from bare import BareRecommender
from harness import Spread, arguments, conditions, progress, running_server, show
from live_density import Bare, Load, Session, flat_out, rate_of
from live_material import generated_library, store_library
from material import HEIGHT, write_clip

from kinoscore import AsyncClient
from kinoscore.inference import ModelRepository, default_repository

CLIP_SECONDS = 10  # of the clip of `write_clip`
FRAGMENT_MICROSECONDS = "500000"
PIECE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Round:
    """All sides, one right after the other: the machine is not equally fast at all times."""

    bare: Load
    bare_at_once: Load
    sessions: Load


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--streams", type=int, default=16, help="sent at once, flat out (default: 16)")
    parser.add_argument(
        "--repeats", type=int, default=4, help="of a clip of 10 s in each stream (default: 4)"
    )
    parser.add_argument("--height", type=int, default=HEIGHT, help=f"of the frames (default: {HEIGHT})")
    parser.add_argument("--rounds", type=int, default=5, help="of bare and ours in turn (default: 5)")
    parser.add_argument("--tracks", type=int, default=150, help="in the library (default: 150)")
    parser.add_argument("--library", type=Path, help="an .npz file that keeps encoded tracks between runs")
    options = parser.parse_args()
    options.seconds = float(options.repeats * CLIP_SECONDS)
    found = conditions()
    repository = ModelRepository.load(options.repository or default_repository())
    with tempfile.TemporaryDirectory(prefix="kinoscore-bench-") as folder:
        progress("writing the stream")
        path = Path(folder) / "stream.mp4"
        write_stream(path, options.repeats, options.height)
        data = path.read_bytes()
        with running_server(options.repository, live_sessions=1000, max_concurrent_requests=2000) as server:
            library = generated_library(server.address, repository.manifest, options.tracks, options.library)
            store_library(library, server.address, repository.manifest)
            session = whole_session(data, options.seconds)
            rounds = []
            for number in range(options.rounds):
                progress(f"round {number + 1} of {options.rounds}")
                bare = bare_capacity(repository, path, options.seconds)
                at_once = bare_capacity(repository, path, options.seconds, options.streams)
                rounds.append(Round(bare, at_once, flat_out(server, options, session)))
    report(options, found, rounds, len(data))


def write_stream(path: Path, repeats: int, height: int) -> None:
    """The clip of the other benchmarks again and again, in fragments."""
    clip = path.with_name("clip.mp4")
    write_clip(clip, height)
    fragments = {"movflags": "empty_moov+default_base_moof", "frag_duration": FRAGMENT_MICROSECONDS}
    with av.open(str(clip)) as source, av.open(str(path), "w", options=fragments) as target:
        given = source.streams.video[0]
        stream = target.add_stream_from_template(given)
        turn = round(CLIP_SECONDS / given.time_base)
        for number in range(repeats):
            source.seek(0)
            for packet in source.demux(given):
                if packet.dts is not None and packet.pts is not None:
                    packet.dts += number * turn
                    packet.pts += number * turn
                    packet.stream = stream
                    target.mux(packet)


def bare_capacity(
    repository: ModelRepository, path: Path, stream_seconds: float, at_once: int | None = None
) -> Load:
    """Streams that a thread on each core would carry, or a thread for each of so many streams."""
    decoder = BareRecommender(repository.path, np.zeros((1, 1, 1), np.float32), 1)
    models = Bare(repository)

    def work(_: int) -> None:
        models.encode_frames(decoder.decode(path), round(stream_seconds))

    work(0)
    processor, started = time.process_time(), time.perf_counter()
    streams = stream_seconds * rate_of(work, at_once)
    seconds = time.perf_counter() - started
    return Load(streams, server_cores=(time.process_time() - processor) / seconds, sender_cores=0.0)


def whole_session(data: bytes, stream_seconds: float) -> Session:
    def pieces(size: int) -> Iterator[bytes]:
        for start in range(0, size, PIECE_BYTES):
            yield data[start : start + PIECE_BYTES]

    async def run(client: AsyncClient, number: int, seconds: float) -> None:
        size = round(len(data) * seconds / stream_seconds)
        async with aclosing(client.live(pieces(size))) as updates:
            async for _ in updates:
                pass

    return run


def report(options: Namespace, found: dict[str, object], rounds: Sequence[Round], size: int) -> None:
    ratios = Spread.of([each.sessions.streams / each.bare.streams for each in rounds])
    ratios_at_once = Spread.of([each.sessions.streams / each.bare_at_once.streams for each in rounds])
    elsewhere = Spread.of([each.sessions.without_senders / each.bare.streams for each in rounds])
    time_ratios = Spread.of([each.bare.milliseconds / each.sessions.milliseconds for each in rounds])

    def median(values: Iterable[float]) -> float:
        return Spread.of(list(values)).median

    megabits = size * 8 / options.seconds / 1e6
    rows = [
        ("stream", f"H.264, {options.height}p, 30 frames a second, {megabits:.1f} Mbit/s"),
        ("bare, one after the other", f"{median(each.bare.streams for each in rounds):.1f} streams"),
        (
            f"bare, {options.streams} open at once",
            f"{median(each.bare_at_once.streams for each in rounds):.1f} streams",
        ),
        ("kinoscore, whole sessions", f"{median(each.sessions.streams for each in rounds):.1f} streams"),
        ("  of bare, one after the other", of_bare(ratios)),
        ("    senders counted out", of_bare(elsewhere)),
        (f"  of bare, {options.streams} open at once", of_bare(ratios_at_once)),
        (
            "processor time, bare",
            f"{median(each.bare.milliseconds for each in rounds):.1f} ms for a second of a stream",
        ),
        ("  whole sessions", f"{median(each.sessions.milliseconds for each in rounds):.1f} ms"),
        ("  bare takes of that", of_bare(time_ratios)),
    ]
    facts = {
        "conditions": found,
        "height": options.height,
        "rounds": rounds,
        "ratio": ratios,
        "ratio_at_once": ratios_at_once,
        "ratio_without_senders": elsewhere,
        "ratio_of_processor_time": time_ratios,
    }
    show(options, "live: how many streams of H.264", rows, facts)


def of_bare(ratios: Spread) -> str:
    low, high = ratios.lower_quartile, ratios.upper_quartile
    return f"{ratios.median:.3f}  (middle half {low:.3f} to {high:.3f}, n = {ratios.repetitions})"


if __name__ == "__main__":
    main()
