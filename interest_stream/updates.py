"""Holds an interest update as typed Python objects; the fields are those of the published JSON.

An update is decoded straight into these classes, so a field has one name everywhere: here, on the
topic, and in the schema `stream/contracts/schemas/update-1.json`, which explains each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from stream.errors import DataError

SCHEMA: Final = "interest-update/1"


@dataclass(frozen=True, slots=True)
class Interest:
    """Holds one interest of a user, with the probability that the next event touches it."""

    interest: str
    probability: float  # of the next event; interests may overlap, so they need not sum to 1
    trend: Literal["new", "rising", "steady", "fading"]
    change: float  # of the probability, from the user's own slower average


@dataclass(frozen=True, slots=True)
class Item:
    """Holds one likely next item of a user."""

    item_id: str
    score: float  # higher is likelier; not a probability


@dataclass(frozen=True, slots=True)
class Cause:
    """Holds a past event that the prediction rests on, and its share of it."""

    action: str
    time: int  # Unix milliseconds
    weight: float  # at most 1 over all causes of an update
    item_id: str | None = None
    query: str | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Names where an event stands in Kafka."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """Names the model that made an update."""

    name: str
    version: str
    fingerprint: str  # 16 hexadecimal digits; another value is another model


@dataclass(frozen=True, slots=True)
class Phrase:
    """Holds the probability of an interest in words that no training has seen."""

    interest: str
    probability: float


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """Holds the most probable ones of the phrases that a worker was given."""

    calibrated: bool  # always false: their probabilities are not
    interests: tuple[Phrase, ...]


@dataclass(frozen=True, slots=True)
class Update:
    """Holds what a user wants as of one event: interests, likely next items, and their causes.

    Interests and items are sorted, best first. Two updates with the same `update_id` are the same;
    of one user's updates the one with the highest `source.offset` is the latest.
    """

    schema: str
    update_id: str
    user_id: str
    time: int  # of the last event included, Unix milliseconds
    published_at: int  # Unix milliseconds
    source: Place  # the last event included
    model: ModelVersion
    events_seen: int  # events of the user so far
    interests: tuple[Interest, ...]
    items: tuple[Item, ...]
    because: tuple[Cause, ...]
    zero_shot: ZeroShot | None = None  # with phrases only
    popularity_as_of: int | None = None  # with live popularity only, Unix milliseconds
    scored_by: Literal["lstm"] | None = None  # set if the language model could not keep up


_decode: Final = msgspec.json.Decoder(Update).decode


def decode_update(value: bytes, where: str) -> Update:
    """Returns the update in a JSON text; raises DataError, naming `where` it stood, if it is none.

    Fields that this version does not know are left out.
    """
    try:
        update = _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{where} is no interest update: {error}; is the topic right?") from None
    if update.schema != SCHEMA:
        raise DataError(
            f"{where} has schema {update.schema!r}, this version reads {SCHEMA!r}; "
            "use the version of interest-stream that the workers run"
        )
    return update
