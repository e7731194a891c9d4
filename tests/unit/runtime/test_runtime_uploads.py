"""An upload arrives whole, or is refused with the reason; nothing of it stays on disk."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kinoscore.errors import FailedPrecondition, InvalidMedia, InvalidRequest, MediaTooLarge, StorageFull
from kinoscore.runtime import uploads
from kinoscore.runtime.uploads import Upload
from kinoscore.v1 import common_pb2, video_pb2

LIMIT = 1000


def settings_message(total_bytes: int = 0) -> video_pb2.EncodeClipRequest:
    return video_pb2.EncodeClipRequest(settings=video_pb2.EncodeClipSettings(total_bytes=total_bytes))


def data_message(data: bytes) -> video_pb2.EncodeClipRequest:
    return video_pb2.EncodeClipRequest(chunk=common_pb2.MediaChunk(data=data))


def frame_message(data: bytes, timestamp: float = 0.0) -> video_pb2.EncodeClipRequest:
    frame = common_pb2.Frame(data=data, timestamp_seconds=timestamp)
    return video_pb2.EncodeClipRequest(chunk=common_pb2.MediaChunk(frame=frame))


async def stream(
    messages: Iterable[video_pb2.EncodeClipRequest],
) -> AsyncIterator[video_pb2.EncodeClipRequest]:
    for message in messages:
        yield message


async def receive(folder: Path, *messages: video_pb2.EncodeClipRequest) -> bytes:
    upload = Upload(stream(messages), max_bytes=LIMIT)
    await upload.settings()
    if await upload.form() == "frame":
        return b"".join([frame.data async for frame in upload.frames()])
    async with upload.spooled(folder) as file:
        content = file.path.read_bytes()
        assert len(content) == file.size
        return content


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(chunks=st.lists(st.binary(max_size=200), min_size=1, max_size=5).filter(any))
async def test_bytes_arrive_whole_however_they_are_cut(tmp_path: Path, chunks: list[bytes]) -> None:
    assert await receive(tmp_path, settings_message(), *map(data_message, chunks)) == b"".join(chunks)
    assert list(tmp_path.iterdir()) == []


async def test_many_small_chunks_are_written_in_few_trips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips = []
    write = uploads._write
    monkeypatch.setattr(uploads, "_write", lambda file, parts: (trips.append(len(parts)), write(file, parts)))
    await receive(tmp_path, settings_message(), *[data_message(b"x")] * 500)
    assert trips == [500]


async def test_an_empty_stream_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="stream is empty"):
        await receive(tmp_path)


async def test_a_chunk_before_the_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="first message must be the settings"):
        await receive(tmp_path, data_message(b"x"), settings_message())


async def test_settings_without_media_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidMedia, match="holds no media"):
        await receive(tmp_path, settings_message())
    with pytest.raises(InvalidMedia, match="every chunk is empty"):
        await receive(tmp_path, settings_message(), data_message(b""))


async def test_settings_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="settings came twice"):
        await receive(tmp_path, settings_message(), data_message(b"x"), settings_message())
    assert list(tmp_path.iterdir()) == []


async def test_an_empty_message_is_refused(tmp_path: Path) -> None:
    for empty in (
        video_pb2.EncodeClipRequest(),
        video_pb2.EncodeClipRequest(chunk=common_pb2.MediaChunk()),
    ):
        with pytest.raises(InvalidRequest, match="a message is empty"):
            await receive(tmp_path, settings_message(), empty)


@pytest.mark.parametrize("first_is_data", [True, False])
async def test_bytes_and_frames_do_not_mix(tmp_path: Path, first_is_data: bool) -> None:
    messages = [data_message(b"x"), frame_message(b"y")]
    with pytest.raises(InvalidRequest, match="not both"):
        await receive(tmp_path, settings_message(), *(messages if first_is_data else reversed(messages)))


async def test_an_announced_size_above_the_limit_is_refused_before_a_byte_is_read() -> None:
    asked_for = []

    async def messages() -> AsyncIterator[video_pb2.EncodeClipRequest]:
        yield settings_message(total_bytes=LIMIT + 1)
        asked_for.append("chunk")
        yield data_message(b"x")

    with pytest.raises(MediaTooLarge, match="1001 bytes") as caught:
        await Upload(messages(), max_bytes=LIMIT).settings()
    assert caught.value.metadata == {"limit": "1000"}
    assert asked_for == []


@pytest.mark.parametrize("message", [data_message(b"x" * 600), frame_message(b"x" * 600)])
async def test_more_bytes_than_the_limit_are_refused(
    tmp_path: Path, message: video_pb2.EncodeClipRequest
) -> None:
    with pytest.raises(MediaTooLarge):
        await receive(tmp_path, settings_message(), message, message)
    assert list(tmp_path.iterdir()) == []


async def test_other_than_the_announced_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="ended after 3 of 4 announced"):
        await receive(tmp_path, settings_message(4), data_message(b"abc"))
    with pytest.raises(InvalidRequest, match="more bytes came than the 2 announced"):
        await receive(tmp_path, settings_message(2), data_message(b"abc"))
    assert await receive(tmp_path, settings_message(3), data_message(b"abc")) == b"abc"


@pytest.mark.parametrize("step", ["_create_file", "_write"])
async def test_a_caller_who_leaves_while_the_disk_is_slow_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    begun, going_on = threading.Event(), threading.Event()
    work = getattr(uploads, step)

    def slow(*arguments: object) -> None:
        begun.set()
        assert going_on.wait(10)
        work(*arguments)

    monkeypatch.setattr(uploads, step, slow)
    receiving = asyncio.create_task(receive(tmp_path, settings_message(), data_message(b"x")))
    assert await asyncio.to_thread(begun.wait, 10)
    receiving.cancel()
    # What still works on the file is waited for.
    assert not (await asyncio.wait([receiving], timeout=0.05))[0]
    going_on.set()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert list(tmp_path.iterdir()) == []


async def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: object, parts: list[bytes]) -> None:
        raise uploads._storage_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), tmp_path)

    monkeypatch.setattr(uploads, "_write", full)
    with pytest.raises(StorageFull, match="make room"):
        await receive(tmp_path, settings_message(), data_message(b"x"))
    assert list(tmp_path.iterdir()) == []


async def test_really_writing_to_a_full_device_is_storage_full() -> None:
    with open("/dev/full", "wb", buffering=0) as file, pytest.raises(StorageFull):
        uploads._write(file, [b"x"])


async def test_a_spool_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(FailedPrecondition, match="spool folder"):
        await receive(file / "below", settings_message(), data_message(b"x"))
