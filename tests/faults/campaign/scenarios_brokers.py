"""Holds the scenarios B of three brokers: leaders, coordinator and controller in trouble.

They die, leave or hang, or there are too few replicas. Names and numbers are those of the plan
(docs/measured/reliability.md).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from tests.faults.campaign.run import PARTITIONS, Run
from tests.faults.campaign.scenarios_kafka import PATIENT
from tests.faults.campaign.three_brokers import BROKER_SESSION_S, NODES, ThreeBrokers
from tests.support import topics
from tests.support.pipelines import SESSION_S, Worker

LEADS = ("input", "changelog", "output", "coordinator")
MOVED_S = 60.0
"""Longest wait for another leader, on a loaded machine.

A broker that is silent for BROKER_SESSION_S loses its own.
"""
IMPATIENT = ("--publish-timeout-s", "10")
UNREACHABLE = "no Kafka broker answers"


def brokers(run: Run) -> ThreeBrokers:
    assert run.three is not None
    return run.three


def leads(run: Run, what: str, partition: int) -> int:
    """Returns the node that leads a partition of the input, changelog or output, or the group.

    It is -1 if none is known.
    """
    three, settings = brokers(run), run.settings
    if what == "coordinator":
        return three.coordinator(settings.app_id)
    topics = {
        "input": settings.events_topic,
        "changelog": settings.changelog_topic,
        "output": settings.updates_topic,
    }
    return three.leader(topics[what], partition)


def leader_of(run: Run, what: str, partition: int) -> int:
    """As `leads`, once there is one and a broker has said so."""
    node: int = run.wait(
        lambda: max(0, leads(run, what, partition)), MOVED_S, f"a leader of the {what}"
    )
    return node


def b1_leaders(run: Run) -> None:
    """Kills the leader of the input, the changelog and the output, and the group coordinator.

    By SIGKILL; the others go on, and it comes back.
    """
    worker = run.worker(*PATIENT)
    run.begin_load()
    for what in LEADS:
        run.works(worker)
        run.pause(0, 1)
        gone(run, what, brokers(run).kill, "killed")


def gone(run: Run, what: str, take: Callable[[list[int]], bool], how: str) -> None:
    """Takes away the broker that leads `what`.

    Events are applied without it, then it starts again.
    """
    three, partition = brokers(run), run.random.randrange(PARTITIONS)
    node, since = leader_of(run, what, partition), time.monotonic()
    hit = run.under_load() and take([node])
    seconds = moves(run, what, partition, node, since)
    run.trial(
        f"{what}: leader {how}",
        hit and seconds is not None,
        since,
        f"broker {node}, another leads after {seconds} s",
    )
    three.start()


def moves(run: Run, what: str, partition: int, node: int, since: float) -> float | None:
    """Seconds until another node leads; None: it did not come to that."""
    with suppress(AssertionError):
        run.wait(lambda: leads(run, what, partition) not in (-1, node), MOVED_S, "another leader")
        return round(time.monotonic() - since, 1)
    return None


def b2(run: Run) -> None:
    """Ends a leader or the coordinator by SIGTERM, then restarts all three one after the other.

    They lead everything between them; two workers.
    """
    workers = [run.worker(*PATIENT), run.worker(*PATIENT)]
    run.begin_load()
    run.works(*workers)
    gone(run, run.random.choice(LEADS), brokers(run).stop, "stopped")
    for node in NODES:
        since, hit = time.monotonic(), run.under_load() and brokers(run).stop([node])
        brokers(run).start()
        run.trial("rolling restart", hit, since, f"broker {node}")


def b3(run: Run) -> None:
    """Stops a leader for 5 s and for 30 s (even seeds: 30 s and 90 s), then lets it go on.

    By SIGSTOP and SIGCONT; two workers under a supervisor.
    """
    three = brokers(run)
    run.expected = (
        r"not stopped after \d+ s; ending at once",
    )  # after 60 s the watchdog ends a worker whose broker hangs
    workers = [run.worker(*PATIENT), run.worker(*PATIENT)]
    run.tend = lambda: replace_ended(run, workers)
    run.begin_load()
    for seconds in (5, 30) if run.seed % 2 else (30, 90):
        run.works(*workers)
        what, partition = run.random.choice(LEADS), run.random.randrange(PARTITIONS)
        node, since, before = leader_of(run, what, partition), time.monotonic(), committed(run)
        three.pause(node)
        moved = moves(run, what, partition, node, since) if seconds > BROKER_SESSION_S else None
        time.sleep(max(0.0, since + seconds - time.monotonic()))  # the fault itself
        hit = (
            run.under_load()
            and node not in three.answering()
            and (seconds < BROKER_SESSION_S or moved is not None)
        )
        note = (
            f"broker {node}, another leads after {moved} s, "
            f"{committed(run) - before} events committed meanwhile"
        )
        three.resume()
        run.trial(f"{what}: leader stopped for {seconds} s", hit, since, note)
        three.start()
        time.sleep(SESSION_S)  # who was put out has heard of it by then
        run.tend()
        run.wait(lambda: all(each.ready() for each in workers), 90, "both workers are ready")
    run.works(*workers)


def committed(run: Run) -> int:
    """Of all partitions, as last polled."""
    return sum(poll.committed for poll in run.poller.latest().values())


def replace_ended(run: Run, workers: list[Worker]) -> None:
    """Starts another worker in the place of each that has ended by its fence or its watchdog.

    To end or to go on, either is right: a client waits for a broker that hangs as long as for one
    that is slow, and the group may put it out meanwhile
    (docs/understand/upstream/a-heartbeat-waits-longer-than-the-session.md).
    """
    for place, worker in enumerate(workers):
        if worker.process.poll() is not None:
            run.ended(worker, 1)
            workers[place] = run.worker(*PATIENT, ready=False)


def b4(run: Run) -> None:
    """Kills the active controller, then two brokers of three.

    By SIGKILL; the cluster stands still, and goes on when they are back.
    """
    three, worker = brokers(run), run.worker(*PATIENT)
    run.begin_load()
    run.works(worker)
    (epoch, node), since = three.controller(), time.monotonic()
    hit = run.under_load() and three.kill([node])
    run.wait(
        lambda: three.controller() > (epoch, max(NODES)) and three.controller()[1] > 0,
        MOVED_S,
        "a controller",
    )
    note = f"broker {node}, broker {three.controller()[1]} after {time.monotonic() - since:.1f} s"
    run.trial("active controller killed", hit, since, note)
    three.start()
    run.works(worker)
    since, hit = time.monotonic(), run.under_load() and three.kill(run.random.sample(NODES, 2))
    time.sleep(4)  # what was under way arrives
    before = committed(run)
    time.sleep(8)  # the fault itself
    hit = hit and committed(run) == before
    three.start()
    run.trial("two of three killed", hit, since)


def b7(run: Run) -> None:
    """Starts a worker while no broker answers, then while one of three is away.

    It reports that and ends, until they are back.
    """
    three = brokers(run)
    run.begin_load()
    hit, since, tries, starting = (
        three.kill(),
        time.monotonic(),
        0,
        threading.Thread(target=three.start, daemon=True),
    )
    worker = run.worker(ready=False)
    while not starts(run, worker):
        run.ended(worker, 1)
        clear = "unexpected" not in worker.log and (UNREACHABLE in worker.log or tries >= 2)
        if not clear:
            run.verdict.violations.setdefault("B7", []).append(
                f"no clear word: {worker.log[-400:]}"
            )
        tries += 1
        if tries == 2:
            starting.start()
        time.sleep(min(2**tries, 8) / 2)  # as a supervisor waits, longer each time
        worker = run.worker(ready=False)
    starting.join()
    run.trial(
        "no broker at the start",
        hit and tries >= 2,
        since,
        f"the worker was started {tries + 1} times",
    )
    run.kill(worker)
    run.crash_cut()
    since = time.monotonic()
    first = next(iter(three.nodes))  # the one that is asked first
    hit = three.kill([first])
    run.worker(*PATIENT)
    run.trial("one of three away at the start", hit, since)
    three.start()


def starts(run: Run, worker: Worker) -> bool:
    """Wait until it is ready or has ended with code 1: then False."""
    return bool(
        run.wait(
            lambda: (
                worker.process.poll() is not None
                or (worker.web and worker.get("/readyz")[0] == 200)
            ),
            120,
            "the worker is ready or has ended",
        )
        and worker.process.poll() is None
    )


def b8(run: Run) -> None:
    """Leaves too few replicas in sync.

    One of three is away and all go on; the changelog demands three and refuses; two of three are
    away.
    """
    three, changelog = brokers(run), run.settings.changelog_topic
    run.expected = (r"not stopped after \d+ s; ending at once",)  # with no cluster to leave
    worker = run.worker(*PATIENT)
    run.begin_load()
    run.works(worker)
    away = run.random.choice(
        [node for node in NODES if node != three.coordinator(run.settings.app_id)]
    )
    since, hit = time.monotonic(), run.under_load() and three.kill([away])
    run.wait(
        lambda: {len(each) for each in three.in_sync(changelog)} == {2}, MOVED_S, "two in sync"
    )
    run.trial("one of three away, minimum two", hit, since)
    # with nothing under way: what is appended already is held by the broker for as long as it is
    # asked to wait, and not refused
    worker.stop()
    run.ended(worker, 0)
    since = time.monotonic()
    topics.configure(run.settings, changelog, min_insync_replicas="3")
    worker = run.worker(*IMPATIENT, ready=False)
    refused = ends_without_commit(run, worker) and "NotEnoughReplicas" in worker.log
    run.crash_cut()
    topics.configure(run.settings, changelog, min_insync_replicas="2")
    worker = run.worker(*IMPATIENT)
    run.trial(
        "two in sync, minimum three",
        refused and run.under_load(),
        since,
        "NotEnoughReplicas in its log",
    )
    three.start()
    run.works(worker)
    since, hit = time.monotonic(), run.under_load() and three.kill(run.random.sample(NODES, 2))
    unacknowledged = ends_without_commit(run, worker)
    three.start()
    run.crash_cut()
    run.worker(*PATIENT)
    run.trial("two of three away, minimum two", hit and unacknowledged, since)


def ends_without_commit(run: Run, worker: Worker) -> bool:
    """The worker gives up its write, names it, and ends with code 1."""
    code = worker.process.wait(90)
    run.ended(worker, 1)
    return code == 1 and "PublishError" in worker.log


ALL = {"B1L": b1_leaders, "B2": b2, "B3": b3, "B4": b4, "B7": b7, "B8": b8}
