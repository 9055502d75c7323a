"""Writes the page of the contracts, from their JSON Schemas and the reasons in the code."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, Final

from docs.generators.markdown import Row, as_text, table
from stream.contracts import faults

SCHEMAS: Final = {
    "event-1": ("Event", "events-valid.jsonl", "events-invalid.jsonl"),
    "control-1": ("Request about a user", "controls-valid.jsonl", "controls-invalid.jsonl"),
    "update-1": ("Interest update", "updates-valid.jsonl", "updates-invalid.jsonl"),
    "profile-1": ("Interest profile", "", ""),
    "webhook-1": ("Body of a webhook", "webhooks-valid.jsonl", ""),
    "dead-letter-1": ("Headers of a dead letter", "", ""),
}
"""Schemas of the package: the heading of each, and its golden samples under tests/golden."""


def contracts_page() -> str:
    """Returns the page of what clusters store and other programs read."""
    sections = "\n\n".join(schema_section(name) for name in SCHEMAS)
    reasons = table(("reason", "when"), reason_rows())
    return f"""# Contracts

What other programs write and read, and what a cluster stores. A change of any of it needs a new
version and a golden sample. The JSON Schemas are in
[stream/contracts/schemas](../../stream/contracts/schemas), golden samples in
[tests/golden](../../tests/golden). The binary state record of a user is described in
[decision 0003](../understand/decisions/0003-state-record.md); its golden samples are
[state-2.hex](../../tests/golden/state-2.hex), the marker of an erased user
[state-2-marker.hex](../../tests/golden/state-2-marker.hex), and of version 1
[state-1.hex](../../tests/golden/state-1.hex). What the topics themselves must be like is on the
page [Topics](topics.md). All of it as one document for tools, topics with their messages, keys and
headers, is [asyncapi.json](asyncapi.json) (AsyncAPI 3.0).

{sections}

### Reasons

Why an event became a dead letter. The list is closed and only grows.

{reasons}"""


def schema_section(name: str) -> str:
    """Returns one schema as a heading, its description, links, and a table of its fields."""
    heading, valid, invalid = SCHEMAS[name]
    schema = json.loads(
        files("stream").joinpath(f"contracts/schemas/{name}.json").read_text(encoding="utf-8")
    )
    links = [f"[{name}.json](../../stream/contracts/schemas/{name}.json)"]
    links += [f"[{sample}](../../tests/golden/{sample})" for sample in (valid, invalid) if sample]
    rows = list(field_rows(schema))
    fields = [table(("field", "required", "type", "meaning"), rows)] if rows else []
    text = as_text(schema["description"])
    return "\n\n".join([f"## {heading}", text, f"Files: {', '.join(links)}.", *fields])


def field_rows(schema: dict[str, Any], prefix: str = "") -> Iterator[Row]:
    """Yields a row for each field, nested ones with their path."""
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        path = prefix + name
        yield (
            f"`{path}`",
            "yes" if name in required else "",
            type_of(field),
            field.get("description", ""),
        )
        yield from field_rows(field, f"{path}.")
        yield from field_rows(field.get("items", {}), f"{path}[].")


def type_of(field: dict[str, Any]) -> str:
    """Returns the type of a field of a schema in words."""
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return (
            "one of the [reasons](#reasons)"
            if len(field["enum"]) > 5
            else ", ".join(f"`{each}`" for each in field["enum"])
        )
    if "anyOf" in field:
        return " or ".join(type_of(each) for each in field["anyOf"])
    kinds = field.get("type", "any")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "array" in kinds:
        kinds = [f"array of {field['items'].get('type', 'any')}s", *kinds[1:]]
    return " or ".join(kinds)


def reason_rows() -> Iterator[Row]:
    """Yields each reason for a dead letter with the remark that stands beside it in the code."""
    remarks = dict(
        re.findall(r'^\s+"([\w-]+)",\s+# (.+)$', inspect.getsource(faults), re.MULTILINE)
    )
    for reason in faults.REASONS:
        yield f"`{reason}`", remarks.get(reason, "")
