"""Publishes updates as Avro and as JSON with a schema, and loses nothing of the contract."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastavro import parse_schema, schemaless_reader
from fastavro.schema import to_parsing_canonical_form

from stream.formats.framed.avro import avro_reader
from stream.formats.framed.frame import PAYLOAD_AT, RegisteredSchema, id_of
from stream.formats.framed.updates import KIND_OF, update_encoder, update_schema, without_nulls

GOLDEN = Path(__file__).resolve().parents[4] / "golden" / "updates-valid.jsonl"
UPDATES = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]


def known(schema: dict[str, Any], value: Any) -> Any:
    """An update without what the contract does not name, which consumers ignore."""
    if isinstance(value, dict):
        names = schema.get("properties", {})
        return {name: known(names[name], each) for name, each in value.items() if name in names}
    if isinstance(value, list):
        return [known(schema["items"], each) for each in value]
    return value


@pytest.mark.parametrize("update_format", KIND_OF)
def test_each_golden_update_comes_back_as_it_was(update_format: str) -> None:
    contract = json.loads(update_schema("json-schema"))
    schema = RegisteredSchema(KIND_OF[update_format], update_schema(update_format))
    encode = update_encoder(update_format, 7)
    for update in UPDATES:
        value = encode(orjson.dumps(update))
        assert id_of(value) == 7
        if update_format == "avro":
            document = without_nulls(avro_reader(schema)(value[PAYLOAD_AT:]))
            assert orjson.loads(document) == known(contract, update)
        else:
            assert orjson.loads(value[PAYLOAD_AT:]) == update


def test_the_avro_schema_is_frozen_with_the_contract() -> None:
    fields = {each["name"]: each for each in json.loads(update_schema("avro"))["fields"]}
    assert fields.keys() == json.loads(update_schema("json-schema"))["properties"].keys()
    assert fields["user_id"]["type"] == "string"
    assert fields["time"]["type"] == "long"
    assert fields["scored_by"]["type"] == ["null", "string"]
    assert fields["interests"]["type"]["items"]["name"] == "InterestUpdateInterests"


def test_a_later_version_reads_what_this_one_wrote() -> None:
    schema = json.loads(update_schema("avro"))
    later = json.loads(update_schema("avro"))
    later["fields"].append({"name": "new", "type": ["null", "string"], "default": None})
    assert to_parsing_canonical_form(later) != to_parsing_canonical_form(schema)
    value = update_encoder("avro", 7)(orjson.dumps(UPDATES[0]))
    found = schemaless_reader(
        io.BytesIO(value[PAYLOAD_AT:]), parse_schema(schema, {}), parse_schema(later, {})
    )
    assert isinstance(found, dict)
    assert found["new"] is None
    assert found["user_id"] == UPDATES[0]["user_id"]
