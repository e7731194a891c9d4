"""What the benchmarks work on, made afresh and alike in every run: a clip, tracks, a library of vectors."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import grpc
import numpy as np
from numpy.typing import NDArray

from kinoscore.inference import Manifest
from kinoscore.v1 import (
    common_pb2,
    fusion_pb2,
    fusion_pb2_grpc,
    music_pb2,
    music_pb2_grpc,
    ranking_pb2,
    ranking_pb2_grpc,
)
from kinoscore.world import SAMPLE_RATE, draw_pair, render_clip, render_track

__all__ = [
    "HEIGHT",
    "Library",
    "distinct",
    "embedding",
    "encoded_passages",
    "store",
    "track_upload",
    "write_clip",
    "write_tracks",
]

HEIGHT, RATE, SECONDS = 480, 30, 10
GRAIN_DEVIATION = 3.0
SPLIT = "test"
CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Library:
    """Tracks as vectors without sound: what a search costs does not hang on what the vectors mean.

    Attributes:
        vectors: float32 [tracks, passages, fused + content + emotion], unit blocks side by side.
        splits: where the blocks end.
    """

    vectors: NDArray[np.float32]
    splits: tuple[int, int]

    @classmethod
    def draw(cls, manifest: Manifest, *, tracks: int, passages: int) -> "Library":
        random = np.random.default_rng(0)
        sizes = manifest.dimensions
        blocks = [
            random.standard_normal((tracks, passages, size))
            for size in (sizes.fused, sizes.content, sizes.emotion)
        ]
        unit = [block / np.linalg.norm(block, axis=-1, keepdims=True) for block in blocks]
        vectors = np.concatenate(unit, axis=-1).astype(np.float32)
        return cls(vectors, (sizes.fused, sizes.fused + sizes.content))


def store(library: Library, address: str, manifest: Manifest) -> None:
    """Upserts a library into the default catalogue of a server; track number 7 gets the id `track-007`.

    All tracks are emotionally neutral, so that no penalty for opposite polarity enters their scores.
    """
    music = manifest.music
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ranking = ranking_pb2_grpc.RankingServiceStub(channel)
        for number, passages in enumerate(library.vectors):
            seconds = music.passage_hop_seconds * (len(passages) + 1)
            ranking.UpsertTrack(
                ranking_pb2.UpsertTrackRequest(
                    space=manifest.space,
                    metadata=common_pb2.TrackMetadata(
                        track_id=f"track-{number:03d}",
                        title=f"Track {number}",
                        artist=f"Artist {number % 10}",
                        licence="CC0-1.0",
                        digest=f"{number:064x}",
                        duration_seconds=seconds,
                    ),
                    track=embedding(passages[0], library, manifest, 0.0, seconds),
                    passages=[
                        embedding(
                            vector,
                            library,
                            manifest,
                            place * music.passage_hop_seconds,
                            2 * music.passage_hop_seconds,
                        )
                        for place, vector in enumerate(passages)
                    ],
                )
            )


def embedding(
    vector: NDArray[np.float32], library: Library, manifest: Manifest, start: float, seconds: float
) -> common_pb2.Embedding:
    """A vector of a library as a stretch of music or of a clip, emotionally neutral."""
    fused, content, emotion = np.split(vector, library.splits)
    neutral = manifest.calibration.music
    return common_pb2.Embedding(
        start_seconds=start,
        duration_seconds=seconds,
        fused=fused.tolist(),
        content=content.tolist(),
        emotion_vector=emotion.tolist(),
        emotion=common_pb2.Emotion(valence=neutral.valence_mean, arousal=neutral.arousal_mean),
    )


def encoded_passages(paths: Iterable[Path], address: str) -> Iterator[NDArray[np.float32]]:
    """Each track as the encoders of a server see it: [passages, fused + content + emotion]."""
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        music = music_pb2_grpc.MusicEncoderServiceStub(channel)
        fusion = fusion_pb2_grpc.FusionServiceStub(channel)
        for path in paths:
            sound = music.EncodeTrack(track_upload(path))
            request = fusion_pb2.FuseRequest(space=sound.space, embeddings=sound.passages)
            yield np.array(
                [
                    [*passage.fused, *passage.content, *passage.emotion_vector]
                    for passage in fusion.Fuse(request).embeddings
                ],
                np.float32,
            )


def track_upload(path: Path) -> Iterator[music_pb2.EncodeTrackRequest]:
    """A file as the music service takes it."""
    yield music_pb2.EncodeTrackRequest(
        settings=music_pb2.EncodeTrackSettings(total_bytes=path.stat().st_size)
    )
    with path.open("rb") as file:
        while data := file.read(CHUNK_BYTES):
            yield music_pb2.EncodeTrackRequest(chunk=common_pb2.MediaChunk(data=data))


def distinct(clip: Path, number: int) -> bytes:
    """The bytes of an MP4 or MOV file with a number after them, in a box that says nothing: the same clip,
    but one that the cache does not know.
    """
    return clip.read_bytes() + struct.pack(">I4sI", 12, b"free", number)


def write_clip(path: Path, height: int = HEIGHT) -> None:
    """A clip of 10 s, 16 to 9, 30 frames a second, H.264 as x264 writes it when nothing is asked of it.

    That has reordered frames that no other frame refers to, as most clips in the wild have; those of
    `kinoscore.media.writing`, made in a hurry, have none.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = _width(height), height, "yuv420p"
        for number, picture in enumerate(_pictures(height)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _width(height: int) -> int:
    return 2 * round(height * 8 / 9)


def _pictures(height: int) -> Iterator[NDArray[np.uint8]]:
    """Pictures of the generated world, rendered at half size and doubled, with grain over them."""
    width = _width(height)
    plan = draw_pair(0, SPLIT).clip
    style = replace(plan.style, width=(width + 3) // 4 * 2, height=height // 2)
    plan = replace(plan, style=style, duration_seconds=float(SECONDS), frames_per_second=float(RATE))
    random = np.random.default_rng(0)
    for small in render_clip(plan):
        large = small.repeat(2, axis=0).repeat(2, axis=1)[:height, :width].astype(np.float32)
        large += GRAIN_DEVIATION * random.standard_normal((height, width, 1), np.float32)
        yield large.clip(0, 255).astype(np.uint8)


def write_tracks(folder: Path, *, count: int, seconds: float) -> list[Path]:
    """Tracks of the generated world in stereo, MP3 and Ogg Opus in turn, each repeated to fill `seconds`."""
    paths = []
    for number in range(count):
        suffix, codec, rate = (".ogg", "libopus", 48_000) if number % 2 else (".mp3", "libmp3lame", 44_100)
        path = folder / f"track-{number:02d}{suffix}"
        samples = render_track(draw_pair(number, SPLIT).track)
        _write_track(path, codec, rate, np.resize(samples, round(seconds * SAMPLE_RATE)))
        paths.append(path)
    return paths


def _write_track(path: Path, codec: str, rate: int, samples: NDArray[np.float32]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="stereo")
        resampler = av.AudioResampler(stream.codec_context.format, "stereo", rate)
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = 0
        for converted in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))
