"""Lets go of pages of a weights file that was read from end to end when a model was loaded.

The file is mapped: what is touched of it stays in this process until the system needs the memory.
To check every number, and to multiply the tables of a network, touches all of it once; what is let
go is read again from the system's cache when it is asked for. Where there is no /proc, nothing is
done.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

from torch import Tensor

MAPS: Final = Path("/proc/self/maps")
DONT_NEED: Final = 4
"""MADV_DONTNEED of Linux. Of a mapped file it costs nothing; other memory would be lost."""


def let_go(tensor: Tensor, path: Path) -> bool:
    """Lets go of the mapped file that a tensor lies in; returns False where it lies in none.

    path: of that file. Nothing may have been written into its tensors yet.
    """
    place = _mapping(tensor.data_ptr(), path)
    if place is None:
        return False
    start, end = place
    madvise = ctypes.CDLL(None).madvise
    return bool(madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), DONT_NEED) == 0)


def _mapping(address: int, path: Path) -> tuple[int, int] | None:
    """Returns where the mapping of a file begins and ends that has an address in it."""
    try:
        lines, wanted = MAPS.read_text(encoding="utf-8", errors="replace"), path.stat()
    except OSError:
        return None
    for line in lines.splitlines():
        # 7f0c2a000000-7f0c2b000000 rw-p 00000000 fd:01 1234567    /models/weights.safetensors
        span, _, _, device, inode = line.split(maxsplit=5)[:5]
        start, end = (int(each, 16) for each in span.split("-"))
        if start <= address < end:
            major, minor = (int(each, 16) for each in device.split(":"))
            same = (major, minor) == (os.major(wanted.st_dev), os.minor(wanted.st_dev))
            return (start, end) if same and int(inode) == wanted.st_ino else None
    return None
