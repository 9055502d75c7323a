"""Checks the decoder on the poison corpus.

Each record gets its reason, in bounded time, and its neighbours do not notice.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.audit.event_rules import Limits as AuditLimits
from stream.audit.event_rules import valid_event
from stream.contracts.event import Limits, parse_event
from stream.contracts.faults import REASONS, UNREADABLE, BadEvent
from stream.pipeline.decode import Decoder
from tests.support.poison import CORPUS, STRANGE, TIME_MS, USER, Poison, event, named_user


def record(
    value: bytes | None, key: bytes | None = USER, offset: int = 0, headers: Any = ()
) -> Any:
    return SimpleNamespace(key=key, value=value, headers=headers, offset=offset, timestamp=TIME_MS)


def audited(value: bytes | None, key: bytes | None = USER) -> bool:
    return valid_event(key, value, TIME_MS, AuditLimits()) is not None


@pytest.mark.parametrize("bad", CORPUS, ids=lambda bad: bad.name)
def test_each_bad_record_gets_its_reason_and_the_audit_agrees(bad: Poison) -> None:
    with pytest.raises(BadEvent) as caught:
        parse_event(record(bad.value, bad.key, headers=bad.headers), Limits())
    assert caught.value.reason == bad.reason
    assert len(str(caught.value)) < 1_000
    assert not audited(bad.value, bad.key)


@pytest.mark.parametrize("name", STRANGE)
def test_a_sound_event_that_looks_strange_is_taken_and_the_audit_agrees(name: str) -> None:
    value = STRANGE[name]
    parse_event(record(value, named_user(value)), Limits())
    assert audited(value, named_user(value))


def test_the_corpus_meets_every_reason_of_the_decoder() -> None:
    elsewhere = {"no-user", "unprocessable", "bad-control", *UNREADABLE}
    elsewhere |= {"unknown-schema", "bad-schema", "schema-mismatch"}
    # those of --rekey, the model, controls, whole batches, and of a schema registry
    assert {bad.reason for bad in CORPUS} == set(REASONS) - elsewhere


def test_neighbours_of_bad_records_are_decoded_as_if_alone() -> None:
    good = [event(f',"event_id":"{place}"') for place in range(len(CORPUS) + 1)]
    mixed = [record(good[0])]
    for bad, neighbour in zip(CORPUS, good[1:], strict=True):
        mixed += [record(bad.value, bad.key, headers=bad.headers), record(neighbour)]
    for offset, each in enumerate(mixed):
        each.offset = 100 + offset
    batch = Decoder().decode("clickstream", 0, mixed)
    alone = Decoder().decode("clickstream", 0, [record(value) for value in good])
    assert (batch.first_offset, batch.last_offset) == (100, 100 + len(mixed) - 1)
    assert batch.offsets.tolist() == list(range(100, 100 + len(mixed), 2))
    assert [each.offset for each in batch.rejects] == list(range(101, 100 + len(mixed), 2))
    np.testing.assert_array_equal(batch.compact, alone.compact)
    np.testing.assert_array_equal(batch.checksums, alone.checksums)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_one_of_the_reasons(value: bytes) -> None:
    """Checks as well that what the decoder refuses is refused by the audit."""
    assert_same_judgement(value)


@given(st.data())
def test_any_change_of_an_event_is_judged_alike_by_decoder_and_audit(data: st.DataObject) -> None:
    value = bytearray(
        event(
            r',"title":"a\u00e9","categories":["b"],"dwell_ms":1.5,"value":-2,"session_id":null,"x":{"y":[]}'
        )
    )
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(value) - 1))
        piece = data.draw(
            st.binary(max_size=2)
            | st.sampled_from([b'"', b"\\", b"0", b"e9", b"{", b"]", b"null", b",", b"-"])
        )
        value[place : place + data.draw(st.integers(0, 3))] = piece
    assert_same_judgement(bytes(value))


def assert_same_judgement(value: bytes) -> None:
    reason = reason_of(value)
    assert reason is None or reason in REASONS
    assert audited(value) == (reason is None), (
        f"the decoder says {reason or 'sound'}, the audit the opposite"
    )


def reason_of(value: bytes) -> str | None:
    try:
        parse_event(record(value), Limits())
    except BadEvent as error:
        return error.reason
    return None
