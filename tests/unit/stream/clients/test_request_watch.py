"""Checks when requests about users are obeyed; tests/kafka has real ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest

from stream.clients.request_watch import Facts, judge, source_offset, state_of
from stream.clients.requests import (
    DONE,
    REFUSED,
    WAITING,
    Ask,
    Request,
)
from stream.contracts.state_record import HEADER, MARKER, Record
from tests.support.contracts import golden_bytes

ERASE = Ask("erase", "erase-1")
AT_MS = 1_767_225_600_000
SENT = Request("alice", b"alice", 2, offset=40, time_ms=AT_MS)


def state(offset: int, erased_ms: int = 0, flags: int = 0) -> Record:
    header = np.zeros(1, HEADER)
    header["offset"], header["erased_ms"], header["flags"] = offset, erased_ms, flags
    nothing = np.zeros(0, np.float32)
    return Record(header[0], nothing, nothing)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts(), WAITING),
        (Facts(state(39), committed=40), WAITING),
        (Facts(state(40, AT_MS, MARKER)), DONE),
        (Facts(state(40, AT_MS, MARKER), profile_offset=39), WAITING),  # the null is not there yet
        (Facts(state(55, AT_MS), profile_offset=55), DONE),  # the user has come back
        (Facts(state(55), profile_offset=55), WAITING),  # passed over: not erased
        (Facts(None, committed=41), DONE),  # nobody knew the user, or the marker has ended
        (Facts(state(40, AT_MS), letter={"reason": "bad-control", "message": "sign it"}), REFUSED),
    ],
)
def test_an_erasure_is_done_when_marker_and_null_are_in_the_log(
    facts: Facts, expected: str
) -> None:
    found, why = judge(ERASE, SENT, facts)
    assert found == expected
    assert bool(why) == (expected != DONE)


def test_other_requests_are_done_when_workers_have_passed_them() -> None:
    for control in ("forget", "unsuppress"):
        ask = Ask(control, "r")
        assert judge(ask, SENT, Facts(state(39), 39, committed=40))[0] == WAITING
        assert judge(ask, SENT, Facts(state(39), 39, committed=41)) == (DONE, "")
        assert judge(ask, SENT, Facts(state(40), 39)) == (DONE, "")


def test_what_was_not_sent_waits() -> None:
    assert judge(ERASE, replace(SENT, offset=None), Facts(committed=99))[0] == WAITING


def test_a_worker_that_knows_no_requests_is_named_by_its_version() -> None:
    letter = {"reason": "missing-field", "worker": "0.9.1", "message": "no action"}
    assert judge(ERASE, SENT, Facts(letter=letter)) == (
        REFUSED,
        "a worker of version 0.9.1 made a dead letter of it (missing-field): that version knows no "
        "such request. Upgrade every worker, and run the command again",
    )


def test_nulls_and_what_is_none_of_ours_say_nothing() -> None:
    assert state_of(None) is state_of(b"junk") is None
    assert state_of(golden_bytes("state-1.hex")) is not None
    assert source_offset(orjson.dumps({"source": {"offset": 7}})) == 7
    for value in (None, b"", b"junk", b"[]", b"{}", b'{"source":{}}'):
        assert source_offset(value) is None
