"""Judges records of other shapes as the contract judges its own, document by document."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import orjson
import pytest

from stream.config import EVENT_FORMATS, MAPPING, OWNERS_FORMATS, Settings
from stream.contracts.digest import checksums_of
from stream.contracts.event import ORIGIN_HEADER, Limits
from stream.contracts.faults import BadEvent, UnreadableBytes
from stream.errors import PoisonError, SettingsError
from stream.formats.event_format import Reading
from stream.formats.mappings.mapping_file import parse_mapping
from stream.formats.mappings.mapping_format import MappingFormat
from stream.formats.records import _read_at_once, _read_in_full, read_record, rejects_of
from stream.formats.registry import FORMATS, foreign_format, format_named, source_format
from stream.formats.snowplow import PLACES
from stream.pipeline.decode import Decoder
from stream.policies.breaker import DeadLetterBreaker
from tests.support.foreign import cases
from tests.unit.stream.formats.test_refusals import changed, places

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


WRITTEN: Final[tuple[Any, ...]] = (
    None, "", "x", "7", 7, 7.5, -1, True, [], {}, ["a"], {"id": 1}, "undefined", "a\nb", 10**30,
    "2026-01-01T00:00:00Z", "2026-01-01 00:00:00.5", 1_767_225_600_000, "é", "x" * 700, "search",
)  # fmt: skip
RAW: Final = (b"1e400", b'"\\ud800"', b'"\xff"', b"nul", b"[" * 70 + b"]" * 70)


def as_drawn(name: str, random_: random.Random) -> list[Any]:
    """Records of a format, and others with something else in a field."""
    found = []
    for case in cases(name, 40, seed=11):
        values = [case.value, case.value + b"\n" + case.value, b" " + case.value]
        if case.value.startswith(b"{"):
            sound = json.loads(case.value)
            where = random_.choice(places(sound))
            values += [json.dumps(changed(sound, where, each)).encode() for each in WRITTEN]
            marked = json.dumps(changed(sound, where, "mark")).encode()
            values += [marked.replace(b'"mark"', each) for each in RAW]
        elif b"\t" in case.value:
            columns = case.value.split(b"\t")
            for text in (b"", b"[", b"\xff", b"struct", b"{}", b"7"):
                columns[random_.choice(list(PLACES.values()))] = text
                values.append(b"\t".join(columns))
        key = case.events[0]["user_id"].encode() if case.events else b"u"
        headers = random_.choice((case.headers, (*case.headers, (ORIGIN_HEADER, b"raw-1-2-3"))))
        found += [
            record(value, key=key, headers=headers, timestamp=random_.choice((NOW_MS, -1)))
            for value in values
        ]
    return found


def told(reading: Reading) -> Any:
    bad = [(each.place, each.value, each.fault.reason, str(each.fault)) for each in reading.bad]
    return list(reading.events), dict(reading.dropped), bad


@pytest.mark.parametrize("name", OWNERS_FORMATS)
def test_what_is_read_at_once_is_what_is_read_in_full(name: str) -> None:
    event_format, at_once = format_named(name), 0
    for given in as_drawn(name, random.Random(name)):
        asked = (given, event_format, Limits(), NOW_MS, True, None)
        reading = _read_at_once(*asked)
        if reading is not None:
            at_once += 1
            assert told(reading) == told(_read_in_full(*asked)), given
    assert at_once > 100
