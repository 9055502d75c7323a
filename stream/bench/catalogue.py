"""Measures what a catalogue of some size costs a worker, and what its candidates leave out.

A model is loaded from its directory as a worker loads it, in a process of its own, so that time and
memory are those of this model alone. It answers users with 32 recent events each, in one thread,
and once more with all items scored.
"""

from __future__ import annotations

import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.contract import Hosting
from models.predict import load_predictor
from stream.errors import Failure

ASKED: Final = {"interests": 5, "items": 10, "because": 3}
"""What a worker asks for where nothing is set."""
EXACT_USERS: Final = 256
"""Users whose exact first items are compared, at most."""
EXACT_CELLS: Final = 100_000_000
"""Users times items of the comparison: half a minute."""
ROUNDS: Final = 9
"""Times that all users are answered; the fastest counts: other programs only slow one down."""


@dataclass(frozen=True)
class CatalogueCost:
    """Holds what a catalogue of one size costs."""

    model: str
    items: int
    candidates: float  # items scored of a user, on average
    us_per_user: float  # processor time of one thread
    exact_us_per_user: float  # the same with all items scored
    recall_at_10: float  # share of the exact first ten that are among the served first ten
    load_s: float  # until the model can answer
    memory_mb: float  # most that the process had in memory, the comparison left out


def measure_catalogues(
    sizes: list[int], directories: list[Path], users: int, announce: Callable[[str], None]
) -> Iterator[CatalogueCost]:
    """Yields the cost of synthetic catalogues of some sizes, then of model directories."""
    for items in sizes:
        with tempfile.TemporaryDirectory(prefix="interest-stream-catalogue-") as folder:
            path = Path(folder) / "model"
            announce(f"{items:,} items: making a model ...")
            _apart(write_synthetic, path, items)
            announce(f"{items:,} items: loading it, and answering {users:,} users ...")
            yield _apart(_measured, path, users)
    for path in directories:
        announce(f"{path}: loading it, and answering {users:,} users ...")
        yield _apart(_measured, path, users)


def _apart(work: Callable[..., Any], *given: Any) -> Any:
    """Returns what work returns in a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, work, *given))
    process.start()
    sender.close()
    try:
        found = receiver.recv()
    except EOFError:
        process.join()
        raise Failure(
            f"the process that measured ended with {process.exitcode}; was the memory enough?"
        ) from None
    finally:
        receiver.close()
    process.join()
    return found


def _send(sender: Any, work: Callable[..., Any], *given: Any) -> None:
    """Sends what work returns."""
    sender.send(work(*given))


def write_synthetic(path: Path, items: int) -> None:
    """Writes the directory of a synthetic model."""
    from models.evaluation import synthetic_model
    from models.model_directory import write_model

    model = synthetic_model(items)
    lines = (
        {"item_id": item, "title": title, "interests": np.flatnonzero(belongs).tolist()}
        for item, title, belongs in zip(
            model.info.items, model.info.titles, model.membership[1:], strict=True
        )
    )
    write_model(path, model, catalogue=lines, report={})


def _measured(path: Path, users: int) -> CatalogueCost:
    """Returns the cost of the model of a directory."""
    from models.evaluation import wandering_users

    # loading, as a worker does it
    begun = time.perf_counter()
    predictor = load_predictor(path, threads=1, hosting=Hosting(precision="float32"))
    predictor.warm_up(**ASKED)
    load_s = time.perf_counter() - begun

    # answering
    recent = wandering_users(predictor.trained, users)
    state = predictor.rebuild(recent)
    us_per_user = _fastest(lambda: predictor.score(state, recent, **ASKED)) / users
    memory_mb = _most_memory_mb()

    # the same with all items
    exact = predictor.with_all_items()
    compared = max(8, min(users, EXACT_USERS, EXACT_CELLS // len(predictor.info.items)))
    some = slice(0, compared)
    exact_us = _fastest(lambda: exact.score(state[some], recent[some], **ASKED), 3) / compared
    served, wanted = (
        each.score(state[some], recent[some], **ASKED).item for each in (predictor, exact)
    )
    found = [
        len(np.intersect1d(mine, theirs)) / len(theirs)
        for mine, theirs in zip(served, wanted, strict=True)
    ]
    return CatalogueCost(
        model=predictor.info.name,
        items=len(predictor.info.items),
        candidates=round(predictor.items_scored(state[some], recent[some]), 1),
        us_per_user=round(us_per_user, 1),
        exact_us_per_user=round(exact_us, 1),
        recall_at_10=round(float(np.mean(found)), 4),
        load_s=round(load_s, 2),
        memory_mb=round(memory_mb, 1),
    )


def _fastest(work: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Returns the processor time of this thread that the fastest round took, in microseconds."""
    work()
    taken = []
    for _ in range(rounds):
        begun = time.thread_time()
        work()
        taken.append(time.thread_time() - begun)
    return 1e6 * min(taken)


def _most_memory_mb() -> float:
    """Returns the most that this process had in memory until now, in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return float("nan") if found is None else int(found[1]) * 1024 / 1e6
