"""Answers who asks for one user: three routes, in front of the machinery that serves the others.

Nearly all requests are of this kind, and each is one look at the file. A framework that finds the
route and its parameters takes several times as long as the look. So a request for one of these
routes is recognized by its path. It passes all that every request passes (`app`), and its answer
is that of the function that the route has in the description (`reading`).

A look takes some microseconds, so it is made in the event loop: a thread costs more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.types import Scope

from stream.serving import queries
from stream.serving.clock import now_ms
from stream.serving.context import (
    ProblemError,
    Serving,
    check_following,
    check_scope,
    json_of,
    key_in,
)
from stream.serving.guard import PROFILE, Caller
from stream.serving.store import HISTORY_MS
from stream.serving.updates import Cause, Item, Update, read_update

USERS: Final = b"/v1/users/"

Answer = Callable[[Serving, bytes], bytes]
"""Takes the key of a user and returns an answer as JSON; raises ProblemError."""


class Shown(msgspec.Struct):
    """Reads which items a profile names; the file holds nothing else than profiles."""

    items: list[Item]
    because: list[Cause]


_read_shown: Final = msgspec.json.Decoder(Shown).decode


@dataclass(frozen=True, slots=True)
class Lookup:
    """Holds a route to one user: its template, and what answers."""

    path: str
    answer: Answer


def profile(serving: Serving, key: bytes) -> bytes:
    """Returns the profile of a user as it was published, and titles where they are known."""
    value, titles = _profile(serving, key), {}
    if serving.titles:
        shown = _read_shown(value)
        named = [each.item_id for each in shown.items]
        named += [each.item_id for each in shown.because if each.item_id]
        titles = {each: serving.titles[each] for each in named if each in serving.titles}
    return json_of(serving, profile=value, titles=titles)


def items(serving: Serving, key: bytes) -> bytes:
    """Returns the items of a user's profile, best first."""
    update = read_update(key, _profile(serving, key))
    assert update is not None, "the file holds only what was read as an update"
    found = [
        {"item_id": each.item_id, "score": each.score}
        | ({"title": serving.titles[each.item_id]} if each.item_id in serving.titles else {})
        for each in update.items
    ]
    return json_of(serving, **_about(update, found))


def history(serving: Serving, key: bytes) -> bytes:
    """Returns when the first interests of a user have changed, oldest first."""
    _profile(serving, key)
    found = queries.history_of(serving.readers.of_loop, key, now_ms() - HISTORY_MS)
    changes = b",".join(b'{"time":%d,"interests":%b}' % each for each in found)
    return json_of(
        serving,
        user_id=key.decode(),
        complete=serving.following.history_ready,
        changes=b"[%b]" % changes,
    )


LOOKUPS: Final = {
    b"": Lookup("/v1/users/{user_id}", profile),
    b"/items": Lookup("/v1/users/{user_id}/items", items),
    b"/history": Lookup("/v1/users/{user_id}/history", history),
}


def lookup_of(scope: Scope) -> tuple[Lookup, str] | None:
    """Returns the route of a request and the id in its path, as it was sent; None: another one."""
    raw: bytes = scope.get("raw_path") or b""
    if not raw.startswith(USERS) or scope["method"] != "GET":
        return None
    name, slash, rest = raw[len(USERS) :].partition(b"?")[0].partition(b"/")
    found = LOOKUPS.get(slash + rest)
    return None if found is None or not name else (found, name.decode("latin-1"))


def looked_up(serving: Serving, caller: Caller, lookup: Lookup, user_id: str) -> bytes:
    """Returns the answer to a caller; raises DeniedError, ProblemError."""
    check_following(serving)
    check_scope(caller, PROFILE)
    return lookup.answer(serving, key_in(serving, user_id))


def _profile(serving: Serving, key: bytes) -> bytes:
    """Returns the profile of a user as published; raises ProblemError."""
    value = queries.profile_of(serving.readers.of_loop, key)
    if value is None:
        # a client tells it by `unknown` from an address that is none of ours
        raise ProblemError(HTTPStatus.NOT_FOUND, "of this user nothing is known", unknown="user")
    return value


def _about(update: Update, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns what an answer about items says besides its age."""
    return {
        "user_id": update.user_id,
        "items": found,
        "time": update.time,
        "source": msgspec.structs.asdict(update.source),
        "model": msgspec.structs.asdict(update.model),
    }
