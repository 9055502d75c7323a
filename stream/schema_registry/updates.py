"""Registers the schema of updates for who writes them, and reads them for who does not want frames.

Profiles have no frame in any format: they are looked up by key, and their topic is compacted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from stream.config import ConnectionSettings, Settings
from stream.contracts.faults import BadEvent
from stream.formats.framed.frame import MAGIC
from stream.formats.framed.readers import SchemaReaders
from stream.formats.framed.updates import KIND_OF, update_encoder, update_schema, without_nulls
from stream.schema_registry.client import RegistryClient
from stream.schema_registry.schemas import Schemas


async def registered_encoder(settings: Settings) -> Callable[[bytes], bytes] | None:
    """Returns what makes the published value of an update; None: it is published as it is.

    The schema is registered as <updates_topic>-value, unless it is there. Raises RegistryError,
    and SettingsError where the extra is not installed.
    """
    name = settings.update_format
    if name not in KIND_OF:
        return None
    client = RegistryClient(settings)
    try:
        subject = f"{settings.updates_topic}-value"
        schema_id = await client.register(subject, update_schema(name), KIND_OF[name])
    finally:
        await client.close()
    return update_encoder(name, schema_id)


class PlainRecord(NamedTuple):
    """Stands for a fetched record, with its document as value."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes | None]]


class PlainValues:
    """Takes the frames off fetched records: what follows reads JSON, whatever was written."""

    def __init__(self, settings: ConnectionSettings) -> None:
        """Connects to nothing yet; raises SettingsError where the extra is not installed."""
        self._readers = SchemaReaders()
        self._schemas = Schemas(settings, self._readers) if settings.schema_registry else None

    async def close(self) -> None:
        """Closes the connections to the registry."""
        if self._schemas is not None:
            await self._schemas.close()

    async def of(self, records: Sequence[Any]) -> Sequence[Any]:
        """Returns fetched records with their documents as values.

        One that cannot be read keeps its value. It waits while the registry cannot be asked.
        """
        if self._schemas is None or not any(_is_framed(each.value) for each in records):
            return records
        await self._schemas.know(records)
        return [self._plain(each) if _is_framed(each.value) else each for each in records]

    def _plain(self, record: Any) -> Any:
        try:
            document = without_nulls(self._readers.document_of(record.value))
        except (BadEvent, ValueError):
            return record
        return PlainRecord(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp,
            record.key,
            document,
            record.headers,
        )


def _is_framed(value: bytes | None) -> bool:
    return bool(value) and value is not None and value[0] == MAGIC
