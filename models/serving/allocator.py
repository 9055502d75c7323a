"""Keeps the memory that tensors leave behind in this process.

A scoring pass and a training step make and drop tensors of megabytes all the time. glibc gives such
memory back to the system and asks for it anew, a page fault for every 4 KB: a tenth to a quarter of
a pass (docs/measured/logs/speed.md). Where the C library is another one, nothing is changed.
"""

from __future__ import annotations

import ctypes
from typing import Final

TRIM_THRESHOLD: Final = -1, 256 << 20
"""Freed memory at the end of the heap that is kept, in bytes."""
MMAP_THRESHOLD: Final = -3, 32 << 20
"""Smaller pieces come from the heap; the largest that glibc allows."""
ARENAS: Final = -8, 1
"""A thread's own arena is made of heaps of 64 MB, which come and go.

Only the main one keeps what was freed.
"""


def keep_freed_memory() -> bool:
    """Keeps freed memory from now on; returns False where the C library is not glibc.

    It has to be called early: threads that run already keep their own arenas.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(
        mallopt(name, value) == 1 for name, value in (TRIM_THRESHOLD, MMAP_THRESHOLD, ARENAS)
    )
