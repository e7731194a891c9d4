"""EncodeLive over streams of bytes against EncodeClip of the same file: real decoders, tiny models."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bad_media import noise, sound_only
from support.media_files import noise_frames, write_clip
from support.repository import write_tiny_repository
from support.streams import FORMS, cut, remuxed, write_stream
from support.waiting import until

from kinoscore.errors import InvalidMedia, InvalidRequest, MediaTooLarge
from kinoscore.inference import ModelRepository
from kinoscore.inference.onnx import OnnxEngine
from kinoscore.media import live_pool
from kinoscore.media.live_channel import LiveJob
from kinoscore.media.live_pool import LiveProcesses
from kinoscore.media.pool import DecodePool
from kinoscore.media.types import FrameSpec, Limits
from kinoscore.runtime.settings import VideoSettings
from kinoscore.v1 import common_pb2, video_pb2
from kinoscore.video.servicer import VideoEncoderServicer

SECONDS = 60.0
FRAMES = 163


class NoContext:
    def time_remaining(self) -> None:
        return None

    async def send_initial_metadata(self, metadata: object) -> None:
        pass


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> ModelRepository:
    return ModelRepository.load(write_tiny_repository(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def engine(repository: ModelRepository) -> Iterator[OnnxEngine]:
    engine = OnnxEngine(repository, threads=1)
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("streams")
    frames = noise_frames(FRAMES)
    return {form: write_stream(folder, form, frames) for form in FORMS}


class Service:
    """The video service with decoder processes of its own."""

    def __init__(self, repository: ModelRepository, engine: OnnxEngine, folder: Path) -> None:
        self.pool = DecodePool(1)
        chosen = VideoSettings(port=0, spool_folder=folder, max_pixels=1 << 20)
        self._servicer = VideoEncoderServicer(self.pool, engine, repository.manifest, chosen)

    async def live(
        self, pieces: Iterable[bytes] | AsyncIterator[bytes], **wishes: Any
    ) -> list[video_pb2.EncodeLiveResponse]:
        async with asyncio.timeout(SECONDS), aclosing(self.answers(pieces, **wishes)) as answers:
            return [answer async for answer in answers]

    def answers(self, pieces: Iterable[bytes] | AsyncIterator[bytes], **wishes: Any) -> Any:
        wishes = {"window_seconds": 120.0, **wishes}
        return self.requested(_chunks(pieces), **wishes)

    def requested(self, chunks: AsyncIterator[common_pb2.MediaChunk], **wishes: Any) -> Any:
        async def requests() -> AsyncIterator[video_pb2.EncodeLiveRequest]:
            yield video_pb2.EncodeLiveRequest(settings=video_pb2.EncodeLiveSettings(**wishes))
            async for chunk in chunks:
                yield video_pb2.EncodeLiveRequest(chunk=chunk)

        return self._servicer.EncodeLive(requests(), NoContext())  # type: ignore[arg-type]

    async def whole(self, data: bytes) -> video_pb2.EncodeClipResponse:
        async def requests() -> AsyncIterator[video_pb2.EncodeClipRequest]:
            yield video_pb2.EncodeClipRequest(settings=video_pb2.EncodeClipSettings())
            yield video_pb2.EncodeClipRequest(chunk=common_pb2.MediaChunk(data=data))

        return await self._servicer.EncodeClip(requests(), NoContext())  # type: ignore[arg-type]


async def _chunks(
    pieces: Iterable[bytes] | AsyncIterator[bytes],
) -> AsyncIterator[common_pb2.MediaChunk]:
    if isinstance(pieces, AsyncIterator):
        async for piece in pieces:
            yield common_pb2.MediaChunk(data=piece)
    else:
        for piece in pieces:
            yield common_pb2.MediaChunk(data=piece)


@pytest.fixture
async def service(repository: ModelRepository, engine: OnnxEngine, tmp_path: Path) -> AsyncIterator[Service]:
    service = Service(repository, engine, tmp_path)
    async with service.pool:
        yield service


def end_seconds(answer: video_pb2.EncodeLiveResponse) -> float:
    return answer.window_start_seconds + answer.window_duration_seconds


def assert_same(live: common_pb2.Embedding, clip: common_pb2.Embedding) -> None:
    for name in ("content", "emotion_vector"):
        np.testing.assert_allclose(getattr(live, name), getattr(clip, name), atol=1e-4)
    assert live.emotion.valence == pytest.approx(clip.emotion.valence, abs=1e-4)


@pytest.fixture(scope="module")
def runner(
    repository: ModelRepository, engine: OnnxEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[asyncio.Runner, Service]]:
    service = Service(repository, engine, tmp_path_factory.mktemp("spool"))
    with asyncio.Runner() as runner:
        runner.run(service.pool.start())
        yield runner, service
        runner.run(service.pool.close())


@pytest.fixture(scope="module")
def clips(
    runner: tuple[asyncio.Runner, Service], streams: dict[str, Path]
) -> dict[str, video_pb2.EncodeClipResponse]:
    loop, service = runner
    return {form: loop.run(service.whole(path.read_bytes())) for form, path in streams.items()}


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.floats(0, 1), max_size=60), interval=st.sampled_from([0.5, 1.0, 7.0]))
def test_the_last_answer_equals_that_of_the_same_file_uploaded(
    runner: tuple[asyncio.Runner, Service],
    streams: dict[str, Path],
    clips: dict[str, video_pb2.EncodeClipResponse],
    form: str,
    places: list[float],
    interval: float,
) -> None:
    loop, service = runner
    pieces = cut(streams[form].read_bytes(), places)
    last = loop.run(service.live(pieces, interval_seconds=interval))[-1]
    clip = clips[form]
    assert_same(last.clip, clip.clip)
    assert len(last.windows) == len(clip.windows)
    for mine, theirs in zip(last.windows, clip.windows, strict=True):
        assert_same(mine, theirs)
    assert [key.timestamp_seconds for key in last.window_key_frames] == pytest.approx(
        [key.timestamp_seconds for key in clip.key_frames]
    )
    assert last.losses == video_pb2.LiveLosses()


@pytest.mark.parametrize("form", FORMS)
async def test_bytes_cut_into_single_ones_make_no_difference(
    service: Service, tmp_path: Path, form: str
) -> None:
    data = write_stream(tmp_path, form, noise_frames(30, 32, 48)).read_bytes()
    last = (await service.live(cut(data, 1)))[-1]
    assert_same(last.clip, (await service.whole(data)).clip)


@pytest.mark.parametrize(
    "movflags", ["frag_keyframe+empty_moov+default_base_moof", "frag_every_frame+empty_moov", "faststart"]
)
async def test_other_kinds_of_mp4_with_the_index_first_are_read(
    service: Service, streams: dict[str, Path], tmp_path: Path, movflags: str
) -> None:
    data = remuxed(streams["mp4"], tmp_path / "other.mp4", movflags).read_bytes()
    last = (await service.live(cut(data, 1000)))[-1]
    assert_same(last.clip, (await service.whole(data)).clip)


async def test_an_answer_comes_as_soon_as_its_frames_can_be_decoded(
    service: Service, streams: dict[str, Path]
) -> None:
    data = streams["mpegts"].read_bytes()
    more = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield data[: len(data) // 2]
        await more.wait()

    async with asyncio.timeout(SECONDS), aclosing(service.answers(half(), window_seconds=6.0)) as answers:
        reached = 0.0
        while reached < 2.5:
            answer = await anext(answers)
            reached = end_seconds(answer)
            assert 0 <= answer.lag_seconds < SECONDS
        more.set()


def damaged(data: bytes, kind: str) -> list[bytes]:
    pieces = cut(data, 3000)
    middle = len(pieces) // 2
    garbage = [random.Random(3).randbytes(3000)] * 2
    return {
        "missing": [*pieces[:middle], *pieces[middle + 2 :]],
        "garbage": [*pieces[:middle], *garbage, *pieces[middle + 2 :]],
        "inserted": [*pieces[:middle], *garbage, *pieces[middle:]],
    }[kind]


@pytest.mark.parametrize("kind", ["missing", "garbage", "inserted"])
@pytest.mark.parametrize("form", FORMS)
async def test_a_corrupt_chunk_is_counted_and_the_stream_goes_on(
    service: Service, streams: dict[str, Path], form: str, kind: str
) -> None:
    answers = await service.live(damaged(streams[form].read_bytes(), kind))
    # What is put between two units of H.264 is taken for the end of the first: nothing is missing.
    assert answers[-1].losses.frames_damaged > 0 or (form, kind) == ("h264", "inserted")
    assert end_seconds(answers[-1]) == pytest.approx(FRAMES / 25, abs=1.0)
    assert len(answers) >= 5


@pytest.mark.parametrize("form", FORMS)
async def test_a_second_stream_in_the_same_call_goes_on_after_the_first(
    service: Service, streams: dict[str, Path], tmp_path: Path, form: str
) -> None:
    other = write_stream(tmp_path, form, noise_frames(50, 64, 96)).read_bytes()
    answers = await service.live(cut(streams[form].read_bytes() + other, 5000))
    assert end_seconds(answers[-1]) == pytest.approx((FRAMES + 50) / 25, abs=0.6)


@pytest.mark.parametrize("form", FORMS)
async def test_a_stream_goes_on_in_another_call_at_its_next_initialisation(
    service: Service, streams: dict[str, Path], form: str
) -> None:
    data = streams[form].read_bytes()
    first = (await service.live(cut(data[: len(data) // 2], 4000)))[-1]
    window = video_pb2.LiveWindow(frames=first.new_frames, clock=first.clock)
    # The rest of the old stream cannot be read without its beginning, or adds to it; then comes a new one.
    answers = await service.live(cut(data[len(data) // 2 :][:9000] + data, 4000), resumed=window)
    gained = end_seconds(answers[-1]) - end_seconds(first)
    assert FRAMES / 25 - 0.6 <= gained <= FRAMES / 25 + 2.0


async def test_a_form_that_changes_in_the_middle_is_refused(
    service: Service, streams: dict[str, Path]
) -> None:
    async def changing() -> AsyncIterator[common_pb2.MediaChunk]:
        yield common_pb2.MediaChunk(data=streams["mpegts"].read_bytes())
        yield common_pb2.MediaChunk(frame=common_pb2.Frame(data=b"x"))

    with pytest.raises(InvalidRequest, match="either bytes or frames"):
        [answer async for answer in service.requested(changing())]


def without_index_first(folder: Path) -> bytes:
    return write_clip(folder / "plain.mp4", noise_frames(10)).read_bytes()


BAD = {
    "noise": (
        lambda folder: noise(folder / "noise").read_bytes(),
        InvalidMedia,
        "no stream of a known form; send",
    ),
    "a few bytes": (lambda folder: b"abc", InvalidMedia, "no stream of a known form"),
    "a playlist": (
        lambda folder: b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n" * 100,
        InvalidMedia,
        "no stream of a known form",
    ),
    "an index at the end": (without_index_first, InvalidMedia, r"index \(moov\).*frag_keyframe\+empty_moov"),
    "sound only": (
        lambda folder: _sound_stream(folder),
        InvalidMedia,
        "the stream has no video stream",
    ),
    "only an index": (
        lambda folder: write_stream(folder, "mp4", noise_frames(5)).read_bytes()[:700],
        InvalidMedia,
        "no frame of the stream could be decoded",
    ),
    "huge pictures": (
        lambda folder: write_stream(folder, "mp4", [np.zeros((1088, 1920, 3), np.uint8)]).read_bytes(),
        MediaTooLarge,
        "1920 x 1088",
    ),
}


def _sound_stream(folder: Path) -> bytes:
    path = folder / "sound.ts"
    with av.open(sound_only(folder / "sound")) as source, av.open(path, "w", format="mpegts") as out:
        stream = out.add_stream("aac", rate=22050)
        for frame in source.decode(audio=0):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize("name", BAD)
async def test_bytes_that_cannot_be_used_are_refused_with_the_cause(
    service: Service, tmp_path: Path, name: str
) -> None:
    make, kind, piece = BAD[name]
    data = make(tmp_path)
    for size in (1, 500, 1 << 20):
        with pytest.raises(kind, match=piece):
            await service.live(cut(data, size))


async def test_the_cause_is_told_however_much_is_on_its_way(service: Service) -> None:
    noise = random.Random(5).randbytes(1 << 20)
    for _ in range(5):
        with pytest.raises(InvalidMedia, match="no stream of a known form"):
            await service.live([noise] * 8)


async def test_a_decoder_that_crashes_costs_a_gap_and_the_stream_goes_on(
    service: Service, streams: dict[str, Path]
) -> None:
    await crash(service, streams, signal.SIGKILL)


async def test_a_decoder_that_hangs_is_replaced_and_the_stream_goes_on(
    service: Service, streams: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_pool, "SILENT_SECONDS", 2.5)
    await crash(service, streams, signal.SIGSTOP)


async def crash(service: Service, streams: dict[str, Path], with_signal: signal.Signals) -> None:
    sent = {form: asyncio.Event() for form in FORMS}

    async def interrupted(form: str) -> AsyncIterator[bytes]:
        data = streams[form].read_bytes()
        yield data[: len(data) // 2]
        await sent[form].wait()
        for piece in cut(data[len(data) // 2 :], 2000):
            yield piece

    async def follow(form: str) -> list[video_pb2.EncodeLiveResponse]:
        answers = []
        async with aclosing(service.answers(interrupted(form))) as live:
            async for answer in live:
                answers.append(answer)
                if end_seconds(answer) >= 2.0:
                    reached.add(form)
        return answers

    reached: set[str] = set()
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        following = [group.create_task(follow(form)) for form in FORMS]
        await until(lambda: reached == set(FORMS), seconds=SECONDS)
        (pid,) = service.pool.live_pids
        os.kill(pid, with_signal)
        await until(lambda: service.pool.live_pids not in ((pid,), ()), seconds=SECONDS)
        for event in sent.values():
            event.set()
    for form, task in zip(FORMS, following, strict=True):
        answers = task.result()
        # H.264 alone carries no times: what is lost is not known to have been.
        assert end_seconds(answers[-1]) >= (3.5 if form == "h264" else FRAMES / 25 - 1.0)
        assert answers[-1].losses.frames_damaged >= 1
        assert answers[-1].losses.gap_seconds > 0


def threads_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


async def test_a_client_that_vanishes_frees_its_decoder(service: Service, streams: dict[str, Path]) -> None:
    data = streams["mp4"].read_bytes()

    async def held() -> AsyncIterator[bytes]:
        yield data
        await asyncio.Event().wait()

    descriptors = 0
    for _ in range(10):
        async with asyncio.timeout(SECONDS), aclosing(service.answers(held())) as answers:
            await anext(answers)
        (pid,) = service.pool.live_pids
        # One hands streams over, one says that the process lives, one waits for the end.
        await until(lambda pid=pid: threads_of(pid) == 3, seconds=1.0)
        now = len(os.listdir("/proc/self/fd"))
        descriptors = descriptors or now
        assert now <= descriptors


async def test_a_sender_that_is_too_fast_is_slowed_down(
    service: Service, streams: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_pool, "BUFFER_BYTES", 1 << 16)
    data = streams["mpegts"].read_bytes()
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            for piece in cut(data, 1 << 14):
                sent += len(piece)
                yield piece

    async with asyncio.timeout(SECONDS), aclosing(service.answers(endless())) as answers:
        await anext(answers)
        before = -1
        # Nobody reads: in the end all that can wait does.
        while before != sent:
            before = sent
            await asyncio.sleep(0.5)
        assert sent < 4 << 20
        # More than one batch of the encoder.
        for _ in range(8):
            await anext(answers)
        await until(lambda: sent > before)


async def test_streams_that_begin_at_once_are_spread_over_the_processes(service: Service) -> None:
    job = LiveJob(FrameSpec(64, 40, 2.0), Limits(), None, 0.0, 0, None, is_resumed=False)
    processes = LiveProcesses(2, 1 << 30)

    def threads() -> list[int]:
        return [psutil.Process(pid).num_threads() for pid in processes.pids]

    async with AsyncExitStack() as opened:
        opened.push_async_callback(processes.close)
        await asyncio.gather(*(opened.enter_async_context(processes.decode(job)) for _ in range(2)))
        await until(lambda: len(set(threads())) == 1)
        (idle,) = set(threads())
        await asyncio.gather(*(opened.enter_async_context(processes.decode(job)) for _ in range(8)))
        await until(lambda: threads() == [idle + 4, idle + 4])


async def test_a_live_source_that_is_too_fast_is_decoded_less_and_told(
    service: Service, streams: dict[str, Path]
) -> None:
    data = b"".join(streams["mpegts"].read_bytes() for _ in range(40))
    answers = await service.live(cut(data, 1 << 16), flow=video_pb2.LIVE_FLOW_LATEST, window_seconds=6.0)
    assert answers[-1].losses.frames_dropped > 0
    assert end_seconds(answers[-1]) == pytest.approx(40 * FRAMES / 25, rel=0.05)
