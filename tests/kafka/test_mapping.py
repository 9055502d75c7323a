"""Checks a worker on a topic of an unknown shape: suggested, tried, killed, audited, counted."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from stream.worker.preflight import preflight
from tests.support.pipelines import Pipeline
from tests.support.topics import read, send

pytestmark = pytest.mark.kafka

RECORDS = 400
BROKEN = 3  # documents beside good ones, which are dead letters of their own


def orders() -> list[tuple[bytes, bytes]]:
    """Records of a shop: views of one product, orders of several, batches, visits without any."""
    random_, now_ms, found = random.Random(0), int(time.time() * 1000), []
    for number in range(RECORDS):
        user = random_.randrange(60)
        document: dict[str, Any] = {
            "eventName": random_.choice(("page_view", "addtocart", "order_done")),
            "visitor": {"id": user, "name": "nobody"},
            "occurredAt": (now_ms - RECORDS + number) * 1000,
            "messageId": f"m-{number}",
            "product": {"sku": f"item-{random_.randrange(500)}"},
        }
        if number % 5 == 0:
            document["lines"] = [{"product_id": f"item-{each}"} for each in range(number % 4)]
        value = orjson.dumps(document)
        if number % 40 == 0:
            value = b"[%b,%b]" % (value, orjson.dumps({**document, "messageId": f"n-{number}"}))
        if number in (50, 150, 250):
            value = b"%b\n%b" % (value, orjson.dumps({**document, "occurredAt": "soon"}))
        found.append((str(user).encode(), value))
    return found


def test_a_stranger_gets_interests(
    pipeline: Pipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    records, settings = orders(), pipeline.settings
    send(settings, settings.events_topic, *records)

    # a mapping is proposed, completed by hand, and tried
    file = tmp_path / "shop.toml"
    suggested = pipeline.run("mapping", "suggest", "--from-topic", settings.events_topic)
    assert suggested.returncode == 0, suggested.stderr
    assert '["lines[].product_id", "product.sku"]' in suggested.stdout
    file.write_text(
        suggested.stdout.replace('# "order_done" = "other"', '"order_done" = "purchase"')
    )
    tried = pipeline.run(
        *("mapping", "try", str(file), "--from-topic", settings.events_topic),
        *("--count", str(RECORDS), "--json"),
    )
    trial = json.loads(tried.stdout)
    assert tried.returncode == 1, "the broken documents are dead letters"
    assert (trial["dead_letters"], trial["other_actions"], trial["keyed_otherwise"]) == (
        BROKEN,
        {},
        0,
    )
    assert trial["events"] > RECORDS

    # a worker that is killed between updates and states, then another one
    monkeypatch.setenv("INTEREST_STREAM_MAPPING", str(file))
    dying = pipeline.start(
        "--null-model", "--max-batch-events", "50", failpoints="after_updates=kill@2", ready=False
    )
    assert dying.wait() == -signal.SIGKILL
    worker = pipeline.start("--null-model")
    pipeline.wait_applied()
    report = pipeline.audit()
    assert report["clean"]
    assert report["events"]["read"] == RECORDS
    assert report["events"]["applied"] == trial["events"]
    assert report["invalid"] == report["dead_letters"] == BROKEN
    assert worker.get("/readyz")[0] == 200

    # another mapping of the same topic is told at the start, and one that only looks otherwise not
    worker.stop()
    for text, told in (
        ("# a remark\n" + file.read_text(), False),
        (f'{file.read_text()}\n[[drop]]\npath = "bot"\ngiven = true\n', True),
    ):
        other = tmp_path / "other.toml"
        other.write_text(text)
        caplog.clear()
        asyncio.run(preflight(dataclasses.replace(settings, mapping=str(other))))
        assert ("was read as mapping shop.toml" in caplog.text) is told

    # its dead letters say which line, and hold the document alone
    letters = read(settings, settings.dead_letters_topic)
    for letter in letters:
        headers = dict(letter.headers)
        assert headers["is.dlq.message"].startswith(b"shop.toml:")
        assert headers["is.dlq.document"] == b"0"
        assert orjson.loads(letter.value)["occurredAt"] == "soon"

    # popularity counts the same events
    monkeypatch.setenv("INTEREST_STREAM_POPULARITY_MIN_USERS", "1")
    counted = pipeline.run("popularity", "--once")
    assert counted.returncode == 0, counted.stderr
    assert f"{trial['events']} in all" in counted.stderr
