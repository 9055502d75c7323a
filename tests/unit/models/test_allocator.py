"""A process that has been told to keeps freed memory, and one with another C library runs as before."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from models import allocator

HELD = """
import ctypes, threading
import torch
from models.allocator import keep_freed_memory

class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Mallinfo2
if {kept}:
    assert keep_freed_memory()
thread = threading.Thread(target=lambda: [torch.ones(5 << 20) for _ in range(6)])
thread.start()
thread.join()
print(mallinfo2().arena)
"""
"""What the heap has from the system after a thread made and dropped 120 MB in pieces of 20."""


def held_mb(*, kept: bool) -> int:
    code = HELD.format(kept=kept)
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout) >> 20


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="not a glibc that tells")
def test_what_a_thread_freed_is_kept_for_the_next_pass() -> None:
    """Page faults themselves depend on where the pieces happened to lie."""
    before = held_mb(kept=False)
    assert held_mb(kept=True) > before + 110


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not allocator.keep_freed_memory()
