"""The routes that write: events with a verdict each, and the request to erase a user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from stream.contracts.control import ERASE, SUPPRESS
from stream.serving.erasures import Sent, sent_of
from tests.support.serving import NOW_MS, Service, record, service


def event(user: str = "anna", **more: Any) -> dict[str, Any]:
    return {"user_id": user, "action": "view", "time": NOW_MS, "item_id": "tent", **more}


def post(served: Service, body: Any, status: int, query: str = "", **headers: str) -> Any:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = served.client.post(f"/v1/events{query}", content=content, headers=named)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_one_event_or_many_are_taken_with_a_verdict_each(served: Service) -> None:
    found = post(served, event(), 200)
    assert found["verdicts"] == [{"index": 0, "verdict": "taken", "partition": 0, "offset": 0}]
    found = post(served, [event(), event("berta")], 200)
    assert found["counts"] == {"taken": 2}
    lines = orjson.dumps(event()) + b"\n" + orjson.dumps(event())
    assert post(served, lines, 200, content_type="application/x-ndjson")["counts"] == {"taken": 2}
    assert [each.key for each in served.ingest.sent[:3]] == [b"anna", b"anna", b"berta"]


def test_what_is_no_event_is_told_and_keeps_nothing_back(served: Service) -> None:
    found = post(served, [event(), {"user_id": "anna"}, event()], 207)
    assert found["counts"] == {"refused": 1, "taken": 2}
    assert found["verdicts"][1]["reason"] == "missing-field"
    assert post(served, event(time=5), 422)["verdicts"][0]["reason"] == "bad-time"
    assert "no JSON" in post(served, b"nonsense", 422)["detail"]
    assert post(served, b"", 422)
    assert "contract" in post(served, event(), 422, "?format=nonsense")["detail"]


def test_an_event_that_comes_again_is_told_and_not_sent(served: Service) -> None:
    assert post(served, event(event_id="1"), 200)["counts"] == {"taken": 1}
    assert post(served, event(event_id="1"), 200)["verdicts"][0]["verdict"] == "repeated"
    assert len(served.ingest.sent) == 1


def call(**more: Any) -> dict[str, Any]:
    """A call of Segment about two products."""
    products = [{"product_id": each} for each in ("tent", "stove")]
    fields = {"type": "track", "event": "Order Completed", "userId": "anna", "messageId": "m"}
    at = "2025-11-25T10:00:00Z"
    return {**fields, "timestamp": at, "properties": {"products": products}, **more}


def test_a_document_of_another_format_has_a_verdict_for_each_of_its_events(served: Service) -> None:
    denied = {"consent": {"categoryPreferences": {"Ads": False}}}
    body = [call(), {"type": "identify"}, {"batch": [call(), call()], "context": denied}]
    found = post(served, [*body, {"type": 3}], 207, "?format=segment")
    assert found["counts"] == {"dropped": 3, "refused": 1, "taken": 2}
    refused = found["verdicts"].pop()
    assert (refused["index"], refused["reason"]) == (3, "wrong-type")
    place = {"index": 0, "verdict": "taken", "partition": 0}
    assert found["verdicts"] == [
        {**place, "event": 0, "offset": 0},
        {**place, "event": 1, "offset": 1},
        {"index": 1, "verdict": "dropped", "reason": "no-behaviour"},
        {"index": 2, "verdict": "dropped", "reason": "consent", "events": 2},
    ]
    assert [orjson.loads(each.value)["item_id"] for each in served.ingest.sent] == ["tent", "stove"]
    # again: nothing is sent; and what is only left out on purpose is no fault
    assert post(served, body, 200, "?format=segment")["counts"] == {"dropped": 3, "repeated": 2}
    assert len(served.ingest.sent) == 2
    metrics = served.client.get("/metrics").text
    assert 'interest_stream_serve_events_total{verdict="dropped"} 6.0' in metrics


def test_workers_of_a_format_are_sent_its_documents(tmp_path: Path) -> None:
    served = service(tmp_path, event_format="segment")
    found = post(served, call(), 200)  # the workers' format is what a body is, unless it says so
    assert [(each["event"], each["offset"]) for each in found["verdicts"]] == [(0, 0), (1, 0)]
    assert orjson.loads(served.ingest.sent[0].value) == call()
    assert "workers read segment" in post(served, event(), 422, "?format=contract")["detail"]
    served.close()


def test_while_kafka_is_away_nothing_is_said_to_be_taken(served: Service) -> None:
    served.ingest.fails = True
    assert post(served, [event(), event()], 503)["counts"] == {"failed": 2}
    assert post(served, [event(), {}], 207)["counts"] == {"failed": 1, "refused": 1}


def test_a_body_has_an_end(served: Service) -> None:
    assert post(served, b" " * 5_000_000, 413)
    assert post(served, [{}] * 1_001, 422)


def test_erasing_is_asked_for_where_the_users_events_are(served: Service) -> None:
    served.feed_with(
        record("anna", 7, source={"topic": "clickstream", "partition": 3, "offset": 7})
    )
    answer = served.client.delete("/v1/users/anna")
    assert answer.status_code == 202
    assert answer.json()["state"] == "waiting"
    status = answer.json()["status"]
    assert "anna" not in status
    assert served.get(status)["state"] == "waiting"
    served.erasures.answer = ("done", "")
    assert served.get(status) | {"as_of": 0, "lag_ms": 0} == {
        "as_of": 0,
        "lag_ms": 0,
        "request_id": answer.json()["request_id"],
        "state": "done",
        "why": None,
    }
    # of somebody of whom nothing is held, too; and of another topic's partition nothing is known
    served.feed_with(record("old", 7, source={"topic": "before", "partition": 3, "offset": 7}))
    assert served.client.delete("/v1/users/nobody?suppress=true").status_code == 202
    assert served.client.delete("/v1/users/old").status_code == 202
    assert served.erasures.asked == [
        (ERASE, b"anna", 3),
        (SUPPRESS, b"nobody", None),
        (ERASE, b"old", None),
    ]
    assert served.client.delete("/v1/users/" + "a" * 257).status_code == 422


def test_the_name_of_an_erasure_is_its_place() -> None:
    sent = Sent("erase-20261130T030000Z-00112233", 3, 99, NOW_MS)
    assert sent_of(sent.name) == sent


@pytest.mark.parametrize(
    "name", ["erase", "erase-20261130T030000Z-00112233", "x.1.2.3", "erase-1.1.1.1", "%00"]
)
def test_another_name_is_none(served: Service, name: str) -> None:
    assert served.get(f"/v1/erasures/{name}", 404)
