"""The load of other formats means, event for event, what the contract's load does."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from stream.bench.formats import MAPPED, WRITERS, _rows, rewritten
from stream.bench.load import random_events
from stream.config import CONTRACT, MAPPING, OWNERS_FORMATS
from stream.contracts.event import Limits, parse_event
from stream.formats.records import read_record
from stream.formats.registry import format_named


def records(name: str) -> list[Any]:
    now_ms = int(time.time() * 1000)
    events = rewritten(random_events(50, 10, ("a", "b", "c"), seed=3), name)
    return [
        SimpleNamespace(key=key, value=value, headers=(), offset=0, timestamp=now_ms)
        for key, value in events
    ]


def test_there_is_a_load_of_every_format() -> None:
    assert list(WRITERS) == [*OWNERS_FORMATS, MAPPING]


@pytest.mark.parametrize("name", WRITERS)
def test_a_record_is_the_event_of_the_contract(name: str, tmp_path: Path) -> None:
    mapping = tmp_path / "bench.toml"
    mapping.write_text(MAPPED)
    event_format = format_named(name, str(mapping))
    for contract, other in zip(records(CONTRACT), records(name), strict=True):
        (event,) = read_record(other, event_format, Limits()).events
        meant = parse_event(contract, Limits())
        said, wanted = msgspec.to_builtins(event), msgspec.to_builtins(meant)
        assert abs(said.pop("time") - wanted.pop("time")) < 60_000  # of when each was made
        assert said == wanted


def test_a_rate_stands_beside_the_contracts() -> None:
    rows = list(_rows("null model", [(CONTRACT, 200.0), ("segment", 190.0)]))
    assert [(each.figure, each.value) for each in rows] == [
        ("contract, null model", 200.0),
        ("segment, null model", 190.0),
        ("segment, null model, of the contract", 95.0),
    ]
