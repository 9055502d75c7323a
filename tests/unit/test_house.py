"""The rules of the house hold over the whole tree: the quick commands of `make check`.

Types take minutes, so CI checks them beside the tests (.ci/run).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "words", [("ruff", "format", "--check"), ("ruff", "check"), ("lint-imports",)], ids=" ".join
)
def test_checks(words: tuple[str, ...]) -> None:
    check(*words)


def check(*words: str) -> None:
    tool, *rest = words
    done = subprocess.run(
        [BIN / tool, *rest], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
