"""Judges records of other shapes as the contract judges its own, document by document."""

from __future__ import annotations

import gzip
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import orjson
import pytest

from stream.config import EVENT_FORMATS, MAPPING, Settings
from stream.contracts.digest import checksums_of
from stream.contracts.event import ORIGIN_HEADER, Limits
from stream.contracts.faults import BadEvent, UnreadableBytes
from stream.errors import PoisonError, SettingsError
from stream.formats.mappings.mapping_file import parse_mapping
from stream.formats.mappings.mapping_format import MappingFormat
from stream.formats.records import read_record, rejects_of
from stream.formats.registry import FORMATS, foreign_format, source_format
from stream.pipeline.decode import Decoder
from stream.policies.breaker import DeadLetterBreaker

NOW_MS: Final = 1_800_000_000_000
SHAPE: Final = MappingFormat(
    parse_mapping(
        '[event]\nuser_id = "u"\naction = "a"\ntime = "t"\nitem_id = ["lines[].sku", "i"]\n'
        'event_id = "id"\ntitle = "title"\n',
        "shape.toml",
    )
)


def document(**fields: Any) -> bytes:
    return orjson.dumps({"u": "u", "a": "view", "t": NOW_MS, "i": "x", **fields})


def record(value: bytes | None, **parts: Any) -> Any:
    given = {"key": b"u", "headers": [], "offset": 7, "timestamp": NOW_MS, **parts}
    return SimpleNamespace(value=value, **given)


def reason(given: Any, limits: Limits | None = None, now_ms: int | None = None) -> str:
    with pytest.raises(BadEvent) as caught:
        read_record(given, SHAPE, limits or Limits(), now_ms)
    return caught.value.reason


@pytest.mark.parametrize("name", ["contract", "posthog", "cloudevents", "debezium", "mapping"])
def test_purposes_are_refused_where_events_name_none(name: str, tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_text('[event]\nuser_id = "u"\naction = "a"\ntime = "t"\nitem_id = "i"\n')
    mapping = str(file) if name == MAPPING else ""
    settings = Settings(event_format=name, mapping=mapping, consent_purposes="Ads")
    with pytest.raises(SettingsError, match="consent_purposes is 'Ads'"):
        foreign_format(settings)


def test_the_rules_of_the_contract_hold() -> None:
    day_ms = 86_400_000
    assert reason(record(None)) == "null-value"
    assert reason(record(document(), key=None)) == "null-key"
    assert reason(record(document(), key=b"v")) == "key-mismatch"
    assert reason(record(document(title="x" * 2_049))) == "text-too-long"
    assert reason(record(document(i="a\nb"))) == "control-character"
    small = Limits(max_value_bytes=64 - 30)
    assert reason(record(document()), small) == "too-large"
    assert reason(record(document(), key=None), small) == "too-large"  # so it is with --rekey, too
    assert reason(record(document(t=NOW_MS + day_ms + 1))) == "future-time"
    late = record(document(t=NOW_MS + day_ms + 1), timestamp=-1)
    assert reason(late, now_ms=NOW_MS) == "future-time"
    assert reason(record(b'{"u":' * 70 + b"1" + b"}" * 70)) == "too-deep"
    assert reason(record(b'{"u":"\xff"}')) == "not-utf8"
    assert reason(record(document(), headers=[("is.control", b"1")])) == "bad-control"
    unreadable = UnreadableBytes(b"x")
    unreadable.reason, unreadable.message = "corrupt-batch", "broken"
    for keyed in (True, False):
        with pytest.raises(BadEvent, match="broken"):
            read_record(record(unreadable, key=None), SHAPE, Limits(), keyed=keyed)


def test_one_bad_document_is_a_dead_letter_of_its_own() -> None:
    bad = document(t="soon")
    for value in (b"[%b,%b,%b]", b"%b\n%b\n%b\n", b"%b%b %b"):
        given = record(value % (document(), bad, document(u="v")), headers=[("trace", b"1")])
        reading = read_record(given, SHAPE, Limits())
        assert len(reading.events) == 1
        first, second = rejects_of(given, reading)
        assert (first.reason, first.document, first.partial) == ("bad-time", 0, True)
        assert first.record.value == bad
        assert (first.record.key, first.record.headers) == (given.key, given.headers)
        assert (second.reason, second.document) == ("key-mismatch", 1)
    assert reason(record(bad)) == "bad-time"
    assert reason(record(b"[" + document())) == "not-json"
    assert reason(record(b"[]")) == "not-json"
    assert reason(record(b"[%b]" % b",".join([document()] * 1_001))) == "too-large"
    lines = [{"sku": "a"}] * 1_001
    assert reason(record(document(lines=lines)), Limits(max_value_bytes=100_000)) == "too-large"


def test_a_broken_line_breaks_no_other() -> None:
    lines = [document() for _ in range(80)]
    lines[40] = lines[40][:-1]  # not closed
    reading = read_record(record(b"\n".join(lines)), SHAPE, Limits())
    assert (len(reading.events), len(reading.bad)) == (79, 1)


def test_documents_may_be_compressed() -> None:
    packed = gzip.compress(document() + b"\n" + document(i="y"))
    reading = read_record(record(packed), SHAPE, Limits())
    assert [each.item_id for each in reading.events] == ["x", "y"]


def test_an_origin_stands_in_for_ids_that_are_missing() -> None:
    headers = [(ORIGIN_HEADER, b"raw-1-2-3")]
    several = record(document(lines=[{"sku": "a"}, {"sku": "b"}]), headers=headers)
    ids = [each.event_id for each in read_record(several, SHAPE, Limits()).events]
    assert ids == ["raw-1-2-3#0", "raw-1-2-3#1"]
    (alone,) = read_record(record(document(), headers=headers), SHAPE, Limits()).events
    assert alone.event_id == "raw-1-2-3"
    (own,) = read_record(record(document(id="e"), headers=headers), SHAPE, Limits()).events
    assert own.event_id == "e"


def test_events_of_one_record_share_its_offset_and_have_checksums_of_their_own() -> None:
    value = document(lines=[{"sku": "a"}, {"sku": "b"}])
    batch = Decoder(event_format=SHAPE).decode(
        "clicks", 0, [record(document()), record(value, offset=8), record(b"x", offset=9)]
    )
    assert batch.offsets.tolist() == [7, 8, 8]
    assert batch.checksums.tolist() == checksums_of(document(), 1) + checksums_of(value, 2)
    assert len(set(checksums_of(value, 2))) == 2
    assert [each.offset for each in batch.rejects] == [9]
    assert (batch.first_offset, batch.last_offset) == (7, 9)


def test_a_record_of_which_something_was_read_is_not_bad_to_the_breaker() -> None:
    breaker = DeadLetterBreaker(2)
    half = [record(b"[%b,7]" % document(), offset=each) for each in range(5)]
    none = [record(b"[6,7]", offset=each) for each in range(5, 8)]

    def check(records: list[Any]) -> None:
        readings = [(each, read_record(each, SHAPE, Limits())) for each in records]
        breaker.check(0, records, [reject for one in readings for reject in rejects_of(*one)])

    check(half)
    with pytest.raises(PoisonError):
        check(none)


def test_every_format_that_can_be_named_can_be_made() -> None:
    assert (*FORMATS, MAPPING) == EVENT_FORMATS
    assert foreign_format(Settings()) is None
    for name in (*FORMATS,)[1:]:
        found = foreign_format(Settings(event_format=name))
        assert found is not None
        assert found.name == name
        assert source_format(Settings(event_format=name, rekey=True)) is None


def test_settings_of_formats_that_do_not_go_together() -> None:
    assert Settings(mapping="m.toml").event_format == MAPPING
    for name, mapping in (("segment", "m"), (MAPPING, "")):
        with pytest.raises(SettingsError, match="mapping"):
            Settings(event_format=name, mapping=mapping)
    with pytest.raises(SettingsError, match="cannot be read"):
        foreign_format(Settings(mapping="/nowhere/m.toml"))
