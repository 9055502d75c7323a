"""Uses produce, tail, inspect and audit as a person does.

A file goes in, updates come out, one user is looked at, and all of it is checked.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from tests.support import processes
from tests.support.contracts import faults
from tests.support.pipelines import Pipeline, wait_until
from tests.support.topics import read

pytestmark = pytest.mark.kafka

README = Path(__file__).resolve().parents[2] / "README.md"
TIME_MS = 1_767_225_600_000


def event(number: int, **more: Any) -> bytes:
    fields = {
        "user_id": f"user-{number % 5}",
        "action": "view",
        "time": TIME_MS + 100 * number,
        "item_id": f"item-{number:04d}",
    }
    return orjson.dumps({**fields, **more})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Writes twenty events over two seconds, gzipped, and between them three broken lines.

    They are the 5th, the 12th and the last.
    """
    lines = [event(number) for number in range(20)]
    lines.insert(4, b"{broken")
    lines.insert(11, event(0, action=""))
    lines.append(b'{"user_id":"user-1"')
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    return path


def sent(pipeline: Pipeline) -> list[Any]:
    """What the clickstream topic holds."""
    return read(pipeline.settings, pipeline.settings.events_topic)


def test_produce_sends_a_file_names_its_broken_lines_and_loses_nothing(
    pipeline: Pipeline, file: Path
) -> None:
    done = pipeline.run("produce", "--events", str(file))
    assert done.returncode == 1, done.stderr
    assert "20 of 20 events acknowledged" in done.stdout
    assert "3 bad lines were not sent" in done.stderr
    assert [int(number) for number in re.findall(rf"{file}:(\d+): ", done.stderr)] == [5, 12, 23]
    records = sent(pipeline)
    assert sorted(record.value for record in records) == sorted(
        event(number) for number in range(20)
    )
    assert all(record.key == orjson.loads(record.value)["user_id"].encode() for record in records)
    assert not [
        fault for record in records for fault in faults("event-1", orjson.loads(record.value))
    ]

    short = json.loads(
        pipeline.run("produce", "--events", str(file), "--limit", "10", "--json").stdout
    )
    assert (short["sent"], short["acknowledged"], short["failed"], short["bad_lines"]) == (
        10,
        10,
        0,
        1,
    )
    assert sum(short["partitions"].values()) == 10
    assert len(sent(pipeline)) == 30

    raw = pipeline.run("produce", "--events", str(file), "--raw", "--json")
    assert (raw.returncode, json.loads(raw.stdout)["acknowledged"]) == (0, 23)
    assert (b"unreadable", b"{broken") in {(record.key, record.value) for record in sent(pipeline)}


def test_produce_keeps_rate_and_recorded_time_and_begins_again(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    clean = tmp_path / "clean.jsonl"
    clean.write_bytes(b"\n".join(event(number) for number in range(20)))
    runs = {
        "rate": ("--rate", "20", "--limit", "20"),  # the last of 20 is due after 19/20 s
        "speed": ("--speed", "1.5x"),  # 1.9 s of recorded time
        "loop": (
            "--loop",
            "--speed",
            "4x",
            "--limit",
            "50",
        ),  # two and a half rounds of 1.9 s, four times as fast
    }
    least = {"rate": 0.95, "speed": 1.9 / 1.5, "loop": (2 * 1.9 + 0.9) / 4}
    for name, options in runs.items():
        done = pipeline.run("produce", "--events", str(clean), "--json", *options)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["seconds"] >= least[name], name
        assert report["acknowledged"] == report["sent"] == (50 if name == "loop" else 20)
    assert len(sent(pipeline)) == 90


def test_produce_simulates_and_says_what_cannot_be_sent(pipeline: Pipeline, tmp_path: Path) -> None:
    done = pipeline.run("produce", "--simulate", "--users", "10", "--limit", "200", "--json")
    assert (done.returncode, json.loads(done.stdout)["acknowledged"]) == (0, 200)
    assert not [
        fault
        for record in sent(pipeline)
        for fault in faults("event-1", orjson.loads(record.value))
    ]

    large = tmp_path / "large.jsonl"
    large.write_bytes(b"\n".join([event(0), b"x" * 1_048_570, event(1)]))
    done = pipeline.run("produce", "--events", str(large), "--raw", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["sent"], report["acknowledged"], report["failed"]) == (
        1,
        3,
        2,
        1,
    )
    assert "large" in report["error"] or "bytes" in report["error"]

    done = pipeline.run("produce", "--simulate", "--limit", "5", "--events-topic", "no-such-topic")
    assert done.returncode == 1
    assert (
        "topic no-such-topic does not exist; create it with 'interest-stream topics create'"
        in done.stderr
    )


def test_tail_inspect_and_audit_tell_what_the_worker_did(pipeline: Pipeline, file: Path) -> None:
    pipeline.run("produce", "--events", str(file), "--raw")
    worker = pipeline.start()
    pipeline.wait_applied()
    check_tail(pipeline)
    check_inspect(pipeline)
    check_subscribers(pipeline)
    pipeline.wait_applied()
    worker.stop()
    check_audit(pipeline)


def check_tail(pipeline: Pipeline) -> None:
    done = pipeline.run("tail", "--from-beginning", "--limit", "5", "--json")
    updates = [orjson.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, len(updates)) == (0, 5)
    assert not [fault for update in updates for fault in faults("update-1", update)]
    done = pipeline.run("tail", "--user", "user-3", "--from-beginning", "--limit", "1")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert re.match(r"01-01 00:00:0\d +user-3 .*\d% .* view item-\d{4}$", done.stdout)


def check_inspect(pipeline: Pipeline) -> None:
    done = pipeline.run("inspect", "--user", "user-3", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["state"]["count"] == len(found["state"]["recent"]) == 4
    assert [each["item or title"] for each in found["state"]["recent"]] == [
        "item-0018",
        "item-0013",
        "item-0008",
        "item-0003",
    ]
    assert not faults("profile-1", found["profile"])
    assert found["profile"]["source"]["offset"] == found["state"]["last_offset"]
    words = pipeline.run("inspect", "--user", "user-3").stdout
    assert words.startswith("user-3: 4 events, the last on 2026-01-01 00:00:01 UTC")
    assert "Interests now" in words
    nobody = pipeline.run("inspect", "--user", "nobody")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "nothing is held about user 'nobody'" in nobody.stderr


def check_subscribers(pipeline: Pipeline) -> None:
    """Starts the README's own subscriber, and `tail` without --from-beginning.

    Both see what comes from now on.
    """
    (snippet,) = re.findall(
        r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    ours = snippet.replace("127.0.0.1:19092", pipeline.settings.bootstrap[0]).replace(
        'group="my-service"', f'group="{pipeline.settings.app_id}-reader"'
    )  # the topic stands in the environment
    assert ours.count(pipeline.settings.bootstrap[0]) == 1
    outputs = {name: pipeline.folder / f"{name}.out" for name in ("snippet", "tail")}
    tail = ["tail", "--user", "user-1"]
    started = [processes.spawn(tail, pipeline.environment, outputs["tail"])]
    try:
        with outputs["snippet"].open("wb") as out:
            call = [sys.executable, "-u", "-c", ours]
            started.append(
                subprocess.Popen(
                    call, env=pipeline.environment, stdout=out, stderr=subprocess.STDOUT
                )
            )

        def all_see() -> bool:
            asyncio.run(_send_one(pipeline))
            return all(
                path.exists() and "user-1" in path.read_text(encoding="utf-8")
                for path in outputs.values()
            )

        wait_until(all_see, "both subscribers print an update of user-1", interval_s=1)
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
            process.wait(processes.HANG_S)
    first = outputs["snippet"].read_text(encoding="utf-8").splitlines()[0]
    assert re.fullmatch(r"user-1 .+ [\d.e-]+ (rising|steady|fading|new)", first)


async def _send_one(pipeline: Pipeline) -> None:
    async with AIOKafkaProducer(bootstrap_servers=pipeline.settings.bootstrap) as producer:
        await producer.send_and_wait(pipeline.settings.events_topic, event(1), key=b"user-1")


def check_audit(pipeline: Pipeline) -> None:
    done = pipeline.run("audit")
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("every event was applied exactly once\n")
    assert re.search(r"^ +5  users compared$", done.stdout, re.MULTILINE)
    assert re.search(r"^ +3  dead letters$", done.stdout, re.MULTILINE)
    changelog, letters = pipeline.settings.changelog_topic, pipeline.settings.dead_letters_topic
    states = {record.key: record for record in read(pipeline.settings, changelog)}
    asyncio.run(_damage(pipeline, states, read(pipeline.settings, letters)[0]))
    done = pipeline.run("audit")
    assert done.returncode == 1
    assert done.stdout.endswith("DIFFERENCES FOUND\n")
    assert re.search(r"user 'user-2' of partition \d: 4 events, no state", done.stdout)
    assert re.search(r"changelog\[\d\] offset \d+, user b'user-3'", done.stdout)
    assert re.search(r"the dead letter of \(\d, \d+\) has other bytes", done.stdout)
    assert json.loads(pipeline.run("audit", "--json").stdout)["missing"] == 1


async def _damage(pipeline: Pipeline, states: dict[bytes, Any], letter: Any) -> None:
    """Forget user-2, flip a bit in the state of user-3, and replace a dead letter."""
    changelog, letters = pipeline.settings.changelog_topic, pipeline.settings.dead_letters_topic
    damaged = bytearray(states[b"user-3"].value)
    damaged[32] ^= 1
    async with AIOKafkaProducer(bootstrap_servers=pipeline.settings.bootstrap) as producer:
        await producer.send_and_wait(
            changelog, None, key=b"user-2", partition=states[b"user-2"].partition
        )
        await producer.send_and_wait(
            changelog, bytes(damaged), key=b"user-3", partition=states[b"user-3"].partition
        )
        await producer.send_and_wait(
            letters, b"other", key=letter.key, headers=list(letter.headers)
        )
