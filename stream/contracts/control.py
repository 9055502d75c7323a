"""Reads and writes control records: what a user asks about the own data, in the order of events.

A control lies in the source partition of its user, between that user's events, so it has an offset,
and order, commit, replay and audit are those of an event. A record is a control if it has the
header `is.control`; its key is the user id and its value a JSON object:

    control      erase       forget the user; events that happened before are dropped from now on
                 suppress    the same, and drop every event until `unsuppress`
                 unsuppress  take events again that happen from now on
                 forget      forget what the user did with one item_id, or searched as one query
    user_id      as in the key
    request_id   names the request, so that its state can be asked for
    time         when it was made, Unix milliseconds or RFC 3339; nothing is decided by it
    item_id, query    of `forget`, exactly one of them

With a key (`control_key_file`) the header `is.control.mac` must hold the HMAC-SHA-256 of the value
in hexadecimal (RFC 2104). A control that cannot be obeyed is a dead letter `bad-control`; no
message quotes what it holds. Pure: no clock, no I/O.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal
from zlib import crc32

import msgspec

from stream.contracts.event import CONTROL_HEADER, MAX_USER_BYTES, Limits
from stream.contracts.faults import BadEvent
from stream.contracts.times import FIRST_TIME_MS, MAX_TIME_MS, parse_time

MAC_HEADER: Final = "is.control.mac"
REASON: Final = "bad-control"

ERASE, SUPPRESS, UNSUPPRESS, FORGET = KINDS = ("erase", "suppress", "unsuppress", "forget")

MAX_REQUEST_BYTES: Final = 256

_CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class PlacedControl:
    """Holds a control and where it lies in the log of its partition."""

    control: Control
    user: bytes
    offset: int
    checksum: int  # crc32 of its value
    broker_ms: int


class Control(msgspec.Struct, frozen=True, omit_defaults=True):
    """Holds one request about the data of one user.

    time: Unix milliseconds once it was parsed.
    """

    control: Literal["erase", "suppress", "unsuppress", "forget"]
    user_id: str
    request_id: str
    time: int | str
    item_id: str | None = None
    query: str | None = None


_decode: Final = msgspec.json.Decoder(Control).decode


def is_control(headers: Iterable[tuple[str, bytes | None]]) -> bool:
    """Returns whether a record with these headers is a control, and no event."""
    return any(name == CONTROL_HEADER for name, _ in headers)


def encode_control(
    control: Control, key: bytes | None = None
) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Returns record key, value and headers of a control, signed if a key is given.

    Raises BadEvent for one that workers would refuse.
    """
    _check(control, Limits())
    value = msgspec.json.encode(control)
    headers = [(CONTROL_HEADER, b"1")]
    if key is not None:
        headers.append((MAC_HEADER, mac(value, key)))
    return control.user_id.encode(), value, headers


def parse_control(record: Any, limits: Limits, key: bytes | None = None) -> Control:
    """Returns the control of one record, with its time in Unix milliseconds.

    The record has key, value and headers. Raises BadEvent with the reason `bad-control`.
    """
    value = record.value
    if value is None or record.key is None:
        raise BadEvent(REASON, "a control has no key or no value; send it with `interest-stream`")
    if len(value) > limits.max_value_bytes:
        most = f"{limits.max_value_bytes} bytes (max_value_bytes)"
        raise BadEvent(REASON, f"the value of a control is larger than {most}")
    if key is not None and not _is_signed(record.headers, value, key):
        raise BadEvent(
            REASON,
            f"the control has no {MAC_HEADER} of this pipeline's key; sign it with the file that "
            "control_key_file of the workers names",
        )
    try:
        control = _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadEvent(
            REASON,
            f"the value is no control ({type(error).__name__}); send a JSON object with control "
            f"({', '.join(KINDS)}), user_id, request_id and time",
        ) from None
    time_ms = _check(control, limits)
    if control.user_id.encode() != record.key:
        raise BadEvent(REASON, "the key of the control is not its user_id; use the user_id as key")
    return msgspec.structs.replace(control, time=time_ms)


def placed_control(
    record: Any, limits: Limits, key: bytes | None, error: BadEvent
) -> PlacedControl:
    """Returns the control in a record that is no event because of `error`.

    Raises that error for any other record, and BadEvent for a control that cannot be obeyed.
    """
    if not record.headers or not is_control(record.headers):
        raise error
    control = parse_control(record, limits, key)
    return PlacedControl(control, record.key, record.offset, crc32(record.value), record.timestamp)


def mac(value: bytes, key: bytes) -> bytes:
    """Returns the HMAC-SHA-256 of a control's value in hexadecimal."""
    return hmac.new(key, value, hashlib.sha256).hexdigest().encode()


def is_late(erased_ms: Any, own_ms: Any, broker_ms: Any, window_ms: int) -> Any:
    """Returns whether an event came late: it happened before its user was erased.

    It is dropped for as long as such an event may still come: its own time is not after the moment
    of the erasure (0: there was none), and the broker took it within the window after that moment.
    After the window nothing can be late, so nothing about the user need be remembered. Takes
    numbers, or arrays of them.
    """
    in_window = broker_ms <= erased_ms + window_ms
    return (erased_ms > 0) & (own_ms <= erased_ms) & in_window


def _is_signed(headers: Iterable[tuple[str, bytes | None]], value: bytes, key: bytes) -> bool:
    signatures = [found for name, found in headers or () if name == MAC_HEADER]
    return bool(signatures) and hmac.compare_digest(signatures[-1] or b"", mac(value, key))


def _check(control: Control, limits: Limits) -> int:
    """Checks what the types do not say and returns the time; raises BadEvent."""
    if not control.user_id or len(control.user_id.encode()) > MAX_USER_BYTES:
        raise BadEvent(REASON, f"user_id of a control must have 1 to {MAX_USER_BYTES} bytes")
    if not control.request_id or len(control.request_id.encode()) > MAX_REQUEST_BYTES:
        raise BadEvent(REASON, f"request_id of a control must have 1 to {MAX_REQUEST_BYTES} bytes")
    if _CONTROL_CHARACTER.search(control.user_id + control.request_id + (control.item_id or "")):
        raise BadEvent(REASON, "an id of the control holds a control character; send it without")
    subjects = [each for each in (control.item_id, control.query) if each]
    if len(subjects) != (control.control == FORGET):
        raise BadEvent(REASON, "forget needs one of item_id and query, and other controls neither")
    if any(len(each.encode()) > limits.max_text_bytes for each in subjects):
        raise BadEvent(REASON, f"item_id or query is longer than {limits.max_text_bytes} bytes")
    try:
        time_ms = parse_time(control.time) if isinstance(control.time, str) else control.time
    except BadEvent:
        time_ms = -1
    if not FIRST_TIME_MS <= time_ms <= MAX_TIME_MS:
        raise BadEvent(REASON, "time of the control must be RFC 3339 or Unix milliseconds")
    return time_ms
