"""What every request passes: who asks, how often, and that no log holds an id."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from stream.serving import queries
from stream.serving.guard import KeyGuard, ProxyGuard, new_key, read_keys
from tests.support.serving import Service, record, service


def guarded(folder: Path, *scopes: str, **more: Any) -> tuple[Service, dict[str, dict[str, str]]]:
    """A service with a key for each scope, and the header of each."""
    made = {scope: new_key(f"{scope}:{scope}") for scope in scopes}
    (folder / "keys").write_text("\n".join(line for _, line in made.values()), encoding="utf-8")
    headers = {scope: {"Authorization": f"Bearer {key}"} for scope, (key, _) in made.items()}
    return service(folder / "data", KeyGuard(read_keys(folder / "keys")), **more), headers


def test_no_key_a_wrong_one_and_one_for_something_else(tmp_path: Path) -> None:
    served, keys = guarded(tmp_path, "profile", "segment", "erase", "events")
    try:
        served.feed_with(record("anna", 1))
        assert served.get("/v1/users/anna", 401)["title"] == "Unauthorized"
        answer = served.client.get("/v1/users/anna", headers={"X-API-Key": "is_nothing"})
        assert (answer.status_code, "Bearer" in answer.headers["www-authenticate"]) == (401, True)
        needed = {
            "/v1/users/anna": "profile",
            "/v1/users": "profile",
            "/v1/users/anna/items": "profile",
            "/v1/users/anna/history": "profile",
            "/v1/interests": "segment",
            "/v1/segments?interest=camping": "segment",
            "/v1/status": "segment",
            "/v1/users/anna/outcomes": "profile",
            "/v1/pulse": "segment",
            "/v1/growth": "segment",
            "/v1/workers": "segment",
        }
        for path, scope in needed.items():
            for each, headers in keys.items():
                assert served.get(path, 200 if each == scope else 403, headers=headers)
        for each, headers in keys.items():
            erased = served.client.delete("/v1/users/anna", headers=headers).status_code
            sent = served.client.post("/v1/events", content=b"{}", headers=headers).status_code
            assert erased == (202 if each == "erase" else 403)
            assert sent == (422 if each == "events" else 403)
        assert served.get("/v1/feed", 403, headers=keys["events"])
        # what a supervisor asks needs none
        assert served.get("/livez")
        assert served.client.get("/metrics").status_code == 200
    finally:
        served.close()


def test_every_route_below_v1_needs_somebody(tmp_path: Path) -> None:
    served, _ = guarded(tmp_path, "profile")
    try:
        for path, methods in served.get("/openapi.json")["paths"].items():
            for method in methods:
                answer = served.client.request(method, path)
                assert (answer.status_code == 401) == path.startswith("/v1/"), path
        assert served.get("/v1/nothing", 401)
    finally:
        served.close()


def test_a_header_that_names_a_user_is_nothing_without_the_secret(tmp_path: Path) -> None:
    served = service(tmp_path, ProxyGuard(b"0123456789abcdef"))
    try:
        named = {"X-Forwarded-User": "admin", "X-Forwarded-Scopes": "erase"}
        assert served.client.delete("/v1/users/anna", headers=named).status_code == 401
        named["X-Interest-Stream-Proxy"] = "0123456789abcdef"
        assert served.client.delete("/v1/users/anna", headers=named).status_code == 202
        assert served.get("/v1/users/anna", 403, headers=named)
    finally:
        served.close()


def test_without_keys_another_host_and_another_site_are_refused(served: Service) -> None:
    assert served.get("/v1/status", 403, headers={"Host": "evil.example"})
    crossing = {"Sec-Fetch-Site": "cross-site"}
    assert served.client.delete("/v1/users/anna", headers=crossing).status_code == 403
    assert served.erasures.asked == []


def test_who_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    served, keys = guarded(tmp_path, "segment", "profile", rate=0.001)
    try:
        assert served.get("/v1/status", headers=keys["segment"])
        answer = served.client.get("/v1/status", headers=keys["segment"])
        assert answer.status_code == 429
        assert 900 < int(answer.headers["retry-after"]) <= 1_000
        assert served.get("/v1/users", headers=keys["profile"])
    finally:
        served.close()


def test_answers_stay_out_of_caches(served: Service) -> None:
    served.feed_with(record("anna", 1))
    for path in ("/v1/users/anna", "/v1/users/nobody", "/v1/segments?interest=camping", "/"):
        headers = served.client.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in headers["content-security-policy"]


def test_no_id_is_in_a_log_or_a_metric(
    served: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, "interest_stream")
    caplog.set_level(logging.DEBUG, "uvicorn")
    served.feed_with(record("canary-1", 1))
    for path in (
        "/v1/users/canary-1",
        "/v1/users/canary-2",
        "/v1/users/canary-1/history",
        "/v1/users?prefix=canary",
        "/v1/users/" + "canary" * 99,
        "/v1/canary",
        "/canary",
        "/v1/segments?interest=canary",
        "/v1/erasures/canary",
    ):
        served.client.get(path)
    served.client.delete("/v1/users/canary-1")
    served.client.post("/v1/events", content=b'{"user_id":"canary"}')

    def fails(_db: object, user: bytes) -> None:
        raise ValueError(f"of {user!r}")

    monkeypatch.setattr(queries, "profile_of", fails)
    assert "canary" not in str(served.get("/v1/users/canary-1", 500))
    said = "\n".join(each.getMessage() + str(each.exc_info) for each in caplog.records)
    assert "GET /v1/users/{user_id} failed: ValueError in fails" in said
    assert "GET /v1/users/{user_id}/history 200" in said
    assert "GET unknown 404" in said
    metrics = served.client.get("/metrics").text
    assert 'route="/v1/users/{user_id}",status="404"' in metrics
    for text in (said.replace("canary-1/metrics", ""), metrics):
        assert "canary" not in text


def test_the_description_names_every_route_and_loads_nothing(served: Service) -> None:
    found = served.get("/openapi.json")
    assert {
        "/v1/users",
        "/v1/users/{user_id}",
        "/v1/users/{user_id}/items",
        "/v1/users/{user_id}/history",
        "/v1/users/{user_id}/outcomes",
        "/v1/pulse",
        "/v1/growth",
        "/v1/workers",
        "/v1/calibration",
        "/v1/interests",
        "/v1/segments",
        "/v1/feed",
        "/v1/status",
        "/v1/events",
        "/v1/erasures/{name}",
        "/livez",
        "/readyz",
        "/metrics",
    } == set(found["paths"])
    for methods in found["paths"].values():
        for method in methods.values():
            assert method["summary"]
    for path in ("/docs", "/redoc"):  # both would load scripts of another host
        assert served.get(path, 404)
