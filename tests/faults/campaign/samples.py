"""Samples what living workers use while a run goes on, and says whether it grows.

RSS, descriptors, threads, asyncio tasks.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson

EVERY_S: Final = 10.0
KINDS: Final = ("rss_mb", "descriptors", "threads", "tasks")


def usage(pid: int) -> dict[str, float]:
    """Returns RSS in MB (10^6 bytes), open descriptors and threads of a process.

    Raises OSError if it is gone.
    """
    fields = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        if ":" in line
    )
    if "VmRSS" not in fields:
        raise ProcessLookupError(pid)  # a zombie of the system's kind
    return {
        "rss_mb": int(fields["VmRSS"].split()[0]) * 1024 / 1e6,
        "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "threads": int(fields["Threads"]),
    }


class Samples:
    """Samples the living processes in a thread, every 10 s.

    It asks for them, name to pid, and writes a line of JSON for each.
    """

    def __init__(self, living: Callable[[], dict[str, int]], path: Path) -> None:
        self._living, self._path = living, path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> list[dict[str, Any]]:
        """All samples, in their order."""
        self._stop.set()
        self._thread.join(10)
        return (
            [orjson.loads(line) for line in self._path.read_bytes().splitlines()]
            if self._path.exists()
            else []
        )

    def _run(self) -> None:
        with self._path.open("ab", buffering=0) as lines:
            while not self._stop.wait(EVERY_S):
                for name, pid in self._living().items():
                    with suppress(OSError):
                        lines.write(
                            orjson.dumps({"at_s": time.monotonic(), "worker": name, **usage(pid)})
                            + b"\n"
                        )


def slopes(samples: Sequence[dict[str, Any]], warm_up_s: float) -> dict[str, dict[str, float]]:
    """Returns of each kind what one worker's samples after the warm-up show.

    First, last, most, slope an hour and its 95 % interval.
    """
    begin = min((each["at_s"] for each in samples), default=0.0) + warm_up_s
    found = {}
    for kind in KINDS:
        points = [
            (each["at_s"], each[kind]) for each in samples if kind in each and each["at_s"] >= begin
        ]
        if len(points) > 2:
            slope, half = line(points)
            values = [value for _, value in points]
            found[kind] = {
                "samples": len(points),
                "hours": round((points[-1][0] - points[0][0]) / 3600, 3),
                "first": round(values[0], 1),
                "last": round(values[-1], 1),
                "most": round(max(values), 1),
                "per_hour": round(slope * 3600, 3),
                "half_width": round(half * 3600, 3),
            }
    return found


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Fits a line by least squares through (s, value).

    Returns slope per second and 1.96 standard errors, residuals taken as independent.
    """
    count = len(points)
    mean_x, mean_y = (sum(point[axis] for point in points) / count for axis in (0, 1))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    return slope, 1.96 * math.sqrt(rest / (count - 2) / spread)
