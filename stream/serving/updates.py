"""Reads records of the profiles and the updates, and says which of two profiles is the newer one.

Pure. Numbers stand for users: the first 63 bits of BLAKE2b of the user's key. They are the same in
every instance and after every start, so a page of a segment can be asked of any instance.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from stream.contracts.update import SCHEMA

TOP: Final = 3
"""Interests whose change makes an entry of a user's history."""

LATE_WRITE_MS: Final = 3_600_000
"""A former owner's late write is older than what it follows; this is how far clocks may differ.

A profile from a lower offset that was made later than this is of another topic of that name.
"""

NUMBERS: Final = 2**63
"""Users are numbered below this."""

Whole = Annotated[int, Meta(ge=-(2**62), le=2**62)]
"""What SQLite can hold; a stranger may write any number."""

Chance = Annotated[float, Meta(ge=0, le=1)]
Trend = Literal["steady", "rising", "fading", "new"]


class Source(msgspec.Struct, frozen=True):
    """Reads which event an update is as of."""

    topic: str
    partition: Whole
    offset: Whole


class Model(msgspec.Struct, frozen=True):
    """Reads by which model an update was made."""

    name: str
    version: str
    fingerprint: str


class Interest(msgspec.Struct, frozen=True):
    """Reads one interest of an update."""

    interest: str
    probability: Chance
    trend: Trend


class Item(msgspec.Struct, frozen=True):
    """Reads one of the likely next items."""

    item_id: str
    score: float


class Cause(msgspec.Struct, frozen=True):
    """Reads which item a past event was about, if about one."""

    item_id: str | None = None


class Update(msgspec.Struct, frozen=True):
    """Reads what the service needs of an update; the rest is handed on as it is."""

    schema: str
    update_id: str
    user_id: str
    time: Whole
    published_at: Whole
    source: Source
    model: Model
    events_seen: Whole
    interests: list[Interest]
    items: list[Item]
    because: list[Cause]

    @property
    def top(self) -> list[str]:
        """Returns the names of the first interests, best first."""
        return [each.interest for each in self.interests[:TOP]]


class Held(msgspec.Struct, frozen=True):
    """Reads what is asked of a profile that was read before as an update, and is held."""

    user_id: str
    time: Whole
    published_at: Whole
    source: Source
    interests: list[Interest]


_decode: Final = msgspec.json.Decoder(Update).decode
read_held: Final = msgspec.json.Decoder(Held).decode
_read_top: Final = msgspec.json.Decoder(list[Interest]).decode


def read_update(key: bytes | None, value: bytes | None) -> Update | None:
    """Returns the update in a record, None for what is none: others may write to a topic, too."""
    try:
        update = _decode(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return update if update.schema == SCHEMA and update.user_id.encode() == key else None


def number_of(user: bytes) -> int:
    """Returns the number that stands for a user."""
    return int.from_bytes(blake2b(user, digest_size=8).digest(), "big") % NUMBERS


def is_older(source: Source, published_at: int, held: Source, held_published_at: int) -> bool:
    """Returns whether a profile is older than the one held, though it comes later in the log.

    The highest source offset wins. Offsets of different partitions say nothing about each other,
    and nor do those of two topics of one name: there the later record wins.
    """
    same = (source.topic, source.partition) == (held.topic, held.partition)
    return (
        same and source.offset < held.offset and published_at <= held_published_at + LATE_WRITE_MS
    )


def starts_anew(update: Update, seen_before: int) -> bool:
    """Returns whether the user of an update was erased, or expired, since an earlier update.

    The count of a user's events only falls where their memory was emptied.
    """
    return update.events_seen < seen_before


def top_json(update: Update) -> bytes:
    """Returns the first interests as JSON, for an entry of a history."""
    return msgspec.json.encode(update.interests[:TOP])


def names_in(top: bytes) -> list[str]:
    """Returns the names in an entry of a history."""
    return [each.interest for each in _read_top(top)]
