"""The service on a real Kafka: killed again and again, it answers as the topic does."""

from __future__ import annotations

import json
import re
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from stream.serving.store import file_in, open_reader
from tests.support import processes
from tests.support.pipelines import Pipeline, wait_until
from tests.support.programs import printed, running, shown_on
from tests.support.stored import check_counts
from tests.support.topics import read

pytestmark = pytest.mark.kafka

KILLS = 2


@dataclass
class Server:
    """A serving process over the topics of a pipeline, and its log."""

    pipeline: Pipeline
    data: Path
    starts: int = 0

    def start(self) -> None:
        self.starts += 1
        self.log = self.data.parent / f"serve-{self.starts}.log"
        self.log.touch()
        words = ["serve", "--port", "0", "--data", str(self.data), "--demo-model"]
        self.process = processes.spawn(words, self.pipeline.environment, self.log)
        wait_until(self.ready, "the service is ready", moved=lambda: self.log.stat().st_size)

    def ready(self) -> bool:
        assert self.process.poll() is None, self.said()
        return "serving on" in self.said() and self.ask("/readyz")[0] == 200

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        found = re.search(r"serving on (http://\S+)", self.said())
        assert found is not None
        return found[1]

    def ask(self, path: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
        content = None if body is None else orjson.dumps(body)
        request = urllib.request.Request(f"{self.url}{path}", content, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
        except urllib.error.URLError as error:  # it has ended, or begins
            return 0, str(error)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)

    def stop(self) -> int:
        self.process.send_signal(15)
        return self.process.wait(60)


@pytest.fixture
def server(pipeline: Pipeline, tmp_path: Path) -> Iterator[Server]:
    server = Server(pipeline, tmp_path / "data")
    yield server
    if server.starts:
        server.kill()


def newest(pipeline: Pipeline) -> dict[str, dict[str, Any] | None]:
    """The last value of each user in the topic."""
    records = read(pipeline.settings, pipeline.settings.profiles_topic)
    return {
        each.key.decode(): None if each.value is None else orjson.loads(each.value)
        for each in records
        if each.key
    }


def equals_the_topic(server: Server) -> bool:
    """Whether each user is answered as the topic's last record says, and nobody else is."""
    status = server.ask("/v1/status")[1]
    profiles = {user: each for user, each in newest(server.pipeline).items() if each is not None}
    if status["users"] != len(profiles):
        return False
    return all(
        server.ask(f"/v1/users/{quote(user, safe='')}")[1].get("profile") == profile
        for user, profile in profiles.items()
    )


def has_seen(server: Server, user: str, events: int) -> bool:
    """Whether so many events of a user are in the profile that is served."""
    status, found = server.ask(f"/v1/users/{quote(user, safe='')}")
    return status == 200 and found["profile"]["events_seen"] == events


def heard(server: Server) -> int:
    """How many updates were counted by slots of time, through all kills."""
    return sum(server.ask("/v1/pulse?span=week")[1]["updates"])


def published(pipeline: Pipeline) -> int:
    """How many updates are in the topic."""
    return sum(bool(each.key) for each in read(pipeline.settings, pipeline.settings.updates_topic))


def all_is_applied(server: Server) -> bool:
    """Whether one worker was seen, with nothing left to apply."""
    workers = server.ask("/v1/workers")[1]["workers"]
    return workers is not None and len(workers["members"]) == 1 and workers["lag"] == 0


def test_killed_under_load_it_answers_as_the_topic_does_and_forgets_whom_it_must(
    pipeline: Pipeline, server: Server, tmp_path: Path
) -> None:
    pipeline.start()
    server.start()

    # an event over HTTP comes back as an interest; sent twice it counts once
    event = {
        "user_id": "of http/1",
        "action": "view",
        "time": int(time.time() * 1000),
        "item_id": "item-0042",
        "event_id": "the-first",
    }
    status, found = server.ask("/v1/events", "POST", [event, {**event, "action": ""}])
    assert (status, [each["verdict"] for each in found["verdicts"]]) == (207, ["taken", "refused"])
    place = found["verdicts"][0]
    status, again = server.ask("/v1/events", "POST", event)
    assert (status, again["verdicts"][0]) == (200, {**place, "index": 0, "verdict": "repeated"})
    path = "/v1/users/of%20http%2F1"
    wait_until(lambda: server.ask(path)[0] == 200, "the profile is served")
    profile = server.ask(path)[1]["profile"]
    assert profile["events_seen"] == 1
    assert profile["source"]["offset"] == place["offset"]
    # a document of another format, of several events: workers read the contract
    products = [{"product_id": each} for each in ("item-0042", "item-0043")]
    call: dict[str, Any] = {
        "type": "track",
        "event": "Order Completed",
        "messageId": "m",
        "userId": "of http/1",
    }
    now = datetime.now(UTC).isoformat()
    call |= {"timestamp": now, "properties": {"products": products}}
    for verdict in ("taken", "repeated"):
        status, found = server.ask("/v1/events?format=segment", "POST", call)
        assert (status, found["counts"]) == (200, {verdict: 2})
    wait_until(
        lambda: server.ask(path)[1]["profile"]["events_seen"] == 3, "the order is in the profile"
    )
    assert server.ask(f"{path}/history")[0] == 200
    assert server.ask(f"{path}/items")[1]["items"][0]["title"]

    # the Python client does as its page says
    asks, listens = shown_on("docs/start/python.md", "http://127.0.0.1:8080", server.url)
    log = tmp_path / "feed.log"
    with running(listens, log):
        wait_until(lambda: server.ask("/v1/status")[1]["listeners"] == 1, "somebody listens")
        lines = printed(asks).splitlines()
        wait_until(lambda: "user-7: Camping" in log.read_text(), "the feed has told it")
    assert (lines[0][:15], lines[-1]) == ("taken at offset", "user-7: done")
    assert server.ask("/v1/users/user-7")[0] == 404

    # killed again and again while updates come
    pipeline.produce_in_background(1_500, users=80, rate=500)
    for _ in range(KILLS):
        time.sleep(0.5)  # the load goes on; how far it is does not matter
        server.kill()
        server.start()
        assert "anew" not in server.said(), "it goes on, though a partition may hold no profile"
    wait_until(lambda: pipeline.committed() >= 1_503, "the load is applied")
    wait_until(lambda: equals_the_topic(server), "the service has read everything")
    with closing(open_reader(file_in(server.data))) as db:
        check_counts(db)
    interests = server.ask("/v1/interests?active_since=all")[1]["interests"]
    for each in interests[:3]:
        name = quote(each["interest"])
        segment = server.ask(f"/v1/segments?interest={name}&active_since=all&limit=1000")[1]
        assert segment["count"] == len(segment["users"]) == each["users"]

    # what came next is the event after an update, read from its topic; nobody is behind then
    for number in (1, 2):
        sent = {**event, "user_id": "of http/2", "event_id": f"next-{number}"}
        assert server.ask("/v1/events", "POST", sent)[0] == 200
        wait_until(partial(has_seen, server, "of http/2", number), "it is applied")
    other = "/v1/users/of%20http%2F2/outcomes"
    wait_until(lambda: server.ask(other)[1]["outcomes"], "the update is read")
    (came,) = server.ask(other)[1]["outcomes"]
    assert (came["events"], came["item_id"], came["action"]) == (1, "item-0042", "view")
    assert came["interest_rank"] == 1, "the same item again is of the first interest"
    wait_until(lambda: all_is_applied(server), "the workers are seen")
    (worker,) = server.ask("/v1/workers")[1]["workers"]["members"]
    assert worker["partitions"] == sorted(range(len(worker["partitions"])))
    wait_until(lambda: heard(server) == published(pipeline), "each update is counted once")

    # an erasure is the request of the command, and can be asked for at any time
    status, asked = server.ask(path, "DELETE")
    assert status == 202
    wait_until(lambda: server.ask(asked["status"])[1]["state"] == "done", "the user is erased")
    assert server.ask(path)[0] == 404
    assert newest(pipeline)["of http/1"] is None
    done = pipeline.run("erase", "--user", "of http/1", "--status", asked["request_id"], "--json")
    assert json.loads(done.stdout)["state"] == "done", done.stderr

    # nothing of the user is left in the files, nor in what was said
    assert server.stop() == 0
    for file in [*server.data.iterdir(), *server.data.parent.glob("serve-*.log")]:
        assert b"of http/1" not in file.read_bytes()
        assert b"of%20http" not in file.read_bytes()

    # away for so long that a null may be missed: what is not in the topic any more is gone
    with closing(sqlite3.connect(file_in(server.data))) as changed, changed:
        changed.execute("UPDATE meta SET value = value - 864000000 WHERE name = 'as_of_ms'")
        changed.execute("INSERT INTO profile SELECT -1, 1, 'a ghost', value FROM profile LIMIT 1")
    server.start()
    assert "it may have missed that users were erased" in server.said()
    assert server.ask("/v1/users/a%20ghost")[0] == 404
    assert server.ask(path)[0] == 404
    wait_until(lambda: equals_the_topic(server), "the service has read everything")


def test_what_it_needs_is_told(pipeline: Pipeline, tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    missing = pipeline.run("serve", *data, "--profiles-topic", "nothing")
    assert (missing.returncode, "topics create" in missing.stderr) == (1, True)
    taken = pipeline.url.rpartition(":")[2]
    busy = pipeline.run("serve", *data, "--port", taken)
    assert (busy.returncode, "--port 0" in busy.stderr) == (1, True)
