"""Runs a pipeline of real processes under load, with the fault that a scenario brings.

What is checked is checked when all is at rest.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import orjson
from aiokafka import AIOKafkaProducer

from models.contract import Predictor
from stream.audit.event_rules import Limits
from stream.broker.local_kafka import LocalKafka
from stream.config import Settings
from stream.contracts.control import Control, encode_control
from stream.kafka.topics import create_topics
from tests.faults.campaign import reached
from tests.faults.campaign.load import Load, Shape
from tests.faults.campaign.proxy import Proxy
from tests.faults.campaign.reader import Poller, Reader
from tests.faults.campaign.three_brokers import ThreeBrokers
from tests.faults.oracle.checks import figures, violations
from tests.faults.oracle.events import c1_commit_is_covered
from tests.faults.oracle.history import Exit, History, Production, Reference, States
from tests.faults.oracle.numbers import TOLERANCE, differences
from tests.support import processes
from tests.support.pipelines import Pipeline, Worker, is_stopped, wait_until
from tests.support.topics import forget_members

ENTRY: Final = "tests.faults.campaign.worker_entry:work"
PARTITIONS: Final = 4
RATE: Final = 150.0
USERS: Final = 300
RESTED_S: Final = 120.0
"""Longest wait for lag 0 after the last fault is healed."""


@dataclass
class Trial:
    """One fault. Void: it was not reached, or nothing was in flight that it could have hurt."""

    what: str
    effective: bool
    recovery_s: float | None = None
    note: str = ""


@dataclass
class Verdict:
    """What a run says in the end."""

    violations: dict[str, list[str]] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


class Run:
    """Holds everything of one scenario with one seed.

    `proxy`: in front of the broker, for workers started with it. `three`: instead of it.
    """

    def __init__(
        self,
        name: str,
        seed: int,
        broker: LocalKafka,
        folder: Path,
        proxy: Proxy | None = None,
        planted: str = "",
        three: ThreeBrokers | None = None,
    ) -> None:
        self.name, self.seed, self.broker, self.folder, self.proxy = (
            name,
            seed,
            broker,
            folder,
            proxy,
        )
        self.random = random.Random(f"{name}-{seed}")
        self.planted = planted
        self.null_model = (
            True  # set before the first worker; kills and offsets do not depend on the model
        )
        self.trials: list[Trial] = []
        self.verdict = Verdict()
        self.disturbed: list[tuple[float, float]] = []
        self.notes: list[
            dict[str, Any]
        ] = []  # of the workers' evidence, what they saw of replays and rebalances
        self.planned: dict[str, tuple[int, ...]] = {}
        self.deaths: dict[str, float] = {}
        self.operator_reset = False
        self.static_members = False
        self.sits_out = True  # the sessions of workers that died; else their group is told
        self._fault_since: float | None = (
            None  # a worker has ended and what it left is not yet done by another
        )
        self.tend: Callable[[], None] = lambda: (
            None
        )  # what a supervisor would do, while a recovery is waited for
        self.unchecked: tuple[str, ...] = ()
        self.forged: tuple[
            bytes, ...
        ] = ()  # what the scenario itself put into the changelog: no worker's states
        self.expected: tuple[
            str, ...
        ] = ()  # log lines, as regular expressions, that this scenario brings about (H1)
        unique = f"{name}-{seed}-{secrets.token_hex(3)}"
        names = ("events", "updates", "profiles", "dead_letters")
        topics: dict[str, Any] = {f"{each}_topic": f"{each}-{unique}" for each in names}
        self.three, self.replication = three, three.replication if three else 1
        url = three.url if three else broker.url
        self.settings = Settings(broker=url, app_id=f"app-{unique}", **topics)
        asyncio.run(create_topics(self.settings, PARTITIONS, self.replication))
        self.pipeline = Pipeline(url, self.settings, folder, spawn=processes.spawner(ENTRY))
        self.reader = Reader(self.settings.bootstrap, PARTITIONS)
        self.poller = Poller(
            self.settings.bootstrap, self.settings.app_id, self.settings.source_topic, PARTITIONS
        )
        self.poller.start()
        self.load: Load | None = None
        limits = Limits(
            self.settings.max_value_bytes, self.settings.max_text_bytes, self.settings.max_future_s
        )
        self.reference, self.states = Reference(limits), States()

    # -- what a scenario does

    def begin_load(
        self,
        rate: float = RATE,
        users: int = USERS,
        poison: float = 0.01,
        shape: Shape | None = None,
    ) -> None:
        """From now on events come."""
        journal = self.folder / "journal.jsonl"
        topic = self.settings.events_topic
        self.load = Load(
            self.settings.bootstrap, topic, journal, self.seed, rate, users, poison, shape
        )
        self.load.start()
        if not self.alive():
            self._fault_since = time.monotonic()  # nobody is there yet who could make progress

    def worker(
        self,
        *arguments: str,
        failpoints: str = "",
        ready: bool = True,
        proxied: bool = False,
        planned: int = 0,
    ) -> Worker:
        """Starts a worker.

        `planned`: the exit code that is right for it, apart from those of what is done to it.
        """
        more = {
            "EVIDENCE": str(self.folder / f"evidence-{len(self.pipeline.workers)}.jsonl"),
            "PLANTED": self.planted,
            "MODEL_FAILS_ON": ",".join(
                f"{item}={way}" for item, way in self.reference.failing.items()
            ),
            "INTEREST_STREAM_MIN_REPLICATION": str(self.replication),
        }
        if proxied and self.proxy is not None:
            arguments = (*arguments, "--broker", f"kafka://127.0.0.1:{self.proxy.port}")
        # a measurement at each start would decide otherwise, and then a repeat may be computed in
        # another one (U1)
        arguments = (
            *arguments,
            *(("--null-model",) if self.null_model else ("--demo-model", "--precision", "float32")),
        )
        worker = self.pipeline.start(
            *arguments, failpoints=failpoints, ready=False, more_environment=more
        )
        self.planned[name_of(worker)] = (planned,)
        if ready:
            self.pipeline.wait_ready(worker)
        return worker

    def wait(self, condition: Any, timeout_s: float, what: str) -> Any:
        """The first true answer; an error that names what did not come."""
        return wait_until(condition, what, timeout_s)

    def ask(self, kind: str, users: Iterable[str]) -> None:
        """Sends a control for each user and returns when all are acknowledged."""
        asyncio.run(self._ask(kind, list(users)))

    async def _ask(self, kind: str, users: list[str]) -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=self.settings.bootstrap, enable_idempotence=True
        ) as producer:
            for user in users:
                asked: Any = Control(kind, user, secrets.token_hex(4), int(time.time() * 1000))  # type: ignore[arg-type]
                key, value, headers = encode_control(asked)
                topic = self.settings.source_topic
                await producer.send_and_wait(topic, value, key=key, headers=headers)

    def pause(self, low_s: float, high_s: float) -> None:
        """A random while, in which the load goes on: the moment of the fault."""
        time.sleep(self.random.uniform(low_s, high_s))

    def works(self, *workers: Worker) -> None:
        """Each has made some batches durable since now."""
        before = [each.metric("batches_total") for each in workers]
        self.wait(
            lambda: all(
                each.metric("batches_total") > seen
                for each, seen in zip(workers, before, strict=True)
            ),
            60,
            "every worker applies events",
        )

    def kill(self, worker: Worker) -> bool:
        """SIGKILL; True if it lived, under load, until then."""
        alive = worker.process.poll() is None and self.under_load()
        worker.kill()
        self.ended(worker, -signal.SIGKILL)
        return alive

    def ended(self, worker: Worker, *codes: int) -> None:
        """It is gone as planned."""
        if not self.sits_out and not self.alive():
            forget_members(self.settings)
        self.planned[name_of(worker)] = codes
        self.deaths[name_of(worker)] = time.monotonic()
        if self._fault_since is None:
            self._fault_since = time.monotonic()

    def dies_at(self, worker: Worker, point: str, timeout_s: float = 60) -> bool:
        """Waits until a failpoint has killed a worker.

        Returns False, and kills it, if the failpoint was not reached in time.
        """
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout_s)
        reached = (
            f"failpoint {point}: kill" in worker.log and worker.process.poll() == -signal.SIGKILL
        )
        if worker.process.poll() is None:
            worker.kill()
        self.ended(worker, -signal.SIGKILL)
        return reached and self.under_load()

    def stops_at(self, worker: Worker, point: str, timeout_s: float = 60) -> bool:
        """Wait until a failpoint has stopped it (SIGSTOP)."""
        with suppress(AssertionError):
            self.wait(lambda: is_stopped(worker.process.pid), timeout_s, f"stopped at {point}")
            return True
        return False

    def under_load(self) -> bool:
        return self.load is not None and self.load.running

    def crash_cut(self) -> int:
        """C1 now, before anything restarts; events read but not committed."""
        latest = self.poller.latest()
        committed = {partition: poll.committed for partition, poll in latest.items()}
        committed.update({each: done for each, (done, _) in self.pipeline.offsets().items()})
        history = self.history()
        history.committed = committed
        found = c1_commit_is_covered(history)
        if found:
            self.verdict.violations.setdefault("C1", []).extend(found)
        return len(history.source) - sum(committed.values())

    def trial(
        self, what: str, effective: bool, since: float | None = None, note: str = ""
    ) -> Trial:
        """Counts a fault.

        With since (its moment), it waits until everything sent before now is committed.
        """
        trial = Trial(what, effective, note=note)
        self.trials.append(trial)
        if since is not None:
            self.recovered(since)
            trial.recovery_s = round(time.monotonic() - since, 2)
        return trial

    def recovered(self, since: float) -> None:
        """Waits until everything sent before now is committed.

        From the fault until then no progress is demanded (L2).
        """
        ends = {partition: end for partition, (_, end) in self.pipeline.offsets().items()}
        self.wait(
            lambda: self._committed_past(ends),
            RESTED_S,
            "what was sent before the recovery is committed",
        )
        self._healed(since)

    def _healed(self, since: float) -> None:
        """From the first fault until now no progress was to be demanded (L2)."""
        self.disturbed.append((min(since, self._fault_since or since) - 1, time.monotonic()))
        self._fault_since = None

    def _committed_past(self, ends: dict[int, int]) -> bool:
        self.tend()
        latest = self.poller.latest()
        return all(
            partition in latest and latest[partition].committed >= end
            for partition, end in ends.items()
        )

    # -- the end

    def finish(self) -> None:
        """Load ends, lag 0, workers stop, every invariant."""
        if self.load is not None:
            self.load.stop()
        if any(self.alive()):
            self.wait(self.at_rest, RESTED_S, "lag 0 and every partition in somebody's hands")
        if self._fault_since is not None:
            self._healed(self._fault_since)
        for worker in self.alive():
            code = worker.stop()
            self.planned.setdefault(name_of(worker), (0,))
            assert code in self.planned[name_of(worker)], (
                f"{name_of(worker)} ended with {code}:\n{worker.log[-2000:]}"
            )
        self.poller.stop()
        history = self.history(tables=True)
        found = violations(history, without=self.unchecked)
        for name, sentences in found.items():
            self.verdict.violations.setdefault(name, []).extend(sentences)
        self.verdict.figures |= self.figures(history)
        worst = self.verdict.figures["worst_difference"]
        if not worst <= TOLERANCE and "T2" not in self.unchecked:
            self.verdict.violations["T2"] = [f"largest difference of a user's memory: {worst}"]

    def alive(self) -> list[Worker]:
        return [worker for worker in self.pipeline.workers if worker.process.poll() is None]

    def at_rest(self) -> bool:
        """Returns whether nothing is left to apply, and whoever ended a moment ago was replaced.

        A worker that stops reports its tables.
        """
        owned = set[int]().union(*(worker.partitions for worker in self.alive()))
        return len(owned) == PARTITIONS and all(
            done == end for done, end in self.pipeline.offsets().values()
        )

    def close(self) -> None:
        """End all that was started, whatever happened."""
        with suppress(Exception):
            if self.load is not None:
                self.load.stop(10)
        self.pipeline.close()
        self.poller.stop()

    def history(self, tables: bool = False) -> History:
        """Everything seen until now."""
        settings = self.settings
        committed = {each: done for each, (done, _) in self.pipeline.offsets().items()}
        changelog, profiles, updates_, letters, source = self.reader.read(
            settings.changelog_topic,
            settings.profiles_topic,
            settings.updates_topic,
            settings.dead_letters_topic,
            settings.source_topic,
        )
        changelog = [each for each in changelog if each.value not in self.forged]
        history = History(
            settings.source_topic,
            source,
            changelog,
            updates_,
            letters,
            profiles,
            committed,
            journal=list(self.load.sent) if self.load else [],
            polls=list(self.poller.polls),
            disturbed=list(self.disturbed),
            epoch_s=time.time() - time.monotonic(),
            operator_reset=self.operator_reset,
            static_members=self.static_members,
            expected=self.expected,
        )
        self.reference.extend(source)
        self.states.extend(changelog)
        history.reference, history.states = (
            self.reference,
            self.states.best,
        )  # grown, not computed anew at every cut
        if tables:
            self._add_evidence(history)
        return history

    def _add_evidence(self, history: History) -> None:
        for number, worker in enumerate(self.pipeline.workers):
            name = name_of(worker)
            history.logs[name] = worker.log
            code = worker.process.poll()
            history.exits.append(
                Exit(name, -99 if code is None else code, self.planned.get(name, (0,)))
            )
            path = self.folder / f"evidence-{number}.jsonl"
            lines = (
                [orjson.loads(line) for line in path.read_bytes().splitlines()]
                if path.exists()
                else []
            )
            self.notes += [
                each for each in lines if each.keys() & {"replayed", "inflight_at_revocation"}
            ]
            history.productions += [
                Production(name, each["states"], each["generation"], each["offset"])
                for each in lines
                if "states" in each
            ]
            if name not in self.deaths:
                history.tables[name] = {
                    (each["table"], each["user"].encode()): bytes.fromhex(each["value"])
                    for each in lines
                    if "table" in each
                }

    def figures(self, history: History) -> dict[str, Any]:
        """What is printed beside the verdict."""
        effective = [trial for trial in self.trials if trial.effective]
        outcomes = [sent.outcome for sent in history.journal]
        fences = sum(worker.log.count("not ours any more") for worker in self.pipeline.workers)
        return {
            "events": len(history.source),
            "users": len(history.reference.marks),
            "invalid": len(history.reference.invalid),
            "filtered": len(history.reference.filtered),
            "sent_ok": outcomes.count("ok"),
            "sent_unknown": outcomes.count("info"),
            "states": len(history.changelog),
            "trials": len(self.trials),
            "effective": len(effective),
            "void": len(self.trials) - len(effective),
            "recoveries_s": [
                trial.recovery_s for trial in effective if trial.recovery_s is not None
            ],
            "worst_difference": self._worst(history),
            "workers": len(self.pipeline.workers),
            "self_fences": fences,
            "reached": reached.counts(history, [trial.what for trial in effective], self.notes),
            **figures(history),
        }

    def _worst(self, history: History) -> float:
        """T2: largest difference of any user's memory from a replay."""
        from models.predict import load_predictor, null_predictor

        predictor = null_predictor() if self.null_model else load_predictor()
        return max(differences(history, cast(Predictor, predictor)).values(), default=0.0)

    def result(self, error: str = "") -> dict[str, Any]:
        """A line of the campaign."""
        found = {code: len(sentences) for code, sentences in self.verdict.violations.items()}
        if error:
            found["RUN"] = 1
        return {
            "scenario": self.name,
            "seed": self.seed,
            "violations": found,
            "error": error,
            **self.verdict.figures,
            "trials": len(self.trials),
            "effective": sum(trial.effective for trial in self.trials),
            "void": sum(not trial.effective for trial in self.trials),
            "load_average": os.getloadavg()[0],
            "faults": [vars(trial) for trial in self.trials],
            "examples": {
                code: sentences[:3] for code, sentences in self.verdict.violations.items()
            },
        }


def name_of(worker: Worker) -> str:
    return worker.log_path.stem


def write_line(path: Path, result: dict[str, Any]) -> None:
    """Append a result; whole or not at all."""
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(result) + "\n")
