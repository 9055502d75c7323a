"""Scenarios B (brokers), N (network), P (bad input), K (topics and offsets)."""

from __future__ import annotations

import time
from zlib import crc32

from tests.faults.campaign.proxy import COORDINATION, DOWN, PRODUCE, Rule
from tests.faults.campaign.run import PARTITIONS, Run
from tests.faults.campaign.scenarios_workers import leave, wind_up
from tests.support import topics
from tests.support.pipelines import SESSION_S, Worker

PATIENT = ("--publish-timeout-s", "150", "--stall-timeout-s", "150")
"""Longer than a worker waits by default.

On a loaded machine a broker needs longer to come back, and here nobody starts a new worker.
"""


def b1(run: Run) -> None:
    """SIGKILL of the only broker under load, three times; it comes back at once."""
    worker = run.worker(*PATIENT)
    run.begin_load()
    for _ in range(3):
        run.works(worker)
        run.pause(0, 2)
        since, hit = time.monotonic(), run.under_load() and run.broker.kill()
        run.broker.start(timeout_s=90)
        run.trial("broker killed", hit, since)


def b5(run: Run) -> None:
    """The only broker stopped (SIGTERM) and started again, twice, with two workers."""
    workers = [run.worker(*PATIENT), run.worker(*PATIENT)]
    run.begin_load()
    for _ in range(2):
        run.works(*workers)
        since, hit = time.monotonic(), run.under_load() and run.broker.stop()
        run.broker.start(timeout_s=90)
        run.trial("broker restarted", hit, since)


def b6(run: Run) -> None:
    """The only broker away for longer than sessions, requests and stock retries last."""
    worker = run.worker(*PATIENT)
    run.begin_load()
    run.works(worker)
    since, hit = time.monotonic(), run.under_load() and run.broker.kill()
    time.sleep(70)  # the fault itself
    run.broker.start(timeout_s=90)
    run.trial(
        "broker away 70 s",
        hit,
        since,
        "worker lives" if worker.process.poll() is None else "worker ended",
    )


def b9(run: Run) -> None:
    """The changelog refuses every state because of its size (max.message.bytes); later mended."""
    worker = run.worker(planned=1)
    run.begin_load()
    run.works(worker)
    refused(run, worker, "states too large", max_message_bytes="100")


def refused(run: Run, worker: Worker, what: str, **configs: str) -> None:
    since = time.monotonic()
    topics.configure(run.settings, run.settings.changelog_topic, **configs)
    code = worker.process.wait(60)
    run.ended(worker, 1)
    run.crash_cut()
    ended_s = time.monotonic() - since
    topics.configure(run.settings, run.settings.changelog_topic)
    run.worker()
    run.trial(what, code == 1 and run.under_load(), since, f"worker ended {ended_s:.1f} s after it")


def n1(run: Run) -> None:
    """Cuts a worker from the broker for half, one and a half, three session timeouts.

    Another can take over.
    """
    cut(run, Rule(), (0.5, 1.5, 3))


def n2(run: Run) -> None:
    """A worker cut from the coordinator only: it can still fetch and produce. The purest zombie."""
    cut(run, Rule(apis=COORDINATION), (0.5, 1.5, 3))


def n3(run: Run) -> None:
    """A worker whose heartbeats arrive and whose writes do not."""
    cut(run, Rule(apis=frozenset({PRODUCE})), (1.5,))


def n4(run: Run) -> None:
    """Lets writes arrive and loses their acknowledgements with the connection.

    So they are sent again.
    """
    cut(run, Rule(ways=(DOWN,), apis=frozenset({PRODUCE})), (0.3, 0.5, 1), reset=True)


def cut(run: Run, rule: Rule, sessions: tuple[float, ...], reset: bool = False) -> None:
    assert run.proxy is not None
    run.worker()
    run.begin_load()
    for share in sessions:
        victim = run.worker(proxied=True)
        run.works(victim)
        since = time.monotonic()
        run.proxy.block(rule)
        time.sleep(share * SESSION_S)  # the fault itself
        held = run.proxy.heal(reset)
        run.trial(
            f"cut for {share:g} sessions",
            held > 0 and run.under_load(),
            since,
            f"{held} bytes held",
        )
        wind_up(run, victim)


def n6(run: Run) -> None:
    """Every answer and request 50 ms late, for 20 s."""
    assert run.proxy is not None
    worker = run.worker(proxied=True)
    run.begin_load()
    run.works(worker)
    since = time.monotonic()
    run.proxy.block(Rule(delay_s=0.05))
    time.sleep(20)  # the fault itself
    run.trial("50 ms late", run.proxy.heal() > 0 and run.under_load(), since)


def p1(run: Run) -> None:
    """Sends every kind of bad record.

    10 % are mixed in, then one partition is full of nothing else, with a kill in between.
    """
    worker = run.worker("--max-consecutive-dead-letters", "100000")
    run.begin_load(poison=0.1)
    run.works(worker)
    run.pause(3, 4)
    since, hit = time.monotonic(), run.kill(worker)
    run.crash_cut()
    worker = run.worker("--max-consecutive-dead-letters", "100000")
    run.trial("10 % bad, kill", hit, since)
    flood: list[tuple[bytes | None, bytes | None]] = [
        (b"user-%d" % number, b"garbage %d" % number) for number in range(2_000)
    ]
    topics.produce(run.settings, run.settings.events_topic, 0, flood)
    run.trial("2,000 bad in a row on one partition", run.under_load(), time.monotonic())
    run.unchecked = ("T3",)  # the flood was sent to one partition on purpose, whatever the key


def p4(run: Run) -> None:
    """Sends null keys, null values, empty keys and a key of 64 kB.

    The commit goes on, and each is a dead letter.
    """
    worker = run.worker()
    run.begin_load()
    run.works(worker)
    odd: list[tuple[bytes | None, bytes | None]] = [
        (None, b"{}"), (b"user-1", None), (b"", b"{}"), (b"k" * 65_536, b"{}"), (None, None),
        (b"\xff\xfe", b"{}"),
    ]  # fmt: skip
    for partition in range(PARTITIONS):
        topics.produce(run.settings, run.settings.events_topic, partition, odd)
    run.trial("odd keys and values", run.under_load(), time.monotonic())


def k1(run: Run) -> None:
    """The changelog is compacted all the time while workers are killed."""
    changelog = run.settings.changelog_topic
    compaction = {
        "segment_ms": "1000",
        "min_cleanable_dirty_ratio": "0.01",
        "max_compaction_lag_ms": "1000",
    }
    topics.configure(run.settings, changelog, **compaction)
    worker = run.worker()
    run.begin_load(users=50)
    for _ in range(3):
        run.works(worker)
        run.pause(4, 6)
        since, hit = time.monotonic(), run.kill(worker)
        run.crash_cut()
        worker = run.worker()
        run.trial("kill while compacting", hit, since)
    from tests.faults.campaign.reader import Reader

    left = len(Reader(run.settings.bootstrap, PARTITIONS).read(changelog)[0])
    written = len(run.reader.read(changelog)[0])
    run.trial("compaction", left < written, note=f"{left} of {written} records left")


def k3(run: Run) -> None:
    """Deletes the source topic and makes it anew.

    The worker refuses to start, with states and offsets, and names the reason.
    """
    apply_and_leave(run)
    before = run.history()
    topics.recreate(run.settings, run.settings.events_topic, PARTITIONS)
    refuses(run, "deleted and created again")
    run.reader.read(run.settings.changelog_topic)
    unchanged = len(run.history().changelog) == len(before.changelog)
    run.trial("source topic made anew", unchanged)
    run.unchecked = (
        "A1",
        "A2",
        "A3",
        "T1",
        "T2",
        "T3",
        "T5",
        "U1",
        "U2",
        "U3",
        "U4",
        "U5",
        "C1",
        "C2",
        "D1",
        "D2",
        "L2",
    )  # nothing is left to compare with


def k4(run: Run) -> None:
    """Deletes the changelog and makes it anew while offsets are committed.

    The worker refuses to start from nothing.
    """
    apply_and_leave(run)
    topics.recreate(run.settings, run.settings.changelog_topic, PARTITIONS)
    refuses(run, "the changelog")
    run.trial("changelog made anew", True)
    run.unchecked = ("A1", "A3", "T1", "T2", "T3", "T5", "U4", "C1", "D1")


def k7(run: Run) -> None:
    """The group's offsets set back to zero: states do not change, no update is new."""
    apply_and_leave(run, stop_load=False)
    run.operator_reset = True
    since = time.monotonic()
    topics.reset_offsets(run.settings, dict.fromkeys(range(PARTITIONS), 0))
    worker = run.worker()
    run.trial("offsets to zero", run.under_load(), since)
    again = worker.metric("events_total", result="replayed")
    run.trials[-1].effective &= again > 0
    run.trials[-1].note = f"{again:.0f} events skipped as replayed"


def k10(run: Run) -> None:
    """Breaks a record in the middle of the changelog, in one of five ways by seed.

    The worker refuses, and names the user.
    """
    apply_and_leave(run)
    changelog = run.settings.changelog_topic
    record = run.reader.read(changelog)[0][-1]
    assert record.value is not None
    sound = record.value
    body = bytearray(sound[:-4])
    body[0] = 9
    flipped = bytearray(sound)
    flipped[60] ^= 1
    kinds = {
        "bit flipped": bytes(flipped),
        "cut short": sound[:-10],
        "JSON": b'{"state": 1}',
        "empty": b"",
        "of a later version": bytes(body) + crc32(body).to_bytes(4, "little"),
    }
    kind = sorted(kinds)[run.seed % len(kinds)]
    run.forged = (kinds[kind],)
    topics.produce(run.settings, changelog, record.partition, [(record.key, kinds[kind])])
    refuses(run, "a state record", "CorruptRecordError", "faust.worker.*experienced a crash")
    run.trial(f"changelog record: {kind}", True)


def apply_and_leave(run: Run, stop_load: bool = True) -> None:
    """Some seconds of load, all applied, the worker gone."""
    worker = run.worker()
    run.begin_load()
    run.works(worker)
    run.pause(2, 3)
    if stop_load and run.load is not None:
        run.load.stop()
        run.wait(run.at_rest, 60, "lag 0")
    leave(run, worker, "leave")
    run.trials.pop()


def refuses(run: Run, words: str, *said: str) -> None:
    """Checks that a worker that starts now ends with code 1 and these words.

    `said`: of other lines that it logs then.
    """
    run.expected = ("RefusalError", *said)
    worker = run.worker(ready=False, planned=1)
    code = worker.process.wait(60)
    run.ended(worker, 1)
    if code != 1 or words not in worker.log:
        run.verdict.violations.setdefault("REFUSAL", []).append(
            f"exit {code}, no word of {words!r}: {worker.log[-400:]}"
        )


ALL = {
    "B1": b1, "B5": b5, "B6": b6, "B9": b9, "N1": n1, "N2": n2, "N3": n3, "N4": n4, "N6": n6,
    "P1": p1, "P4": p4,
    "K1": k1, "K3": k3, "K4": k4, "K7": k7, "K10": k10,
}  # fmt: skip
