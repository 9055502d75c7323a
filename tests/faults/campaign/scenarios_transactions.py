"""Holds the scenarios TX: events in transactions that are committed, aborted, or open for long."""

from __future__ import annotations

import time

from tests.faults.campaign.run import Run
from tests.faults.campaign.scenarios_kills import BATCHES
from tests.support import transactions
from tests.support.transactions import events

STALL_S = 15
"""Stall timeout of these workers; a worker that takes markers for lag ends after it."""

PATIENT = ("--stall-timeout-s", str(STALL_S))


def tx1(run: Run) -> None:
    """Sends transactions that commit and that abort amid other events, with kills.

    In the end the topic ends in markers and aborted data, and nothing stands still because of it.
    """
    worker = run.worker(*BATCHES, *PATIENT)
    run.begin_load()
    for number in range(3):
        run.works(worker)
        for _ in range(4):
            transactions.send(
                run.settings,
                (events(f"kept-{run.random.randrange(3)}", 30), True),
                (events(f"gone-{run.random.randrange(3)}", 30), False),
            )
        since, hit = time.monotonic(), run.kill(worker)
        run.crash_cut()
        worker = run.worker(*BATCHES, *PATIENT)
        run.trial(f"kill amid transactions {number}", hit, since)
    if run.load is not None:
        run.load.stop()
    since = time.monotonic()
    transactions.send(run.settings, (events("kept", 40), True), (events("gone", 40), False))
    run.trial("a topic that ends in aborted data", True, since)
    time.sleep(STALL_S + 5)  # what would be taken for a stall
    assert worker.process.poll() is None, worker.log[-2_000:]


def tx2(run: Run) -> None:
    """Leaves a transaction open for longer than a worker may stand still, then ends it.

    Nothing behind it is applied meanwhile; a kill in between changes nothing.
    """
    worker = run.worker(*PATIENT)
    run.begin_load()
    for committed in (True, False):
        run.works(worker)

        def kill_and_wait() -> None:
            nonlocal worker
            time.sleep(STALL_S + 5)
            assert worker.process.poll() is None, worker.log[-2_000:]
            run.kill(worker)
            run.crash_cut()
            worker = run.worker(*PATIENT)

        since, held = time.monotonic(), (events("held", 40), committed)
        transactions.send(run.settings, held, while_open=kill_and_wait)
        run.trial(f"open transaction, then {'committed' if committed else 'aborted'}", True, since)


ALL = {"TX1": tx1, "TX2": tx2}
