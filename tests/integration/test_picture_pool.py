"""Single pictures in real decoder processes: none costs another one, and nothing is left behind."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
from support.media_files import encode_picture, noise_frames
from support.pictures import decoded
from support.waiting import until

from kinoscore.errors import InvalidMedia, KinoscoreError, MediaTooLarge, Unavailable
from kinoscore.media import picture_pool
from kinoscore.media.picture_channel import SLOT_BYTES, SLOTS, SharedSlots
from kinoscore.media.picture_pool import Picture, PictureProcesses, Pixels
from kinoscore.media.process import anonymous_file
from kinoscore.media.types import FrameSpec, Limits, PictureFormat

SPEC = FrameSpec(width=32, height=20, frames_per_second=2.0)
LIMITS = Limits(max_pixels=1 << 20)
MEMORY = 512 << 20


def pictures(count: int) -> list[Picture]:
    return [
        Picture(PictureFormat.JPEG, encode_picture(frame, "mjpeg", "yuvj444p"))
        for frame in noise_frames(count)
    ]


def assert_decoded(answers: Sequence[Pixels | KinoscoreError], given: Sequence[Picture]) -> None:
    for answer, picture in zip(answers, given, strict=True):
        assert not isinstance(answer, KinoscoreError), answer
        assert np.array_equal(answer, decoded(picture, SPEC, LIMITS))


@pytest.fixture
async def processes() -> AsyncIterator[PictureProcesses]:
    processes = PictureProcesses(1, MEMORY)
    yield processes
    await processes.close()


async def test_pixels_are_those_of_this_process_whatever_the_format(processes: PictureProcesses) -> None:
    (frame,) = noise_frames(1)
    raw = Picture(PictureFormat.RGB24, frame.tobytes(), frame.shape[1], frame.shape[0])
    given = [raw, *pictures(2)]
    assert_decoded(await processes.decode(given, SPEC, LIMITS), given)


async def test_more_pictures_than_slots_wait_for_their_turn(processes: PictureProcesses) -> None:
    given = pictures(3 * SLOTS)
    together = asyncio.gather(*(processes.decode(given, SPEC, LIMITS) for _ in range(2)))
    for answers in await together:
        assert_decoded(answers, given)


async def test_a_bad_picture_is_told_among_good_ones(processes: PictureProcesses) -> None:
    good, large = pictures(1)[0], Picture(PictureFormat.RGB24, b"", 2000, 2000)
    bad = Picture(PictureFormat.JPEG, b"no picture")
    answers = await processes.decode([bad, good, large], SPEC, LIMITS)
    assert_decoded(answers[1:2], [good])
    assert isinstance(answers[0], InvalidMedia)
    assert "not a JPEG" in answers[0].message
    assert isinstance(answers[2], MediaTooLarge)


async def test_a_picture_that_fits_in_no_slot_is_refused(processes: PictureProcesses) -> None:
    (answer,) = await processes.decode([Picture(PictureFormat.JPEG, bytes(SLOT_BYTES + 1))], SPEC, Limits())
    assert isinstance(answer, MediaTooLarge)
    assert processes.pids == ()


async def paused(processes: PictureProcesses) -> int:
    """The only process, which does nothing until it is killed."""
    await processes.decode(pictures(1), SPEC, LIMITS)
    (pid,) = processes.pids
    os.kill(pid, signal.SIGSTOP)
    return pid


async def test_pictures_of_a_lost_process_are_decoded_by_another(processes: PictureProcesses) -> None:
    pid, given = await paused(processes), pictures(4)
    decoding = asyncio.create_task(processes.decode(given, SPEC, LIMITS))
    await until(lambda: processes._processes[0].waiting == 4)
    os.kill(pid, signal.SIGKILL)
    assert_decoded(await decoding, given)
    assert processes.pids != (pid,)


async def test_a_picture_that_crashes_its_decoder_too_often_is_refused_and_those_behind_it_are_not(
    processes: PictureProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_pool, "_MOST_CRASHES", 1)
    pid, given = await paused(processes), pictures(3)
    decoding = asyncio.create_task(processes.decode(given, SPEC, LIMITS))
    await until(lambda: processes._processes[0].waiting == 3)
    os.kill(pid, signal.SIGKILL)
    answers = await decoding
    assert isinstance(answers[0], InvalidMedia)
    assert "crashed" in answers[0].message
    assert_decoded(answers[1:], given[1:])


async def test_a_picture_that_hangs_its_decoder_is_refused_and_those_behind_it_are_not(
    processes: PictureProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_pool, "HANG_SECONDS", 0.2)
    await paused(processes)
    given = pictures(3)
    answers = await processes.decode(given, SPEC, LIMITS)
    assert isinstance(answers[0], InvalidMedia)
    assert "took longer" in answers[0].message
    assert_decoded(answers[1:], given[1:])


async def test_callers_that_leave_free_their_slots(processes: PictureProcesses) -> None:
    pid = await paused(processes)
    leaving = [asyncio.create_task(processes.decode(pictures(1), SPEC, LIMITS)) for _ in range(SLOTS)]
    await until(lambda: processes._processes[0].waiting == SLOTS)
    for task in leaving:
        task.cancel()
    await asyncio.wait(leaving)
    os.kill(pid, signal.SIGCONT)
    given = pictures(SLOTS)
    assert_decoded(await processes.decode(given, SPEC, LIMITS), given)


async def test_closing_ends_the_wait_and_leaves_no_process_and_no_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    processes = PictureProcesses(2, MEMORY)
    await paused(processes)
    decoding = asyncio.create_task(processes.decode(pictures(2), SPEC, LIMITS))
    await until(lambda: bool(processes._processes[0].waiting))
    pids = processes.pids
    await processes.close()
    with pytest.raises(Unavailable):
        await decoding
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    await until(lambda: len(os.listdir("/proc/self/fd")) == before)


def test_the_memory_of_a_large_picture_is_given_back() -> None:
    file = anonymous_file()
    try:
        os.ftruncate(file, SLOTS * SLOT_BYTES)
        slots = SharedSlots(file)
        slots.write(3, bytes(8 << 20))
        held = 512 * os.fstat(file).st_blocks
        slots.forget(3, 8 << 20)
        assert held >= 8 << 20
        assert 512 * os.fstat(file).st_blocks <= 1 << 20
    finally:
        os.close(file)
