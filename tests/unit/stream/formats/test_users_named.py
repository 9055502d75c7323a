"""Whom documents name, whatever becomes of them: generated, several in a value, damaged."""

from __future__ import annotations

import gzip
import json
from typing import Any, Final

import cramjam
import pytest

from stream.contracts.faults import BadEvent
from stream.formats.contract_format import ContractFormat
from stream.formats.documents import read_documents, users_named
from stream.formats.event_format import CONSENT, FILTER, NO_BEHAVIOUR, EventFormat
from stream.formats.framed.frame import AVRO, JSON_SCHEMA, RegisteredSchema, framed
from stream.formats.framed.readers import FramedFormat, SchemaReaders
from stream.formats.mappings.mapping_file import parse_mapping
from stream.formats.mappings.mapping_format import MappingFormat
from stream.formats.registry import format_named
from tests.support.foreign import cases
from tests.support.foreign.shop import Case
from tests.support.framed import EVENT, avro
from tests.unit.stream.formats.test_owners import OWNERS

DOCUMENTS: Final = 400
"""Of each format."""

DROPPED: Final = {
    "segment": {"traits", "elsewhere", "heartbeat", "denied"},
    "rudderstack": {"traits", "elsewhere", "heartbeat", "denied"},
    "ga4": {"automatic", "denied", "denied-body"},
    "posthog": {"own", "signup", "cookieless"},
    "snowplow": {"nothing", "denied", "struct-no-label"},  # of `anonymous` nobody knows who it was
    "cloudevents": {"nothing"},
    "debezium": {"changed"},
}
"""Kinds of documents that are left out and name somebody."""


def named(name: str, document: Any, headers: Any = ()) -> set[str]:
    value = document if isinstance(document, bytes) else json.dumps(document).encode()
    return users_named(format_named(name), value, headers)


@pytest.mark.parametrize("name", OWNERS)
def test_a_document_names_its_users_whether_it_is_read_or_left_out(name: str) -> None:
    left_out = set[str]()
    for case in cases(name, DOCUMENTS):
        assert named(name, case.value, case.headers) == case.users, case
        assert {each["user_id"] for each in case.events} <= case.users, case
        if case.users and not case.events:
            left_out.add(case.kind)
    assert left_out == DROPPED[name]


def some(name: str, kind: str) -> list[Case]:
    """Two documents that are left out, of different users, and one that is read between them."""
    found = [case for case in cases(name, DOCUMENTS) if case.value.startswith(b"{")]
    first = next(each for each in found if each.kind == kind and each.users)
    read = next(each for each in found if each.events and not each.users & first.users)
    told = first.users | read.users
    last = next(e for e in found if e.kind == kind and e.users and not e.users & told)
    return [first, read, last]


@pytest.mark.parametrize("name", OWNERS)
def test_several_documents_of_a_value_name_all_their_users(name: str) -> None:
    several = some(name, min(DROPPED[name] - {"heartbeat", "cookieless"}))
    users = frozenset[str]().union(*(each.users for each in several))
    values = [each.value for each in several]
    assert len(users) >= 3
    array = b"[" + b",".join(values) + b"]"
    for value in (array, b"\n".join(values), b" ".join(values)):
        assert named(name, value) == users
        assert named(name, gzip.compress(value)) == users
        assert named(name, bytes(cramjam.zstd.compress(value))) == users
    readers = SchemaReaders()
    readers.learn(2, RegisteredSchema(JSON_SCHEMA, "{}"))
    readers.learn(3, None)  # the registry does not know it: a dead letter
    shape = FramedFormat(format_named(name), readers)
    for schema in (2, 3):
        assert users_named(shape, framed(schema, array), ()) == users
    assert users_named(shape, b"\0", ()) == set()


@pytest.mark.parametrize("name", OWNERS)
def test_what_was_cut_still_names_whom_it_named_before(name: str) -> None:
    several = some(name, min(DROPPED[name] - {"heartbeat", "cookieless"}))
    users = frozenset[str]().union(*(each.users for each in several))
    array = b"[" + b",".join(each.value for each in several)
    assert named(name, array[:-1]) == users
    assert named(name, array[:-1] + b'"\xff') == users
    with pytest.raises(BadEvent):
        read_documents(format_named(name), array[:-1], (), None)


def test_lines_of_snowplow_name_their_users_when_they_lack_their_end() -> None:
    lines = [case for case in cases("snowplow", 60) if b"\t" in case.value and case.users]
    value = b"\n".join(each.value for each in lines)
    assert named("snowplow", value) == set[str]().union(*(each.users for each in lines))
    cut = lines[0].value.rpartition(b"\t")[0]
    assert named("snowplow", cut) == lines[0].users
    assert named("snowplow", b"a\tb") == set()


CAPTURED: Final = {"event": "$create_alias", "distinct_id": "u", "properties": {"alias": "v"}}
CLOUD: Final = {"specversion": "1.0", "type": "x"}
ROW: Final = {"user_id": 7, "visitorId": "v"}
MONGO: Final = {"user_id": {"$numberLong": "7"}, "_id": {"$oid": "0"}}


@pytest.mark.parametrize(
    ("name", "document", "users"),
    [
        ("segment", {"type": "alias", "userId": "u", "previousId": "p"}, {"u", "p"}),
        ("segment", {"userId": 7, "anonymousId": "null", "properties": "x"}, {"7"}),
        ("segment", {"userId": {"id": "u"}, "anonymousId": 1.5, "batch": [1]}, set()),
        ("segment", {"batch": [{"batch": [{"userId": "u"}]}], "userId": "v"}, {"u", "v"}),
        ("ga4", {"app_instance_id": "i", "user_id": "u", "items": "x"}, {"i", "u"}),
        ("posthog", CAPTURED, {"u", "v"}),
        ("posthog", {"data": json.dumps(CAPTURED), "distinct_id": "w"}, {"u", "v", "w"}),
        ("posthog", {"properties": json.dumps({"$device_id": "d"})}, {"d"}),
        ("posthog", {"distinct_id": {"distinct_id": "u"}, "event": 1}, {"u"}),
        ("snowplow", {"user_id": "u", "domain_userid": "d", "event": 1}, {"u", "d"}),
        ("cloudevents", {**CLOUD, "data": {"user_id": "u", "visitor_id": "v"}}, {"u", "v"}),
        ("cloudevents", {**CLOUD, "userid": "u", "data": "x"}, {"u"}),
        ("cloudevents", {**CLOUD, "data_base64": "eyJ1aWQiOiAidSJ9"}, {"u"}),
        ("cloudevents", {**CLOUD, "data_base64": "!"}, set()),
        ("debezium", {"op": "d", "before": ROW, "after": None}, {"7", "v"}),
        ("debezium", {"payload": {"op": "u", "before": ROW, "after": {"uid": 8}}}, {"7", "v", "8"}),
        ("debezium", {"op": "d", "before": json.dumps(MONGO)}, {"7"}),
        ("debezium", {**ROW, "__deleted": "true", "__op": "d"}, {"7", "v"}),
        ("contract", {"user_id": "u", "action": 1}, {"u"}),
        ("contract", {"user_id": 7}, set()),
        ("contract", [{"user_id": "u"}, {"user_id": "v"}, 1], {"u", "v"}),
    ],
)
def test_each_identity_of_a_user_counts(name: str, document: Any, users: set[str]) -> None:
    assert named(name, document) == users


def test_attributes_in_headers_name_a_user() -> None:
    headers = (("ce_specversion", b"1.0"), ("ce_userid", b"u"))
    assert named("cloudevents", {"customer_id": 7}, headers) == {"u", "7"}
    assert named("cloudevents", b'{"customer_id": 7, "x', headers) == {"u", "7"}


@pytest.mark.parametrize("name", ["contract", *OWNERS])
def test_what_is_no_document_names_nobody(name: str) -> None:
    deep = b'{"payload":' * 3_000 + b"1" + b"}" * 3_000
    bombs = (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", gzip.compress(b"0" * (1 << 23)))
    for value in (b"[" * 5_000, b"\xff\xfe", b"\0\0\0\0\1{}", b"1", b"{}", b"[]", deep, *bombs):
        assert named(name, value) == set()


SHAPE: Final = """\
unlisted_actions = "drop"

[event]
user_id = ["lines[].buyer", "user.id", "anonymous"]
action = "name"
time = "at"
item_id = ["lines[].sku", "sku"]

[actions]
pageview = "view"

[[drop]]
path = "consent"
in = [false]
reason = "consent"

[[drop]]
path = "test"
given = true
"""


@pytest.fixture(scope="module")
def mapped() -> EventFormat:
    return MappingFormat(parse_mapping(SHAPE, "shape.toml"))


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"consent": False}, CONSENT),
        ({"test": 1}, FILTER),
        ({"name": "scroll"}, NO_BEHAVIOUR),
        ({}, None),
    ],
)
def test_a_mapping_names_whom_each_source_of_the_user_finds(
    mapped: EventFormat, more: dict[str, Any], why: str | None
) -> None:
    who = {"user": {"id": "u"}, "anonymous": "a"}
    document = {"name": "pageview", "at": 1_767_225_600_000, "sku": "s", **who, **more}
    value = json.dumps(document).encode()
    assert dict(read_documents(mapped, value, (), None).dropped) == (
        {} if why is None else {why: 1}
    )
    assert users_named(mapped, value, ()) == {"u", "a"}
    lines = [{"sku": 1, "buyer": "b"}, {"buyer": 7}, {"buyer": {}}, {}]
    several = json.dumps([document, {**document, "lines": lines}, {"lines": 1, "anonymous": "c"}])
    assert users_named(mapped, several.encode(), ()) == {"u", "a", "b", "7", "c"}


def test_a_mapping_finds_nobody_where_no_path_leads(mapped: EventFormat) -> None:
    for value in (b'{"user": 1, "anonymous": null}', b'{"anonymous": "a"', b"1", b"[]"):
        assert users_named(mapped, value, ()) == set()


def test_a_framed_value_names_its_user() -> None:
    readers = SchemaReaders()
    readers.learn(1, RegisteredSchema(AVRO, json.dumps(EVENT)))
    fields = {"user_id": "u", "action": "view", "time": 1_767_225_600_000, "item_id": "x"}
    value = framed(1, avro(EVENT, fields))
    shape = FramedFormat(ContractFormat(), readers)
    assert users_named(shape, value, ()) == {"u"}
    assert set(shape.users_named(value, ())) == {"u"}
