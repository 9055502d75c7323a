"""Says how much processor time each process of a measurement has used."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def used_s(pid: int) -> float:
    """Returns the processor time that a process has used, its ended children left out."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    user, system = fields.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICKS_PER_S


def children_of(pid: int) -> list[int]:
    """Returns the processes that a process has started and that live."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(each) for each in found.split()]


def highest_memory_bytes(pid: int) -> int:
    """Returns the most memory that a process had so far (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


class Used:
    """Measures what some processes use from now on."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._before = {name: used_s(pid) for name, pid in self._pids.items()}

    def since(self) -> dict[str, float]:
        """Returns the seconds that each has used since this began, by name."""
        return {name: used_s(pid) - self._before[name] for name, pid in self._pids.items()}
