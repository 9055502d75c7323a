"""The routes that read, over a store that was fed with records."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from stream.contracts.pseudonym import pseudonym
from stream.serving.queries import Segment
from tests.support.serving import MODEL, NOW_MS, Record, Service, null, record, service, update

DAY_MS = 86_400_000


def crowd(count: int, **more: Any) -> list[Record]:
    return [
        record(f"user-{number}", number, {"camping": number / count, "books": 0.1}, **more)
        for number in range(count)
    ]


def test_a_user_is_answered_with_what_was_published(served: Service) -> None:
    served.feed_with(record("anna", 7))
    found = served.get("/v1/users/anna")
    assert found["profile"] == update("anna", 7)
    assert found["profile"]["source"]["offset"] == 7
    assert found["profile"]["model"] == MODEL
    assert found["titles"] == {"item-0001": "Tent for two", "item-0002": "Camping stove"}
    assert found["as_of"] == NOW_MS
    assert found["lag_ms"] >= 0


def test_items_have_titles_where_they_are_known(served: Service) -> None:
    items = [{"item_id": "item-0001", "score": 2.5}, {"item_id": "other", "score": 1.0}]
    served.feed_with(record("anna", 7, items=items))
    found = served.get("/v1/users/anna/items")
    assert found["items"] == [{**items[0], "title": "Tent for two"}, items[1]]
    assert (found["source"]["offset"], found["model"]["name"]) == (7, "demo")


def test_nobody_knows_who_was_erased(served: Service) -> None:
    served.feed_with(record("anna", 7), updates=[record("anna", 7)])
    assert len(served.get("/v1/users/anna/history")["changes"]) == 1
    served.feed_with(null("anna"))
    for what in ("", "/items", "/history"):
        assert served.get(f"/v1/users/anna{what}", 404)["status"] == 404
    assert served.get("/v1/users?prefix=a")["users"] == []
    assert served.get("/v1/segments?interest=camping")["count"] == 0


def test_a_history_says_when_the_first_interests_changed(served: Service) -> None:
    changes = [record("anna", 1, {"tea": 0.5}), record("anna", 2, {"books": 0.7, "tea": 0.2})]
    served.feed_with(record("anna", 2), updates=changes)
    found = served.get("/v1/users/anna/history")
    assert [each["interests"][0]["interest"] for each in found["changes"]] == ["tea", "books"]
    assert found["changes"][0]["interests"][0]["probability"] == 0.5
    assert found["complete"] is True
    served.followed.history_ready = False
    assert served.get("/v1/users/anna/history")["complete"] is False


@pytest.mark.parametrize(
    "user", ["a/b", "a b", "ännä", "100%", "a%2Fb", "..", "?", "#", "a/items", "+", "日本", "a\\b"]
)
def test_an_id_may_be_anything_that_an_event_can_have(served: Service, user: str) -> None:
    served.feed_with(record(user, 1))
    path = f"/v1/users/{quote(user, safe='')}".replace("..", "%2E%2E")
    assert served.get(path)["profile"]["user_id"] == user
    assert served.get(f"{path}/items")["user_id"] == user


@pytest.mark.parametrize("user", ["a" * 257, "%00", "%0A", "%FF", "ä" * 129])
def test_an_id_that_no_event_can_have_is_refused(served: Service, user: str) -> None:
    path = quote(user, safe="%")
    for what in ("", "/items", "/history"):
        assert "1 to 256 bytes" in served.get(f"/v1/users/{path}{what}", 422)["detail"]
    assert served.get(f"/v1/users/{'a' * 256}", 404)


def test_users_are_found_by_how_their_ids_begin(served: Service) -> None:
    served.feed_with(*(record(name, 1) for name in ("anna", "anne", "ann", "berta", "Anna")))
    assert served.get("/v1/users?prefix=ann")["users"] == ["ann", "anna", "anne"]
    assert served.get("/v1/users?prefix=ann&limit=2")["users"] == ["ann", "anna"]
    assert served.get("/v1/users?prefix=%25")["users"] == []
    assert len(served.get("/v1/users")["users"]) == 5


def test_pages_of_a_segment_hold_each_user_once(served: Service) -> None:
    served.feed_with(*crowd(250))
    pages: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        page = served.get(
            f"/v1/segments?interest=camping&min_probability=0.2&limit=30&cursor={cursor}"
        )
        assert page["count"] == 200
        pages.append(page["users"])
        cursor = page["cursor"]
    assert [len(page) for page in pages] == [30] * 6 + [20]
    found = [each["user_id"] for page in pages for each in page]
    assert sorted(found) == sorted(f"user-{number}" for number in range(50, 250))
    assert all(each["probability"] >= 0.2 and each["rank"] == 1 for page in pages for each in page)


@pytest.mark.parametrize("limit", [2, 99])  # read in the event loop, in a thread
def test_small_pages_and_large_ones_are_of_the_same_users(served: Service, limit: int) -> None:
    served.feed_with(*crowd(200))
    found = list[str]()
    cursor: str | None = ""
    while cursor is not None:
        page = served.get(f"/v1/segments?interest=camping&limit={limit}&cursor={cursor}")
        found += [each["user_id"] for each in page["users"]]
        cursor = page["cursor"]
    assert sorted(found) == sorted(f"user-{number}" for number in range(200))


def test_a_count_that_does_not_come_is_told(served: Service) -> None:
    served.feed_with(*crowd(3))

    async def too_late(segment: Segment) -> int:
        raise TimeoutError

    served.followed.users_of = too_late  # type: ignore[method-assign]
    assert served.get("/v1/segments?interest=camping")["count"] == 3
    answer = served.get("/v1/segments?interest=camping&min_probability=0.5", 503)
    assert "ask again" in answer["detail"]


def test_while_profiles_change_nobody_comes_twice(served: Service) -> None:
    served.feed_with(*crowd(200))
    chance, seen, changed, offset = random.Random(3), list[str](), set[str](), 1_000
    cursor: str | None = ""
    while cursor is not None:
        page = served.get(f"/v1/segments?interest=camping&limit=20&cursor={cursor}")
        seen += [each["user_id"] for each in page["users"]]
        cursor = page["cursor"]
        for _ in range(15):  # some go, some come, some move up and down
            offset, user = offset + 1, f"user-{chance.randrange(230)}"
            name = chance.choice(["camping", "camping", "books"])
            served.feed_with(record(user, offset, {name: chance.random()}))
            changed.add(user)
    assert len(seen) == len(set(seen))
    count = served.get("/v1/segments?interest=camping")["count"]
    assert abs(count - len(seen)) <= len(changed)
    assert {f"user-{number}" for number in range(200)} - changed <= set(seen)


def test_a_segment_is_narrowed_by_rank_trend_and_the_last_event(served: Service) -> None:
    def fading(name: str) -> dict[str, Any]:
        return {"interest": name, "probability": 0.5, "trend": "fading", "change": -0.1}

    served.feed_with(
        record("first", 1, {"tea": 0.5, "books": 0.4}),
        record("second", 2, {"books": 0.5, "tea": 0.4}),
        Record(b"fading", orjson.dumps({**update("fading", 3), "interests": [fading("tea")]})),
        record("silent", 4, {"tea": 0.9}, time=NOW_MS - 40 * DAY_MS),
    )

    def users(more: str) -> list[str]:
        found = served.get(f"/v1/segments?interest=tea{more}")
        assert found["count"] == len(found["users"])
        return sorted(each["user_id"] for each in found["users"])

    assert users("") == ["fading", "first", "second"]
    assert users("&max_rank=1") == ["fading", "first"]
    assert users("&trend=fading") == ["fading"]
    assert users("&min_probability=0.45") == ["fading", "first"]
    assert users("&active_since=60d") == ["fading", "first", "second", "silent"]
    assert users("&active_since=all") == ["fading", "first", "second", "silent"]
    assert users("&active_since=2999-01-01T00:00:00Z") == []
    assert users(f"&active_since={NOW_MS - 50 * DAY_MS}") == users("&active_since=all")
    assert users(f"&active_since={'9' * 18}") == []
    for odd in ("soon", "9" * 26, "9" * 5_000):
        assert "30d" in served.get(f"/v1/segments?interest=tea&active_since={odd}", 422)["detail"]


def test_an_unknown_interest_is_answered_with_those_that_are_near(served: Service) -> None:
    served.feed_with(record("anna", 1, {"camping": 0.5, "cooking": 0.2, "tea": 0.1}))
    found = served.get("/v1/segments?interest=campin", 422)
    assert found["near"][0] == "camping"
    assert "tea" not in found["near"]


def test_what_is_wrong_with_a_parameter_is_told_and_not_what_was_given(served: Service) -> None:
    served.feed_with(record("anna", 1))
    for query in ("limit=0", "limit=1001", "min_probability=2", "cursor=-1", "format=xml"):
        found = served.get(f"/v1/segments?interest=camping&{query}", 422)
        assert [each["parameter"] for each in found["parameters"]] == [query.partition("=")[0]]
    secret = "canary-" + "x" * 300
    assert "canary" not in json.dumps(served.get(f"/v1/users?prefix={secret}", 422))
    assert served.get("/v1/segments", 422)["parameters"][0]["parameter"] == "interest"


def test_a_whole_segment_comes_as_csv_or_ndjson(served: Service) -> None:
    served.feed_with(*crowd(40), record('a "quoted", one', 99, {"camping": 0.5}))
    url = "/v1/segments?interest=camping&min_probability=0.5"
    answer = served.client.get(f"{url}&format=csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="segment.csv"'
    assert answer.headers["x-as-of"] == str(NOW_MS)
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert len(rows) == 21
    assert {row["user_id"] for row in rows} >= {'a "quoted", one', "user-39"}
    lines = served.client.get(f"{url}&format=ndjson").text.splitlines()
    found = [json.loads(line) for line in lines]
    assert [each["user_id"] for each in found] == [row["user_id"] for row in rows]
    assert found[0].keys() == {"user_id", "probability", "rank", "trend", "time"}


def test_interests_are_counted_with_how_they_move(served: Service) -> None:
    served.feed_with(*crowd(10), record("old", 99, time=NOW_MS - 40 * DAY_MS))
    first, second = served.get("/v1/interests")["interests"]
    assert (first["users"], second["users"]) == (10, 10)
    camping = first if first["interest"] == "camping" else second
    assert camping["trends"] == {"steady": 0, "rising": 10, "fading": 0, "new": 0}
    assert camping["first_of"] == 10
    assert served.get("/v1/interests?active_since=all")["interests"][0]["users"] == 11


def test_until_everything_is_read_nothing_is_answered(served: Service) -> None:
    served.feed_with(record("anna", 1))
    served.followed.ready = False
    for path in ("/v1/users/anna", "/v1/segments?interest=camping", "/v1/feed", "/v1/interests"):
        answer = served.client.get(path)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"


def test_the_status_says_what_is_served(served: Service) -> None:
    served.feed_with(*crowd(3))
    found = served.get("/v1/status")
    assert (found["users"], found["ready"]) == (3, True)
    assert found["models"] == [{"fingerprint": MODEL["fingerprint"], "name": "demo 1"}]


def test_the_feed_sends_updates_as_they_come(served: Service) -> None:
    assert served.get("/v1/feed?user=" + "a" * 257, 422)
    served.feed.end()  # a listener is let go at once
    answer = served.client.get("/v1/feed")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == "retry: 2000\n\n"


def test_users_are_asked_for_by_their_ids_where_pseudonyms_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"0123456789abcdef")
    served = service(tmp_path / "data", pseudonym_key_file=str(file))
    try:
        name = pseudonym(b"anna", b"0123456789abcdef")
        served.feed_with(record(name, 1))
        assert served.get("/v1/users/anna")["profile"]["user_id"] == name
        assert served.get(f"/v1/users/{name}", 404)
    finally:
        served.close()
