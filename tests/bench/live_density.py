"""How many live streams the cores carry, against the bare work on the same frames.

The bare side decodes the JPEG frames and runs the frame encoder in batches, and the clip head once an update,
in a script of threads: no server, no network, no search. Ours are streams that are sent as fast as they are
answered: stream seconds a second of the clock are the streams that would be sustained. Then as many streams
are sent in real time, less a tenth, and must not fall behind. The senders run on the same cores as the
server, so the figure is told as it was, and with the senders' processor time counted out. The video service
by itself (decoding, models and windows, without fusion, search and the list) tells what the front door costs,
and a server that only receives the frames (live_receiver.py) what gRPC costs in Python whatever is done.

The naive way encodes the last minute anew for each update.
"""

import asyncio
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import av
import grpc
import numpy as np
import onnxruntime
from av.video.reformatter import VideoReformatter
from harness import (
    Server,
    arguments,
    conditions,
    cores,
    environment,
    progress,
    running,
    running_server,
    show,
)
from live_material import HEIGHT, RATE, generated_library, store_library, stream, wide_scene
from numpy.typing import NDArray

from kinoscore import AsyncClient, Frame
from kinoscore.inference import ModelRepository, default_repository
from kinoscore.v1 import common_pb2, video_pb2, video_pb2_grpc

SCENES = 4
SCENE_SECONDS = 15.0
BATCHES = (4, 8, 16, 32)
BARE_SECONDS = 3.0
NAIVE_WINDOW_SECONDS = 60.0
FALLEN_BEHIND_SECONDS = 2.0

Session = Callable[[AsyncClient, int, float], Coroutine[None, None, None]]
"""One stream: the client, its number, and how many seconds of it."""


@dataclass(frozen=True, slots=True)
class Load:
    """What was carried: stream seconds a second of the clock, and the cores that it took."""

    streams: float
    server_cores: float
    sender_cores: float

    @property
    def milliseconds(self) -> float:
        """Of processor time, for a second of one stream; a busy machine hardly spoils it."""
        return 1e3 * self.server_cores / self.streams

    @property
    def without_senders(self) -> float:
        """Streams on all cores, had the senders run elsewhere."""
        return self.streams * cores() / (cores() - self.sender_cores)


class Bare:
    """The decoding and model work, in a script written for speed. Shares only the model repository."""

    def __init__(self, repository: ModelRepository) -> None:
        self._video = repository.manifest.video
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._frame_encoder, self._clip_encoder = (
            onnxruntime.InferenceSession(
                repository.model_path(name), options, providers=["CPUExecutionProvider"]
            )
            for name in ("frame_encoder", "clip_encoder")
        )

    def encode(self, pictures: Sequence[bytes]) -> None:
        """Each frame once, and the clip head for each second."""
        self.encode_frames(self._decoded(pictures), round(len(pictures) / RATE))

    def encode_frames(self, frames: NDArray[np.uint8], updates: int) -> None:
        """Frames [n, height, width, 3], and the clip head so many times."""
        features, *_ = self._frame_encoder.run(["features"], {"frames": frames})
        self._head(features, updates)

    def encode_window(self, pictures: Sequence[bytes]) -> None:
        """All frames of one window, and the clip head for its parts."""
        self.encode_frames(self._decoded(pictures), -(-len(pictures) // self._video.window_frames))

    def _decoded(self, pictures: Sequence[bytes]) -> NDArray[np.uint8]:
        codec = av.CodecContext.create("mjpeg", "r")
        codec.thread_type = "NONE"
        scaler = VideoReformatter()
        width, height = self._video.frame_width, self._video.frame_height
        frames = []
        for picture in pictures:
            [frame] = codec.decode(av.Packet(picture))
            small = scaler.reformat(frame, width, height, "rgb24", interpolation="AREA", threads=1)
            frames.append(small.to_ndarray())
        return np.stack(frames)

    def _head(self, features: NDArray[np.float32], windows: int) -> None:
        length = self._video.window_frames
        inputs = {
            "features": np.resize(features, (windows, length, features.shape[1])),
            "frame_mask": np.ones((windows, length), np.float32),
            "key_frame_mask": np.ones((windows, length), np.float32),
        }
        self._clip_encoder.run(None, inputs)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--streams", type=int, default=64, help="sent at once, flat out (default: 64)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each stream (default: 20)")
    parser.add_argument("--height", type=int, default=HEIGHT, help=f"of the frames (default: {HEIGHT})")
    parser.add_argument("--tracks", type=int, default=150, help="in the library (default: 150)")
    parser.add_argument("--library", type=Path, help="an .npz file that keeps encoded tracks between runs")
    options = parser.parse_args()
    found = conditions()
    repository = ModelRepository.load(options.repository or default_repository())
    progress("rendering frames")
    scenes = [wide_scene(seed, "test", SCENE_SECONDS, options.height) for seed in range(SCENES)]
    progress("bare")
    bare = Bare(repository)
    batch, bare_load = max(
        ((size, bare_capacity(bare, scenes, size)) for size in BATCHES), key=lambda one: one[1].streams
    )
    bare_streams = bare_load.streams
    naive_streams = naive_capacity(bare, scenes)
    progress("a server that only receives")
    received = receiving(options, scenes)
    with running_server(options.repository, live_sessions=1000, max_concurrent_requests=2000) as server:
        library = generated_library(server.address, repository.manifest, options.tracks, options.library)
        store_library(library, server.address, repository.manifest)
        progress("the video service")
        encoding = flat_out(server, options, encode_only(scenes))
        progress("whole sessions")
        sessions = flat_out(server, options, whole_session(scenes))
        count = max(1, round(0.9 * sessions.streams))
        progress(f"{count} streams in real time")
        lags = asyncio.run(in_real_time(server.address, scenes, count, options.seconds))

    behind = max(lags)
    both = bare_load.milliseconds + received.milliseconds
    size = np.mean([len(picture) for pictures in scenes for picture in pictures])
    rows = [
        ("frames", f"{options.height}p JPEG, {size / 1e3:.0f} kB, {RATE:g} a second"),
        ("bare decoding and inference", f"{bare_streams:.0f} streams (batches of {batch})"),
        ("kinoscore, whole sessions", told(sessions, bare_streams)),
        ("kinoscore, the video service alone", told(encoding, bare_streams)),
        ("processor time, bare", f"{bare_load.milliseconds:.1f} ms for a second of a stream"),
        ("  whole sessions", cost(sessions, bare_load)),
        ("  the video service alone", cost(encoding, bare_load)),
        ("  only receiving", f"{received.milliseconds:.1f} ms; with bare work {both:.1f} ms"),
        (
            "kinoscore, against receiving and bare work",
            f"{both / sessions.milliseconds:.3f} by processor time",
        ),
        (
            f"{count} streams in real time",
            f"{behind:.2f} s behind at most in the second half"
            + (": fell behind" if behind > FALLEN_BEHIND_SECONDS else ""),
        ),
        ("the naive way, a minute anew for each update", f"{naive_streams:.1f} streams, bare"),
        ("  kinoscore carries", f"{sessions.streams / naive_streams:.1f} times as many"),
    ]
    facts = {
        "conditions": found,
        "height": options.height,
        "bare": bare_load,
        "bare_batch": batch,
        "naive_streams": naive_streams,
        "sessions": sessions,
        "encoding": encoding,
        "received": received,
        "ratio_of_processor_time": bare_load.milliseconds / sessions.milliseconds,
        "ratio": sessions.streams / bare_streams,
        "ratio_without_senders": sessions.without_senders / bare_streams,
        "real_time_streams": count,
        "most_seconds_behind": behind,
    }
    show(options, "live: how many streams", rows, facts)


def receiving(options: Namespace, scenes: Sequence[Sequence[bytes]]) -> Load:
    """Streams that a server carries which does nothing with them."""
    script = Path(__file__).with_name("live_receiver.py")
    with tempfile.TemporaryDirectory(prefix="kinoscore-bench-") as folder:
        log = Path(folder, "log")
        with running([sys.executable, str(script)], log, environment(None)) as server:
            return flat_out(server, options, whole_session(scenes))


def told(load: Load, bare_streams: float) -> str:
    """What was carried, as a line of the table."""
    return (
        f"{load.streams:.1f} streams, {load.streams / bare_streams:.3f} of bare; senders counted out "
        f"{load.without_senders:.1f}, {load.without_senders / bare_streams:.3f} "
        f"(cores: {load.server_cores:.2f} server, {load.sender_cores:.2f} senders)"
    )


def cost(load: Load, bare: Load) -> str:
    """The processor time, as a line of the table."""
    ratio = bare.milliseconds / load.milliseconds
    return f"{load.milliseconds:.1f} ms; bare takes {ratio:.2f} of that"


def bare_capacity(bare: Bare, scenes: Sequence[Sequence[bytes]], batch: int) -> Load:
    """Streams that a thread on each core would carry."""
    frames = [picture for pictures in scenes for picture in pictures]
    batches = [frames[start : start + batch] for start in range(0, len(frames) - batch + 1, batch)]
    bare.encode(batches[0])
    processor, started = time.process_time(), time.perf_counter()
    streams = batch / RATE * rate_of(lambda number: bare.encode(batches[number % len(batches)]))
    seconds = time.perf_counter() - started
    return Load(streams, server_cores=(time.process_time() - processor) / seconds, sender_cores=0.0)


def naive_capacity(bare: Bare, scenes: Sequence[Sequence[bytes]]) -> float:
    """Streams, at an update a second."""
    frames = [picture for pictures in scenes for picture in pictures]
    window = [frames[number % len(frames)] for number in range(round(NAIVE_WINDOW_SECONDS * RATE))]
    return rate_of(lambda _: bare.encode_window(window))


def rate_of(work: Callable[[int], None], at_once: int | None = None) -> float:
    """How often a second it is done, by so many threads; by as many as there are cores where not given."""
    count = at_once or cores()
    started = time.perf_counter()

    def repeat() -> int:
        done = 0
        while time.perf_counter() - started < BARE_SECONDS:
            work(done)
            done += 1
        return done

    with ThreadPoolExecutor(count) as threads:
        done = sum(future.result() for future in [threads.submit(repeat) for _ in range(count)])
    return done / (time.perf_counter() - started)


def flat_out(server: Server, options: Namespace, session: Session) -> Load:
    """So many streams at once, each as fast as it is answered; a short one of each comes before."""
    asyncio.run(_all_at_once(server.address, session, options.streams, 2.0))
    before, processor, started = server.processor_seconds(), time.process_time(), time.perf_counter()
    asyncio.run(_all_at_once(server.address, session, options.streams, options.seconds))
    wall = time.perf_counter() - started
    return Load(
        streams=options.streams * options.seconds / wall,
        server_cores=(server.processor_seconds() - before) / wall,
        sender_cores=(time.process_time() - processor) / wall,
    )


async def _all_at_once(address: str, session: Session, streams: int, seconds: float) -> None:
    async with AsyncClient(address) as client:
        await asyncio.gather(*(session(client, number, seconds) for number in range(streams)))


def _pictures(scenes: Sequence[Sequence[bytes]], number: int, seconds: float) -> list[Frame]:
    pictures = scenes[number % len(scenes)]
    return stream(pictures[place % len(pictures)] for place in range(round(seconds * RATE)))


def whole_session(scenes: Sequence[Sequence[bytes]]) -> Session:
    async def run(client: AsyncClient, number: int, seconds: float) -> None:
        async with aclosing(client.live(_pictures(scenes, number, seconds))) as updates:
            async for _ in updates:
                pass

    return run


def encode_only(scenes: Sequence[Sequence[bytes]]) -> Session:
    async def run(client: AsyncClient, number: int, seconds: float) -> None:
        def requests() -> Iterator[video_pb2.EncodeLiveRequest]:
            yield video_pb2.EncodeLiveRequest(settings=video_pb2.EncodeLiveSettings())
            for frame in _pictures(scenes, number, seconds):
                message = common_pb2.Frame(
                    format=common_pb2.FRAME_FORMAT_JPEG,
                    data=frame.data,
                    timestamp_seconds=frame.timestamp_seconds,
                )
                yield video_pb2.EncodeLiveRequest(chunk=common_pb2.MediaChunk(frame=message))

        async with grpc.aio.insecure_channel(client.address) as channel:
            async for _ in video_pb2_grpc.VideoEncoderServiceStub(channel).EncodeLive(requests()):
                pass

    return run


async def in_real_time(
    address: str, scenes: Sequence[Sequence[bytes]], streams: int, seconds: float
) -> list[float]:
    """How far behind the sender the updates were in the second half, the most of each stream."""
    async with AsyncClient(address) as client:
        started = time.perf_counter() + 0.5

        async def one(number: int) -> float:
            begins = started + number / streams

            async def frames() -> AsyncIterator[Frame]:
                for frame in _pictures(scenes, number, seconds):
                    due = begins + frame.timestamp_seconds
                    await asyncio.sleep(max(0.0, due - time.perf_counter()))
                    yield frame

            most = 0.0
            async with aclosing(client.live(frames())) as updates:
                async for update in updates:
                    # The newest frame of an update came half a sample before its end.
                    behind = time.perf_counter() - begins - (update.stream_seconds - 1 / RATE)
                    if update.stream_seconds > seconds / 2 and not update.ending:
                        most = max(most, behind)
            return most

        return await asyncio.gather(*(one(number) for number in range(streams)))


if __name__ == "__main__":
    main()
