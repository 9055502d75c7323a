"""The AsyncAPI document is one, and says of topics and records what the code does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from docs.generators.asyncapi import CHANNELS, as_draft_7
from stream.config import Settings
from stream.kafka.topic_rules import declared
from stream.popularity.counts import Counts, encode
from tests.support.asyncapi import DOCUMENT
from tests.support.contracts import faults, golden
from tests.support.pages import DOCS

FOUND = json.loads((DOCS / "reference/asyncapi.json").read_text(encoding="utf-8"))


def validator(name: str) -> Draft7Validator:
    """Checks by a schema of the document."""
    whole = DRAFT7.create_resource(FOUND)
    registry: Registry[Any] = Registry().with_resource("urn:document", whole)
    reference = {"$ref": f"urn:document#/components/schemas/{name}"}
    return Draft7Validator(reference, registry=registry)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_it_is_an_asyncapi_document() -> None:
    found = [
        f"{each.json_path}: {each.message}" for each in Draft7Validator(DOCUMENT).iter_errors(FOUND)
    ]
    assert not found
    for schema in FOUND["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("asyncapi",), "2.6.0"),
        (("info", "version"), 1),
        (("channels", "events", "bindings", "kafka", "bindingVersion"), "9"),
        (("channels", "events", "adress"), "x"),
        (("operations", "sendUpdates", "action"), "publish"),
        (("components", "messages", "event", "payload", "type"), "nonsense"),
        (("servers", "kafka", "host"), "kafka://host:9092"),
    ],
    ids=lambda each: "/".join(each) if isinstance(each, tuple) else "",
)
def test_what_is_none_would_be_found(path: tuple[str, ...], wrong: Any) -> None:
    changed = json.loads(json.dumps(FOUND))
    place = changed
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = wrong
    assert list(Draft7Validator(DOCUMENT).iter_errors(changed))


def test_references_lead_somewhere() -> None:
    for each in references(FOUND):
        place = FOUND
        for name in each.removeprefix("#/").split("/"):
            place = place[name]
        assert place


@pytest.mark.parametrize("rekey", [False, True])
def test_every_topic_has_a_channel_and_each_channel_messages(rekey: bool) -> None:
    settings = dataclasses.replace(Settings(), live_popularity=True, rekey=rekey)
    addresses = {each["address"] for each in FOUND["channels"].values()}
    assert {topic.name for topic in declared(settings, 3)} <= addresses
    for channel in FOUND["channels"].values():
        assert channel["messages"]
    assert list(FOUND["channels"]) == [each.name for each in CHANNELS]


@pytest.mark.parametrize(
    ("name", "file"), [("event-1", "events"), ("control-1", "controls"), ("update-1", "updates")]
)
def test_its_schemas_judge_as_the_published_ones(name: str, file: str) -> None:
    check = validator(name)
    for sample in golden(f"{file}-valid.jsonl"):
        assert check.is_valid(sample)
    if file == "updates":  # what is wrong is told as a change of a right one
        return
    for sample in golden(f"{file}-invalid.jsonl"):
        value = sample[file.removesuffix("s")]
        assert check.is_valid(value) is (not faults(name, value))


def test_headers_that_go_together_do_so_in_draft_7_too() -> None:
    check = validator("dead-letter-1")
    headers = {f"is.dlq.{name}": "1" for name in ("partition", "offset", "timestamp", "time")}
    headers |= {f"is.dlq.{name}": "x" for name in ("topic", "error", "message", "worker")}
    headers |= {"is.dlq.reason": "not-json", "is.dlq.stage": "decode"}
    assert check.is_valid(headers)
    assert not check.is_valid({**headers, "is.dlq.key-bytes": "9"})


def test_a_profile_is_an_update_or_nothing() -> None:
    check = validator("profile-1")
    assert check.is_valid(None)
    assert check.is_valid(golden("updates-valid.jsonl")[0])
    assert not check.is_valid({})


def test_a_snapshot_is_what_the_job_publishes() -> None:
    counts = Counts()
    counts.add(["tent", "stove"], [1_800_000_000_000] * 2, ["anna", "berta"])
    value = orjson.loads(encode(counts.snapshot({0: 2}, "id")))
    check = validator("item-popularity-1")
    assert check.is_valid(value), [each.message for each in check.iter_errors(value)]
    assert not check.is_valid({**value, "items": [["tent"]]})
    assert not check.is_valid({**value, "schema": "item-popularity/2"})


def test_a_word_that_draft_7_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\$defs"):
        as_draft_7({"properties": {"a": {"$defs": {}}}})
    pair = {"type": "array", "prefixItems": [{"type": "string"}], "items": False}
    told = {"type": "array", "items": [{"type": "string"}], "additionalItems": False}
    assert as_draft_7(pair) == told
