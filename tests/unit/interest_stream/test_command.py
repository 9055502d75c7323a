"""The entry point names what hides the packages that the command line is made of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from interest_stream.command import HOME, hidden_package


def start(
    folder: Path, *words: str, pythonpath: tuple[Path, ...] = ()
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (*pythonpath, HOME)))
    return subprocess.run(
        [sys.executable, "-m", "interest_stream", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def hiding(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """What hides one of our packages: a file, a package, or a folder that only looks like one."""
    place: Path = tmp_path / request.param
    if place.suffix == ".py":
        place.write_text("")
    else:
        place.mkdir()
        (place / "weights.bin").write_text("")
        (place / "__init__.py").write_text("")
    return place


@pytest.mark.parametrize("hiding", ["stream.py", "models"], indirect=True)
def test_what_lies_in_the_current_directory_is_named(hiding: Path) -> None:
    done = start(hiding.parent, "--version")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"interest-stream: {hiding} hides the package '{hiding.stem}'")
    assert "start interest-stream from another directory, or rename or remove it" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("hiding", ["stream.py"], indirect=True)
def test_what_lies_in_pythonpath_is_named(hiding: Path) -> None:
    done = start(hiding.parent.parent, "--version", pythonpath=(hiding.parent,))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"take {hiding.parent} out of PYTHONPATH" in done.stderr


def test_nothing_is_hidden_here(tmp_path: Path) -> None:
    assert hidden_package() is None
    done = start(tmp_path, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("interest-stream, version ")
