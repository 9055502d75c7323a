"""Erases, suppresses, forgets and exports users as a person does, and looks at what is left."""

from __future__ import annotations

import asyncio
import json
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from aiokafka import AIOKafkaProducer

from stream.config import Settings
from stream.contracts.control import is_control, parse_control
from stream.contracts.dead_letter import Letter, dead_letter
from stream.contracts.event import Limits
from stream.contracts.faults import Reject
from stream.contracts.state_record import Record, decode_record
from tests.support.brokers import Kafka
from tests.support.pipelines import Pipeline, make_pipeline, wait_until
from tests.support.topics import read, send

pytestmark = pytest.mark.kafka

TIME_MS = 1_767_225_600_000


def event(user: str, number: int, **more: Any) -> tuple[bytes, bytes]:
    fields = {"user_id": user, "action": "view", "time": TIME_MS + 1000 * number}
    return user.encode(), orjson.dumps({**fields, "item_id": f"item-{number:04d}", **more})


def call(kind: str, user: str, number: int) -> bytes:
    """A call as Segment has it: a `track` is an event, an `identify` is left out."""
    said = {"event": "Product Viewed", "properties": {"product_id": f"item-{number:04d}"}}
    more = said if kind == "track" else {"traits": {"email": "a@example.com"}}
    time = "2026-01-01T00:00:00Z"
    return orjson.dumps({"type": kind, "userId": user, "timestamp": time, **more})


def park(settings: Settings, letter: Letter) -> None:
    """Writes a dead letter."""

    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:
            topic = settings.dead_letters_topic
            await producer.send_and_wait(topic, letter[1], key=letter[0], headers=letter[2])

    asyncio.run(run())


def test_without_a_worker_requests_wait_in_the_topic_and_that_is_told(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    settings = pipeline.settings
    send(settings, settings.events_topic, *(event("alice", number) for number in range(3)))

    # what would be done, and nothing is sent
    dry = pipeline.run("erase", "--user", "alice", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "nothing was sent (--dry-run); nothing was held" in dry.stdout
    assert "3 records, the newest of" in dry.stdout
    assert "train --exclude-users" in dry.stdout
    assert not any(is_control(each.headers) for each in read(settings, settings.events_topic))

    # the request is in the topic, signed with nothing, and nobody obeys it
    sent = pipeline.run("erase", "--user", "alice", "--wait", "1", "--json")
    found = json.loads(sent.stdout)
    assert (sent.returncode, found["state"], found["sent"]) == (1, "waiting", 1)
    assert f"no worker of group {settings.app_id} reads {settings.events_topic}" in sent.stderr
    (record,) = (each for each in read(settings, settings.events_topic) if is_control(each.headers))
    control = parse_control(record, Limits())
    assert (control.user_id, control.request_id) == ("alice", found["request_id"])
    home = {each.partition for each in read(settings, settings.events_topic)}
    assert home == {record.partition} == {found["requests"][0]["partition"]}
    status = pipeline.run("erase", "--user", "alice", "--status", found["request_id"], "--json")
    assert (status.returncode, json.loads(status.stdout)["state"]) == (3, "waiting")

    # what a worker makes of it that is too old to know requests
    reject = Reject(record.offset, "missing-field", "BadEvent", "action is missing", record)
    park(settings, dead_letter(record.topic, record.partition, record, reject, TIME_MS))
    old = pipeline.run("erase", "--user", "alice", "--status", found["request_id"])
    assert old.returncode == 1
    assert f"a worker of version {version('interest-stream')} made a dead letter" in old.stderr
    out = tmp_path / "alice.json"
    exported = pipeline.run("export", "--user", "alice", "--out", str(out))
    assert exported.returncode == 0, exported.stderr
    assert (out.stat().st_mode & 0o777) == 0o600
    held = json.loads(out.read_text(encoding="utf-8"))
    assert held["events"]["found"] == 3
    assert [each["event"]["item_id"] for each in held["events"]["records"]] == [
        "item-0000",
        "item-0001",
        "item-0002",
    ]
    assert held["requests"][0]["request"]["request_id"] == found["request_id"]
    assert held["state"]["state"] is held["profile"]["profile"] is None


def newest(pipeline: Pipeline, topic: str, user: str) -> Any:
    """The last value of a user in a topic."""
    return [each.value for each in read(pipeline.settings, topic) if each.key == user.encode()][-1]


def state(pipeline: Pipeline, user: str) -> Record:
    return decode_record(newest(pipeline, pipeline.settings.changelog_topic, user))


def updates(pipeline: Pipeline, user: str) -> list[dict[str, Any]]:
    records = read(pipeline.settings, pipeline.settings.updates_topic)
    return [orjson.loads(each.value) for each in records if each.key == user.encode()]


def parked_before(pipeline: Pipeline, user: str) -> None:
    """Parks an event of a user that was bad once and would be good now."""
    key, value = event(user, 90)
    record = SimpleNamespace(key=key, value=value, headers=[], offset=0, timestamp=TIME_MS)
    reject = Reject(0, "too-large", "BadEvent", "too large then", record)
    settings = pipeline.settings
    park(settings, dead_letter(settings.events_topic, 0, record, reject, TIME_MS))


def test_what_a_person_asks_for_is_done_and_told(pipeline: Pipeline, tmp_path: Path) -> None:
    settings, key = pipeline.settings, tmp_path / "control.key"
    key.write_text("a key of this test", encoding="ascii")
    old = [event("alice", number) for number in range(8)]
    send(settings, settings.events_topic, *old)
    twenty = [event("carol", number) for number in range(20)]
    send(settings, settings.events_topic, *twenty)
    parked_before(pipeline, "alice")
    worker = pipeline.start("--control-key-file", str(key))
    pipeline.wait_applied()

    def asks(*words: str, code: int = 0) -> dict[str, Any]:
        signed = () if code else ("--control-key-file", str(key))
        done = pipeline.run(*words, "--json", *signed)
        assert done.returncode == code, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    # a request that nobody signed is refused, and the command says so
    unsigned = asks("erase", "--user", "alice", code=1)
    assert (unsigned["state"], "control_key_file" in unsigned["why"]) == ("refused", True)
    assert state(pipeline, "alice").header["count"] == 8

    # erased: a marker and a null, and what is left where
    erased = asks("erase", "--user", "alice")
    assert (erased["state"], erased["held"]) == ("done", 1)
    found = {each["place"]: each["found"] for each in erased["places"]}
    assert found == {
        "state": 1,
        "profile": 1,
        "updates": len(updates(pipeline, "alice")),
        "events": 8,
        "dead letters": 2,  # that of before, and the request that nobody signed
    }
    assert all(each["gone_by"] for each in erased["places"])
    marker = state(pipeline, "alice")
    assert marker.is_marker
    assert newest(pipeline, settings.profiles_topic, "alice") is None
    status = asks("erase", "--user", "alice", "--status", erased["request_id"])
    assert (status["state"], status["held"]) == ("done", 0)
    unknown = pipeline.run("erase", "--user", "alice", "--status", "erase-1")
    assert "no request erase-1 of these users is in" in unknown.stderr
    nobody = pipeline.run("inspect", "--user", "alice")
    assert (unknown.returncode, nobody.returncode) == (1, 1)
    assert "erased on 20" in nobody.stderr

    # old events and replayed dead letters give nothing; the next event is a stranger's first
    send(settings, settings.events_topic, *old)
    assert pipeline.run("dead-letters", "replay", "--reason", "too-large").returncode == 0
    now_ms = int(time.time() * 1000)
    for user in ("alice", "stranger"):
        send(settings, settings.events_topic, event(user, 0, time=now_ms))
    send(settings, settings.events_topic, *old)
    pipeline.wait_applied()
    assert worker.metric("events_total", result="erased") == 8 + 1 + 8
    alice, stranger = (state(pipeline, each) for each in ("alice", "stranger"))
    assert (alice.header["count"], alice.erased_ms) == (1, marker.erased_ms)
    assert alice.memory.tobytes() == stranger.memory.tobytes()
    assert alice.recent.tobytes() == stranger.recent.tobytes()
    first, other = updates(pipeline, "alice")[-1], updates(pipeline, "stranger")[-1]
    own = ("user_id", "update_id", "source", "published_at")
    assert {name: each for name, each in first.items() if name not in own} == {
        name: each for name, each in other.items() if name not in own
    }

    # suppressed: nothing is applied until the suppression ends
    before = len(updates(pipeline, "alice"))
    assert asks("erase", "--user", "alice", "--suppress", "--no-count")["state"] == "done"
    send(settings, settings.events_topic, *(event("alice", n, time=now_ms + n) for n in range(50)))
    assert asks("unsuppress", "--user", "alice", "--no-count")["state"] == "done"
    assert len(updates(pipeline, "alice")) == before
    send(settings, settings.events_topic, event("alice", 0, time=int(time.time() * 1000) + 1000))

    # of twenty items one is forgotten, as if it had never been there
    assert asks("forget", "--user", "carol", "--item", "item-0007")["state"] == "done"
    without = [event("dave", number) for number in range(20) if number != 7]
    send(settings, settings.events_topic, *without)
    pipeline.wait_applied()
    assert state(pipeline, "alice").header["count"] == 1
    carol, dave = state(pipeline, "carol"), state(pipeline, "dave")
    assert carol.recent.tobytes() == dave.recent.tobytes()
    np.testing.assert_allclose(carol.memory, dave.memory, atol=1e-5)

    # a file of users, and all that is held about one of them
    users = tmp_path / "users.txt"
    users.write_text("dave\nnobody\n", encoding="ascii")
    many = asks("erase", "--users", str(users))
    assert (many["state"], many["done"], many["held"]) == ("done", 2, 1)
    out = tmp_path / "alice.json"
    assert pipeline.run("export", "--user", "alice", "--out", str(out)).returncode == 0
    held = json.loads(out.read_text(encoding="utf-8"))
    assert len(held["state"]["state"]["recent_events"]) == 1
    assert held["profile"]["profile"]["events_seen"] == 1
    assert held["suppression"]["suppressed"] is False
    assert held["suppression"]["erased_at"]
    assert held["dead_letters"]["records"][0]["reason"] == "too-large"
    assert [each["request"]["control"] for each in held["requests"]] == [
        "erase",
        "erase",
        "suppress",
        "unsuppress",
    ]
    metrics = worker.get("/metrics")[1]
    assert worker.stop() == 0
    for name in ("alice", "carol", "dave", "nobody", "item-0007"):
        assert name not in worker.log + metrics
    audit = pipeline.run("audit", "--control-key-file", str(key))
    assert audit.returncode == 0, audit.stdout


def test_behind_pseudonyms_nobodys_id_is_stored_and_users_are_erased_by_their_id(
    kafka: Kafka, tmp_path: Path
) -> None:
    key = tmp_path / "ids.key"
    key.write_text("a key of this test", encoding="ascii")
    for pipeline in make_pipeline(kafka.url, kafka.unique, tmp_path, rekey=True):
        settings, rekey = pipeline.settings, ("--rekey", "--pseudonym-key-file", str(key))
        shaped = (*rekey, "--event-format", "segment")
        left_out = call("identify", "alice", 0)
        raw = [left_out, *(call("track", "alice", number) for number in range(3))]
        send(settings, settings.events_topic, *((b"session", each) for each in raw))
        pipeline.start(*shaped)
        wait_until(
            lambda: read(pipeline.settings, pipeline.settings.profiles_topic),  # noqa: B023
            "the events were forwarded and applied",
        )
        done = pipeline.run("erase", "--user", "alice", *shaped, "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert (found["state"], found["held"]) == ("done", 1)
        assert {each["place"]: each["found"] for each in found["places"]}["raw events"] == 4

        name = pipeline.run("pseudonym", "--user", "alice", *rekey[1:]).stdout.strip()
        owned = (settings.source_topic, settings.changelog_topic, settings.profiles_topic)
        for topic in (*owned, settings.updates_topic):
            records = read(settings, topic)
            assert {each.key for each in records if each.key} == {name.encode()}
            assert not [each for each in records if b"alice" in (each.value or b"")]
        out = tmp_path / "alice.json"
        assert pipeline.run("export", "--user", "alice", *shaped, "--out", str(out)).returncode == 0
        held = json.loads(out.read_text(encoding="utf-8"))
        assert (held["user_id"], held["pseudonym"]) == ("alice", name)
        assert (held["raw_events"]["found"], held["events"]["found"]) == (4, 3)
        traits = [each["event"].get("traits") for each in held["raw_events"]["records"]]
        assert traits == [{"email": "a@example.com"}, None, None, None]
