"""Reads and writes the rows of docs/measured/rows: what a command printed, of which code.

A file holds the runs of one code. Code is compared by its fingerprint, in which comments,
docstrings and formatting do not count, so that a reworded sentence does not make a measurement
old. A run of other code replaces those that were there; git has them still.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

Run = dict[str, Any]
"""One call of a command: its conditions, its seed where it has one, and `rows`."""
Measured = dict[str, Any]
"""What a file holds: `about`, `command`, and `runs`, oldest first."""

ROOT: Final = Path(__file__).resolve().parents[3]
ROWS: Final = ROOT / "docs" / "measured" / "rows"
PACKAGES: Final = ("models", "stream")
VECTORS: Final = (
    ("amx_tile", "AMX"),
    ("avx512_bf16", "AVX-512 with bfloat16"),
    ("avx512f", "AVX-512"),
    ("avx2", "AVX2"),
)
"""Flags of a processor and their names, the widest first: they decide which kernels torch takes."""


def load(name: str, folder: Path = ROWS) -> Measured | None:
    """Returns what the file of this name holds, or None where nothing was measured."""
    place = folder / f"{name}.json"
    return json.loads(place.read_text(encoding="utf-8")) if place.exists() else None


def append(name: str, about: str, command: str, run: Run, folder: Path = ROWS) -> None:
    """Adds a run to the file of this name, in place of runs of other code and of the same seed."""
    found = load(name, folder)
    kept = [
        each
        for each in (found["runs"] if found else [])
        if each["code"] == run["code"] and each.get("seed") != run.get("seed", ...)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(
        {"about": about, "command": command, "runs": [*kept, run]}, indent=1, ensure_ascii=False
    )
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def has_run(name: str, seed: int | None, code: str, folder: Path = ROWS) -> bool:
    """Returns whether this code was measured already with this seed."""
    found = load(name, folder)
    return found is not None and any(
        (run["code"], run.get("seed")) == (code, seed) for run in found["runs"]
    )


def conditions(code: str) -> Run:
    """Returns what has to be known of a figure: commit, code, date, machine and libraries."""
    return {
        "commit": _commit(),
        "code": code,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def machine() -> dict[str, Any]:
    """Returns the processor, its vector instructions and the cores that this process may use."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if _is_linux() else []
    known = dict(line.replace("\t", "").split(": ", 1) for line in lines if ": " in line)
    flags = set(known.get("flags", "").split())
    return {
        "processor": known.get("model name", platform.processor() or platform.machine()),
        "vector": next((name for flag, name in VECTORS if flag in flags), "none known"),
        "cores": len(os.sched_getaffinity(0)) if _is_linux() else os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
    }


def fingerprint(root: Path = ROOT) -> str:
    """Returns 12 hex digits that name the code of the packages, whatever its comments say."""
    found = sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found.update(path.relative_to(root).as_posix().encode())
            found.update(ast.dump(_without_docstrings(tree)).encode())
        for path in sorted((root / package).rglob("manifest.json")):  # the shipped model's weights
            found.update(path.read_bytes())
    return found.hexdigest()[:12]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    """Removes statements that are nothing but a string, wherever they stand."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _is_string(each)]  # type: ignore[attr-defined]
    return tree


def _is_string(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _commit() -> str:
    """Returns the last commit of the packages, and whether they have been changed since."""
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *PACKAGES)
    return _git("log", "-1", "--format=%h", "--", *PACKAGES) + "-changed" * bool(changed)


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _is_linux() -> bool:
    return platform.system() == "Linux"
