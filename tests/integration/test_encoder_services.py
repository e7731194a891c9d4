"""The three encoder services over real gRPC, real media files and the tiny models."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from support.repository import write_tiny_repository
from support.waiting import until

from kinoscore import errors
from kinoscore.fusion.servicer import FusionServicer
from kinoscore.inference import Manifest, ModelRepository
from kinoscore.inference.onnx import OnnxEngine
from kinoscore.media.pool import DecodePool
from kinoscore.media.types import Limits
from kinoscore.media.writing import write_audio, write_video
from kinoscore.music.servicer import MusicEncoderServicer
from kinoscore.runtime.relay import answer_to_stream
from kinoscore.runtime.server import Server
from kinoscore.runtime.settings import StackSettings
from kinoscore.runtime.status import from_rpc_error
from kinoscore.v1 import (
    common_pb2,
    fusion_pb2,
    fusion_pb2_grpc,
    music_pb2,
    music_pb2_grpc,
    video_pb2,
    video_pb2_grpc,
)
from kinoscore.video.servicer import VideoEncoderServicer

MAX_UPLOAD = 4_000_000
MAX_CLIP_SECONDS = 60.0
MAX_TRACK_SECONDS = 50.0
# Which frames or windows share a batch depends on when they arrive, and the last bits on the batch.
BATCHING_TOLERANCE = 1e-5


@dataclass
class Encoders:
    """The running services, seen from a client.

    Requests go through `answer_to_stream`: grpc.aio's own iterators lose the reason of an early refusal.
    """

    manifest: Manifest
    spool: Path
    video: video_pb2_grpc.VideoEncoderServiceStub
    music: music_pb2_grpc.MusicEncoderServiceStub
    fusion: fusion_pb2_grpc.FusionServiceStub

    async def clip(
        self, data: bytes, *, portion: int = 65536, **settings: object
    ) -> video_pb2.EncodeClipResponse:
        first = video_pb2.EncodeClipRequest(settings=video_pb2.EncodeClipSettings(**settings))
        chunks = (video_pb2.EncodeClipRequest(chunk=chunk) for chunk in cut(data, portion))
        return await answer_to_stream(self.video.EncodeClip(), messages(first, chunks))

    async def frames(self, frames: Iterable[common_pb2.Frame]) -> video_pb2.EncodeClipResponse:
        first = video_pb2.EncodeClipRequest(settings=video_pb2.EncodeClipSettings())
        chunks = (video_pb2.EncodeClipRequest(chunk=common_pb2.MediaChunk(frame=frame)) for frame in frames)
        return await answer_to_stream(self.video.EncodeClip(), messages(first, chunks))

    async def track(
        self, data: bytes, *, portion: int = 65536, **settings: object
    ) -> music_pb2.EncodeTrackResponse:
        first = music_pb2.EncodeTrackRequest(settings=music_pb2.EncodeTrackSettings(**settings))
        chunks = (music_pb2.EncodeTrackRequest(chunk=chunk) for chunk in cut(data, portion))
        return await answer_to_stream(self.music.EncodeTrack(), messages(first, chunks))


def cut(data: bytes, portion: int) -> Iterable[common_pb2.MediaChunk]:
    return (common_pb2.MediaChunk(data=data[i : i + portion]) for i in range(0, len(data), portion))


async def messages(first: object, others: Iterable[object]) -> AsyncIterator[object]:
    yield first
    for message in others:
        yield message


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> ModelRepository:
    return ModelRepository.load(write_tiny_repository(tmp_path_factory.mktemp("models") / "repository"))


@pytest.fixture
async def encoders(repository: ModelRepository, tmp_path: Path) -> AsyncIterator[Encoders]:
    settings = StackSettings.load(
        port=0,
        grace_seconds=2.0,
        max_upload_bytes=MAX_UPLOAD,
        max_clip_seconds=MAX_CLIP_SECONDS,
        max_track_seconds=MAX_TRACK_SECONDS,
        spool_folder=tmp_path / "spool",
    )
    engine = OnnxEngine(repository, threads=1)
    manifest = repository.manifest
    async with DecodePool(1, limits=Limits(max_bytes=MAX_UPLOAD)) as pool:
        server = Server(settings)
        server.add(VideoEncoderServicer(pool, engine, manifest, settings))
        server.add(MusicEncoderServicer(pool, engine, manifest, settings))
        server.add(FusionServicer(engine, manifest, settings))
        async with grpc.aio.insecure_channel(await server.start()) as channel:
            yield Encoders(
                manifest,
                settings.spool_folder,
                video_pb2_grpc.VideoEncoderServiceStub(channel),
                music_pb2_grpc.MusicEncoderServiceStub(channel),
                fusion_pb2_grpc.FusionServiceStub(channel),
            )
        await server.stop()
    await engine.close()


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Scenes of random colours, one a second at 10 frames a second."""
    random = np.random.default_rng(seed)
    scenes = random.integers(0, 256, (-(-count // 10), 4, 4, 3), dtype=np.uint8)
    return np.repeat(scenes.repeat(24, axis=1).repeat(32, axis=2), 10, axis=0)[:count]


@pytest.fixture(scope="module")
def clip_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """30 s: windows of 12, 12 and 6 s."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_video(path, pictures(300), 10)
    return path.read_bytes()


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    """A tone with a beat twice a second."""
    time = np.arange(int(seconds * 22050)) / 22050
    envelope = 0.05 + 0.6 * np.exp(-8 * ((time * 2) % 1))
    return (envelope * np.sin(2 * np.pi * (220 + 40 * seed) * time)).astype(np.float32)


@pytest.fixture(scope="module")
def track_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracks")


def track_bytes(folder: Path, seconds: float, suffix: str = ".wav") -> bytes:
    path = folder / f"{seconds}{suffix}"
    if not path.exists():
        write_audio(path, sound(seconds), 22050)
    return path.read_bytes()


def unit(vector: Iterable[float]) -> bool:
    return math.isclose(float(np.linalg.norm(np.array(list(vector)))), 1.0, abs_tol=1e-5)


async def error_of(call: object) -> errors.KinoscoreError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


def leaves(message: Message) -> dict[str, object]:
    """Every value of a message by its path, so that numbers can be compared within a tolerance."""
    found: dict[str, object] = {}
    waiting: list[tuple[str, object]] = [("", MessageToDict(message))]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{path}.{name}", part) for name, part in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{path}[{number}]", part) for number, part in enumerate(value)]
        else:
            found[path] = value
    return found


async def test_a_clip_becomes_windows_and_a_whole(encoders: Encoders, clip_bytes: bytes) -> None:
    reply = await encoders.clip(clip_bytes, total_bytes=len(clip_bytes))
    assert reply.space == encoders.manifest.space
    assert reply.duration_seconds == pytest.approx(30, abs=0.2)
    assert [window.start_seconds for window in reply.windows] == [0, 12, 24]
    assert [round(window.duration_seconds) for window in reply.windows] == [12, 12, 6]
    for embedding in (reply.clip, *reply.windows):
        assert (len(embedding.content), len(embedding.emotion_vector)) == (128, 64)
        assert unit(embedding.content)
        assert unit(embedding.emotion_vector)
        assert sum(share.probability for share in embedding.emotion.shares) == pytest.approx(1, abs=1e-4)
        assert embedding.emotion.valence_deviation == 0.25
    assert len(reply.emotion_curve) == 60
    times = [frame.timestamp_seconds for frame in reply.key_frames]
    assert times == sorted(times)
    assert 3 <= len(times) <= 18
    assert list(reply.warnings) == []
    timings = reply.timings
    assert timings.decode_seconds > 0
    assert timings.inference_seconds > 0
    assert timings.total_seconds > 0


async def test_the_answer_does_not_depend_on_how_the_upload_is_cut(
    encoders: Encoders, clip_bytes: bytes
) -> None:
    replies = [await encoders.clip(clip_bytes, portion=portion) for portion in (3_001, 1_000_000)]
    for reply in replies:
        reply.ClearField("timings")
    assert leaves(replies[0]) == pytest.approx(leaves(replies[1]), abs=BATCHING_TOLERANCE)


async def test_a_clip_of_one_window_is_that_window(encoders: Encoders, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", pictures(50), 10)
    reply = await encoders.clip((tmp_path / "clip.mp4").read_bytes())
    assert len(reply.windows) == 1
    assert reply.clip == reply.windows[0]


async def test_a_tenth_of_a_second_is_a_clip(encoders: Encoders, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", pictures(1), 10)
    reply = await encoders.clip((tmp_path / "clip.mp4").read_bytes())
    assert len(reply.windows) == len(reply.key_frames) == len(reply.emotion_curve) == 1


async def test_single_frames_are_encoded_like_a_file(encoders: Encoders) -> None:
    shown = pictures(40)
    frames = [
        common_pb2.Frame(
            format=common_pb2.FRAME_FORMAT_RGB24,
            data=picture.tobytes(),
            timestamp_seconds=number / 10,
            width=128,
            height=96,
        )
        for number, picture in enumerate(shown)
    ]
    reply = await encoders.frames(frames)
    assert len(reply.emotion_curve) == 8
    assert reply.duration_seconds == 4
    assert len({point.valence for point in reply.emotion_curve}) == 4


async def test_a_nan_timestamp_is_refused_by_name(encoders: Encoders) -> None:
    frame = common_pb2.Frame(
        format=common_pb2.FRAME_FORMAT_RGB24, data=b"\0" * 12, timestamp_seconds=math.nan, width=2, height=2
    )
    error = await error_of(encoders.frames([frame]))
    assert isinstance(error, errors.InvalidRequest)
    assert error.field == "chunk.frame.timestamp_seconds"


async def test_a_track_becomes_passages_and_a_whole(encoders: Encoders, track_folder: Path) -> None:
    data = track_bytes(track_folder, 40.0)
    reply = await encoders.track(data, total_bytes=len(data))
    assert reply.duration_seconds == pytest.approx(40, abs=0.1)
    assert [passage.start_seconds for passage in reply.passages] == [0, 6, 12, 18, 24, 30]
    assert [round(passage.duration_seconds) for passage in reply.passages] == [12, 12, 12, 12, 12, 10]
    assert unit(reply.track.content)
    assert len(reply.emotion_curve) == 14
    assert reply.emotion_curve[-1].duration_seconds == pytest.approx(1, abs=0.1)
    assert reply.tempo == pytest.approx(120, rel=0.03)
    assert len(reply.digest) == 64
    mean = np.mean([passage.content for passage in reply.passages], axis=0)
    np.testing.assert_allclose(reply.track.content, mean / np.linalg.norm(mean), atol=1e-5)


async def test_a_track_is_the_same_however_its_upload_is_cut(encoders: Encoders, track_folder: Path) -> None:
    data = track_bytes(track_folder, 20.0, ".ogg")
    replies = [await encoders.track(data, portion=portion) for portion in (1_001, 1_000_000)]
    for reply in replies:
        reply.ClearField("timings")
    assert leaves(replies[0]) == pytest.approx(leaves(replies[1]), abs=BATCHING_TOLERANCE)


async def test_half_a_second_is_a_track(encoders: Encoders, track_folder: Path) -> None:
    reply = await encoders.track(track_bytes(track_folder, 0.5))
    assert len(reply.passages) == 1
    assert reply.passages[0].duration_seconds == pytest.approx(0.5, abs=0.01)
    assert reply.track.content == reply.passages[0].content
    assert reply.tempo == 0


async def test_silence_is_encoded_and_told(encoders: Encoders, tmp_path: Path) -> None:
    write_audio(tmp_path / "silence.wav", np.zeros(22050 * 6, np.float32), 22050)
    reply = await encoders.track((tmp_path / "silence.wav").read_bytes())
    assert reply.tempo == 0
    assert np.isfinite(reply.track.content).all()
    assert any("silent" in warning for warning in reply.warnings)


async def test_fusion_fills_fused_and_leaves_the_rest(encoders: Encoders, clip_bytes: bytes) -> None:
    clip = await encoders.clip(clip_bytes)
    sent = [clip.clip, *clip.windows]
    reply = await encoders.fusion.Fuse(fusion_pb2.FuseRequest(space=clip.space, embeddings=sent))
    assert len(reply.embeddings) == 4
    for before, after in zip(sent, reply.embeddings, strict=True):
        assert len(after.fused) == 256
        assert unit(after.fused)
        after.ClearField("fused")
        assert after == before


@pytest.mark.parametrize(
    ("embedding", "kind", "field"),
    [
        (
            common_pb2.Embedding(content=[0.0] * 127, emotion_vector=[0.0] * 64),
            errors.SpaceMismatch,
            "content",
        ),
        (common_pb2.Embedding(content=[0.0] * 128), errors.SpaceMismatch, "emotion_vector"),
        (
            common_pb2.Embedding(content=[math.nan] * 128, emotion_vector=[0.0] * 64),
            errors.InvalidRequest,
            "content",
        ),
    ],
)
async def test_a_vector_that_does_not_belong_is_refused_by_name(
    encoders: Encoders, embedding: common_pb2.Embedding, kind: type[errors.KinoscoreError], field: str
) -> None:
    good = common_pb2.Embedding(content=[1.0] * 128, emotion_vector=[1.0] * 64)
    error = await error_of(encoders.fusion.Fuse(fusion_pb2.FuseRequest(embeddings=[good, embedding])))
    assert type(error) is kind
    assert error.field == f"embeddings[1].{field}"


async def test_another_space_is_refused_everywhere(encoders: Encoders) -> None:
    foreign = "s000000000000"
    refusals = [
        await error_of(encoders.clip(b"x", space=foreign)),
        await error_of(encoders.track(b"x", space=foreign)),
        await error_of(encoders.fusion.Fuse(fusion_pb2.FuseRequest(space=foreign))),
    ]
    assert [type(error) for error in refusals] == [errors.SpaceMismatch] * 3
    assert all(error.metadata["served"] == encoders.manifest.space for error in refusals)


async def test_bytes_that_are_not_media_are_refused_and_leave_nothing(encoders: Encoders) -> None:
    for call in (encoders.clip(b"not a film" * 100), encoders.track(b"not a song" * 100)):
        assert isinstance(await error_of(call), errors.InvalidMedia)
    assert list(encoders.spool.iterdir()) == []


async def test_sound_without_pictures_is_no_clip_and_pictures_without_sound_no_track(
    encoders: Encoders, clip_bytes: bytes, track_folder: Path
) -> None:
    assert "video" in (await error_of(encoders.clip(track_bytes(track_folder, 0.5)))).message
    assert "audio" in (await error_of(encoders.track(clip_bytes))).message


async def test_a_truncated_file_yields_what_can_be_decoded_or_says_what_is_missing(
    encoders: Encoders, clip_bytes: bytes
) -> None:
    error = await error_of(encoders.clip(clip_bytes[: len(clip_bytes) // 2]))
    assert isinstance(error, errors.InvalidMedia)
    assert (await encoders.clip(clip_bytes)).duration_seconds > 0


async def test_a_clip_or_track_above_the_longest_is_refused(
    encoders: Encoders, tmp_path: Path, track_folder: Path
) -> None:
    write_video(tmp_path / "long.mp4", pictures(65), 1)
    for call in (
        encoders.clip((tmp_path / "long.mp4").read_bytes()),
        encoders.track(track_bytes(track_folder, 55.0)),
    ):
        error = await error_of(call)
        assert isinstance(error, errors.MediaTooLarge)
        assert "longer than" in error.message


async def test_an_announced_size_above_the_limit_is_refused_while_the_client_still_sends(
    encoders: Encoders,
) -> None:
    for call in (
        encoders.clip(b"x" * (2 * MAX_UPLOAD), total_bytes=4 << 30),
        encoders.track(b"x" * (2 * MAX_UPLOAD), total_bytes=4 << 30),
    ):
        assert isinstance(await error_of(call), errors.MediaTooLarge)


async def test_more_bytes_than_allowed_are_refused(encoders: Encoders) -> None:
    assert isinstance(await error_of(encoders.clip(b"x" * (MAX_UPLOAD + 1))), errors.MediaTooLarge)
    assert list(encoders.spool.iterdir()) == []


async def test_a_client_that_leaves_mid_upload_leaves_nothing_behind(
    encoders: Encoders, clip_bytes: bytes
) -> None:
    call = encoders.video.EncodeClip()
    await call.write(video_pb2.EncodeClipRequest(settings=video_pb2.EncodeClipSettings()))
    await call.write(video_pb2.EncodeClipRequest(chunk=common_pb2.MediaChunk(data=clip_bytes[:5000])))
    await until(lambda: encoders.spool.is_dir() and any(encoders.spool.iterdir()))
    call.cancel()
    await until(lambda: not any(encoders.spool.iterdir()))
    assert (await encoders.clip(clip_bytes)).duration_seconds > 0


async def test_frames_are_no_track(encoders: Encoders) -> None:
    first = music_pb2.EncodeTrackRequest(settings=music_pb2.EncodeTrackSettings())
    frame = music_pb2.EncodeTrackRequest(chunk=common_pb2.MediaChunk(frame=common_pb2.Frame()))
    error = await error_of(answer_to_stream(encoders.music.EncodeTrack(), messages(first, [frame])))
    assert isinstance(error, errors.InvalidRequest)
    assert error.field == "chunk.frame"


async def test_concurrent_clips_get_the_answers_they_get_alone(encoders: Encoders, tmp_path: Path) -> None:
    clips = []
    for seed in range(4):
        write_video(tmp_path / f"{seed}.mp4", pictures(60, seed), 10)
        clips.append((tmp_path / f"{seed}.mp4").read_bytes())
    alone = [await encoders.clip(clip) for clip in clips]
    together = await asyncio.gather(*(encoders.clip(clip) for clip in clips))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.clip.content, other.clip.content, atol=1e-5)
        assert [k.timestamp_seconds for k in one.key_frames] == [
            k.timestamp_seconds for k in other.key_frames
        ]
