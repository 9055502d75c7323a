"""Health, metrics and the files of the page."""

from __future__ import annotations

import re

import pytest

from stream.serving.operating import PAGE
from tests.support.serving import Service, record


def test_it_is_ready_once_the_profiles_are_read(served: Service) -> None:
    served.followed.ready = False
    found = served.get("/readyz", 503)
    assert (found["ready"], found["reasons"]) == (False, ["the profiles are being read"])
    assert served.get("/livez") == {"live": True}
    served.followed.ready = True
    assert served.get("/readyz")["ready"] is True
    served.followed.reasons = ["nothing was heard of Kafka for 61 s"]
    assert served.get("/readyz", 503)["reasons"] == served.followed.reasons
    served.feed_with(record("anna", 1))
    assert served.get("/v1/users/anna")  # what is old is better than nothing, and says how old


def test_metrics_count_requests_by_route(served: Service) -> None:
    served.get("/v1/users/nobody", 404)
    text = served.client.get("/metrics").text
    assert (
        'interest_stream_serve_requests_total{method="GET",route="/v1/users/{user_id}",'
        'status="404"} 1.0'
    ) in text
    assert "interest_stream_serve_lag_seconds" in text


@pytest.mark.parametrize("file", [each.name for each in PAGE.iterdir()])
def test_the_page_asks_nothing_of_another_host(served: Service, file: str) -> None:
    answer = served.client.get("/" if file == "index.html" else f"/page/{file}")
    assert answer.status_code == 200
    assert answer.text
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", answer.text))
    assert addresses <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fapp.py", "index", "__init__.py"])
def test_no_other_file_is_served(served: Service, name: str) -> None:
    assert served.get(f"/page/{name}", 404)
