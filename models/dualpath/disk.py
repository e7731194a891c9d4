"""A disk that is full, by whatever the system calls it."""

import errno

__all__ = ["is_full"]

# A quota, or a limit on the size of files, is as much of an end as the disk's.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_full(error: OSError) -> bool:
    """Whether something could not be written for want of room."""
    return error.errno in _FULL
