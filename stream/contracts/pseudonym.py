"""Replaces a user id by a pseudonym, so that what is downstream never holds the id.

A pseudonym is the HMAC-SHA-256 of the id in UTF-8 under a secret key, as 64 hexadecimal digits
(RFC 2104). The same id has the same pseudonym, so all else works as before. Whoever has the key can
find the pseudonym of an id; without it not even a list of all ids helps, which a plain hash would
give away. Another key makes other users of all. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import msgspec

USER: Final = "user_id"

_decode: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


def pseudonym(user: bytes, key: bytes) -> str:
    """Returns what stands in for a user id, given in UTF-8."""
    return hmac.new(key, user, hashlib.sha256).hexdigest()


def renamed(value: bytes, user: str) -> bytes:
    """Returns a JSON object with another user_id; all other fields keep their bytes.

    Of a name given twice the last value is kept. Raises msgspec.MsgspecError or UnicodeError if it
    is no object, as the decoder of events does.
    """
    value.decode()  # fields that are only copied are not looked at
    fields = _decode(value)
    fields[USER] = msgspec.Raw(_encode(user))
    return _encode(fields)
