"""Holds the answers of the HTTP service as typed Python objects; fields have the names of the JSON.

Every answer says how old it is: `as_of` is the moment (Unix milliseconds) up to which everything
that workers had published is in it, `lag_ms` how long ago that was when the service answered. The
routes are described on docs/operate/serve.md and by the service itself, at /openapi.json.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeVar

import msgspec

from interest_stream.updates import ModelVersion, Place, Update, decode_update
from stream.errors import DataError

Trend = Literal["new", "rising", "steady", "fading"]
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Holds the newest update of a user, and the titles of the items that it names."""

    update: Update
    titles: Mapping[str, str]  # by item_id; those that the model directory of the service has
    as_of: int
    lag_ms: int


@dataclass(frozen=True, slots=True)
class NextItem:
    """Holds a likely next item of a user."""

    item_id: str
    score: float  # higher is likelier; not a probability
    title: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NextItems:
    """Holds the likely next items of a user, best first."""

    user_id: str
    items: tuple[NextItem, ...]
    time: int  # of the user's last event included, Unix milliseconds
    source: Place
    model: ModelVersion
    as_of: int
    lag_ms: int


@dataclass(frozen=True, slots=True)
class Ranked:
    """Holds an interest as it was at a change."""

    interest: str
    probability: float
    trend: Trend


@dataclass(frozen=True, slots=True)
class Change:
    """Holds the first three interests of a user from a moment on, best first."""

    time: int  # of the event that changed them, Unix milliseconds
    interests: tuple[Ranked, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Holds how the first three interests of a user changed, oldest first: 7 days, 50 changes."""

    user_id: str
    complete: bool  # false while the service still reads the updates of those days
    changes: tuple[Change, ...]
    as_of: int
    lag_ms: int


@dataclass(frozen=True, slots=True)
class InterestCount:
    """Holds how many users have an interest among their first five, and how it moves."""

    interest: str
    users: int
    mean_probability: float
    first_of: int  # users of whom it is the first
    trends: Mapping[Trend, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interests:
    """Holds every interest with its users, the largest first."""

    interests: tuple[InterestCount, ...]
    active_since: int  # users with an event since then are counted, Unix milliseconds
    as_of: int
    lag_ms: int


@dataclass(frozen=True, slots=True)
class Member:
    """Holds a user of a segment, and the interest as that user has it."""

    user_id: str
    probability: float
    rank: int  # of the interest among those of the user, from 1
    trend: Trend
    time: int  # of the user's last event, Unix milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentPage:
    """Holds a page of a segment, the size of the whole of it, and where the next page begins."""

    interest: str
    count: int
    users: tuple[Member, ...]
    cursor: str | None  # None: this is the last page
    active_since: int
    as_of: int
    lag_ms: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Holds what became of an event.

    `taken`: all replicas have it. `repeated`: its event_id was taken before, and nothing was sent.
    `refused`: it is no event; `reason` is a word of the list on docs/reference/contracts.md.
    `failed`: not acknowledged, so it may be in the topic or not; send it again.
    """

    index: int  # of the event among those given
    verdict: Literal["taken", "repeated", "refused", "failed"]
    partition: int | None = None
    offset: int | None = None
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Erasure:
    """Holds a request to erase a user, and how far it was when the service was last asked."""

    request_id: str
    state: Literal["waiting", "done", "refused"]
    name: str  # by which every instance knows it; it names no user
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Holds what a service serves, and how far it has read."""

    ready: bool
    reasons: tuple[str, ...]  # why it is not ready
    users: int
    models: tuple[Mapping[str, str], ...]  # fingerprint and name
    history_complete: bool
    listeners: int  # to the feed
    as_of: int
    lag_ms: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Says that a feed has left out updates, and why."""

    reason: str
    updates: int | None = None  # how many; None where nobody can know


class _Served(msgspec.Struct):
    """Reads a profile, whose update is decoded as any other."""

    profile: msgspec.Raw
    titles: dict[str, str]
    as_of: int
    lag_ms: int


class _Asked(msgspec.Struct):
    """Reads an answer about an erasure."""

    request_id: str
    state: Literal["waiting", "done", "refused"]
    status: str = ""
    why: str | None = None


class _Judged(msgspec.Struct):
    """Reads the verdicts of a request."""

    verdicts: list[Verdict]


class _Found(msgspec.Struct):
    """Reads ids of users."""

    users: list[str]


_READ: Final[Mapping[type[Any], Callable[[bytes], Any]]] = {
    kind: msgspec.json.Decoder(kind).decode
    for kind in (
        NextItems,
        History,
        Interests,
        SegmentPage,
        Status,
        _Served,
        _Asked,
        _Judged,
        _Found,
    )
}


def read(kind: type[_Answer], body: bytes, route: str) -> _Answer:
    """Returns the answer in a JSON text; raises DataError, naming the route, if it is none."""
    try:
        answer: _Answer = _READ[kind](body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(
            f"the answer of {route} is none of interest-stream ({error}); is this the address of "
            "`interest-stream serve`, of this version?"
        ) from None
    return answer


def read_profile(body: bytes, route: str) -> Profile:
    """Returns the profile in an answer; raises DataError."""
    found = read(_Served, body, route)
    update = decode_update(bytes(found.profile), f"the profile of {route}")
    return Profile(update=update, titles=found.titles, as_of=found.as_of, lag_ms=found.lag_ms)


def read_users(body: bytes, route: str) -> list[str]:
    """Returns the ids in an answer; raises DataError."""
    return read(_Found, body, route).users


def read_erasure(body: bytes, route: str, name: str = "") -> Erasure:
    """Returns the erasure in an answer, which names it if `name` does not; raises DataError."""
    found = read(_Asked, body, route)
    return Erasure(
        found.request_id, found.state, name or found.status.rpartition("/")[2], found.why
    )


def read_verdicts(body: bytes, route: str, begin: int) -> list[Verdict]:
    """Returns verdicts, counted from `begin`; raises DataError."""
    return [replace(each, index=begin + each.index) for each in read(_Judged, body, route).verdicts]
