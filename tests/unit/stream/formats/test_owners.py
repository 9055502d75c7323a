"""The owners' formats: what their generators mean is what is read, record for record."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stream.contracts.event import Event, Limits, check_event
from stream.formats.documents import read_documents
from stream.formats.event_format import Reading
from stream.formats.registry import format_named
from tests.support.foreign import cases
from tests.support.foreign.shop import Case

OWNERS = ("segment", "rudderstack", "ga4", "posthog", "snowplow", "cloudevents", "debezium")
MEANT = 3_000  # events of each format


def read(name: str, case: Case) -> Reading:
    return read_documents(format_named(name), case.value, case.headers, case.received_ms)


def said(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(event)
    return found


@pytest.mark.parametrize("name", OWNERS)
def test_what_was_meant_is_read(name: str) -> None:
    events = dropped = 0
    for case in cases(name, 2 * MEANT):
        reading = read(name, case)
        assert [said(each) for each in reading.events] == case.events, case
        assert dict(reading.dropped) == dict(case.dropped), case
        assert not reading.bad, case
        events += len(reading.events)
        dropped += sum(reading.dropped.values())
        for each in reading.events:
            check_event(each, Limits())
        if events >= MEANT:
            break
    assert events >= MEANT
    assert dropped > MEANT // 100
