"""The folder with a user's index, owned by one process at a time.

The owner holds a lock (`flock`) on `kinoscore.lock` and writes who it is there, so that others can talk to it
where it serves, and name it where it does not. The kernel drops the lock when the owner ends, however it
ends.
"""

import errno
import fcntl
import json
import os
from pathlib import Path

from kinoscore.errors import DataFolderInUse, FailedPrecondition, KinoscoreError, StorageFull

__all__ = ["LOCK_NAME", "DataFolder"]

LOCK_NAME = "kinoscore.lock"


class DataFolder:
    """A data folder that this process owns until `release`.

    Args:
        path: made where it does not exist.
        purpose: the command that owns it, for those who find it taken.

    Raises:
        DataFolderInUse: another process owns it; `metadata` has its `pid`, `purpose` and, where it serves,
        `address`. StorageFull: the disk is full. FailedPrecondition: the folder cannot be made or written.
    """

    def __init__(self, path: Path, *, purpose: str) -> None:
        self.path = path
        self._purpose = purpose
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _not_usable(path, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _read_owner(self._lock)
            os.close(self._lock)
            raise _in_use(path, owner) from None
        self.announce("")

    def announce(self, address: str) -> None:
        """Tells others where this process serves; empty when it does not, or not yet."""
        owner = {"pid": str(os.getpid()), "purpose": self._purpose, "address": address}
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, json.dumps(owner).encode(), 0)
        except OSError as error:
            raise _not_usable(self.path, error) from error

    def release(self) -> None:
        """Lets others own the folder. The file stays: removing it would let two processes lock two files."""
        os.ftruncate(self._lock, 0)
        os.close(self._lock)


def _read_owner(lock: int) -> dict[str, str]:
    """Who holds the lock; empty while that is being written."""
    try:
        owner = json.loads(os.pread(lock, 4096, 0))
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in owner.items()} if isinstance(owner, dict) else {}


def _in_use(path: Path, owner: dict[str, str]) -> DataFolderInUse:
    who = f"`kinoscore {owner['purpose']}` (process {owner['pid']})" if "pid" in owner else "another process"
    return DataFolderInUse(
        f"the data folder {path} is in use by {who}; wait until it has ended, or choose another with --data",
        metadata=owner,
    )


def _not_usable(path: Path, error: OSError) -> KinoscoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(
            f"the disk of the data folder {path} is full; make room or choose another with --data"
        )
    return FailedPrecondition(
        f"the data folder {path} cannot be used ({error.strerror}); choose another with --data"
    )
