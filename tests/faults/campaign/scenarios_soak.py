"""Holds scenario S1: hours of load with a random fault every 30 s.

It shows what the workers use all the while.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import orjson

from tests.faults.campaign.proxy import DOWN, PRODUCE, Rule
from tests.faults.campaign.run import Run, Trial, name_of
from tests.faults.campaign.samples import Samples, slopes
from tests.faults.campaign.scenarios_kafka import PATIENT
from tests.faults.campaign.scenarios_workers import leave
from tests.support import topics
from tests.support.pipelines import SESSION_S, Worker

MINUTES: Final = 10.0
EVERY_S: Final = 30.0
RATE: Final = 120.0
USERS: Final = 2_000
POISON: Final = 0.001
QUIET: Final = 0.25
"""Share of the 30 s in which nothing happens."""
WARM_UP_S: Final = 600.0
COMPACTED: Final = {
    "segment_ms": "60000",
    "min_cleanable_dirty_ratio": "0.1",
    "min_compaction_lag_ms": "300000",
}
"""Of the changelog: hours of it would take minutes to restore.

Each state is read for the checks before it may be removed.
"""
LOST_ACKS: Final = Rule(ways=(DOWN,), apis=frozenset({PRODUCE}))


class Soak:
    """Runs two workers with the real model.

    One, direct to the broker, meets nothing that ends a worker and lives as long as the broker does
    not stay away for longer than a session, so that its memory means something; the other, behind
    the proxy, is killed, stopped and cut. Whoever has ended is replaced.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.steady = run.worker(*PATIENT)
        self.victim = run.worker(*PATIENT, proxied=True)
        self.faults = {
            "kill": self.kill, "stop": self.stop, "broker kill": self.broker_kill,
            "broker stop": self.broker_stop,
            "cut": self.cut, "acks lost": self.acks_lost, "delay": self.delay, "scale": self.scale,
        }  # fmt: skip

    def go_on(self) -> None:
        """C1 is looked at, fault or not, and whoever has ended is replaced."""
        self.run.crash_cut()
        self.replace()

    def replace(self, ready: bool = True) -> None:
        """A supervisor's part. One that ended unasked shows in its exit code (H1)."""
        if self.steady.process.poll() is not None:
            self.run.ended(self.steady, *self.run.planned[name_of(self.steady)])
            self.steady = self.run.worker(*PATIENT, ready=ready)
        if self.victim.process.poll() is not None:
            self.run.ended(self.victim, *self.run.planned[name_of(self.victim)])
            self.victim = self.run.worker(*PATIENT, proxied=True, ready=ready)

    def mend(self) -> None:
        """After a fault that broke off: everything as it was."""
        assert self.run.proxy is not None
        self.run.proxy.heal()
        for worker in self.run.alive():
            worker.process.send_signal(signal.SIGCONT)
        pid = self.run.broker.status().pid
        if pid is not None:
            os.kill(pid, signal.SIGCONT)
        self.run.broker.start(timeout_s=300)

    def kill(self) -> None:
        since, hit = time.monotonic(), self.run.kill(self.victim)
        open_ = self.run.crash_cut()
        self.victim = self.run.worker(*PATIENT, proxied=True)
        self.run.trial("kill", hit, since, f"{open_} events not committed")

    def stop(self) -> None:
        """The victim for up to one and a half sessions; now and then the steady one, for half."""
        if self.run.random.random() < 0.3:
            self._stopped(self.steady, 0.5, "steady worker stopped")
        else:
            self.may_end(self.victim)
            self._stopped(self.victim, self.run.random.choice((0.5, 1, 1.5)), "stopped")

    def _stopped(self, worker: Worker, share: float, what: str) -> None:
        since = time.monotonic()
        worker.process.send_signal(signal.SIGSTOP)
        time.sleep(share * SESSION_S)  # the fault itself
        worker.process.send_signal(signal.SIGCONT)
        self.run.trial(
            f"{what} for {share:g} sessions", self.run.under_load(), since, self.ends(worker)
        )

    def broker_kill(self) -> None:
        """Kills the broker.

        Without a broker for longer than a session both may find that they were put out, and end.
        """
        self.may_end(self.steady, self.victim)
        since, hit = time.monotonic(), self.run.under_load() and self.run.broker.kill()
        self.run.broker.start(timeout_s=300)
        self.run.crash_cut()
        self.run.trial("broker killed", hit, since)

    def broker_stop(self) -> None:
        pid, since = self.run.broker.status().pid, time.monotonic()
        assert pid is not None
        self.may_end(self.steady, self.victim)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(5)  # the fault itself
        os.kill(pid, signal.SIGCONT)
        self.run.trial("broker stopped for 5 s", self.run.under_load(), since)

    def cut(self) -> None:
        share = self.run.random.choice((0.5, 1, 1.5))
        self.may_end(self.victim)
        self._proxied(Rule(), share * SESSION_S, f"cut for {share:g} sessions")

    def acks_lost(self) -> None:
        self._proxied(LOST_ACKS, self.run.random.choice((2.0, 3.0, 6.0)), "acks lost", reset=True)

    def delay(self) -> None:
        self._proxied(Rule(delay_s=0.05), 10, "50 ms late")

    def _proxied(self, rule: Rule, for_s: float, what: str, reset: bool = False) -> None:
        proxy, since = self.run.proxy, time.monotonic()
        assert proxy is not None
        proxy.block(rule)
        time.sleep(for_s)  # the fault itself
        held = proxy.heal(reset)
        self.run.trial(
            what,
            held > 0 and self.run.under_load(),
            since,
            f"{held} bytes held{self.ends(self.victim)}",
        )

    def scale(self) -> None:
        since, third = time.monotonic(), self.run.worker(*PATIENT)
        self.run.trial("a third worker", self.run.under_load(), since)
        self.run.pause(1, 4)
        leave(self.run, third, "third worker leaves")

    def may_end(self, *workers: Worker) -> None:
        """Allows both workers to end by their own fence.

        They may find that they were put out of the group, now or later.
        """
        for worker in workers:
            self.run.planned[name_of(worker)] = (0, 1)

    def ends(self, worker: Worker) -> str:
        code = worker.process.poll()
        return "" if code is None else f" exit {code}"


def s1(run: Run, minutes: float = MINUTES) -> None:
    """Brings a random fault every 30 s, one in four quiet; two workers with the real model.

    Interrupted, it is checked as far as it went.
    """
    run.null_model = False
    run.expected = (
        r"not stopped after \d+ s; ending at once",
    )  # of one that is fenced while the broker is away
    topics.configure(run.settings, run.settings.changelog_topic, **COMPACTED)
    soak = Soak(run)
    run.tend = lambda: soak.replace(ready=False)
    run.begin_load(RATE, USERS, POISON)
    began = due = time.monotonic()
    samples = Samples(
        lambda: {name_of(each): each.process.pid for each in run.alive()},
        run.folder / "samples.jsonl",
    )
    told = (run.folder / "faults.jsonl").open("ab", buffering=0)
    quiet = 0
    try:
        while time.monotonic() < began + minutes * 60:
            due = max(due + EVERY_S, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
            _try(soak, "replacing", soak.go_on)
            if run.random.random() < QUIET:
                quiet += 1
                continue
            name = run.random.choice(sorted(soak.faults))
            _try(soak, name, soak.faults[name])
            told.write(
                orjson.dumps({"at_s": time.monotonic() - began, **vars(run.trials[-1])}) + b"\n"
            )
    except KeyboardInterrupt:
        run.verdict.figures["interrupted"] = True
        soak.mend()
    finally:
        told.close()
        run.verdict.figures |= _figures(soak, samples.stop(), began, quiet)


def _try(soak: Soak, name: str, act: Callable[[], None]) -> None:
    """A fault; one that does not heal in time is a violation, mended, and the soak goes on."""
    try:
        act()
    except Exception as error:
        code = "L1" if isinstance(error, AssertionError) else "RUN"
        soak.run.verdict.violations.setdefault(code, []).append(
            f"{name}: {type(error).__name__}: {str(error)[:2_000]}"
        )
        soak.run.trials.append(Trial(name, True, note="did not recover in time"))
        soak.mend()


def _figures(soak: Soak, samples: list[dict[str, Any]], began: float, quiet: int) -> dict[str, Any]:
    """How long, which faults, and the slopes of the worker that lived longest."""
    hours = (time.monotonic() - began) / 3600
    longest, lives = (
        Counter(each["worker"] for each in samples).most_common(1),
        len({each["worker"] for each in samples}),
    )
    name = longest[0][0] if longest else ""
    own = [each for each in samples if each["worker"] == name]
    evidence = soak.run.folder / f"evidence-{name.rpartition('-')[2]}.jsonl"
    if evidence.exists():
        lines = (orjson.loads(line) for line in evidence.read_bytes().splitlines())
        own += [each for each in lines if "tasks" in each]
    return {
        "soak_hours": round(hours, 3),
        "quiet": quiet,
        "lives": lives,
        "worker": name,
        "slopes": slopes(own, WARM_UP_S),
    }


ALL = {"S1": s1}
