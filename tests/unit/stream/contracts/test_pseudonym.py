"""Checks what stands in for a user id."""

from __future__ import annotations

import hashlib
import hmac

import orjson
from hypothesis import given
from hypothesis import strategies as st

from stream.contracts.pseudonym import pseudonym, renamed

KEY = b"Jefe"


def test_it_is_hmac_sha_256() -> None:
    # the second vector of RFC 4231
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert pseudonym(b"what do ya want for nothing?", KEY) == expected


@given(st.text(min_size=1), st.text(min_size=1))
def test_the_same_id_has_the_same_pseudonym_and_another_key_another(user: str, other: str) -> None:
    bytes_ = user.encode("utf-8", "surrogatepass")
    assert pseudonym(bytes_, KEY) == hmac.new(KEY, bytes_, hashlib.sha256).hexdigest()
    assert pseudonym(bytes_, KEY) != pseudonym(bytes_, KEY + b"2")
    if user != other:
        assert pseudonym(bytes_, KEY) != pseudonym(other.encode("utf-8", "surrogatepass"), KEY)


def test_other_fields_keep_their_bytes_and_the_last_of_a_name_counts() -> None:
    value = b'{"user_id":"a","n":1.50,"big":123456789012345678901234567890,"user_id":"b"}'
    assert renamed(value, "p") == b'{"user_id":"p","n":1.50,"big":123456789012345678901234567890}'


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(-(2**53), 2**53)))
def test_any_event_can_be_renamed(fields: dict[str, int]) -> None:
    assert orjson.loads(renamed(orjson.dumps(fields), "p")) == {**fields, "user_id": "p"}
