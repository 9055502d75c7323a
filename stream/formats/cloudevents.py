"""Reads CloudEvents 1.0: structured (one JSON object) and binary (attributes in the headers).

An envelope does not say what a user did, its `data` does: the fields of the contract, under their
own or their usual names (usual_names.py). What the data leaves out the envelope gives: the action
is the end of `type` (com.example.shop.product_viewed.v1), the time is `time`, and the event_id is
`source` and `id` together, which the specification keeps unique. Data of another shape is read by
a mapping, whose paths begin with `data.`. An event with neither user nor item is no behaviour.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from models.compact import ACTION_CODES
from stream.contracts.faults import BadEvent, shown
from stream.formats.columns.event_columns import EventColumns
from stream.formats.columns.fields import documents_of, first_of, ids, moments, words
from stream.formats.columns.usual import columns_of_named, times_of, without_subject
from stream.formats.commerce import DROPPED, ActionNames
from stream.formats.decoding import (
    decoded,
    fields_of,
    id_of,
    ids_in_pieces,
    moment_ms,
    utc_ms,
    words_of,
)
from stream.formats.event_format import NO_BEHAVIOUR, Headers, Reading
from stream.formats.usual_names import Layouts, Named, names_user, users_in

PREFIX: Final = "ce_"
"""Before the name of an attribute in a header, as the Kafka binding has it."""

USUAL_TYPES: Final = (None, "application/json")
"""What `datacontenttype` says of nearly all events."""

_VERSION: Final = re.compile(r"v?\d+([._]\d+)*")
_WORDS: Final = re.compile(r"[./:]")
_JSON_TYPE: Final = re.compile(r"[^;]*[/+]json\s*(;.*)?", re.IGNORECASE)
_WHAT: Final = "a CloudEvent as JSON, or its attributes in headers with ce_ before their names"
_object: Final = msgspec.json.Decoder(dict[str, Any]).decode


class _Envelope(msgspec.Struct, gc=False):
    """Holds the attributes that are read, and the data."""

    specversion: Any = None
    id: Any = None
    source: Any = None
    type: Any = None
    time: Any = None
    datacontenttype: Any = None
    data: Any = None
    data_base64: Any = None


_NO_EVENT: Final = _Envelope()


class CloudeventsFormat:
    """Reads one CloudEvent."""

    name = "cloudevents"
    constant_bytes = 0

    def __init__(self) -> None:
        """Makes the decoder."""
        self._decode = msgspec.json.Decoder(_Envelope).decode
        self._layouts = Layouts()

    def read(self, value: bytes, headers: Headers, received_ms: int | None) -> Reading:
        """Returns the event of a document; raises BadEvent."""
        attributes = _attributes(headers) if headers else {}
        if "specversion" in attributes:
            attributes["datacontenttype"] = attributes.pop("content-type", None) or None
            envelope = msgspec.convert(attributes, _Envelope)
            _check(envelope)
            data: Mapping[str, Any] = decoded(
                _object, value, "a JSON object as the data of a CloudEvent"
            )
        else:
            envelope = decoded(self._decode, value, _WHAT)
            _check(envelope)
            data = _data(envelope)
        return self._event(envelope, data, received_ms)

    def columns(
        self, values: Sequence[bytes], received_ms: Sequence[int], odd: set[int]
    ) -> EventColumns:
        """Returns the columns of structured events of usual JSON; all others are odd."""
        envelopes = documents_of(self._decode, values, _NO_EVENT, odd)
        data: list[Mapping[str, Any]] = []
        for place, each in enumerate(envelopes):
            usual = each.specversion == "1.0" and each.datacontenttype in USUAL_TYPES
            if not usual or type(each.data) is not dict:
                odd.add(place)
            data.append(each.data if type(each.data) is dict else {})
        named = self._layouts.columns(data)
        names = words(named.action, odd)
        if not all(names):
            names = first_of((names, words([each.type for each in envelopes], odd)))
        found = columns_of_named(named, [ACTION_OF_TYPE[name] for name in names], odd)
        found.times_ms = times_of(
            named.time, lambda: moments([each.time for each in envelopes], odd), odd
        )
        found.event_ids = ids(named.event_id, odd)
        if not all(found.event_ids):
            found.event_ids = first_of((found.event_ids, _uniques(envelopes, odd)))
        found.dropped = dict.fromkeys(without_subject(found), NO_BEHAVIOUR)
        return found

    def users_named(self, value: bytes, headers: Headers) -> Collection[str]:
        """Returns whom the data names and the attributes, which may have extensions.

        All usual names of a user count (usual_names.py), though events go by the first of them.
        """
        found = users_in(_attributes(headers))
        document = fields_of(value)
        if document is None:
            return found | ids_in_pieces(value, names_user)
        data = document.get("data")
        if not isinstance(data, dict):
            data = fields_of(data) or fields_of(_of_base64(document.get("data_base64"))) or {}
        return found | users_in(document) | users_in(data)

    def _event(
        self, envelope: _Envelope, data: Mapping[str, Any], received_ms: int | None
    ) -> Reading:
        named = self._layouts.read(data)
        action = ACTION_OF_TYPE[
            words_of(named.action, "action") or words_of(envelope.type, "type") or ""
        ]
        subject, user_id = named.subject(action), id_of(named.user_id, "user_id")
        if subject is None:
            return DROPPED
        if user_id is None:
            raise BadEvent(
                "missing-field",
                "data has no user_id, userId or the like; "
                "name the field that says who it was in a mapping",
            )
        event_id = id_of(named.event_id, "event_id") or _unique(envelope)
        time_ms = _time(named, envelope, received_ms)
        return Reading((named.event(user_id, action, time_ms, event_id, subject),))


def _attributes(headers: Headers) -> dict[str, Any]:
    """Returns the attributes in the headers of a record, and the type of its content."""
    return {
        name.lower().removeprefix(PREFIX): (given or b"").decode("utf-8", "replace")
        for name, given in headers
        if name[:3].lower() == PREFIX or name.lower() == "content-type"
    }


def _check(envelope: _Envelope) -> None:
    version = envelope.specversion
    if version == "1.0" and envelope.datacontenttype in USUAL_TYPES:
        return
    if not isinstance(version, str) or not version.startswith("1."):
        given = "missing" if version is None else shown(version)
        raise BadEvent("missing-field", f"specversion is {given} and not 1.0; send {_WHAT}")
    kind = envelope.datacontenttype
    if kind is not None and not (isinstance(kind, str) and _JSON_TYPE.fullmatch(kind)):
        raise BadEvent(
            "wrong-type", f"datacontenttype is {shown(kind)}; send data as application/json"
        )


def _data(envelope: _Envelope) -> Mapping[str, Any]:
    """Returns the data of a structured event, an empty object where there is none."""
    data = envelope.data
    if data is None and envelope.data_base64 is not None:
        try:
            raw = base64.b64decode(envelope.data_base64, validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise BadEvent("wrong-type", f"data_base64 is not Base64: {error}") from None
        return decoded(_object, raw, "in data_base64 a JSON object")
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise BadEvent("wrong-type", f"data is {shown(data)}; send a JSON object")
    return data


def _of_base64(text: Any) -> bytes | None:
    """Returns what a text in Base64 stands for, None where it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        return None


class ActionsOfTypes(ActionNames):
    """Holds the action that a type ends with: its last word, or its last two."""

    def _named(self, name: str) -> str:
        words = [word for word in _WORDS.split(name) if word]
        while len(words) > 1 and _VERSION.fullmatch(words[-1]):
            words.pop()
        last = words[-1] if words else "other"
        both = "_".join(words[-2:])
        return super()._named(both if not ACTION_CODES[last] and ACTION_CODES[both] else last)


ACTION_OF_TYPE: Final = ActionsOfTypes()


def _unique(envelope: _Envelope) -> str | None:
    event_id = id_of(envelope.id, "id")
    if event_id is None:
        return None
    source = id_of(envelope.source, "source")
    return f"{source}#{event_id}" if source else event_id


def _uniques(envelopes: Sequence[_Envelope], odd: set[int]) -> list[str]:
    sources = ids([each.source for each in envelopes], odd)
    own = ids([each.id for each in envelopes], odd)
    return [
        f"{source}#{each}" if source and each else each
        for source, each in zip(sources, own, strict=True)
    ]


def _time(named: Named, envelope: _Envelope, received_ms: int | None) -> int:
    """Returns when it happened: as the data says, else the envelope, else the broker."""
    found = moment_ms(named.time, "time")
    if found is None:
        found = utc_ms(envelope.time, "time")
    if found is None:
        found = received_ms
    if found is None:
        raise BadEvent("missing-field", "time is missing in the data and in the envelope; send it")
    return found
