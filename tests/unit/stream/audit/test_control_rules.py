"""The audit's own reading of controls agrees with the worker's, and finds what differs from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.audit.changelog import Changelog
from stream.audit.compare import compare
from stream.audit.control_rules import valid_control
from stream.audit.event_rules import Limits
from stream.audit.replay import Replay
from stream.contracts import event as contract
from stream.contracts.control import Control, encode_control, parse_control
from stream.contracts.faults import BadEvent
from stream.policies.erasure import Remembering
from tests.unit.stream.contracts.test_control import NOW_MS, erase, record
from tests.unit.stream.policies.test_erasure import (
    PARTITION,
    STEP,
    control,
    event,
    records_of,
    run,
)

TOPIC = "clickstream"
LIMITS = Limits(late_window_ms=40)
RULES = Remembering(late_window_ms=40)


def report(
    records: Sequence[Any],
    states: dict[bytes, bytes | None],
    limits: Limits = LIMITS,
    committed: int | None = None,
    begin: int = 0,
) -> dict[str, Any]:
    changelog = Changelog()
    for offset, (user, value) in enumerate(states.items()):
        changelog.add(PARTITION, offset, user, value)
    done = {PARTITION: len(records) + begin if committed is None else committed}
    replay = Replay(limits, changelog, done)
    for each in records:
        replay.add(PARTITION, each.offset, each.key, each.value, each.timestamp, None, each.headers)
    return compare(replay, changelog, done, TOPIC, {PARTITION: begin})


def states_after(records: Sequence[Any], rules: Remembering = RULES) -> dict[bytes, bytes | None]:
    arena, _ = run(records, [], rules)
    held = {user: arena.encoded(user) for user in arena.users()}
    # a user of whom nothing was ever applied has no state
    return {user: value for user, value in held.items() if value and value[24:32] != b"\xff" * 8}


@settings(max_examples=80, deadline=None)
@given(
    st.lists(STEP, min_size=1, max_size=60),
    st.sampled_from([0, 20]),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_whatever_the_worker_makes_of_a_log_is_clean(
    steps: list[Any], ttl_ms: int, stand: int, committed: int
) -> None:
    """States may stand anywhere behind what is committed: workers go on while the audit reads."""
    records, stand = records_of(steps), min(stand, len(steps))
    states = states_after(records[:stand], replace(RULES, ttl_ms=ttl_ms)) if stand else {}
    found = report(records, states, replace(LIMITS, ttl_ms=ttl_ms), min(committed, stand))
    assert found["clean"], found["examples"]
    assert found["invalid"] == 0


LIFE = [event("u", 0, 1), event("u", 1, 2), control("erase", "u", 2, 3), event("v", 3, 5)]


def test_an_erasure_that_was_not_carried_out_is_found() -> None:
    states = states_after(LIFE) | {b"u": states_after(LIFE[:2])[b"u"]}
    found = report(LIFE, states)
    assert (found["clean"], found["lost"], found["controls"]) == (False, 1, 1)


def test_a_tombstone_instead_of_a_marker_is_found_until_nothing_can_be_late() -> None:
    gone = states_after(LIFE) | {b"u": None}
    assert report(LIFE, gone)["missing"] == 1
    later = [*LIFE, event("v", 4, 44)]
    assert report(later, states_after(later) | {b"u": None})["clean"]
    assert report(later, states_after(later))["clean"], "it need not be there, and may"


def test_a_late_event_that_was_applied_is_found() -> None:
    late = event("u", 4, 10, own=2)
    applied = states_after([*LIFE, replace_time(late)])
    assert report([*LIFE, late], states_after([*LIFE, late]))["events"]["erased"] == 1
    assert not report([*LIFE, late], applied)["clean"]


def replace_time(record_: Any) -> Any:
    """The same event, as a worker would read it that knows nothing of late ones."""
    return event("u", record_.offset, 10)


def test_a_suppression_that_is_not_held_is_found() -> None:
    records = [control("suppress", "u", 0, 1)]
    assert report(records, states_after(records))["clean"]
    other = states_after([control("erase", "u", 0, 1)])
    assert report(records, other)["wrong"] == 1


def test_what_retention_took_of_an_erasure_is_read_from_the_state() -> None:
    whole = [*LIFE, event("u", 4, 10, own=2), event("u", 5, 11)]
    found = report(whole[3:], states_after(whole), begin=3)
    assert (found["clean"], found["events"]["erased"]) == (True, 1)
    marker = {b"w": states_after([control("erase", "w", 1, 1)])[b"w"]}
    assert report(whole[3:], states_after(whole) | marker, begin=3)["clean"]


VALUES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "control": st.sampled_from(["erase", "suppress", "unsuppress", "forget", "purge", 1, None]),
        "user_id": st.sampled_from(["canary-7f3a", "other", "", "u" * 257, 7, None]),
        "request_id": st.sampled_from(["r", "", "r" * 257, "a\tb", None, []]),
        "time": st.sampled_from([NOW_MS, 5, "2027-01-15T08:00:00Z", "soon", None, 1.5, True]),
        "item_id": st.sampled_from(["i", "", "i" * 2_049, "a\x7f", None, 3]),
        "query": st.sampled_from(["q", "", "q" * 2_049, None, {}]),
        "more": st.sampled_from([1, "x", None]),
    },
)


@given(VALUES)
def test_worker_and_audit_agree_on_which_controls_are_to_be_obeyed(changes: dict[str, Any]) -> None:
    given_ = record(erase(**changes))
    try:
        parse_control(given_, contract.Limits())
        obeyed = True
    except BadEvent:
        obeyed = False
    found = valid_control(given_.key, given_.value, given_.headers, Limits())
    assert (found is not None) == obeyed


@pytest.mark.parametrize("signed", [None, b"0123456789abcdef", b"another key here"])
def test_a_signature_is_checked_by_the_audit_too(signed: bytes | None) -> None:
    key, value, headers = encode_control(Control("erase", "u", "r", NOW_MS), signed)
    found = valid_control(key, value, headers, Limits(control_key=b"0123456789abcdef"))
    assert (found is not None) == (signed == b"0123456789abcdef")
