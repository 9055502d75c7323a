"""Answers who is interested in what: users, their histories, interests, segments, the live feed."""

from __future__ import annotations

import csv
import difflib
import io
import sqlite3
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse

from stream.clients.user_ids import user_key
from stream.errors import UsageError
from stream.serving import lookups, queries
from stream.serving.clock import now_ms
from stream.serving.context import (
    JSON,
    Key,
    ProblemError,
    Served,
    Serving,
    age,
    answer,
    check_ready,
    needs,
    since_of,
)
from stream.serving.feed import TooManyError, Wanted
from stream.serving.guard import PROFILE, SEGMENT
from stream.serving.queries import ANY_RANK, Member, Segment

MOST_MEMBERS: Final = 1_000
AT_ONCE: Final = 100
SPARSE: Final = 20
"""So many members are read in the event loop, in a millisecond, if the array has so many times as
many of them: a page is then full after a twentieth of it. For others there are threads, though a
thread that computes holds up every other request."""

NEAR: Final = 5
COLUMNS: Final = ("user_id", "probability", "rank", "trend", "time")
EXPORTS: Final = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}

router = APIRouter(prefix="/v1", dependencies=[Depends(check_ready)])

ActiveSince = Annotated[
    str,
    Query(
        description="Users with an event since then: 30d, 12h, a moment in RFC 3339, or all; from "
        "the beginning of that hour, before the last two days of that day (UTC)."
    ),
]


@router.get("/users", summary="Users whose id begins like this", dependencies=[needs(PROFILE)])
async def find_users(
    serving: Served,
    prefix: Annotated[str, Query(max_length=256)] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
) -> Response:
    """Returns the first ids in their order; with pseudonyms, the pseudonyms."""
    return answer(serving, users=queries.users_like(serving.readers.of_loop, prefix, limit))


# `lookups` answers these three in front of the framework, which describes them.


@router.get("/users/{user_id}", summary="The profile of a user", dependencies=[needs(PROFILE)])
async def get_user(serving: Served, key: Key) -> Response:
    """Returns the newest update of the user as it was published, and titles where they are known.

    404: no event of the user was applied, or the user was erased.
    """
    return Response(lookups.profile(serving, key), media_type=JSON)


@router.get("/users/{user_id}/items", summary="Likely next items", dependencies=[needs(PROFILE)])
async def get_items(serving: Served, key: Key) -> Response:
    """Returns the items of the user's profile, best first."""
    return Response(lookups.items(serving, key), media_type=JSON)


@router.get(
    "/users/{user_id}/history", summary="How interests have changed", dependencies=[needs(PROFILE)]
)
async def get_history(serving: Served, key: Key) -> Response:
    """Returns when the first three interests have changed, oldest first: 7 days, 50 entries."""
    return Response(lookups.history(serving, key), media_type=JSON)


@router.get("/interests", summary="Every interest and its users", dependencies=[needs(SEGMENT)])
async def get_interests(serving: Served, active_since: ActiveSince = "30d") -> Response:
    """Returns how many users have each interest among their first five, and how it moves."""
    asked_ms = since_of(active_since, now_ms())
    db = serving.readers.of_loop
    with queries.snapshot(db):
        since_ms = queries.whole_since(db, asked_ms)
        found = queries.interests(db, since_ms)
    return answer(serving, active_since=since_ms, interests=found)


@router.get(
    "/segments",
    summary="Users with an interest",
    dependencies=[needs(SEGMENT)],
    responses={200: {"content": {kind: {} for kind in EXPORTS.values()}}},
)
async def get_segment(
    serving: Served,
    interest: Annotated[str, Query(max_length=2_048)],
    min_probability: Annotated[float, Query(ge=0, le=1)] = 0.0,
    max_rank: Annotated[int, Query(ge=1, le=ANY_RANK)] = ANY_RANK,
    trend: Annotated[Literal["rising", "fading", "new", "steady"] | None, Query()] = None,
    active_since: ActiveSince = "30d",
    limit: Annotated[int, Query(ge=1, le=MOST_MEMBERS)] = 100,
    cursor: Annotated[str, Query(pattern="^([0-9a-f]{16})?$")] = "",
    format: Annotated[Literal["json", "csv", "ndjson"], Query()] = "json",
) -> Response:
    """Returns a page of the segment with its size, or all of it as CSV or NDJSON.

    A profile names the first five interests of a user, so nobody is in a segment of a sixth. A
    probability does not age while a user does nothing: `active_since` leaves out who was silent.
    While profiles change no user comes on two pages.
    """
    asked_ms, after = since_of(active_since, now_ms()), int(cursor, 16) if cursor else -1
    db = serving.readers.of_loop
    with queries.snapshot(db):
        _ensure_known(db, interest)
        since_ms = queries.whole_since(db, asked_ms)
        segment = Segment(interest, min_probability, max_rank, trend, since_ms)
        if format != "json":
            return _export(serving, segment, format)
        count = queries.tallied(db, segment)
    if count is None:
        count = await _counted(serving, segment)

    # a page that is soon full is read here; to hand it to a thread takes longer than that
    told = age(serving)
    if limit <= AT_ONCE and count >= SPARSE * limit:
        with queries.snapshot(db):
            found = queries.members(db, segment, after, limit + 1)
    else:
        found = await run_in_threadpool(_members_apart, serving, segment, after, limit + 1)
    page = found[:limit]
    return answer(
        serving,
        **told,
        interest=interest,
        active_since=since_ms,
        count=count,
        users=[each.as_json() for each in page],
        cursor=f"{page[-1].number:016x}" if len(found) > limit else None,
    )


@router.get("/feed", summary="Updates as they come", dependencies=[needs(PROFILE)])
async def get_feed(
    request: Request,
    serving: Served,
    user: Annotated[str | None, Query()] = None,
    interest: Annotated[str | None, Query(max_length=2_048)] = None,
) -> Response:
    """Sends each update from now on as a Server-Sent Event `update`, its id the update_id.

    Who reads too slowly is told how many were left out (`left-out`). Nothing is sent twice, and
    nothing of the time of a broken connection.
    """
    try:
        name = None if user is None else user_key(user, serving.pseudonym_key).decode()
    except UsageError:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "no event has such an id") from None
    try:
        listener = serving.feed.join(Wanted(name, interest))
    except TooManyError:
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE, "too many listen already; ask another instance"
        ) from None
    events = serving.feed.events(listener)
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(events, headers=headers, media_type="text/event-stream")


@router.get("/status", summary="What is served, and how old", dependencies=[needs(SEGMENT)])
async def get_status(serving: Served) -> Response:
    """Returns how many users there are, by which models, and what is behind."""
    following = serving.following
    users = queries.profiles(serving.readers.of_loop)
    return answer(
        serving,
        ready=not following.why_not_ready(now_ms()),
        reasons=following.why_not_ready(now_ms()),
        users=users,
        models=[{"fingerprint": each, "name": name} for each, name in following.models.items()],
        history_complete=following.history_ready,
        listeners=len(serving.feed),
    )


def _ensure_known(db: sqlite3.Connection, interest: str) -> None:
    """Raises ProblemError, which names near ones, for an interest that no profile has named."""
    if not queries.is_known(db, interest):
        near = difflib.get_close_matches(interest, queries.interest_names(db), NEAR, 0.4)
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY, "no profile names this interest", near=near
        )


async def _counted(serving: Serving, segment: Segment) -> int:
    """Returns how many users a segment has; raises ProblemError where that takes too long."""
    try:
        return await serving.following.users_of(segment)
    except TimeoutError:
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE, "too many segments are being counted; ask again"
        ) from None


def _members_apart(serving: Serving, segment: Segment, after: int, most: int) -> list[Member]:
    """Returns users of a segment, over a connection that nobody else has meanwhile."""
    with serving.readers.borrowed() as db, queries.snapshot(db):
        return queries.members(db, segment, after, most)


def _export(serving: Serving, segment: Segment, format: str) -> Response:
    """Returns all of a segment as a file, sent as it is read."""
    lines = _as_csv(serving, segment) if format == "csv" else _as_ndjson(serving, segment)
    headers = {
        "Content-Disposition": f'attachment; filename="segment.{format}"',
        **{f"X-{name.replace('_', '-').title()}": str(at) for name, at in age(serving).items()},
    }
    return StreamingResponse(lines, headers=headers, media_type=EXPORTS[format])


def _as_csv(serving: Serving, segment: Segment) -> Iterator[str]:
    """Yields the segment with a head, as RFC 4180 has it."""
    yield _csv_lines([COLUMNS])
    with serving.readers.borrowed() as db:
        for some in queries.all_members(db, segment):
            yield _csv_lines([tuple(each.as_json().values()) for each in some])


def _csv_lines(rows: list[tuple[Any, ...]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _as_ndjson(serving: Serving, segment: Segment) -> Iterator[bytes]:
    with serving.readers.borrowed() as db:
        for some in queries.all_members(db, segment):
            yield b"".join(orjson.dumps(each.as_json()) + b"\n" for each in some)
