"""The lock is installed as it is, or with torch alone from another index. pip is a script here."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOCKS = (ROOT / "requirements.lock", ROOT / "deploy" / "requirements.lock")
PIP = '#!/bin/sh\necho "$*"\nfor word in "$@"; do [ -f "$word" ] && cat "$word"; done; true\n'


def installed(tmp_path: Path, *words: str) -> str:
    pip = tmp_path / "pip"
    pip.write_text(PIP)
    pip.chmod(0o755)
    return subprocess.run(
        ["sh", str(ROOT / "deploy" / "install_locked.sh"), *words],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout


@pytest.mark.parametrize("lock", LOCKS, ids=["development", "image"])
def test_without_an_index_the_whole_lock_is_installed_by_its_hashes(
    tmp_path: Path, lock: Path
) -> None:
    said = installed(tmp_path, str(lock))
    assert said == f"install --no-deps --require-hashes -r {lock}\n{lock.read_text()}"


@pytest.mark.parametrize("lock", LOCKS, ids=["development", "image"])
def test_with_an_index_torch_comes_from_there_and_the_rest_by_its_hashes(
    tmp_path: Path, lock: Path
) -> None:
    said = installed(tmp_path, str(lock), "https://index.invalid/simple").splitlines()
    names = re.findall(r"^([a-z0-9-]+)==", lock.read_text(), re.MULTILINE)
    version = re.search(r"^torch==([^ ;]+)", lock.read_text(), re.MULTILINE)
    assert version is not None
    assert said[0] == (
        f"install --no-deps --index-url https://index.invalid/simple torch=={version[1]}"
    )
    assert said[1].startswith("install --no-deps --require-hashes -r ")
    kept = [line.partition("==")[0] for line in said[2:] if re.match(r"[a-z0-9-]+==", line)]
    left_out = [name for name in names if name not in kept]
    assert kept == [name for name in names if name not in left_out]
    assert {"torch", "triton", "nvidia-cublas", "cuda-bindings"} <= set(left_out)
    assert all(re.match(r"torch$|triton$|nvidia-|cuda-", name) for name in left_out)
    assert len(re.findall("--hash=", "\n".join(said))) >= len(kept)
