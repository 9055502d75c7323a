"""Knows the formats by the names that `--event-format` takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stream.config import CONTRACT, EVENT_FORMATS, MAPPING, Settings
from stream.errors import SettingsError
from stream.formats.cloudevents import CloudeventsFormat
from stream.formats.contract_format import ContractFormat
from stream.formats.debezium import DebeziumFormat
from stream.formats.event_format import EventFormat
from stream.formats.framed.readers import FramedFormat, SchemaReaders
from stream.formats.ga4 import Ga4Format
from stream.formats.mappings.mapping_file import read_mapping
from stream.formats.mappings.mapping_format import MappingFormat
from stream.formats.posthog import PosthogFormat
from stream.formats.rudderstack import RudderstackFormat
from stream.formats.segment import SegmentFormat
from stream.formats.snowplow import SnowplowFormat

FORMATS: Final[dict[str, Callable[[], EventFormat]]] = {
    CONTRACT: ContractFormat,
    "segment": SegmentFormat,
    "rudderstack": RudderstackFormat,
    "snowplow": SnowplowFormat,
    "ga4": Ga4Format,
    "posthog": PosthogFormat,
    "cloudevents": CloudeventsFormat,
    "debezium": DebeziumFormat,
}
"""Makes each format that needs no file; in the order of EVENT_FORMATS."""


def format_named(name: str, mapping: str = "") -> EventFormat:
    """Returns a format, that of a mapping file by its path too; raises SettingsError."""
    if name == MAPPING:
        return MappingFormat(read_mapping(mapping))
    made = FORMATS.get(name)
    if made is None:
        raise SettingsError(f"event_format is {name!r}; use one of {', '.join(EVENT_FORMATS)}")
    return made()


def foreign_format(settings: Settings) -> EventFormat | None:
    """Returns the format of events_topic; None: it is the contract, which needs none.

    With a schema registry its values may be in the registry's wire format. Raises SettingsError if
    the mapping cannot be used.
    """
    if settings.schema_registry:
        inner = format_named(settings.event_format, settings.mapping)
        return FramedFormat(inner, SchemaReaders())
    if settings.event_format == CONTRACT:
        return None
    return format_named(settings.event_format, settings.mapping)


def source_format(settings: Settings) -> EventFormat | None:
    """Returns the format of the topic whose events are applied; None: it is the contract.

    What `--rekey` forwards is of the contract, whatever it came from.
    """
    return None if settings.rekey else foreign_format(settings)
