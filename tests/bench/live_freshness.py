"""How soon a live update reflects what was sent.

So many streams at once send 240p JPEG frames to `kinoscore up`, two a second, in real time, each beginning at
another moment. Told is the time from the sending of a frame to the receipt of the first update that reflects
it. With an update a second, a frame that comes right after one waits for the next frame before it is due; the
update's own delay is the time from the frame that makes it due. The sender runs in this process, on the same
cores as the server.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from harness import arguments, conditions, progress, running_server, show
from live_material import RATE, generated_library, store_library, wide_scene

from kinoscore import AsyncClient, Frame
from kinoscore.inference import ModelRepository, default_repository

INTERVAL_SECONDS = 1.0
ALLOWED_SECONDS = 0.15
SCENES = 4
SCENE_SECONDS = 15.0
# Until connections stand and all models have run in batches of every size.
WARM_UP_SECONDS = 5.0


@dataclass(slots=True)
class Watched:
    """What one stream saw.

    Attributes:
        sent: when each frame was sent.
        delays: from the sending of a frame to the receipt of the update that reflects it.
        own_delays: from the sending of the newest frame of an update to the receipt of the update.
    """

    sent: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    own_delays: list[float] = field(default_factory=list)
    late_seconds: float = 0.0
    lag_seconds: float = 0.0


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--streams", type=int, default=16, help="at once (default: 16)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each stream (default: 60)")
    parser.add_argument("--tracks", type=int, default=150, help="in the library (default: 150)")
    parser.add_argument("--library", type=Path, help="an .npz file that keeps encoded tracks between runs")
    options = parser.parse_args()
    found = conditions()
    manifest = ModelRepository.load(options.repository or default_repository()).manifest
    progress("rendering frames")
    scenes = [wide_scene(seed, "test", SCENE_SECONDS) for seed in range(SCENES)]
    with running_server(options.repository, live_sessions=options.streams) as server:
        library = generated_library(server.address, manifest, options.tracks, options.library)
        store_library(library, server.address, manifest)
        progress("streaming")
        before, processor = server.processor_seconds(), time.process_time()
        started = time.perf_counter()
        seen = asyncio.run(watch(server.address, scenes, options.streams, options.seconds))
        wall = time.perf_counter() - started
        server_cores = (server.processor_seconds() - before) / wall
        sender_cores = (time.process_time() - processor) / wall

    delays = np.concatenate([one.delays for one in seen])
    own = np.concatenate([one.own_delays for one in seen])
    p95 = float(np.percentile(delays, 95))
    limit = INTERVAL_SECONDS + ALLOWED_SECONDS
    rows = [
        ("streams", f"{options.streams}, of {options.seconds:g} s each, {RATE:g} frames of 240p a second"),
        ("from a frame to the update that reflects it", _percentiles(delays)),
        ("  limit of the 95th percentile", f"{limit:.2f} s: {'met' if p95 <= limit else 'missed'}"),
        ("from an update's newest frame to the update", _percentiles(own)),
        ("lag that the server told", f"{max(one.lag_seconds for one in seen):.3f} s at most"),
        ("frames sent late", f"{max(one.late_seconds for one in seen):.3f} s at most"),
        ("processor", f"{server_cores:.2f} cores the server, {sender_cores:.2f} the sender"),
    ]
    facts = {
        "conditions": found,
        "streams": options.streams,
        "seconds": options.seconds,
        "delay_seconds": _facts(delays),
        "own_delay_seconds": _facts(own),
        "most_lag_seconds": max(one.lag_seconds for one in seen),
        "most_late_seconds": max(one.late_seconds for one in seen),
        "server_cores": server_cores,
        "sender_cores": sender_cores,
    }
    show(options, "live: how fresh updates are", rows, facts)


async def watch(
    address: str, scenes: Sequence[Sequence[bytes]], streams: int, seconds: float
) -> list[Watched]:
    """Runs the streams, evenly shifted against each other."""
    async with AsyncClient(address) as client:
        started = time.perf_counter() + 0.5
        shifts = [INTERVAL_SECONDS * number / streams for number in range(streams)]
        return await asyncio.gather(
            *(
                _stream(client, scenes[number % len(scenes)], started + shift, seconds)
                for number, shift in enumerate(shifts)
            )
        )


async def _stream(client: AsyncClient, pictures: Sequence[bytes], starts: float, seconds: float) -> Watched:
    seen = Watched()

    async def frames() -> AsyncIterator[Frame]:
        for number in range(round(seconds * RATE)):
            due = starts + number / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            seen.sent.append(time.perf_counter())
            seen.late_seconds = max(seen.late_seconds, seen.sent[-1] - due)
            yield Frame(pictures[number % len(pictures)], number / RATE)

    reflected = 0
    async with aclosing(client.live(frames(), k=10)) as updates:
        async for update in updates:
            now = time.perf_counter()
            if update.ending:
                continue
            # An update reaches to the end of its last sample: the frame at that very time is not in it.
            count = round(update.stream_seconds * RATE)
            if update.stream_seconds > WARM_UP_SECONDS:
                seen.delays += [now - sent for sent in seen.sent[reflected:count]]
                seen.own_delays.append(now - seen.sent[count - 1])
                seen.lag_seconds = max(seen.lag_seconds, update.lag_seconds)
            reflected = count
    return seen


def _percentiles(seconds: np.ndarray) -> str:
    middle, high, most = np.percentile(seconds, [50, 95, 100])
    return f"{middle:.3f} s median, {high:.3f} s 95th percentile, {most:.3f} s at most (n = {len(seconds)})"


def _facts(seconds: np.ndarray) -> dict[str, float]:
    return {f"p{part}": float(np.percentile(seconds, part)) for part in (50, 95, 100)}


if __name__ == "__main__":
    main()
