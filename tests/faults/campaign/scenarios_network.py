"""Holds the scenarios of a slow broker (B11) and of connections that break halfway (N5, N8).

The proxy makes them. Names and numbers are those of the plan (docs/measured/reliability.md).
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from tests.faults.campaign.proxy import DOWN, Rule
from tests.faults.campaign.run import Run
from tests.faults.campaign.scenarios_kafka import PATIENT
from tests.faults.campaign.scenarios_workers import wind_up
from tests.support.pipelines import Worker

GROWTH_MB = 32.0
"""Most that a worker may grow while it waits for a slow broker."""


def b11(run: Run) -> None:
    """Delays every answer of the broker by 200 ms, then by 2 s.

    Events wait in Kafka and not in the worker's memory, and are caught up with.
    """
    assert run.proxy is not None
    worker = run.worker(*PATIENT, "--max-batch-events", "500", proxied=True)
    run.begin_load(rate=800)
    run.works(worker)
    for late_s in (0.2, 2.0):
        before, since = memory_mb(worker, "VmRSS"), time.monotonic()
        run.proxy.block(Rule(ways=(DOWN,), delay_s=late_s))
        time.sleep(15)  # the fault itself
        hit, behind = run.proxy.heal() > 0 and run.under_load(), lag(run)
        growth = memory_mb(worker, "VmHWM") - before
        run.trial(
            f"answers {late_s:g} s late",
            hit,
            since,
            f"{behind} events behind, worker grew by {growth:.0f} MB at most",
        )
        if growth > GROWTH_MB:
            run.verdict.violations.setdefault("B11", []).append(
                f"grew by {growth:.0f} MB, {behind} events behind"
            )


def memory_mb(worker: Worker, field: str) -> float:
    """VmRSS: resident now; VmHWM: the most until now."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text(encoding="utf-8")
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    assert found is not None
    return int(found.group(1)) / 1024


def lag(run: Run) -> int:
    """Events not committed, as last polled."""
    return sum(poll.end - poll.committed for poll in run.poller.latest().values())


def n5(run: Run) -> None:
    """Cuts answers off in the middle by a reset, then leaves every connection half open.

    That is silent, and never closed.
    """
    assert run.proxy is not None
    run.expected = (
        r"not stopped after \d+ s; ending at once",
    )  # told to leave a group whose answers never come
    run.worker()
    run.begin_load()
    rules = {
        "reset in mid-response": (Rule(ways=(DOWN,), cut_after=20), 4.0),
        "half-open connections": (
            Rule(half_open=True),
            1.5,
        ),  # longer than between two heartbeats: all carried something
    }
    for what, (rule, seconds) in rules.items():
        victim = run.worker(proxied=True)
        run.works(victim)
        since = time.monotonic()
        run.proxy.block(rule)
        time.sleep(seconds)  # the fault itself
        lost = run.proxy.heal()
        run.trial(what, lost > 0 and run.under_load(), since, f"{lost} bytes met it")
        wind_up(run, victim)


def n8(run: Run) -> None:
    """Breaks a worker's connections every 6 s for 3 s, for a minute.

    Another worker is there.
    """
    assert run.proxy is not None
    run.worker()
    run.begin_load()
    flapping = run.worker(*PATIENT, proxied=True)
    run.works(flapping)
    since, before, lost = time.monotonic(), lag(run), 0
    for _ in range(10):
        run.proxy.block(Rule())
        time.sleep(3)  # the fault itself
        lost += run.proxy.heal(reset=True)
        time.sleep(3)  # the same
    rebalances = flapping.metric("rebalances_total")
    note = f"{rebalances:.0f} rebalances, {before} events behind before and {lag(run)} after it"
    run.trial("flapping", lost > 0 and run.under_load(), since, note)
    wind_up(run, flapping)


ALL = {"B11": b11, "N5": n5, "N8": n8}
