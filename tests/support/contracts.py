"""The published schemas, ready to check with, and the golden samples."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

GOLDEN = Path(__file__).parents[1] / "golden"
SCHEMAS = ("event-1", "control-1", "update-1", "profile-1", "dead-letter-1", "webhook-1")


def schema(name: str) -> dict[str, Any]:
    """A schema as the package carries it."""
    found: dict[str, Any] = json.loads(
        files("stream").joinpath(f"contracts/schemas/{name}.json").read_text(encoding="utf-8")
    )
    return found


@cache
def validator(name: str) -> Draft202012Validator:
    resources = [Resource.from_contents(schema(each)) for each in SCHEMAS]
    return Draft202012Validator(
        schema(name),
        registry=Registry().with_resources((each.contents["$id"], each) for each in resources),
    )


def faults(name: str, instance: Any) -> list[str]:
    """What a schema finds wrong; empty when all is well."""
    return [
        f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(instance)
    ]


def header_texts(headers: Any) -> dict[str, str]:
    """Our headers of a dead letter as the object that its schema describes."""
    return {
        name: value.decode()
        for name, value in headers
        if name.startswith("is.dlq.") and "previous" not in name
    }


def golden(name: str) -> list[Any]:
    """Samples, one JSON value a line."""
    return [json.loads(line) for line in (GOLDEN / name).read_text(encoding="utf-8").splitlines()]


def golden_bytes(name: str) -> bytes:
    """Bytes written as hexadecimal digits with comments."""
    lines = (GOLDEN / name).read_text(encoding="utf-8").splitlines()
    return bytes.fromhex("".join(line.partition("#")[0] for line in lines))
