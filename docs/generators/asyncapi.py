"""Writes an AsyncAPI 3.0 document of all topics, from the topic rules and the schemas.

It describes a pipeline with the default names, as its workers see it: what they receive and send.
Programs that write events or read updates turn that around. The schemas are those of
stream/contracts/schemas in the words of draft 7 of JSON Schema, which tools for AsyncAPI read.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec

from stream.config import DEFAULT_BROKER, Settings
from stream.contracts.control import MAC_HEADER
from stream.contracts.dead_letter import PREVIOUS
from stream.contracts.event import CONTROL_HEADER, MAX_USER_BYTES, ORIGIN_HEADER
from stream.kafka.topic_rules import Topic, declared
from stream.popularity.counts import Snapshot

VERSION: Final = "3.0.0"
BINDING: Final = "0.5.0"
"""Of AsyncAPI's bindings for Kafka."""

JSON_TYPE: Final = "application/json"
BYTES: Final = "application/octet-stream"
GOLDEN: Final = Path(__file__).resolve().parents[2] / "tests/golden"
SCHEMAS: Final = ("event-1", "control-1", "update-1", "profile-1", "dead-letter-1")
NEWER: Final = ("$defs", "$anchor", "$dynamicRef", "dependentSchemas", "unevaluatedProperties")
"""Words that draft 7 does not have; a schema that uses one cannot be told here."""

TOPIC_SETTINGS: Final = ("cleanup.policy", "retention.ms", "delete.retention.ms")
"""Of those that a topic is created with; the bindings have a place for these and for the size."""

Json = dict[str, Any]

USER_KEY: Final = {
    "type": "string",
    "minLength": 1,
    "description": f"The user_id in UTF-8, 1 to {MAX_USER_BYTES} bytes.",
}
ANY_KEY: Final = {
    "type": ["string", "null"],
    "description": "As the record came, bytes of any kind.",
}


def asyncapi_document() -> str:
    """Returns the document as JSON."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def document() -> Json:
    """Returns the document."""
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "interest-stream",
            "version": version("interest-stream"),
            "description": (
                "The topics of a pipeline with the default names, as its workers see it. A program "
                "that produces events sends what they receive; one that reads interests receives "
                "what they send. Written by `python -m docs.generate` from the code."
            ),
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": JSON_TYPE,
        "servers": {
            "kafka": {
                "host": DEFAULT_BROKER,
                "protocol": "kafka",
                "description": "Where `interest-stream broker` serves; `--broker` names another.",
            }
        },
        "channels": channels(),
        "operations": operations(),
        "components": {"messages": messages(), "schemas": schemas()},
    }


# Channels: the topics


@dataclasses.dataclass(frozen=True)
class Channel:
    """Holds what the document says of a topic."""

    name: str
    setting: str  # that names the topic; empty: its name follows from others
    messages: tuple[str, ...]
    received: str = ""  # what workers do with it, in a sentence
    sent: str = ""
    only: str = ""  # with which option there is such a topic


CHANNELS: Final = (
    Channel("events", "events_topic", ("event", "control", "document"), "Applies each once."),
    Channel(
        "rawEvents",
        "events_topic",
        ("rawEvent", "control", "document"),
        "Forwards each to the topic that is keyed by user.",
        only="--rekey",
    ),
    Channel(
        "eventsByUser",
        "",
        ("forwardedEvent", "control"),
        "Applies each once.",
        "Forwards events, keyed by their user.",
        only="--rekey",
    ),
    Channel("updates", "updates_topic", ("update",), sent="Publishes what a batch changed."),
    Channel("profiles", "profiles_topic", ("profile",), sent="Replaces the user's last update."),
    Channel(
        "states",
        "",
        ("state",),
        "Restores the states of its partitions at the start.",
        "Writes each state before its events are committed.",
    ),
    Channel("deadLetters", "dead_letters_topic", ("deadLetter",), sent="Parks a bad record."),
    Channel(
        "popularity",
        "popularity_topic",
        ("snapshot",),
        "Scores with the newest snapshot.",
        "The job `interest-stream popularity` publishes what it has counted.",
        only="--live-popularity",
    ),
)


def topic_of(channel: Channel) -> Topic:
    """Returns the declared topic of a channel."""
    rekey = channel.only == "--rekey"
    settings = dataclasses.replace(Settings(), live_popularity=True, rekey=rekey)
    names = {
        "eventsByUser": settings.source_topic,
        "states": settings.changelog_topic,
    }
    name = names.get(channel.name) or getattr(settings, channel.setting)
    return next(each for each in declared(settings, replication=3) if each.name == name)


def channels() -> Json:
    """Returns each topic with its messages and what it is created with."""
    found: Json = {}
    for channel in CHANNELS:
        topic = topic_of(channel)
        purpose = topic.purpose[0].upper() + topic.purpose[1:]
        only = f" There is one with `{channel.only}` only." if channel.only else ""
        named = f" Named by `{channel.setting}`." if channel.setting else ""
        found[channel.name] = {
            "address": topic.name,
            "title": topic.name,
            "description": f"{purpose}.{named}{only}",
            "messages": {
                name: {"$ref": f"#/components/messages/{name}"} for name in channel.messages
            },
            "bindings": {"kafka": binding_of(topic)},
        }
    return found


def binding_of(topic: Topic) -> Json:
    """Returns how a topic is created, as the binding of a channel."""
    rules = {name: rule.value for name, rule in topic.rules.items()}
    configuration: Json = {name: rules[name] for name in TOPIC_SETTINGS if name in rules}
    configuration["cleanup.policy"] = str(rules["cleanup.policy"]).split(",")
    configuration["max.message.bytes"] = rules["max.message.bytes"]
    counted = {} if topic.partitions is None else {"partitions": topic.partitions}
    return {
        "topic": topic.name,
        **counted,
        "replicas": 3,
        "topicConfiguration": configuration,
        "bindingVersion": BINDING,
    }


def operations() -> Json:
    """Returns what workers do with each topic."""
    found: Json = {}
    for channel in CHANNELS:
        for action, summary in (("receive", channel.received), ("send", channel.sent)):
            if summary:
                name = action + channel.name[0].upper() + channel.name[1:]
                found[name] = {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{channel.name}"},
                    "summary": summary,
                }
    return found


# Messages: the records


def messages() -> Json:
    """Returns each kind of record: key, headers and value."""
    origin = header(ORIGIN_HEADER, "Where it was forwarded from; stands in for a missing event_id.")
    no_order = "Its key is whatever the topic is keyed by."
    return {
        "event": message("Behaviour event", "event-1", examples="events-valid.jsonl"),
        "rawEvent": message(
            "Behaviour event, keyed otherwise", "event-1", key=ANY_KEY, more=no_order
        ),
        "forwardedEvent": message(
            "Behaviour event, forwarded", "event-1", headers={"properties": origin}
        ),
        "document": {
            "title": "Record of another format",
            "summary": "With `--event-format` or `--mapping` the topic holds these instead.",
            "description": "What workers read of it are events; docs/reference/event-formats.md "
            "says which field becomes what.",
            "payload": {"description": "A document of the tracker, or several."},
            "bindings": bindings(USER_KEY),
        },
        "control": message(
            "Request about a user",
            "control-1",
            headers={
                "required": [CONTROL_HEADER],
                "properties": {
                    CONTROL_HEADER: {"const": "1", "description": "Says that it is no event."},
                    **header(MAC_HEADER, "HMAC-SHA-256 of the value, if workers demand one."),
                },
            },
            examples="controls-valid.jsonl",
        ),
        "update": message("Interest update", "update-1", examples="updates-valid.jsonl"),
        "profile": message("Interest profile", "profile-1"),
        "state": {
            "title": "State of a user",
            "summary": "Binary; docs/understand/decisions/0003-state-record.md has its layout.",
            "contentType": BYTES,
            "payload": {"type": ["string", "null"], "format": "binary"},
            "bindings": bindings(USER_KEY),
        },
        "deadLetter": {
            "title": "Dead letter",
            "summary": "A bad record with its own bytes, and the reason in headers.",
            "contentType": BYTES,
            "headers": reference("dead-letter-1"),
            "payload": {
                "type": ["string", "null"],
                "format": "binary",
                "description": "The value of the original, as it came. Its own headers stay; "
                f"those of an earlier dead letter begin with {PREVIOUS}.",
            },
            "bindings": bindings(ANY_KEY),
        },
        "snapshot": {
            "title": "What all users met lately",
            "payload": reference("item-popularity-1"),
            "bindings": bindings({"type": "string", "description": "The topic of the events."}),
        },
    }


def message(
    title: str,
    schema: str,
    *,
    key: Mapping[str, Any] = USER_KEY,
    headers: Json | None = None,
    examples: str = "",
    more: str = "",
) -> Json:
    """Returns a record whose value is JSON by a schema of the package."""
    found: Json = {
        "title": title,
        **({"description": more} if more else {}),
        "contentType": JSON_TYPE,
        **({"headers": {"type": "object", **headers}} if headers else {}),
        "payload": reference(schema),
        "bindings": bindings(key),
    }
    if examples:
        first = (GOLDEN / examples).read_text(encoding="utf-8").splitlines()[0]
        found["examples"] = [{"name": f"tests/golden/{examples}", "payload": json.loads(first)}]
    return found


def header(name: str, description: str) -> Json:
    """Returns the property of a header whose value is a text."""
    return {name: {"type": "string", "description": description}}


def bindings(key: Mapping[str, Any]) -> Json:
    """Returns what Kafka's binding says of a message."""
    return {"kafka": {"key": dict(key), "bindingVersion": BINDING}}


def reference(schema: str) -> Json:
    """Returns where the document has a schema."""
    return {"$ref": f"#/components/schemas/{schema}"}


# Schemas


def schemas() -> Json:
    """Returns the schemas by their names."""
    found = {}
    for name in SCHEMAS:
        text = files("stream").joinpath(f"contracts/schemas/{name}.json").read_text("utf-8")
        found[name] = as_draft_7(json.loads(text))
    return found | {"item-popularity-1": as_draft_7(snapshot_schema())}


def snapshot_schema() -> Json:
    """Returns the schema of a snapshot, with the remarks that stand beside its fields."""
    outer = msgspec.json.schema(Snapshot)
    schema: Json = outer["$defs"]["Snapshot"]
    remarks = re.findall(r"^\s+(\w+): .*?  # (.+)$", inspect.getsource(Snapshot), re.MULTILINE)
    for name, remark in remarks:
        schema["properties"][name]["description"] = remark
    schema["properties"]["schema"] = {"const": Snapshot.__struct_defaults__[0]}
    schema["title"] = "Snapshot of what all users met lately, version 1"
    return schema


def as_draft_7(schema: Any) -> Any:
    """Returns a schema of draft 2020-12 in the words of draft 7.

    Raises ValueError for a word that draft 7 has none for.
    """
    if isinstance(schema, list):
        return [as_draft_7(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found: Json = {}
    for name, value in schema.items():
        if name in ("$schema", "$id"):
            continue
        if name in NEWER:
            raise ValueError(f"{name} cannot be said in draft 7")
        if name == "$ref":
            found[name] = f"#/components/schemas/{str(value).rpartition(':')[2]}"
        elif name == "dependentRequired":
            found["dependencies"] = value
        elif name == "prefixItems":
            found |= {"items": as_draft_7(value), "additionalItems": False}
        elif name == "items" and "prefixItems" in schema:
            continue
        else:
            found[name] = as_draft_7(value)
    return found
