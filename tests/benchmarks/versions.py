"""Compares the throughput of two checkouts of this repository, their runs in turns.

    git worktree add /tmp/before REVISION
    interest-stream broker start
    python -m tests.benchmarks.versions /tmp/before . --runs 7

A machine changes its speed within minutes, so only the ratio of two runs that follow each other
says anything: printed is the median of those ratios, with the least and the most. Each run is
`interest-stream bench` with the checkout's own code, in this environment, on one broker.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

BENCH = ("-m", "stream.cli", "bench", "--for", "0", "--json")


def main() -> None:
    """Runs pairs until there are enough, and prints each and their median as JSON lines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--runs", type=int, default=7, help="pairs")
    parser.add_argument("--events", default="400000")
    parser.add_argument("--users", default="5000")
    parser.add_argument("--demo-model", action="store_true", help="instead of the null model")
    options = parser.parse_args()
    words = ["--events", options.events, "--users", options.users]
    words += [] if options.demo_model else ["--null-model"]
    ratios = list[float]()
    for run in range(options.runs):
        trees = (options.before, options.after)
        rates = {tree: events_per_s(tree, words) for tree in (trees if run % 2 else trees[::-1])}
        ratios.append(rates[options.after] / rates[options.before])
        say(
            before=rates[options.before],
            after=rates[options.after],
            ratio=ratios[-1],
        )
    say(median=statistics.median(ratios), least=min(ratios), most=max(ratios))


def say(**figures: float) -> None:
    """Prints a line of JSON."""
    rounded = {name: round(value, 3) for name, value in figures.items()}
    print(json.dumps(rounded), flush=True)  # noqa: T201


def events_per_s(tree: Path, words: list[str]) -> float:
    """Returns the rate of one run of a checkout; ends this program where the run failed."""
    run = subprocess.run(
        [sys.executable, *BENCH, *words],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree.resolve())},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        sys.exit(f"{tree}: {run.stderr}")
    return float(json.loads(run.stdout)["events_per_s"])


if __name__ == "__main__":
    main()
