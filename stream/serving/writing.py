"""Takes what changes something: events from whoever has no Kafka client, and erasures."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from stream.contracts.control import ERASE as ERASE_CONTROL
from stream.contracts.control import SUPPRESS
from stream.errors import InterestStreamError
from stream.plain_text import told
from stream.serving import queries
from stream.serving.bodies import MOST_BYTES, BadBodyError, documents_of
from stream.serving.context import Key, ProblemError, Served, answer, needs
from stream.serving.erasures import sent_of
from stream.serving.guard import ERASE, EVENTS
from stream.serving.ingest import FAILED, REFUSED
from stream.serving.updates import read_update

router = APIRouter(prefix="/v1")

ONE_EVENT: Final = {
    "user_id": "user-7",
    "action": "view",
    "time": "2026-11-25T10:00:00Z",
    "item_id": "item-0042",
    "event_id": "7c1f",
}
BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]
                },
                "example": ONE_EVENT,
            },
            "application/x-ndjson": {"schema": {"type": "string"}},
            "text/tab-separated-values": {"schema": {"type": "string"}},
        },
    }
}


@router.post("/events", summary="Send events", dependencies=[needs(EVENTS)], openapi_extra=BODY)
async def post_events(
    request: Request,
    serving: Served,
    format: Annotated[
        str | None,
        Query(
            description="What the documents are: contract, segment, rudderstack, snowplow, ga4, "
            "posthog, cloudevents, debezium or mapping. Without it: what workers read."
        ),
    ] = None,
) -> Response:
    """Takes a document or up to 1,000, and answers once Kafka has each event: a verdict for each.

    A document of another format may be several events, or none. `index` is its place in the body,
    `event` that of an event in it. `taken`: acknowledged by all replicas. `repeated`: its event_id
    was taken before. `dropped`: left out on purpose, and why. `refused`: it is no event, and the
    reason is that of its dead letter. `failed`: send it again. Status 200: none was refused or
    failed. 207: some were. 422: all were refused. 503: Kafka took none.
    """
    try:
        name = format or serving.ingest.shapes.own
        read = serving.ingest.shapes.named(name)
        documents = documents_of(await _body_of(request), request.headers, name)
    except BadBodyError as error:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    told_of = await serving.ingest.take(documents, read)
    counts = Counter[str]()
    for each in told_of:
        counts[each.verdict.verdict] += each.verdict.count()
    status = HTTPStatus.OK
    if counts.keys() == {REFUSED}:
        status = HTTPStatus.UNPROCESSABLE_ENTITY
    elif counts.keys() == {FAILED}:
        status = HTTPStatus.SERVICE_UNAVAILABLE
    elif counts.keys() & {REFUSED, FAILED}:
        status = HTTPStatus.MULTI_STATUS
    verdicts = [each.as_json() for each in told_of]
    return answer(serving, status, counts=dict(sorted(counts.items())), verdicts=verdicts)


@router.delete(
    "/users/{user_id}",
    summary="Erase a user",
    status_code=HTTPStatus.ACCEPTED,
    dependencies=[needs(ERASE)],
)
async def delete_user(
    serving: Served,
    key: Key,
    suppress: Annotated[bool, Query(description="Drop later events too.")] = False,
) -> Response:
    """Asks workers to erase the user, as `interest-stream erase` does; answers once Kafka has it.

    Poll `status` until its state is `done`. Erasing somebody of whom nothing is held does no harm.
    """
    held = read_update(key, queries.profile_of(serving.readers.of_loop, key))
    partition = None
    if held is not None and held.source.topic == serving.settings.source_topic:
        partition = held.source.partition
    control = SUPPRESS if suppress else ERASE_CONTROL
    try:
        sent = await serving.erasures.ask(control, key, partition)
    except InterestStreamError as error:
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, told(error)) from error
    where = {"request_id": sent.request_id, "status": f"/v1/erasures/{sent.name}"}
    return answer(serving, HTTPStatus.ACCEPTED, state="waiting", **where)


@router.get("/erasures/{name}", summary="How far an erasure has come", dependencies=[needs(ERASE)])
async def get_erasure(serving: Served, name: str) -> Response:
    """Returns `waiting`, `done` or `refused`, judged by the log, and why.

    `done`: workers have emptied state and profile, and this instance has read that.
    """
    sent = sent_of(name)
    if sent is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, "no erasure has this name")
    try:
        state, why = await serving.erasures.state(sent)
    except InterestStreamError as error:
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, told(error)) from error
    return answer(serving, request_id=sent.request_id, state=state, why=why or None)


async def _body_of(request: Request) -> bytes:
    """Returns the body, as long as it is not too large; raises ProblemError."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise ProblemError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {MOST_BYTES} bytes"
            )
    return b"".join(parts)
