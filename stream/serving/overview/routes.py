"""Answers what the page shows besides profiles; nothing here is asked of a model or a worker."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from stream.contracts.event import Event
from stream.serving import queries
from stream.serving.clock import now_ms
from stream.serving.context import (
    Key,
    ProblemError,
    Served,
    answer,
    check_ready,
    needs,
)
from stream.serving.guard import PROFILE, SEGMENT
from stream.serving.overview import pulse
from stream.serving.overview.outcomes import judged
from stream.serving.updates import number_of

router = APIRouter(prefix="/v1", dependencies=[Depends(check_ready)])

SpanName = Literal["hour", "day", "week"]


@router.get(
    "/users/{user_id}/outcomes",
    summary="What came next, and whether it was said",
    dependencies=[needs(PROFILE)],
)
async def get_outcomes(serving: Served, key: Key) -> Response:
    """Returns what the user did after each of the last updates, newest first, beside what it said.

    An event is judged where it is known to be the next one: `events` is 1, and the topic still has
    it. `item_rank` is its place among the items that were said to be likely, `interest_rank` that
    of the first interest which it touched; null: it was not among them. What this instance has
    heard since its start is all there is.
    """
    if queries.profile_of(serving.readers.of_loop, key) is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, "of this user nothing is known")
    overview, user_id = serving.overview, key.decode()
    pairs = await overview.outcomes.pairs(number_of(key))
    places = [after.source for said, after in pairs if after.events_seen == said.events_seen + 1]
    read: dict[int, Event] = {}
    if overview.events is not None and places:
        read = await overview.events.read(user_id, places)
    found = []
    for said, after in pairs:
        event = read.get(after.source.offset)
        item = None if event is None else event.item_id
        title = "" if event is None else event.title or serving.titles.get(item or "", "")
        found.append(judged(said, after, event, overview.touches, title))
    return answer(serving, user_id=user_id, outcomes=found)


@router.get("/pulse", summary="Which interests rise and fade", dependencies=[needs(SEGMENT)])
def get_pulse(serving: Served, span: SpanName = "hour") -> Response:
    """Returns how much the updates of all users gave each interest, by slots of time.

    A weight is a sum of probabilities over the updates of a slot; `updates` counts these.
    Slots are 10 s wide for an hour, 10 minutes for a day, an hour for a week.
    """
    with serving.readers.borrowed() as db:
        found = pulse.pulse(db, pulse.SPANS[span], now_ms())
    return answer(serving, span=span, complete=serving.following.history_ready, **found)


@router.get("/growth", summary="How segments grow", dependencies=[needs(SEGMENT)])
def get_growth(serving: Served, span: SpanName = "hour") -> Response:
    """Returns how many users came to each interest in a span, and how many went.

    A user has an interest while it is among the first of the profile. `net` has the difference for
    24 pieces of the span, oldest first. Counting begins when the profiles were read for the first
    time, at `counted_since`.
    """
    with serving.readers.borrowed() as db:
        found = pulse.growth(db, pulse.SPANS[span], now_ms())
        since = queries.counted_since(db)
    return answer(serving, span=span, counted_since=since, interests=found)


@router.get("/workers", summary="Who works, and how far behind", dependencies=[needs(SEGMENT)])
async def get_workers(serving: Served) -> Response:
    """Returns the last look at the workers' group: its members, what each has, and its lag.

    `problem` says why there is none, or none since `seen_at`.
    """
    workers = serving.overview.workers
    last = None if workers is None else workers.last
    problem = "nobody looks at workers here" if workers is None else workers.problem
    seen = None if last is None else last.as_json()
    return answer(serving, workers=seen, problem=problem or None)


@router.get("/calibration", summary="How far probabilities can be trusted")
async def get_calibration(serving: Served) -> Response:
    """Returns what the report of the model says: bins of probabilities, and what happened.

    It holds for updates whose model has this fingerprint. Null: no model directory was named, or it
    has no such report.
    """
    return answer(serving, calibration=serving.overview.calibration)


@router.get("/users/{user_id}/truth", include_in_schema=False, dependencies=[needs(PROFILE)])
async def get_truth(serving: Served, key: Key) -> Response:
    """Returns which interest is true of a simulated user, and which were before; of a demo only."""
    truth = serving.overview.truth
    if truth is None:
        raise ProblemError(
            HTTPStatus.NOT_FOUND, "nobody knows what is true: users are no simulation"
        )
    return answer(serving, periods=truth.of(key.decode()))
