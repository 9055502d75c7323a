"""Checks /livez, /readyz, /metrics and /version as a probe sees them, and ports that are taken."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import ClientSession

from models.predict import null_predictor
from stream.broker.ports import free_ports
from stream.errors import BrokerError, Failure, SettingsError
from stream.metrics import Metrics
from stream.worker.web import Served, WebServer

Answer = tuple[int, str]


def worker(**changes: Any) -> SimpleNamespace:
    """Returns what the server sees of an app that is well."""
    settings = SimpleNamespace(web_host="127.0.0.1", web_port=0, stall_timeout_s=60.0)
    host = SimpleNamespace(settings=settings, failure=None, metrics=Metrics())
    app = SimpleNamespace(
        host=host,
        consumer_generation_id=3,
        rebalancing=False,
        in_recovery=False,
        waiting="",
        tables=SimpleNamespace(actives_ready=True),
        watchdog=SimpleNamespace(moved=time.monotonic()),
        model=null_predictor().info,
        remarks=[],
    )
    for name, value in changes.items():
        owner = settings if name.startswith("web") else host if name == "failure" else app
        setattr(owner, name, value)
    return app


def serving(app: Any, use: Callable[[WebServer], Coroutine[Any, Any, Any]]) -> Any:
    async def scenario() -> Any:
        server = WebServer(app)
        await server.start()
        try:
            return await use(server)
        finally:
            await server.stop()

    return asyncio.run(scenario())


def get(app: Any, path: str, method: str = "GET") -> Answer:
    async def use(server: WebServer) -> Answer:
        async with (
            ClientSession() as session,
            session.request(method, f"http://127.0.0.1:{server.port}{path}") as answer,
        ):
            return answer.status, await answer.text()

    answer: Answer = serving(app, use)
    return answer


def test_a_worker_of_a_strange_model_is_ready_and_says_so() -> None:
    status, text = get(worker(remarks=["most items are unknown"]), "/readyz")
    assert (status, json.loads(text)) == (
        200,
        {"ready": True, "reasons": ["most items are unknown"]},
    )


def test_a_worker_that_is_well_lives_and_is_ready() -> None:
    assert get(worker(), "/livez") == (200, '{"live": true}')
    status, text = get(worker(), "/readyz")
    assert (status, json.loads(text)) == (200, {"ready": True, "reasons": []})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"failure": BrokerError("no broker")}, "failing: BrokerError: no broker"),
        ({"consumer_generation_id": 0}, "not yet a member of the group"),
        ({"rebalancing": True}, "the group is rebalancing"),
        ({"in_recovery": True}, "states are being restored"),
        ({"tables": SimpleNamespace(actives_ready=False)}, "states are being restored"),
        ({"waiting": "the registry is away"}, "waiting: the registry is away"),
    ],
)
def test_what_is_missing_is_said_and_the_worker_is_not_ready(
    change: dict[str, Any], reason: str
) -> None:
    status, text = get(worker(**change), "/readyz")
    assert (status, json.loads(text)) == (503, {"ready": False, "reasons": [reason]})


def test_a_worker_that_moves_nothing_for_too_long_does_not_live() -> None:
    status, text = get(worker(watchdog=SimpleNamespace(moved=time.monotonic() - 61)), "/livez")
    assert status == 503
    assert json.loads(text)["live"] is False


def test_metrics_and_version() -> None:
    app = worker()
    app.host.metrics.updates.inc(7)
    status, text = get(app, "/metrics")
    assert status == 200
    assert "interest_stream_updates_published_total 7.0" in text
    found = json.loads(get(app, "/version")[1])
    assert (found["model"], found["model_version"], found["fingerprint"]) == (
        "null",
        "1",
        f"{1:016x}",
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/state/user-1", 404), ("POST", "/metrics", 405)],
)
def test_nothing_else_is_served(method: str, path: str, status: int) -> None:
    assert get(worker(), path, method)[0] == status


def test_two_workers_on_a_host_find_a_port_each() -> None:
    async def use(first: WebServer) -> tuple[int, int]:
        second = WebServer(cast(Served, worker()))
        await second.start()
        await second.stop()
        return first.port, second.port

    first, second = serving(worker(), use)
    assert first != second


def test_a_port_that_is_taken_is_named_with_the_option() -> None:
    (port,) = free_ports(1)
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(Failure, match=rf"127\.0\.0\.1:{port}.*--web-port"),
    ):
        serving(worker(web_port=port), lambda _: asyncio.sleep(0))


def test_an_address_of_another_machine_is_a_wrong_setting() -> None:
    elsewhere = worker(web_host="192.0.2.1")
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1.*--web-host"):
        serving(elsewhere, lambda _: asyncio.sleep(0))
