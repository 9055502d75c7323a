"""Says what an AsyncAPI 3.0 document looks like, after its specification, as a JSON Schema.

It has the objects that our document uses, with all fields that the specification gives each and no
others. Schemas of messages are checked as what they are, JSON Schemas of draft 7.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

TEXT: Json = {"type": "string", "minLength": 1}
EXTENSION: Json = {"^x-[\\w.-]+$": True}
REFERENCE: Json = {
    "type": "object",
    "required": ["$ref"],
    "properties": {"$ref": {"type": "string", "pattern": "^#/"}},
    "additionalProperties": False,
}
SCHEMA: Json = {"$ref": "http://json-schema.org/draft-07/schema#"}


def fields(required: tuple[str, ...] = (), **properties: Json) -> Json:
    """Returns the schema of an object of the specification."""
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "patternProperties": EXTENSION,
        "additionalProperties": False,
    }


def mapped(to: Json, names: str = r"^[\w.-]+$") -> Json:
    """Returns the schema of a map whose values are objects, or where they are."""
    either = {"if": {"required": ["$ref"]}, "then": REFERENCE, "else": to}
    return {
        "type": "object",
        "patternProperties": {names: either},
        "additionalProperties": False,
    }


def reference_to(place: str) -> Json:
    """Returns the schema of a reference to an object of one kind."""
    return {
        **REFERENCE,
        "properties": {"$ref": {"type": "string", "pattern": f"^#/{place}/[^/]+$"}},
    }


KAFKA_CHANNEL: Json = fields(
    topic=TEXT,
    partitions={"type": "integer", "minimum": 1},
    replicas={"type": "integer", "minimum": 1},
    topicConfiguration={
        "type": "object",
        "properties": {
            "cleanup.policy": {"type": "array", "items": {"enum": ["delete", "compact"]}},
            "retention.ms": {"type": "integer", "minimum": -1},
            "retention.bytes": {"type": "integer", "minimum": -1},
            "delete.retention.ms": {"type": "integer", "minimum": 0},
            "max.message.bytes": {"type": "integer", "minimum": 0},
        },
        "additionalProperties": False,
    },
    bindingVersion={"const": "0.5.0"},
)
KAFKA_MESSAGE: Json = fields(
    key=SCHEMA,
    schemaIdLocation={"enum": ["header", "payload"]},
    schemaIdPayloadEncoding=TEXT,
    schemaLookupStrategy=TEXT,
    bindingVersion={"const": "0.5.0"},
)
MESSAGE: Json = fields(
    headers=SCHEMA,
    payload=SCHEMA,
    correlationId={"type": "object"},
    contentType=TEXT,
    name=TEXT,
    title=TEXT,
    summary=TEXT,
    description=TEXT,
    tags={"type": "array"},
    externalDocs=fields(("url",), url=TEXT, description=TEXT),
    bindings=fields(kafka=KAFKA_MESSAGE),
    examples={
        "type": "array",
        "items": {
            **fields(headers={"type": "object"}, payload={}, name=TEXT, summary=TEXT),
            "anyOf": [{"required": ["headers"]}, {"required": ["payload"]}],
        },
    },
    traits={"type": "array"},
)
CHANNEL: Json = fields(
    address={"type": ["string", "null"]},
    messages=mapped(MESSAGE),
    title=TEXT,
    summary=TEXT,
    description=TEXT,
    servers={"type": "array", "items": reference_to("servers")},
    parameters={"type": "object"},
    tags={"type": "array"},
    externalDocs={"type": "object"},
    bindings=fields(kafka=KAFKA_CHANNEL),
)
OPERATION: Json = fields(
    ("action", "channel"),
    action={"enum": ["send", "receive"]},
    channel=reference_to("channels"),
    title=TEXT,
    summary=TEXT,
    description=TEXT,
    security={"type": "array"},
    tags={"type": "array"},
    externalDocs={"type": "object"},
    bindings={"type": "object"},
    traits={"type": "array"},
    messages={"type": "array", "items": REFERENCE},
    reply={"type": "object"},
)
SERVER: Json = fields(
    ("host", "protocol"),
    host={"type": "string", "pattern": r"^[^/\s]+$"},
    protocol=TEXT,
    protocolVersion=TEXT,
    pathname=TEXT,
    description=TEXT,
    title=TEXT,
    summary=TEXT,
    variables={"type": "object"},
    security={"type": "array"},
    tags={"type": "array"},
    externalDocs={"type": "object"},
    bindings={"type": "object"},
)
DOCUMENT: Json = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    **fields(
        ("asyncapi", "info"),
        asyncapi={"const": "3.0.0"},
        id={"type": "string", "format": "uri"},
        info=fields(
            ("title", "version"),
            title=TEXT,
            version=TEXT,
            description=TEXT,
            termsOfService=TEXT,
            contact=fields(name=TEXT, url=TEXT, email=TEXT),
            license=fields(("name",), name=TEXT, url=TEXT),
            tags={"type": "array"},
            externalDocs={"type": "object"},
        ),
        servers=mapped(SERVER),
        defaultContentType=TEXT,
        channels=mapped(CHANNEL),
        operations=mapped(OPERATION),
        components=fields(
            schemas={"type": "object", "additionalProperties": SCHEMA},
            messages=mapped(MESSAGE),
        ),
    ),
}
