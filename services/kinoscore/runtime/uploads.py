"""Receives uploads: a stream of settings, then of chunks of one media file or of single frames.

Bytes are spooled to a temporary file, which is gone when the upload is left.
"""

import asyncio
import errno
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, Literal, Protocol, TypeVar

from kinoscore.errors import FailedPrecondition, InvalidMedia, InvalidRequest, MediaTooLarge, StorageFull
from kinoscore.runtime.requests import first_settings
from kinoscore.v1 import common_pb2

__all__ = ["SpooledFile", "Upload", "UploadMessage", "UploadSettings"]

# Chunks are gathered up to this size: one trip to a writer thread for many small messages.
_WRITE_BYTES = 1024 * 1024


class UploadSettings(Protocol):
    """What the first message of every upload holds, among other things."""

    @property
    def total_bytes(self) -> int: ...


SettingsT_co = TypeVar("SettingsT_co", bound=UploadSettings, covariant=True)


class UploadMessage(Protocol[SettingsT_co]):
    """One message of an upload: `part` is `settings` or `chunk`."""

    @property
    def settings(self) -> SettingsT_co: ...
    @property
    def chunk(self) -> common_pb2.MediaChunk: ...
    def WhichOneof(self, oneof_group: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """An upload on disk.

    Attributes:
        path: the file, until the upload is left.
        size: bytes.
    """

    path: Path
    size: int


class Upload(Generic[SettingsT_co]):
    """Reads one upload, in the order `settings`, `form`, then either `spooled` or `frames`.

    Args:
        messages: the request stream.
        max_bytes: the most that the chunks may hold together.
    """

    def __init__(self, messages: AsyncIterator[UploadMessage[SettingsT_co]], *, max_bytes: int) -> None:
        self._messages = messages
        self._max_bytes = max_bytes
        self._announced_bytes = 0
        self._received_bytes = 0
        self._first_chunk: common_pb2.MediaChunk | None = None

    async def settings(self) -> SettingsT_co:
        """The settings, from the first message.

        Raises:
            InvalidRequest: as `first_settings`.
            MediaTooLarge: more bytes are announced than may come.
        """
        settings: SettingsT_co = await first_settings(self._messages)
        self._announced_bytes = settings.total_bytes
        if self._announced_bytes > self._max_bytes:
            raise self._too_large(self._announced_bytes)
        return settings

    async def form(self) -> Literal["data", "frame"]:
        """How the media comes: as the bytes of a file, or as single frames.

        Raises:
            InvalidMedia: nothing comes.
            InvalidRequest: a message that is not a chunk.
        """
        self._first_chunk = await self._next_chunk()
        if self._first_chunk is None:
            raise InvalidMedia(
                "the upload holds no media: the stream ended after the settings", field="chunk"
            )
        return "data" if self._first_chunk.WhichOneof("form") == "data" else "frame"

    @asynccontextmanager
    async def spooled(self, folder: Path) -> AsyncIterator[SpooledFile]:
        """The whole file on disk in `folder`; it is removed when the block is left.

        Raises:
            InvalidMedia: the chunks are empty.
            InvalidRequest: a second settings message, frames among bytes, or other than the announced bytes.
            MediaTooLarge: more bytes than may come.
            StorageFull: the disk is full.
            FailedPrecondition: the folder cannot be written.
        """
        path = folder / f"kinoscore-upload-{secrets.token_hex(16)}"
        try:
            await _in_thread(_create_file, path)
            size = await self._spool(path)
            yield SpooledFile(path, size)
        finally:
            # Neither is there when the folder itself could not be made.
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()

    async def frames(self) -> AsyncIterator[common_pb2.Frame]:
        """The frames as they come.

        Raises:
            InvalidRequest: a second settings message, bytes among frames, or other than the announced bytes.
            MediaTooLarge: more bytes than may come.
        """
        async for chunk in self._chunks("frame"):
            self._count(len(chunk.frame.data))
            yield chunk.frame
        self._check_complete()

    async def _spool(self, path: Path) -> int:
        waiting: list[bytes] = []
        waiting_bytes = 0
        with open(path, "wb", buffering=0) as file:  # noqa: ASYNC230 - opening our own fresh file does not wait
            async for chunk in self._chunks("data"):
                self._count(len(chunk.data))
                waiting.append(chunk.data)
                waiting_bytes += len(chunk.data)
                if waiting_bytes >= _WRITE_BYTES:
                    await _in_thread(_write, file, waiting)
                    waiting, waiting_bytes = [], 0
            await _in_thread(_write, file, waiting)
        self._check_complete()
        if self._received_bytes == 0:
            raise InvalidMedia("the upload holds no media: every chunk is empty", field="chunk.data")
        return self._received_bytes

    async def _chunks(self, form: Literal["data", "frame"]) -> AsyncIterator[common_pb2.MediaChunk]:
        chunk = self._first_chunk
        self._first_chunk = None
        while chunk is not None:
            if chunk.WhichOneof("form") != form:
                raise InvalidRequest("an upload holds either bytes or frames, not both", field="chunk")
            yield chunk
            chunk = await self._next_chunk()

    async def _next_chunk(self) -> common_pb2.MediaChunk | None:
        message = await anext(self._messages, None)
        if message is None:
            return None
        part = message.WhichOneof("part")
        if part == "settings":
            raise InvalidRequest("settings came twice; send them in the first message only", field="settings")
        if part != "chunk" or message.chunk.WhichOneof("form") is None:
            raise InvalidRequest("a message is empty; every one after the first holds a chunk", field="chunk")
        return message.chunk

    def _count(self, size: int) -> None:
        self._received_bytes += size
        if self._received_bytes > self._max_bytes:
            raise self._too_large(self._received_bytes)
        if self._announced_bytes and self._received_bytes > self._announced_bytes:
            raise InvalidRequest(
                f"more bytes came than the {self._announced_bytes} announced", field="settings.total_bytes"
            )

    def _check_complete(self) -> None:
        if self._announced_bytes and self._received_bytes != self._announced_bytes:
            raise InvalidRequest(
                f"the stream ended after {self._received_bytes} of {self._announced_bytes} announced bytes",
                field="settings.total_bytes",
            )

    def _too_large(self, size: int) -> MediaTooLarge:
        return MediaTooLarge(
            f"the upload has {size} bytes or more, and {self._max_bytes} are allowed; send a smaller file",
            field="settings.total_bytes",
            metadata={"limit": str(self._max_bytes)},
        )


async def _in_thread(work: Callable[..., None], *arguments: object) -> None:
    """`asyncio.to_thread`, but a caller who is cancelled waits: the work must not outlive its file."""
    working = asyncio.create_task(asyncio.to_thread(work, *arguments))
    try:
        await asyncio.shield(working)
    finally:
        await asyncio.wait([working])


def _create_file(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise _storage_error(error, path.parent) from error


def _write(file: IO[bytes], parts: list[bytes]) -> None:
    content = memoryview(b"".join(parts))
    try:
        while content:
            content = content[file.write(content) :]
    except OSError as error:
        raise _storage_error(error, Path(file.name).parent) from error


def _storage_error(error: OSError, folder: Path) -> StorageFull | FailedPrecondition:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"the disk of the spool folder {folder} is full; make room or set another folder")
    return FailedPrecondition(f"the spool folder {folder} cannot be written ({error.strerror}); set another")
