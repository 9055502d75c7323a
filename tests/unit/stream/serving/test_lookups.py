"""What is answered in front of the framework is what the framework would answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from stream.serving import app as apps
from stream.serving.lookups import LOOKUPS
from tests.support.serving import Service, null, record

USER = "/v1/users/{user_id}"


@pytest.mark.parametrize("tail", [tail.decode() for tail in LOOKUPS])
def test_both_ways_answer_alike(
    served: Service, monkeypatch: pytest.MonkeyPatch, tail: str
) -> None:
    """The same status, headers and body, whoever asks for whom."""
    served.feed_with(record("of http/1", 1), record("gone", 2), null("gone"))
    asked = ["of%20http%2F1", "gone", "%ff", "x" * 257, "of%20http%2F1?a=b"]

    def answers(headers: dict[str, str]) -> list[Any]:
        found = []
        for each in asked:
            name, mark, query = each.partition("?")
            answer = served.client.get(f"/v1/users/{name}{tail}{mark}{query}", headers=headers)
            body = answer.json()
            body.pop("lag_ms", None)
            found.append((answer.status_code, dict(answer.headers.items()), body))
        return found

    def both(headers: dict[str, str]) -> tuple[list[Any], list[Any]]:
        mine = answers(headers)
        with monkeypatch.context() as patched:
            patched.setattr(apps, "lookup_of", lambda scope: None)
            its = answers(headers)
        for some in (mine, its):
            for _, sent, _ in some:
                sent.pop("content-length", None)  # that of `lag_ms` may be another
        return mine, its

    mine, its = both({})
    assert mine == its
    assert [status for status, _, _ in mine] == [200, 404, 422, 422, 200]
    mine, its = both({"Host": "evil.example"})
    assert mine == its
    assert {status for status, _, _ in mine} == {403}
    served.followed.ready = False
    mine, its = both({})
    assert mine == its
    assert {status for status, _, _ in mine} == {503}


def test_every_lookup_is_described_and_counted_by_its_template(served: Service) -> None:
    served.feed_with(record("anna", 1))
    described = served.get("/openapi.json")["paths"]
    for tail, lookup in LOOKUPS.items():
        assert lookup.path == USER + tail.decode()
        assert "get" in described[lookup.path]
        served.get("/v1/users/anna" + tail.decode())
        labels = f'{{method="GET",route="{lookup.path}",status="200"}}'
        assert f"requests_total{labels} 1.0" in served.client.get("/metrics").text


@pytest.mark.parametrize(
    "path", ["/v1/users/", "/v1/users/anna/", "/v1/users/anna/nothing", "/v1/users//items"]
)
def test_what_is_no_lookup_is_left_to_the_framework(served: Service, path: str) -> None:
    served.feed_with(record("anna", 1))
    assert "no such route" in served.get(path, 404)["detail"]


def test_an_erasure_of_a_user_is_no_lookup(served: Service) -> None:
    assert served.client.delete("/v1/users/anna").status_code == 202


def test_the_framework_is_not_asked(served: Service) -> None:
    served.feed_with(record("anna", 1))

    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the framework was asked")

    async def run(path: str) -> list[Message]:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b""}

        scope: Scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"host", b"evil.example")],
        }
        await apps.Passage(fails, served.serving)(scope, receive, send)
        return sent

    for tail in LOOKUPS:
        start, body = asyncio.run(run(f"/v1/users/anna{tail.decode()}"))
        assert (start["status"], body["body"][:9]) == (200, b'{"as_of":')
