"""Runs the fault campaign: `python -m tests.faults.campaign --help`.

Scenarios run one after the other, each on topics of its own, on one real broker that belongs to the
campaign, or on three where they are about leaders and replicas; these come last and next to each
other, because three cost a lot of a small machine. A seed decides load and moments of faults.
Results are lines of JSON in OUT/results.jsonl, a page a run next to it, and OUT/summary.md.
Interrupt it at any time; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from stream.broker.local_kafka import LocalKafka
from tests.faults.campaign import (
    report,
    scenarios_brokers,
    scenarios_erasure,
    scenarios_inputs,
    scenarios_kafka,
    scenarios_kills,
    scenarios_members,
    scenarios_network,
    scenarios_soak,
    scenarios_transactions,
    scenarios_workers,
)
from tests.faults.campaign.clusters import cluster
from tests.faults.campaign.proxy import Proxy
from tests.faults.campaign.run import Run, write_line
from tests.faults.campaign.three_brokers import ThreeBrokers
from tests.faults.planted import BUGS, ERASURE_BUGS
from tests.support import processes

SCENARIOS = {
    **scenarios_kills.ALL,
    **scenarios_workers.ALL,
    **scenarios_members.ALL,
    **scenarios_erasure.ALL,
    **scenarios_kafka.ALL,
    **scenarios_network.ALL,
    **scenarios_inputs.ALL,
    **scenarios_transactions.ALL,
    **scenarios_soak.ALL,
    **scenarios_brokers.ALL,
}
SHORT = dict.fromkeys([name for name in SCENARIOS if name not in ("planted", "void", "S1")], 1) | {
    "W1": 2,
    "W4many": 2,
}
LONG = dict.fromkeys(SHORT, 3) | {
    "W1": 10,
    "W4many": 12,
    "W4x3": 5,
    "W10": 5,
    "N2": 5,
    "B1L": 5,
    "S1": 1,
}


def one(
    name: str,
    seed: int,
    broker: LocalKafka,
    proxy: Proxy,
    out: Path,
    bug: str = "",
    three: ThreeBrokers | None = None,
    sits_out: bool = True,
) -> dict[str, Any]:
    """Run a scenario with a seed; its result, also when it broke.

    `sits_out`: the session of a worker that died, when no other lives. Else its group is told.
    """
    folder = out / (
        f"{name}-{seed}" + (f"-{bug.replace(' ', '-').replace('/', '-')}" if bug else "")
    )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    started, error = time.monotonic(), ""
    (three or broker).start(timeout_s=400)  # if a scenario broke while it was down
    run = Run(name, seed, broker, folder, proxy, bug, three)
    run.sits_out = sits_out
    try:
        SCENARIOS[name](run)
        run.finish()
    except Exception:
        error = traceback.format_exc(limit=4)[-3_000:]
    finally:
        proxy.heal()
        run.close()
    command = f"python -m tests.faults.campaign --scenario {name} --seed {seed}" + (
        f" --planted '{bug}'" if bug else ""
    )
    result = {
        **run.result(error),
        "seconds": round(time.monotonic() - started, 1),
        "command": command,
        "planted": bug,
    }
    (folder / "report.md").write_text(report.page(result), encoding="utf-8")
    return result


def plan(options: argparse.Namespace) -> list[tuple[str, int, str]]:
    """Scenario, seed and planted bug of each run, in order."""
    if options.planted:
        bugs = [*BUGS, *ERASURE_BUGS] if options.planted == "all" else [options.planted]
        return [("E2" if bug in ERASURE_BUGS else "planted", options.seed, bug) for bug in bugs]
    if options.scenario:
        return [(name, options.seed, "") for name in options.scenario.split(",")]
    repeats = LONG if options.tier == "long" else SHORT
    rounds = range(max(repeats.values()))
    return [
        (name, options.seed + each, "")
        for each in rounds
        for name, count in repeats.items()
        if each < count
    ]


def main() -> int:
    """0: no violation and nothing broke."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.campaign", description=__doc__.split("\n\n")[1]
    )
    parser.add_argument("--tier", choices=("short", "long"), default="short")
    parser.add_argument("--scenario", help=f"only these, with commas: {', '.join(SCENARIOS)}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--planted", help="a planted bug by name, or all: runs scenario `planted` with it"
    )
    parser.add_argument(
        "--minutes", type=float, default=scenarios_soak.MINUTES, help="length of scenario S1"
    )
    parser.add_argument(
        "--markdown", type=Path, help="put the summary between the marks of this page"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/faults"))
    options = parser.parse_args()
    SCENARIOS["S1"] = partial(scenarios_soak.s1, minutes=options.minutes)
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    lines = out / "results.jsonl"
    done = {(each["scenario"], each["seed"], each["planted"]) for each in report.read(lines)}
    wanted = [each for each in plan(options) if each not in done]
    say(f"{len(wanted)} runs to do, {len(done)} done before; results in {out}")
    for each in ("kafka", "three-brokers"):
        shutil.rmtree(out / each, ignore_errors=True)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job ignores the first
        signal.signal(number, _interrupted)
    processes.prepare()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # brokers go away on purpose
    with ThreeBrokers(out / "three-brokers") as three, cluster(out / "kafka") as (broker, proxy):
        for name, seed, bug in wanted:
            needed = name in scenarios_brokers.ALL
            if not needed:
                three.kill()
            result = one(name, seed, broker, proxy, out, bug, three if needed else None)
            write_line(lines, result)
            (out / "summary.md").write_text(report.summary(report.read(lines)), encoding="utf-8")
            say(
                f"{name} seed {seed} {bug}: {result['effective']} effective, {result['void']} "
                "void, "
                f"violations {result['violations'] or 'none'}, {result['seconds']:.0f} s"
            )
    results = report.read(lines)
    say(report.summary(results))
    if options.markdown:
        report.write_into(options.markdown, results)
    return int(report.failed(results))


def _interrupted(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
