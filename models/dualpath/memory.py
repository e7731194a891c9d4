"""What the allocator does with memory that training and decoding give back all the time."""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MOST_MAPPINGS = -1, -4
"""M_TRIM_THRESHOLD and M_MMAP_MAX of glibc's malloc.h."""
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tells glibc to keep what is freed, for the whole process; whether it does.

    Else each large tensor is given back to the system and faulted in again, page by page, at the next step:
    a quarter of the processor time of a step of the small backbones, a tenth of that of decoding a pair.
    """
    if not sys.platform.startswith("linux"):
        return False
    tune = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return tune is not None and bool(tune(_MOST_MAPPINGS, 0)) and bool(tune(_TRIM_THRESHOLD, _NEVER))
