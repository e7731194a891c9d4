"""EncodeLive against EncodeClip, with the tiny models and no network."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.pictures import InThisProcess
from support.repository import write_tiny_repository
from support.waiting import until

from kinoscore.errors import InvalidRequest, SpaceMismatch, Unavailable
from kinoscore.inference import ModelRepository
from kinoscore.inference.onnx import OnnxEngine
from kinoscore.media.pool import DecodePool
from kinoscore.runtime.settings import VideoSettings
from kinoscore.v1 import common_pb2, video_pb2
from kinoscore.video.servicer import VideoEncoderServicer

WIDTH, HEIGHT = 32, 20


class NoContext:
    def time_remaining(self) -> None:
        return None

    async def send_initial_metadata(self, metadata: object) -> None:
        pass


class CountingEngine:
    """Counts the rows of each model; answers nothing while it is `lost`."""

    def __init__(self, engine: OnnxEngine) -> None:
        self._engine = engine
        self.rows: dict[str, int] = {}
        self.lost = False

    async def infer(self, model: str, inputs: Any, *, timeout: float) -> Any:
        if self.lost:
            raise Unavailable("the engine is lost")
        self.rows[model] = self.rows.get(model, 0) + len(next(iter(inputs.values())))
        return await self._engine.infer(model, inputs, timeout=timeout)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> ModelRepository:
    return ModelRepository.load(write_tiny_repository(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def engine(repository: ModelRepository) -> Iterator[CountingEngine]:
    engine = OnnxEngine(repository, threads=1)
    yield CountingEngine(engine)
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def servicer(repository: ModelRepository, engine: CountingEngine) -> VideoEncoderServicer:
    pool: Any = InThisProcess()
    return VideoEncoderServicer(pool, engine, repository.manifest, VideoSettings(port=0))


def frame(seconds: float, seed: int) -> common_pb2.Frame:
    pixels = np.random.default_rng(seed).integers(0, 256, 3, np.uint8)
    return common_pb2.Frame(
        format=common_pb2.FRAME_FORMAT_RGB24,
        data=np.broadcast_to(pixels, (HEIGHT, WIDTH, 3)).tobytes(),
        timestamp_seconds=seconds,
        width=WIDTH,
        height=HEIGHT,
    )


async def requests(
    kind: Any, first: Any, frames: Iterable[common_pb2.Frame], pauses: Iterable[bool] = ()
) -> AsyncIterator[Any]:
    yield kind(settings=first)
    waits = iter(pauses)
    for one in frames:
        if next(waits, False):
            await asyncio.sleep(0.001)
        yield kind(chunk=common_pb2.MediaChunk(frame=one))


async def live(
    servicer: VideoEncoderServicer,
    frames: Iterable[common_pb2.Frame],
    pauses: Iterable[bool] = (),
    **wishes: Any,
) -> list[video_pb2.EncodeLiveResponse]:
    first = video_pb2.EncodeLiveSettings(**wishes)
    stream = requests(video_pb2.EncodeLiveRequest, first, frames, pauses)
    return [answer async for answer in servicer.EncodeLive(stream, NoContext())]  # type: ignore[arg-type]


async def whole(
    servicer: VideoEncoderServicer, frames: Iterable[common_pb2.Frame]
) -> video_pb2.EncodeClipResponse:
    stream = requests(video_pb2.EncodeClipRequest, video_pb2.EncodeClipSettings(), frames)
    return await servicer.EncodeClip(stream, NoContext())  # type: ignore[arg-type]


def assert_same(live: common_pb2.Embedding, clip: common_pb2.Embedding) -> None:
    for name in ("content", "emotion_vector"):
        np.testing.assert_allclose(getattr(live, name), getattr(clip, name), atol=1e-4)
    assert live.emotion.valence == pytest.approx(clip.emotion.valence, abs=1e-4)
    assert (live.start_seconds, live.duration_seconds) == pytest.approx(
        (clip.start_seconds, clip.duration_seconds)
    )


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.sampled_from([0.04, 0.25, 0.31, 0.5, 0.9, 2.0]), min_size=1, max_size=40),
    pauses=st.lists(st.booleans(), max_size=40),
    interval=st.sampled_from([0.5, 1.0, 7.0]),
)
def test_the_last_answer_equals_that_of_the_same_frames_uploaded(
    servicer: VideoEncoderServicer, steps: list[float], pauses: list[bool], interval: float
) -> None:
    times = np.cumsum(steps).tolist()
    frames = [frame(time, seed) for seed, time in enumerate(times)]
    answers = asyncio.run(live(servicer, frames, pauses, window_seconds=120.0, interval_seconds=interval))
    clip = asyncio.run(whole(servicer, frames))
    assert_same(answers[-1].clip, clip.clip)
    assert len(answers[-1].windows) == len(clip.windows)
    for mine, theirs in zip(answers[-1].windows, clip.windows, strict=True):
        assert_same(mine, theirs)
    assert [key.timestamp_seconds for key in answers[-1].window_key_frames] == pytest.approx(
        [key.timestamp_seconds for key in clip.key_frames]
    )


async def test_every_answer_is_that_of_its_window_as_a_clip_of_its_own(
    servicer: VideoEncoderServicer,
) -> None:
    frames = [frame(number / 2, number) for number in range(40)]
    answers = await live(servicer, frames, window_seconds=4.0)
    assert len(answers) == 20
    last = answers[-1]
    assert (last.window_start_seconds, last.window_duration_seconds) == (16.0, 4.0)
    assert_same(last.clip, (await whole(servicer, frames[32:])).clip)


async def test_each_frame_passes_the_frame_model_once_however_often_it_is_shown(
    servicer: VideoEncoderServicer, engine: CountingEngine
) -> None:
    engine.rows.clear()
    # A frame every 2 s shows 4 samples each.
    answers = await live(servicer, [frame(2.0 * number, number) for number in range(20)])
    assert engine.rows["frame_encoder"] == 20
    assert engine.rows["clip_encoder"] == len(answers)


async def test_memory_and_messages_do_not_grow_with_the_stream(servicer: VideoEncoderServicer) -> None:
    answers = await live(servicer, (frame(number / 2, number % 9) for number in range(600)))
    sizes = [answer.ByteSize() for answer in answers[20:]]
    assert max(sizes) < 1.2 * min(sizes)


async def test_a_stream_goes_on_in_another_call_as_if_it_had_not_ended(
    servicer: VideoEncoderServicer,
) -> None:
    frames = [frame(number / 2, number) for number in range(20)]
    unbroken = await live(servicer, frames, window_seconds=6.0)
    before = await live(servicer, frames[:10], window_seconds=6.0)
    held = [one for answer in before for one in answer.new_frames]
    window = video_pb2.LiveWindow(frames=held, key_frames=before[-1].key_frames, clock=before[-1].clock)
    after = await live(servicer, frames[10:], window_seconds=6.0, resumed=window)
    assert_same(after[-1].clip, unbroken[-1].clip)
    assert after[-1].key_frames == unbroken[-1].key_frames
    assert after[-1].window_start_seconds == unbroken[-1].window_start_seconds


async def test_a_damaged_frame_is_counted_and_passed_over(servicer: VideoEncoderServicer) -> None:
    frames = [frame(number / 2, number) for number in range(10)]
    frames[4].data = frames[4].data[:-1]
    frames[6].format = common_pb2.FRAME_FORMAT_JPEG
    answers = await live(servicer, frames, window_seconds=6.0)
    assert answers[-1].losses.frames_damaged == 2
    assert answers[-1].window_duration_seconds == 5.0


async def test_a_stream_of_pictures_outlives_its_decoder_without_a_loss(
    repository: ModelRepository, engine: CountingEngine, servicer: VideoEncoderServicer
) -> None:
    frames = [frame(number / 2, number) for number in range(12)]
    async with DecodePool(1) as pool:
        own = VideoEncoderServicer(pool, engine, repository.manifest, VideoSettings(port=0))  # type: ignore[arg-type]

        async def interrupted() -> AsyncIterator[Any]:
            yield video_pb2.EncodeLiveRequest(settings=video_pb2.EncodeLiveSettings())
            for number, one in enumerate(frames):
                if number == 6:
                    await until(lambda: bool(pool.picture_pids))
                    os.kill(pool.picture_pids[0], signal.SIGKILL)
                yield video_pb2.EncodeLiveRequest(chunk=common_pb2.MediaChunk(frame=one))

        answers = [answer async for answer in own.EncodeLive(interrupted(), NoContext())]  # type: ignore[arg-type]
    (*_, expected) = await live(servicer, frames)
    assert_same(answers[-1].clip, expected.clip)
    assert not any(answer.losses.frames_damaged or answer.losses.gap_seconds for answer in answers)


async def test_a_frame_of_another_size_is_taken(servicer: VideoEncoderServicer) -> None:
    other = common_pb2.Frame(
        format=common_pb2.FRAME_FORMAT_I420, data=bytes(24), timestamp_seconds=0.5, width=4, height=4
    )
    answers = await live(servicer, [frame(0.0, 0), other])
    assert sum(len(answer.new_frames) for answer in answers) == 2
    assert not answers[-1].losses.frames_damaged


async def test_times_that_cannot_be_are_repaired_and_counted(servicer: VideoEncoderServicer) -> None:
    times = [0.0, 0.5, float("nan"), 1.0, 3601.0, 3601.5, 0.0, 0.5]
    answers = await live(servicer, [frame(time, seed) for seed, time in enumerate(times)])
    assert answers[-1].losses.times_repaired == 3
    assert answers[-1].window_duration_seconds == 3.5


async def test_an_engine_that_is_lost_leaves_a_gap_and_the_stream_goes_on(
    servicer: VideoEncoderServicer, engine: CountingEngine
) -> None:
    async def frames() -> AsyncIterator[Any]:
        yield video_pb2.EncodeLiveRequest(settings=video_pb2.EncodeLiveSettings())
        for number in range(30):
            engine.lost = 10 <= number < 20
            await asyncio.sleep(0.05)
            yield video_pb2.EncodeLiveRequest(chunk=common_pb2.MediaChunk(frame=frame(number / 2, number)))

    answers = [answer async for answer in servicer.EncodeLive(frames(), NoContext())]  # type: ignore[arg-type]
    assert answers[-1].losses.gap_seconds > 0
    assert answers[-1].window_start_seconds + answers[-1].window_duration_seconds == 15.0


@pytest.mark.parametrize(
    ("wishes", "kind", "piece"),
    [
        ({"interval_seconds": 0.1}, InvalidRequest, "interval_seconds must be 0.25 to 60"),
        ({"interval_seconds": float("nan")}, InvalidRequest, "interval_seconds must be"),
        ({"window_seconds": 121.0}, InvalidRequest, "window_seconds must be 1 to 120"),
        ({"space": "sother"}, SpaceMismatch, "not sother"),
        (
            {"resumed": video_pb2.LiveWindow(frames=[video_pb2.EncodedFrame(features=[1.0])])},
            InvalidRequest,
            "features",
        ),
    ],
)
async def test_settings_that_cannot_be_are_refused(
    servicer: VideoEncoderServicer, wishes: dict[str, Any], kind: type[Exception], piece: str
) -> None:
    with pytest.raises(kind, match=piece):
        await live(servicer, [], **wishes)


async def test_a_chunk_before_the_settings_is_refused(servicer: VideoEncoderServicer) -> None:
    async def backwards() -> AsyncIterator[Any]:
        yield video_pb2.EncodeLiveRequest(chunk=common_pb2.MediaChunk(frame=frame(0.0, 0)))

    with pytest.raises(InvalidRequest, match="first message must be the settings"):
        await anext(servicer.EncodeLive(backwards(), NoContext()))  # type: ignore[arg-type]


async def test_a_form_that_changes_in_the_middle_is_refused(servicer: VideoEncoderServicer) -> None:
    async def changing() -> AsyncIterator[Any]:
        yield video_pb2.EncodeLiveRequest(settings=video_pb2.EncodeLiveSettings())
        yield video_pb2.EncodeLiveRequest(chunk=common_pb2.MediaChunk(frame=frame(0.0, 0)))
        yield video_pb2.EncodeLiveRequest(chunk=common_pb2.MediaChunk(data=b"x"))

    with pytest.raises(InvalidRequest, match="either bytes or frames"):
        [answer async for answer in servicer.EncodeLive(changing(), NoContext())]  # type: ignore[arg-type]


async def test_a_stream_without_a_frame_ends_without_an_answer(servicer: VideoEncoderServicer) -> None:
    assert await live(servicer, []) == []
