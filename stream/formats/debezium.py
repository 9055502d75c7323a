"""Reads the rows that Debezium's connectors see written into a table of behaviour.

A row is read by the usual names of its columns (usual_names.py). An inserted row (`op` c) is an
event, and so is one that a snapshot read (r). What happened later to a row (u, d, t) is no
behaviour of its user, and is dropped, as are messages (m) and tombstones. The time is the row's
own; one without is as old as its commit (`source.ts_ms`), but a row of a snapshot may be of any
age, so that it is refused. The event_id is the row's, else its table and primary key `id`. The
envelope may lie in `payload`, beside its schema; and the row may be flat, with `__op`, as
Debezium's transformation ExtractNewRecordState leaves it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from stream.contracts.faults import BadEvent, shown
from stream.formats.columns.event_columns import EventColumns
from stream.formats.columns.fields import documents_of, first_of, ids, read_each, words
from stream.formats.columns.usual import columns_of_named, times_of, without_subject
from stream.formats.commerce import ACTION_NAMED, DROPPED
from stream.formats.decoding import (
    NoObject,
    decoded,
    fields_of,
    id_of,
    ids_in_pieces,
    moment_ms,
    object_in,
    words_of,
)
from stream.formats.event_format import NO_BEHAVIOUR, Headers, Reading
from stream.formats.usual_names import Layouts, Named, names_user, users_in
from stream.formats.values import moment_of

INSERTED: Final = "c"
SNAPSHOT: Final = "r"
COLUMNS_NAMED: Final = 20
OTHER_CHANGES: Final = ("u", "d", "t", "m")

EXTENDED: Final = ("$oid", "$numberLong", "$numberInt", "$numberDouble", "$numberDecimal", "$date")
"""How MongoDB's extended JSON says of what type a value is."""

_WHAT: Final = "a change event of Debezium, as JSON"
_object: Final = msgspec.json.Decoder(dict[str, Any]).decode


class _Source(msgspec.Struct, gc=False):
    """Holds what is read of where a change comes from."""

    table: Any = None
    collection: Any = None
    ts_ms: Any = None


class _Change(msgspec.Struct, gc=False):
    """Holds what is read of a change; its row before, and its schema, are skipped."""

    op: Any = UNSET
    after: Any = None
    source: _Source | NoObject = None
    ts_ms: Any = None
    flat: Any = msgspec.field(default=UNSET, name="__op")


class _Enveloped(_Change, gc=False):
    """Holds a change, or what it lies in."""

    payload: _Change | NoObject = None


_NO_CHANGE: Final = _Enveloped()
NOWHERE: Final = _Source()


class DebeziumFormat:
    """Reads one change event."""

    name = "debezium"
    constant_bytes = 0

    def __init__(self) -> None:
        """Makes the decoder, and remembers no layouts yet."""
        self._decode = msgspec.json.Decoder(_Enveloped).decode
        self._layouts = Layouts()

    def read(self, value: bytes, headers: Headers, received_ms: int | None) -> Reading:
        """Returns the event of a document; raises BadEvent."""
        outer = decoded(self._decode, value, _WHAT)
        change = outer.payload if isinstance(outer.payload, _Change) else outer
        op = change.op
        if op is UNSET and change.flat is not UNSET:
            row = decoded(_object, value, _WHAT)
            return self._flat(row if change is outer else row["payload"])
        if op in OTHER_CHANGES:
            return DROPPED
        if op not in (INSERTED, SNAPSHOT):
            missing = op is None or op is UNSET
            given = "missing" if missing else shown(op)
            raise BadEvent(
                "missing-field" if missing else "wrong-type",
                f"op is {given}; it must be c, r, u, d, t or m: send {_WHAT}",
            )
        source = _source(change)
        return self._row(
            _document(change.after),
            _table(source),
            change.ts_ms if source.ts_ms is None else source.ts_ms,
            snapshot=op == SNAPSHOT,
        )

    def columns(
        self, values: Sequence[bytes], received_ms: Sequence[int], odd: set[int]
    ) -> EventColumns:
        """Returns the columns of changes; rows that were taken out of their envelopes are odd."""
        outer = documents_of(self._decode, values, _NO_CHANGE, odd)
        changes: list[_Change] = [
            each.payload if isinstance(each.payload, _Change) else each for each in outer
        ]
        dropped: dict[int, str] = {}
        for place, change in enumerate(changes):
            if change.op in OTHER_CHANGES:
                dropped[place] = NO_BEHAVIOUR
            elif change.op not in (INSERTED, SNAPSHOT):
                odd.add(place)
        rows = [
            {} if place in dropped else _in_plain(row) if dict in map(type, row.values()) else row
            for place, row in enumerate(read_each(_row_of, changes, {}, odd))
        ]
        named = self._layouts.columns(rows)
        names = words(named.action, odd)
        found = columns_of_named(named, [ACTION_NAMED[name or "view"] for name in names], odd)
        found.times_ms = times_of(named.time, lambda: read_each(_committed, changes, 0, odd), odd)
        found.event_ids = ids(named.event_id, odd)
        if not all(found.event_ids):
            found.event_ids = first_of((found.event_ids, _keys(rows, changes, odd)))
        for place in without_subject(found):
            if not found.users[place]:
                dropped[place] = NO_BEHAVIOUR
        found.dropped = dropped
        return found

    def users_named(self, value: bytes, headers: Headers) -> Collection[str]:
        """Returns the users of a row, as it is and as it was before: a deletion has that alone.

        All usual names of a user count (usual_names.py), though events go by the first of them.
        """
        document = fields_of(value)
        if document is None:
            return ids_in_pieces(value, names_user)
        rows = [document, object_in(document.get("payload"))]
        rows += [object_in(each.get(name)) for each in rows for name in ("before", "after")]
        return set[str]().union(*map(users_in, map(_in_plain, rows)))

    def _flat(self, row: dict[str, Any]) -> Reading:
        """Returns the event of a row that was taken out of its envelope."""
        op, deleted = row["__op"], row.get("__deleted")
        if op in OTHER_CHANGES or deleted in ("true", True):
            return DROPPED
        committed = row.get("__source_ts_ms")
        return self._row(
            row,
            str(row.get("__table") or "row"),
            row.get("__ts_ms") if committed is None else committed,
            snapshot=op == SNAPSHOT,
        )

    def _row(self, row: dict[str, Any], table: str, committed: Any, *, snapshot: bool) -> Reading:
        plain = row
        if dict in map(type, row.values()):
            plain = _in_plain(row)
        named = self._layouts.read(plain)
        action = ACTION_NAMED[words_of(named.action, "action") or "view"]
        subject, user_id = named.subject(action), id_of(named.user_id, "user_id")
        if subject is None and user_id is None:
            return DROPPED
        if subject is None or user_id is None:
            what = "an item, such as item_id" if subject is None else "the user, such as user_id"
            raise BadEvent(
                "missing-field",
                f"no column of the row names {what}: it has {_listed(row)}; use a mapping",
            )
        key = id_of(plain.get("id", plain.get("_id")), "id")
        event_id = id_of(named.event_id, "event_id") or (f"{table}:{key}" if key else None)
        time_ms = _time(named, committed, snapshot=snapshot)
        return Reading((named.event(user_id, action, time_ms, event_id, subject),))


def _source(change: _Change) -> _Source:
    return change.source if isinstance(change.source, _Source) else NOWHERE


def _row_of(change: _Change) -> dict[str, Any]:
    return {} if change.op in OTHER_CHANGES else _document(change.after)


def _committed(change: _Change) -> int | None:
    """Returns when an inserted row was committed; a snapshot says nothing of that."""
    if change.op != INSERTED:
        return None
    committed = _source(change).ts_ms
    return moment_of(change.ts_ms if committed is None else committed, "ms", "source.ts_ms")


def _keys(
    rows: Sequence[Mapping[str, Any]], changes: Sequence[_Change], odd: set[int]
) -> list[str]:
    """Returns what tells rows apart that have no id of an event: the table and the key."""
    keys = ids([row.get("id", row.get("_id")) for row in rows], odd)
    return [
        f"{_table(_source(change))}:{key}" if key else ""
        for change, key in zip(changes, keys, strict=True)
    ]


def _table(source: _Source) -> str:
    return str(source.table or source.collection or "row")


def _time(named: Named, committed: Any, *, snapshot: bool) -> int:
    found = moment_ms(named.time, "time")
    if found is not None:
        return found
    if snapshot:
        raise BadEvent(
            "missing-field",
            "a row that a snapshot read has no column with its time, such as created_at; "
            "name it in a mapping, or set snapshot.mode of the connector to no_data",
        )
    found = moment_of(committed, "ms", "source.ts_ms")
    if found is None:
        raise BadEvent("missing-field", f"source.ts_ms is missing; send {_WHAT}")
    return found


def _document(after: Any) -> dict[str, Any]:
    """Returns the row; the connector of MongoDB writes it as a text of JSON."""
    if isinstance(after, str):
        after = decoded(_object, after.encode("utf-8", "surrogatepass"), "in after a JSON object")
    if not isinstance(after, dict):
        raise BadEvent(
            "wrong-type", f"after is {shown(after)}; an inserted row has its columns there"
        )
    return after


def _in_plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row whose values are what MongoDB's extended JSON means."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    """Returns a value of MongoDB's extended JSON as what it means, any other as it is."""
    while isinstance(value, dict) and len(value) == 1:
        name, inner = next(iter(value.items()))
        if name not in EXTENDED:
            break
        value = inner
    return value


def _listed(row: dict[str, Any]) -> str:
    return ", ".join(list(row)[:COLUMNS_NAMED])
