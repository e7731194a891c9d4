"""Files of a run folder, written whole or not at all."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from dualpath.disk import is_full
from kinoscore.errors import FailedPrecondition, KinoscoreError, StorageFull

__all__ = ["PARTIAL", "make_folder", "not_written", "require_writable", "write_text_whole", "write_whole"]

PARTIAL = ".partial"
"""How the names of files end that are being written; after a crash they are rubbish."""


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Lets `write` fill a file beside `path`, brings it to the disk, and renames it.

    Whatever happens meanwhile, `path` is either the previous file or the new one.

    Raises:
        StorageFull: the disk is full; the previous file is still there.
        FailedPrecondition: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise not_written(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text_whole(path: Path, text: str) -> None:
    """The same for text in UTF-8."""
    write_whole(path, lambda file: file.write(text.encode("utf-8")))


def make_folder(folder: Path) -> None:
    """Makes it and its parents where they are missing.

    Raises:
        StorageFull, FailedPrecondition: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(folder, error) from error


def require_writable(folder: Path) -> None:
    """Before anything costs time: whether the folder can be made, or written where it is there.

    Raises:
        FailedPrecondition: it cannot.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    problem = 0
    if not there.is_dir():
        problem = errno.ENOTDIR
    elif not os.access(there, os.W_OK | os.X_OK):
        problem = errno.EACCES
    if problem:
        raise not_written(folder, OSError(problem, os.strerror(problem)))


def not_written(path: Path, error: OSError) -> KinoscoreError:
    """What to tell of a file that cannot be written."""
    if is_full(error):
        return StorageFull(
            f"cannot write {path}: {error.strerror}; what was there is kept: make room and run again, "
            "fit with --resume"
        )
    return FailedPrecondition(f"cannot write {path}: {error.strerror or error}")


def _sync_folder(folder: Path) -> None:
    """The new name survives a loss of power too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
