"""The sound of tracks where their source URIs say: on this machine, on the web, or in S3."""

import asyncio
import errno
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from kinoscore.cli.catalogue_files import local_path
from kinoscore.errors import FailedPrecondition, KinoscoreError, MediaTooLarge, NotFound, StorageFull

__all__ = ["source_file"]

_PACKAGES = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs"}
_PIECE_BYTES = 1 << 20
# The server has a limit of its own; this one keeps an endless stream from filling the disk.
_MOST_BYTES = 1 << 32


@asynccontextmanager
async def source_file(uri: str) -> AsyncIterator[Path]:
    """The file that a source URI names: a path, `file://`, `http(s)://` or `s3://`; what is remote is fetched
    into a temporary file.

    Raises:
        NotFound: there is no URI, or no such file.
        FailedPrecondition: the file cannot be reached, or the package for its kind of URI is not installed.
        StorageFull: there is no room for the temporary file.
        MediaTooLarge: it is larger than anything that can be indexed.
    """
    scheme = urlsplit(uri).scheme
    if not uri:
        raise NotFound("where the sound is was never told")
    if scheme in _PACKAGES:
        with tempfile.TemporaryDirectory(prefix="kinoscore-") as folder:
            path = Path(folder) / "source"
            await _fetch(uri, path)
            yield path
        return
    local = local_path(uri) if scheme else Path(uri)
    if local is None:
        raise FailedPrecondition(f"{uri}: only paths, file://, http(s):// and s3:// can be read")
    if not await asyncio.to_thread(local.is_file):
        raise NotFound(f"{local}: no such file")
    yield local


async def _fetch(uri: str, destination: Path) -> None:
    try:
        source = await asyncio.to_thread(_open, uri)
        with destination.open("wb") as file:
            try:
                await _copy(source, file, uri)
            finally:
                await asyncio.to_thread(source.close)
    except KinoscoreError:
        raise
    except Exception as error:  # Each of fsspec's file systems has errors of its own.
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"the disk of {destination.parent} is full; make room there") from error
        # Its HTTP file system says FileNotFoundError of a server that does not answer, too.
        cause = error.__cause__ or error
        text = " ".join(str(cause).split()) or type(cause).__name__
        kind = NotFound if isinstance(error, FileNotFoundError) else FailedPrecondition
        raise kind(f"{uri}: cannot be fetched ({text[:200]})") from error


def _open(uri: str) -> Any:
    import fsspec

    try:
        return fsspec.open(uri, "rb").open()
    except ImportError as error:
        package = _PACKAGES[urlsplit(uri).scheme]
        raise FailedPrecondition(
            f"{uri}: needs the package {package}; install it with `pip install 'kinoscore[remote]'`"
        ) from error


async def _copy(source: Any, destination: IO[bytes], uri: str) -> None:
    size = 0
    while piece := await asyncio.to_thread(source.read, _PIECE_BYTES):
        size += len(piece)
        if size > _MOST_BYTES:
            raise MediaTooLarge(f"{uri}: larger than {_MOST_BYTES >> 30} GiB")
        await asyncio.to_thread(destination.write, piece)
