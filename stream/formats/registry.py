"""Knows the formats by the names that `--event-format` takes."""

from __future__ import annotations

from collections.abc import Callable, Collection
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

FORMATS: Final[dict[str, Callable[..., EventFormat]]] = {
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

CONSENTED: Final = ("segment", "rudderstack", "snowplow", "ga4")
"""Those whose events name purposes of consent; these are made with the purposes to ask for."""


def format_named(
    name: str, mapping: str = "", purposes: Collection[str] = frozenset()
) -> EventFormat:
    """Returns a format, that of a mapping file by its path too; raises SettingsError.

    purposes: that the user of an event must not have denied; none: any that the format names.
    """
    if purposes and name in EVENT_FORMATS and name not in CONSENTED:
        fix = "say it in the mapping, with [[drop]]" if name == MAPPING else "leave it out"
        raise SettingsError(
            f"consent_purposes is {','.join(sorted(purposes))!r}, and events of {name} name no "
            f"purposes as {', '.join(CONSENTED)} do; {fix}"
        )
    if name == MAPPING:
        return MappingFormat(read_mapping(mapping))
    made = FORMATS.get(name)
    if made is None:
        raise SettingsError(f"event_format is {name!r}; use one of {', '.join(EVENT_FORMATS)}")
    return made(purposes) if name in CONSENTED else made()


def foreign_format(settings: Settings) -> EventFormat | None:
    """Returns the format of events_topic; None: it is the contract, which needs none.

    With a schema registry its values may be in the registry's wire format. Raises SettingsError if
    the mapping cannot be used, or has no purposes of consent.
    """
    found = format_named(settings.event_format, settings.mapping, settings.purposes)
    if settings.schema_registry:
        return FramedFormat(found, SchemaReaders())
    return None if settings.event_format == CONTRACT else found


def source_format(settings: Settings) -> EventFormat | None:
    """Returns the format of the topic whose events are applied; None: it is the contract.

    What `--rekey` forwards is of the contract, whatever it came from.
    """
    return None if settings.rekey else foreign_format(settings)
