"""What the benchmarks of live sessions work on: streams of JPEG frames, and a library of generated music."""

import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import grpc
import numpy as np
from harness import cores, progress
from material import encoded_passages
from numpy.typing import NDArray

from kinoscore import Frame
from kinoscore.inference import Manifest
from kinoscore.media.writing import write_audio
from kinoscore.v1 import common_pb2, ranking_pb2, ranking_pb2_grpc
from kinoscore.world import SAMPLE_RATE, Split, draw_pair, render_clip, render_track

__all__ = ["RATE", "generated_library", "jpegs", "store_library", "stream", "wide_scene"]

RATE = 2.0
"""Frames a second, as many as the models sample."""
HEIGHT = 240
"""Pixels of a frame, from top to bottom; they are 16 to 9."""
GRAIN_DEVIATION = 3.0
QUALITY = "3"


def scene(seed: int, split: Split, seconds: float) -> list[bytes]:
    """The scene of a pair, longer than in the world, as it is rendered."""
    plan = replace(draw_pair(seed, split).clip, duration_seconds=seconds, frames_per_second=RATE)
    return jpegs(render_clip(plan))


def wide_scene(seed: int, split: Split, seconds: float, height: int = HEIGHT) -> list[bytes]:
    """The same, 16 to 9, with grain over it: frames of the size that a platform would send."""
    width = 2 * round(height * 8 / 9)
    plan = draw_pair(seed, split).clip
    style = replace(plan.style, width=width // 2, height=height // 2)
    plan = replace(plan, style=style, duration_seconds=seconds, frames_per_second=RATE)
    random = np.random.default_rng(seed)

    def enlarged() -> Iterator[NDArray[np.uint8]]:
        for small in render_clip(plan):
            large = small.repeat(2, axis=0).repeat(2, axis=1).astype(np.float32)
            large += GRAIN_DEVIATION * random.standard_normal((*large.shape[:2], 1), np.float32)
            yield large.clip(0, 255).astype(np.uint8)

    return jpegs(enlarged())


def jpegs(pictures: Iterable[NDArray[np.uint8]]) -> list[bytes]:
    """Pictures, uint8 RGB [height, width, 3], each compressed by itself."""
    return [_jpeg(picture) for picture in pictures]


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuvj420p"
    codec.options = {"qmin": QUALITY, "qmax": QUALITY}
    codec.time_base = Fraction(1, 2)
    packets = codec.encode(frame.reformat(format="yuvj420p")) + codec.encode(None)
    return b"".join(bytes(packet) for packet in packets)


def stream(pictures: Iterable[bytes]) -> list[Frame]:
    """The pictures with their times."""
    return [Frame(data, number / RATE) for number, data in enumerate(pictures)]


def generated_library(
    address: str, manifest: Manifest, tracks: int, kept: Path | None
) -> list[NDArray[np.float32]]:
    """The passages of the first tracks of the test world as the encoders of a server see them, each
    [passages, fused + content + emotion].

    Args:
        kept: a file that keeps them for the next run.
    """
    if kept is not None and kept.exists():
        with np.load(kept) as found:
            if str(found["space"]) == manifest.space and len(found["counts"]) >= tracks:
                return np.split(found["passages"], np.cumsum(found["counts"])[:-1])[:tracks]
    progress(f"rendering and encoding {tracks} tracks")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(cores()) as processes:
        paths = processes.map(partial(_write_track, Path(folder)), range(tracks), chunksize=4)
        library = list(encoded_passages(paths, address))
    if kept is not None:
        counts = [len(passages) for passages in library]
        np.savez(kept, space=manifest.space, counts=counts, passages=np.concatenate(library))
    return library


def _write_track(folder: Path, number: int) -> Path:
    path = folder / f"{number}.flac"
    write_audio(path, render_track(draw_pair(number, "test").track), SAMPLE_RATE)
    return path


def store_library(library: Iterable[NDArray[np.float32]], address: str, manifest: Manifest) -> None:
    """Upserts tracks, given as the passages of each, into the default catalogue of a server."""
    sizes, hop = manifest.dimensions, manifest.music.passage_hop_seconds
    splits = [sizes.fused, sizes.fused + sizes.content]

    def embedding(vector: NDArray[np.float32], start: float) -> common_pb2.Embedding:
        fused, content, emotion = np.split(vector, splits)
        return common_pb2.Embedding(
            start_seconds=start,
            duration_seconds=2 * hop,
            fused=fused,
            content=content,
            emotion_vector=emotion,
        )

    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ranking = ranking_pb2_grpc.RankingServiceStub(channel)
        for number, passages in enumerate(library):
            ranking.UpsertTrack(
                ranking_pb2.UpsertTrackRequest(
                    space=manifest.space,
                    metadata=common_pb2.TrackMetadata(
                        track_id=f"track-{number:03d}",
                        title=f"Track {number}",
                        digest=f"{number:064x}",
                        duration_seconds=hop * (len(passages) + 1),
                    ),
                    track=embedding(passages[0], 0.0),
                    passages=[embedding(passage, hop * place) for place, passage in enumerate(passages)],
                )
            )
