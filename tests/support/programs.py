"""Runs programs as they stand on a page, as processes of their own or in this one."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from tests.support.pages import blocks
from tests.support.pipelines import PATIENCE_S


def shown_on(page: str, address: str, instead: str) -> list[str]:
    """Returns the programs of a page that name an address, with another one instead."""
    programs = [program for program in blocks(page, "python") if address in program]
    return [program.replace(address, instead) for program in programs]


def printed(program: str) -> str:
    """Returns what a program prints, run in this process."""
    with redirect_stdout(io.StringIO()) as out:
        exec(program, {"__name__": "__main__"})
    return out.getvalue()


def finished(program: str) -> str:
    """Returns what a program prints, run in a process of its own; fails if that failed."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@contextmanager
def running(program: str, log: Path) -> Iterator[None]:
    """Runs a program that never ends, until Ctrl-C."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", program], stdout=out, stderr=subprocess.DEVNULL
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)
