"""Measures the processor time that a large model takes to load, with stored cells and without.

    python -m tests.benchmarks.catalogue_load --items 200000

It writes a synthetic model, and loads it as a worker does, in a new process each time: in turns as
it was written, and without its cells.safetensors, which is what a load was before there was one.
Both have to score made-up users alike. It prints JSON: seconds of processor time, the median of the
rounds.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import click

from models.model_files import CELLS
from stream.bench.catalogue import write_synthetic

ASKED: Final = {"interests": 5, "items": 10, "because": 3}
USERS: Final = 256


def loaded(path: Path) -> tuple[float, str]:
    """Returns the processor time of a load, and a hash of what the model says of users."""
    from models.contract import Hosting
    from models.evaluation import wandering_users
    from models.predict import load_predictor

    begun = time.process_time()
    predictor = load_predictor(path, threads=1, hosting=Hosting(precision="float32"))
    spent = time.process_time() - begun
    recent = wandering_users(predictor.trained, USERS)
    scores = predictor.score(predictor.rebuild(recent), recent, **ASKED)
    said = sha256()
    for part in (scores.interest, scores.probability, scores.item, scores.item_score):
        said.update(part.tobytes())
    return spent, said.hexdigest()


@click.command()
@click.option("--items", default=200_000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(items: int, rounds: int) -> None:
    """Measure what loading a large model costs."""
    found: dict[str, list[tuple[float, str]]] = {"stored cells": [], "cells found": []}
    with tempfile.TemporaryDirectory() as folder:
        written, without = Path(folder, "written"), Path(folder, "without")
        write_synthetic(written, items)
        without.mkdir()
        for file in written.iterdir():
            if file.name != CELLS:
                os.link(file, without / file.name)
        spawn = multiprocessing.get_context("spawn")
        for _ in range(rounds):
            for name, path in zip(found, (written, without), strict=True):
                with spawn.Pool(1) as pool:
                    found[name].append(pool.apply(loaded, (path,)))
    seconds: dict[str, Any] = {
        name: round(statistics.median(spent for spent, _ in each), 2)
        for name, each in found.items()
    }
    said = {hashed for each in found.values() for _, hashed in each}
    click.echo(json.dumps({"items": items, **seconds, "same scores": len(said) == 1}))


if __name__ == "__main__":
    main()
