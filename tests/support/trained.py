"""Trains the small model that several tests of a real Kafka only need to have."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Final

from tests.support import processes

USERS: Final = 60
"""Simulated users that the model is trained on."""


def join_simulated(folder: Path) -> Path:
    """Returns the directory of a model of `train --simulate`, not to be written to.

    The first process of the suite that asks for it trains it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draft, out = folder / "draft", folder / "model"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.exists():
            words = ("--simulate", str(USERS), "--epochs", "1", "--name", "model", "--restart")
            done = processes.run(["train", *words, "--out", str(draft)])
            assert done.returncode == 0, done.stderr
            draft.rename(out)
    return out
