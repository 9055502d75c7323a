"""Turns fetched bytes into columns of events, and bad records into rejects (hop 2).

What an event is, stream/contracts/event.py says; other shapes, stream/formats. Pure: no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stream.contracts.control import placed_control
from stream.contracts.event import Limits, RememberedHashes, compact_event, parse_event
from stream.contracts.event_batch import Collected, EventBatch
from stream.contracts.faults import BadEvent
from stream.formats.columns.reading import PlainReader
from stream.formats.event_format import EventFormat
from stream.formats.records import collect


class Decoder:
    """Turns fetched batches, of the contract or another format, into columns."""

    def __init__(
        self,
        limits: Limits | None = None,
        control_key: bytes | None = None,
        event_format: EventFormat | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._control_key = control_key
        self._format = event_format
        self._hashes = RememberedHashes()
        self._plain = PlainReader(event_format, self._limits, self._hashes.__getitem__)

    def decode(
        self, topic: str, partition: int, records: Sequence[Any], now_ms: int | None = None
    ) -> EventBatch:
        """Returns one fetched batch as columns; whatever its records hold, nothing is raised.

        Records have key, value, headers, offset and timestamp, for which `now_ms` may stand in.
        """
        if (plain := self._plain.read(records, now_ms)) is None:
            return self._one_by_one(topic, partition, records, now_ms)
        return plain.with_rest(self._one_by_one(topic, partition, plain.rest, now_ms))

    def _one_by_one(
        self, topic: str, partition: int, records: Sequence[Any], now_ms: int | None
    ) -> EventBatch:
        limits, hash_of, event_format = self._limits, self._hashes.__getitem__, self._format
        found = Collected()
        for record in records:
            try:
                if event_format is None:
                    event = parse_event(record, limits, now_ms)
                    found.rows.append(compact_event(event, hash_of))
                    found.records.append(record)
                else:
                    collect(record, event_format, limits, now_ms, hash_of, found)
            except BadEvent as error:  # of a control too, so that events cost no look at it
                try:
                    found.controls.append(placed_control(record, limits, self._control_key, error))
                except BadEvent as fault:
                    found.refuse(record, fault)
        return found.batch(topic, partition, records)
