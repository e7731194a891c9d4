import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest
from support.media_files import noise_frames, sine, write_clip, write_sound
from support.waiting import until

from kinoscore.errors import (
    DeadlineExceeded,
    InvalidMedia,
    MediaTooLarge,
    NotFound,
    QueueFull,
    Unavailable,
)
from kinoscore.media import decoding
from kinoscore.media.pool import CANCEL_GRACE_SECONDS, DecodePool
from kinoscore.media.types import FrameSpec, Limits

SPEC = FrameSpec(width=32, height=20, frames_per_second=2.0)
# So many frames that a worker cannot be done before its consumer has read a batch.
LONG_SPEC = FrameSpec(width=32, height=20, frames_per_second=25.0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("media") / "clip.mp4", noise_frames(100), sound=sine(4))


@pytest.fixture
async def pool() -> AsyncIterator[DecodePool]:
    async with DecodePool(1, limits=Limits(max_duration_seconds=100)) as pool:
        yield pool


async def count_frames(
    pool: DecodePool, path: Path, spec: FrameSpec = SPEC, timeout: float | None = 20
) -> int:
    count = 0
    async with pool.decode_frames(path, spec, timeout) as job:
        async for batch in job:
            count += len(batch.frames)
    return count


async def test_frames_are_those_of_this_process(pool: DecodePool, clip: Path) -> None:
    timestamps, frames = decoding.read_frames(clip, LONG_SPEC)
    async with pool.decode_frames(clip, LONG_SPEC, timeout=20) as job:
        batches = [batch async for batch in job]
    assert np.array_equal(np.concatenate([batch.timestamps for batch in batches]), timestamps)
    assert np.array_equal(np.concatenate([batch.frames for batch in batches]), frames)
    assert job.summary.duration_seconds == pytest.approx(4.0)
    assert job.summary.decode_seconds > 0
    assert 0 <= job.queue_seconds < 1


async def test_sound_is_that_of_this_process(pool: DecodePool, tmp_path: Path) -> None:
    # More blocks than there are slots: the ring is used several times.
    path = write_sound(tmp_path / "track.wav", sine(60))
    async with pool.decode_audio(path, 22050, timeout=20) as job:
        samples = np.concatenate([block.samples async for block in job])
    assert np.array_equal(samples, decoding.read_audio(path, 22050))
    assert job.summary.digest == decoding.probe(path).digest


async def test_a_slow_consumer_gets_every_batch_unharmed(pool: DecodePool, clip: Path) -> None:
    async with pool.decode_frames(clip, LONG_SPEC, timeout=20) as job:
        batches = []
        async for batch in job:
            batches.append(batch.frames)
            await asyncio.to_thread(time.sleep, 0.02)
    assert np.array_equal(np.concatenate(batches), decoding.read_frames(clip, LONG_SPEC)[1])


async def test_probing_is_that_of_this_process(pool: DecodePool, clip: Path) -> None:
    assert await pool.probe(clip, timeout=20) == decoding.probe(clip)
    assert await pool.probe(clip, timeout=20) == decoding.probe(clip)


async def test_errors_keep_their_class_message_and_metadata(pool: DecodePool, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.mp4"
    nothing.write_bytes(b"no media" * 100)
    with pytest.raises(InvalidMedia, match="not a media file"):
        await count_frames(pool, nothing)
    with pytest.raises(NotFound):
        await pool.probe(tmp_path / "missing.mp4")
    with pytest.raises(MediaTooLarge) as caught:
        await count_frames(pool, write_clip(tmp_path / "long.mkv", noise_frames(2), times=lambda n: 5000 * n))
    assert caught.value.metadata == {"limit": "100"}


async def test_a_decoder_that_does_not_start_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinoscore.media.process.START_SECONDS", 0.001)
    with pytest.raises(Unavailable, match="did not start within"):
        async with DecodePool(1):
            pass


async def test_a_file_name_of_any_bytes_is_found(pool: DecodePool, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"cl\xffip \xc3\xa4\n.mp4")
    path.write_bytes(clip.read_bytes())
    assert await count_frames(pool, path) == 8


async def test_a_crash_costs_one_request(pool: DecodePool, clip: Path) -> None:
    (pid,) = pool.worker_pids
    async with pool.decode_frames(clip, LONG_SPEC, timeout=20) as job:
        await anext(job)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(InvalidMedia, match="crashed"):
            _ = [batch async for batch in job]
    assert await count_frames(pool, clip) == 8
    assert pool.worker_pids != (pid,)


async def test_a_worker_that_died_while_idle_costs_nothing(pool: DecodePool, clip: Path) -> None:
    (pid,) = pool.worker_pids
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not is_running(pid))
    assert await count_frames(pool, clip) == 8


async def test_a_hang_costs_one_request(clip: Path) -> None:
    async with DecodePool(1, time_limit_seconds=0.5) as pool:
        (pid,) = pool.worker_pids
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(InvalidMedia, match=r"longer than the limit of 0\.5 s"):
            await count_frames(pool, clip)
        assert await count_frames(pool, clip) == 8
        assert not is_running(pid)


async def test_the_consumers_own_time_does_not_count_as_decoding(clip: Path) -> None:
    async with DecodePool(1, time_limit_seconds=2) as pool, pool.decode_frames(clip, LONG_SPEC) as job:
        started = time.monotonic()
        async for _ in job:
            await asyncio.to_thread(time.sleep, 0.4)
        assert time.monotonic() - started > 2


async def test_a_deadline_ends_a_job_and_the_worker_is_replaced_when_it_does_not_stop(
    pool: DecodePool, clip: Path
) -> None:
    (pid,) = pool.worker_pids
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await count_frames(pool, clip, timeout=0.2)
    assert time.monotonic() - started < 0.2 + CANCEL_GRACE_SECONDS
    assert await count_frames(pool, clip) == 8
    assert not is_running(pid)


async def test_a_deadline_also_ends_the_wait_for_a_worker(pool: DecodePool, clip: Path) -> None:
    async with pool.decode_frames(clip, LONG_SPEC, timeout=20):
        with pytest.raises(DeadlineExceeded, match="no decoder became free"):
            await count_frames(pool, clip, timeout=0.1)
    assert await count_frames(pool, clip) == 8


async def test_a_deadline_that_is_over_asks_for_nothing(pool: DecodePool, clip: Path) -> None:
    with pytest.raises(DeadlineExceeded):
        await count_frames(pool, clip, timeout=0)


async def test_leaving_early_stops_the_work_and_keeps_the_worker(pool: DecodePool, clip: Path) -> None:
    pids = pool.worker_pids
    for _ in range(5):
        async with pool.decode_frames(clip, LONG_SPEC, timeout=20) as job:
            await anext(job)
    assert await count_frames(pool, clip) == 8
    assert pool.worker_pids == pids


async def test_a_cancelled_request_frees_its_worker(pool: DecodePool, clip: Path) -> None:
    async def read_and_stay() -> None:
        async with pool.decode_frames(clip, LONG_SPEC) as job:
            await anext(job)
            entered.set()
            await asyncio.Event().wait()

    entered = asyncio.Event()
    pids = pool.worker_pids
    request = asyncio.create_task(read_and_stay())
    await entered.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert await count_frames(pool, clip) == 8
    assert pool.worker_pids == pids


async def test_a_cancelled_wait_leaves_no_trace(pool: DecodePool, clip: Path) -> None:
    async with pool.decode_frames(clip, LONG_SPEC, timeout=20):
        waiting = [asyncio.create_task(count_frames(pool, clip)) for _ in range(3)]
        await until(lambda: pool._waiting == 3)
        waiting[0].cancel()
        waiting[2].cancel()
        await until(lambda: pool._waiting == 1)
    assert await waiting[1] == 8
    assert await count_frames(pool, clip) == 8


async def test_more_waiting_requests_than_the_queue_holds_are_refused(clip: Path) -> None:
    async with DecodePool(1, queue_limit=2) as pool:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(pool.decode_frames(clip, LONG_SPEC))
            waiting = [asyncio.create_task(count_frames(pool, clip)) for _ in range(2)]
            await until(lambda: pool._waiting == 2)
            with pytest.raises(QueueFull, match="try again later"):
                await count_frames(pool, clip)
        assert await asyncio.gather(*waiting) == [8, 8]


async def test_many_requests_at_once_are_all_answered(clip: Path) -> None:
    async with DecodePool(2) as pool:
        assert await asyncio.gather(*(count_frames(pool, clip) for _ in range(12))) == [8] * 12


async def test_a_file_that_needs_too_much_memory_is_refused_and_the_next_is_not(
    clip: Path, tmp_path: Path
) -> None:
    large = write_clip(tmp_path / "large.mp4", [np.zeros((4320, 7680, 3), np.uint8)] * 3)
    async with DecodePool(1, memory_limit_bytes=100 << 20) as pool:
        with pytest.raises((MediaTooLarge, InvalidMedia), match=r"too large|memory"):
            await count_frames(pool, large)
        assert await count_frames(pool, clip) == 8


async def test_closing_leaves_no_process_and_no_shared_memory(clip: Path) -> None:
    before = set(os.listdir("/dev/shm")), len(os.listdir("/proc/self/fd"))
    pool = DecodePool(2)
    await pool.start()
    pids = pool.worker_pids
    assert len(pids) == 2
    await count_frames(pool, clip)
    async with pool.decode_frames(clip, LONG_SPEC) as job:
        await anext(job)
        await pool.close()
        with pytest.raises(Unavailable):
            _ = [batch async for batch in job]
    with pytest.raises(Unavailable):
        await count_frames(pool, clip)
    assert not any(is_running(pid) for pid in pids)
    await until(lambda: (set(os.listdir("/dev/shm")), len(os.listdir("/proc/self/fd"))) == before)


async def test_what_a_worker_has_said_before_the_pool_was_closed_is_not_read(clip: Path) -> None:
    pool = DecodePool(1)
    await pool.start()
    (worker,) = pool._workers
    async with pool.decode_frames(clip, LONG_SPEC) as job:
        # Its next batches are told already.
        await until(lambda: worker._output._buffer.count(b"\n") > 1)  # type: ignore[attr-defined]
        await pool.close()
        with pytest.raises(Unavailable):
            await anext(job)


async def test_closing_ends_the_wait_for_a_worker(clip: Path) -> None:
    pool = DecodePool(1)
    await pool.start()
    async with pool.decode_frames(clip, LONG_SPEC):
        waiting = [asyncio.create_task(count_frames(pool, clip, timeout=None)) for _ in range(2)]
        await until(lambda: pool._waiting == 2)
        await pool.close()
        for request in waiting:
            with pytest.raises(Unavailable):
                await request


async def test_memory_of_a_job_is_given_back(pool: DecodePool, clip: Path) -> None:
    large = FrameSpec(width=640, height=480, frames_per_second=25.0)
    assert await count_frames(pool, clip, large) == 100
    (worker,) = pool._workers
    assert os.fstat(worker._shared_file).st_size == 0


def test_workers_end_with_their_parent(clip: Path) -> None:
    program = (
        "import asyncio, os, signal\n"
        "from kinoscore.media.pool import DecodePool\n"
        "async def main():\n"
        "    pool = DecodePool(2)\n"
        "    await pool.start()\n"
        "    print(*pool.worker_pids, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    pids = [int(pid) for pid in parent.stdout.split()]
    assert parent.returncode == -signal.SIGKILL
    assert len(pids) == 2
    asyncio.run(until(lambda: not any(is_running(pid) for pid in pids)))


async def test_signals_to_the_whole_group_leave_workers_to_the_pool(pool: DecodePool, clip: Path) -> None:
    for pid in pool.worker_pids:
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    pids = pool.worker_pids
    assert await count_frames(pool, clip) == 8
    assert pool.worker_pids == pids


def test_the_pool_itself_loads_no_codec() -> None:
    program = "import sys, kinoscore.media.pool; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
