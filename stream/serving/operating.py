"""Answers supervisors, Prometheus and people: health, metrics, and the page with its files."""

from __future__ import annotations

from http import HTTPStatus
from importlib.resources import files
from typing import Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from stream.serving.clock import now_ms
from stream.serving.context import ProblemError, Served

router = APIRouter()

KINDS: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
PAGE: Final = files("stream").joinpath("serving", "page")


@router.get("/livez", summary="Whether the process lives")
async def livez() -> Response:
    """Returns 200 as long as anything is answered."""
    return JSONResponse({"live": True})


@router.get("/readyz", summary="Whether to send requests here")
async def readyz(serving: Served) -> Response:
    """Returns 503 until the profiles are read, and while Kafka is away for more than a minute."""
    reasons = serving.following.why_not_ready(now_ms())
    body = {
        "ready": not reasons,
        "reasons": reasons,
        "lag_ms": serving.following.lag_ms(now_ms()) if serving.following.ready else None,
    }
    return JSONResponse(body, 503 if reasons else 200)


@router.get("/metrics", summary="Prometheus metrics")
async def metrics(serving: Served) -> Response:
    """Returns the metrics of this process."""
    following = serving.following
    if following.ready:
        serving.meters.lag.set(following.lag_ms(now_ms()) / 1000)
    serving.meters.listeners.set(len(serving.feed))
    return Response(serving.meters.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/", include_in_schema=False)
async def index() -> Response:
    """Returns the page."""
    return _file("index.html")


@router.get("/page/{name}", include_in_schema=False)
async def page_file(name: str) -> Response:
    """Returns a file of the page."""
    return _file(name)


def _file(name: str) -> Response:
    """Returns a file of the package; a name is taken from what there is, and never from a path."""
    for each in PAGE.iterdir():
        kind = KINDS.get(name.rpartition(".")[2])
        if each.name == name and kind is not None:
            return Response(each.read_bytes(), headers={"Content-Type": kind})
    raise ProblemError(HTTPStatus.NOT_FOUND, "there is no such file")
