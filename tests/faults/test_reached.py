"""Checks what a campaign reports that it has reached.

Each kind is counted from its own trace, and what no run was in stands in capitals.
"""

from __future__ import annotations

import pytest

from tests.faults.campaign import reached
from tests.faults.oracle.history import History, Record

TRACES = {
    "self-fence": "ERROR FencedError: events[0] is not ours any more: silent; nothing was written",
    "breaker of dead letters": "ERROR PoisonError: 51 bad records in a row on partition 0",
    "write sent again, its acknowledgement lost": (
        "Got error produce response: KafkaConnectionError: Connection closed"
    ),
    "too few replicas in sync": (
        "Got error produce response: [Error 19] NotEnoughReplicasError, retrying"
    ),
    "fetch out of range": (
        "clickstream[0]: 3 events were deleted by retention before they were read"
    ),
}


@pytest.mark.parametrize("name", TRACES)
def test_lines_of_a_worker_are_counted(name: str) -> None:
    history = History("events", logs={"a": f"{TRACES[name]}\nINFO nothing\n", "b": TRACES[name]})
    found = reached.counts(history, [], [])
    assert {each for each, times in found.items() if times} == {name}
    assert found[name] == 2


def test_trials_and_evidence_are_counted() -> None:
    letter = Record(0, 0, b"u", b"{")
    trials = [
        "kill at states_sent",
        "kill at restoring",
        "kill at committed",
        "compaction",
        "kill at computed, one of three",
    ]
    evidence = [
        {"replayed": 7},
        {"inflight_at_revocation": 2},
        {"inflight_at_revocation": 0},
        {"states": 0},
    ]
    assert {
        name: times
        for name, times in reached.counts(
            History("events", letters=[letter]), trials, evidence
        ).items()
        if times
    } == {
        "offset replayed and skipped": 7,
        "rebalance during a batch": 1,
        "dead letter written": 1,
        "killed with a write not acknowledged": 1,
        "killed between memory and changelog": 2,
        "recovery interrupted": 1,
        "compaction pass": 1,
    }


def test_the_table_adds_runs_and_marks_what_none_reached() -> None:
    told = reached.table(
        [{"reached": {"self-fence": 1}}, {"reached": {"self-fence": 2}}, {"error": "broke off"}]
    )
    assert "| self-fence | 3 |" in told
    assert "| fetch out of range | NEVER |" in told
    assert "in 2 of 3 runs" in told
    assert told.count("NEVER") == len(reached.NAMES) - 1
