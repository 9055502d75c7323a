"""Reads the published contract (contracts/event.py), as one format among the others.

Workers read the contract without it, by the contract's own parser; it serves what takes any format.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from stream.contracts.event import Event
from stream.contracts.faults import fault_of
from stream.contracts.times import parse_time
from stream.formats.columns.event_columns import EventColumns
from stream.formats.columns.events import NO_EVENT, columns_of
from stream.formats.columns.fields import documents_of
from stream.formats.decoding import fields_of, ids_in_pieces
from stream.formats.event_format import Headers, Reading

_decode: Final = msgspec.json.Decoder(Event).decode


class ContractFormat:
    """Reads one JSON object with the fields of the contract as one event."""

    name = "contract"
    constant_bytes = 0

    def read(self, value: bytes, headers: Headers, received_ms: int | None) -> Reading:
        """Returns the event of a document; raises BadEvent."""
        try:
            event = _decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise fault_of(value, error) from None
        if isinstance(event.time, str):
            event.time = parse_time(event.time)
        return Reading((event,))

    def columns(
        self, values: Sequence[bytes], received_ms: Sequence[int], odd: set[int]
    ) -> EventColumns:
        """Returns the columns of documents."""
        return columns_of(documents_of(_decode, values, NO_EVENT, odd), odd)

    def users_named(self, value: bytes, headers: Headers) -> Collection[str]:
        """Returns the user_id of a document, as it is written."""
        document = fields_of(value)
        if document is None:
            return ids_in_pieces(value, "user_id".__eq__)
        user_id = document.get("user_id")
        return {user_id} if isinstance(user_id, str) else ()
