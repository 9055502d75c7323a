"""Writes updates in a registry's wire format: the JSON behind a frame, or the same as Avro.

Both schemas come from the published contract, contracts/schemas/update-1.json. In Avro each object
is a record and each field that may be missing is null or its value, null by default; so a version
that has fields more reads what one without them wrote (BACKWARD). Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from io import BytesIO
from typing import Any, Final

import msgspec

from stream.formats.framed.frame import AVRO, JSON_SCHEMA, framed

KIND_OF: Final = {"avro": AVRO, "json-schema": JSON_SCHEMA}
"""What a registry calls the values of `--update-format`."""

_NAMESPACE: Final = "interest_stream"
_PRIMITIVES: Final = {
    "string": "string",
    "integer": "long",
    "number": "double",
    "boolean": "boolean",
}


def update_schema(update_format: str) -> str:
    """Returns the schema of updates, as a registry takes it."""
    published = files("stream.contracts") / "schemas" / "update-1.json"
    text = published.read_text(encoding="utf-8")
    if KIND_OF[update_format] == JSON_SCHEMA:
        return text
    contract = json.loads(text)
    schema = _avro_of(contract, "InterestUpdate")
    return json.dumps(schema | {"namespace": _NAMESPACE, "doc": contract["description"]})


def update_encoder(update_format: str, schema_id: int) -> Callable[[bytes], bytes]:
    """Returns what turns an update as JSON into the value that is published."""
    head = framed(schema_id, b"")
    if KIND_OF[update_format] == JSON_SCHEMA:
        return lambda update: head + update
    from fastavro import parse_schema, schemaless_writer

    schema = parse_schema(json.loads(update_schema(update_format)), named_schemas={})
    decode = msgspec.json.Decoder().decode

    def encode(update: bytes) -> bytes:
        out = BytesIO()
        out.write(head)
        schemaless_writer(out, schema, decode(update))
        return out.getvalue()

    return encode


def without_nulls(document: bytes) -> bytes:
    """Returns an update from Avro as the contract has it: what is not there is left out."""
    return msgspec.json.encode(_given(msgspec.json.decode(document)))


def _given(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _given(each) for name, each in value.items() if each is not None}
    return [_given(each) for each in value] if isinstance(value, list) else value


def _avro_of(schema: dict[str, Any], name: str) -> Any:
    """Returns the Avro type of a part of the contract; `name` is that of a record made of it."""
    if "const" in schema or "enum" in schema:  # a closed list would be closed for its readers too
        return "boolean" if isinstance(schema.get("const"), bool) else "string"
    kind = schema["type"]
    if kind == "array":
        return {"type": "array", "items": _avro_of(schema["items"], name)}
    if kind != "object":
        return _PRIMITIVES[kind]
    fields = []
    for field, part in schema["properties"].items():
        inner = _avro_of(part, f"{name}{field.title().replace('_', '')}")
        said = {"doc": part["description"]} if "description" in part else {}
        if field in schema["required"]:
            fields.append({"name": field, "type": inner, **said})
        else:
            fields.append({"name": field, "type": ["null", inner], "default": None, **said})
    return {"type": "record", "name": name, "fields": fields}
