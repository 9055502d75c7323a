"""A process that has been told to keeps freed memory, and one with another C library runs as before."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from models import allocator

FAULTS = """
import resource, threading
import torch
from models.allocator import keep_freed_memory
if {kept}:
    assert keep_freed_memory()
def passes():
    for _ in range(3):
        [torch.ones(1 << 20) for _ in range(8)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        [torch.ones(1 << 20) for _ in range(8)]
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=passes)
thread.start()
thread.join()
"""


def faults(*, kept: bool) -> int:
    code = FAULTS.format(kept=kept)
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_what_was_freed_is_used_again_without_page_faults() -> None:
    assert faults(kept=True) * 5 < faults(kept=False)


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not allocator.keep_freed_memory()
