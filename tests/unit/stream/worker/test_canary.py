"""No id, query or value of an event comes into a log line or an error of a worker.

A canary stands in every field of an event and of a state, every way to fail is gone, and what was
logged and raised is searched for it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from faust.types import TP

from models.errors import ModelDataError
from models.predict import null_predictor
from stream import logs
from stream.config import Settings
from stream.contracts.control import MAC_HEADER
from stream.contracts.event import CONTROL_HEADER, Limits
from stream.contracts.state_record import CorruptRecordError
from stream.contracts.update import UpdateSize
from stream.errors import FencedError, PublishError
from stream.kafka.producer import acknowledged
from stream.kafka.record_batches import pack
from stream.pipeline.decode import Decoder
from stream.pipeline.scoring import Outcome, Scoring
from stream.pipeline.state import Arena
from stream.policies.breaker import DeadLetterBreaker
from stream.popularity.follower import PopularityFollower
from stream.worker import process
from stream.worker.host import WorkerHost
from stream.worker.rekey import Forwarder
from stream.worker.table import ArenaStore, TableShape
from stream.worker.web import WebServer
from tests.support.poison import CORPUS, TIME_MS

CANARY = "canary-7f3a"
FIELDS = ("user_id", "action", "item_id", "title", "query", "event_id", "session_id", "categories")


@pytest.fixture(autouse=True)
def log_of_a_worker(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Logs as a worker does, to what capsys reads."""
    root, own = logging.getLogger(), logging.getLogger("interest_stream")
    before = (root.handlers[:], root.level, own.level)
    logs.configure(verbose=False)
    handler: Any = root.handlers[0]
    handler.setStream(StandardError())
    yield
    root.handlers[:], own.level = before[0], before[2]
    root.setLevel(before[1])


class StandardError:
    """Writes where standard error goes at that moment; pytest changes it after the set-up."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def host() -> WorkerHost:
    made = WorkerHost(Settings(max_consecutive_dead_letters=0), lambda name: None)
    made.end = lambda: None
    return made


def record(value: bytes | None, key: bytes | None = CANARY.encode(), offset: int = 7) -> Any:
    return SimpleNamespace(
        key=key, value=value, offset=offset, timestamp=TIME_MS, headers=[(CANARY, CANARY.encode())]
    )


def bad_records() -> Iterator[Any]:
    """Each kind of bad event, with the canary in its bytes and in its key."""
    sound = {"user_id": CANARY, "action": "view", "time": TIME_MS, "item_id": CANARY}
    yield record(None)
    yield record(CANARY.encode())
    yield record(json.dumps(sound).encode(), key=f"{CANARY}-other".encode())
    yield record(json.dumps({**sound, "time": CANARY}).encode())
    yield record(json.dumps({**sound, "time": f"{CANARY}T25:00:00Z"}).encode())
    for name in FIELDS:
        for wrong in ({CANARY: CANARY}, [CANARY], f"{CANARY}\x00", CANARY * 10_000, 7):
            yield record(json.dumps({**sound, name: wrong}).encode())
    for each in CORPUS:
        yield record(each.value and each.value + CANARY.encode())
    yield from bad_controls()


def bad_controls() -> Iterator[Any]:
    """Each kind of request about a user that no worker obeys, with the canary in all its fields."""
    fields = {"user_id": CANARY, "request_id": CANARY, "time": TIME_MS}
    for more in (
        {"control": CANARY},
        {"control": "erase", "time": CANARY},
        {"control": "erase", "item_id": CANARY},
        {"control": "forget"},
        {"control": "forget", "item_id": CANARY, "query": CANARY},
        {"control": "forget", "query": CANARY * 1_000},
        {"control": "erase", "request_id": CANARY * 100},
        {"control": "erase", "user_id": f"{CANARY}-other"},
        {"control": "erase", "user_id": CANARY, "request_id": f"{CANARY}\n"},
        {"control": [CANARY]},
    ):
        yield control(json.dumps({**fields, **more}).encode())
    yield control(CANARY.encode())
    yield control(None)


def control(value: bytes | None) -> Any:
    made = record(value)
    made.headers = [(CONTROL_HEADER, b"1"), (MAC_HEADER, CANARY.encode())]
    return made


def fails(do: Callable[[], object]) -> Exception | None:
    try:
        do()
    except Exception as error:
        return error
    return None


def test_no_bad_event_is_quoted_by_what_ends_the_worker(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ended = 0
    for each in bad_records():
        batch = Decoder(Limits()).decode("clicks", 0, [each])
        error = fails(lambda: DeadLetterBreaker(0).check(0, [each], batch.rejects))  # noqa: B023
        if error is not None:
            ended += 1
            worker = host()
            worker.fail(error)
            assert CANARY not in str(process.own(worker.failure))
            assert "offset 7" in str(error)
    told = capsys.readouterr().err
    assert told.count("bad records in a row") == ended > 30
    assert CANARY not in told


def test_no_metric_has_anything_of_an_event() -> None:
    worker, sound = host(), json.dumps({"user_id": CANARY, "control": "erase"}).encode()
    predictor: Any = Failing()
    scoring = Scoring(predictor, UpdateSize(5, 5, 3))
    good = {"user_id": CANARY, "action": CANARY, "time": TIME_MS, "item_id": CANARY}
    unsigned = [control(sound)]
    for records in (*([each] for each in bad_records()), [record(json.dumps(good).encode())]):
        batch = Decoder(Limits()).decode("clicks", 0, records)
        outcome = scoring.process(batch, Arena(128, 7, 1), TIME_MS)
        worker.metrics.observe_outcomes([outcome], ["full"])
    rejects = Decoder(Limits(), b"k" * 16).decode("clicks", 0, unsigned).rejects
    worker.metrics.observe_outcomes([Outcome(rejects=rejects)], ["full"])
    text = worker.metrics.text().decode()
    for reason in ("bad-control", "unprocessable", "key-mismatch", "wrong-type"):
        assert f'dead_letters_total{{reason="{reason}"}}' in text
    assert CANARY not in text


class Failing:
    """Is a model that quotes the event on which it fails."""

    def __init__(self) -> None:
        self._real = null_predictor()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def step(self, *_: Any) -> Any:
        raise ValueError(f"cannot read {CANARY}")


def test_a_write_that_is_refused_quotes_no_record() -> None:
    async def refused(error: Exception) -> str:
        future = asyncio.get_running_loop().create_future()
        future.set_exception(error)
        with pytest.raises((PublishError, FencedError)) as caught:
            await acknowledged("interest-updates", 3, (future, 1))
        return str(caught.value)

    for error in (KeyError(CANARY), ValueError(CANARY), AssertionError(CANARY)):
        said = asyncio.run(refused(error))
        assert said.startswith("interest-updates[3] refused a write: ")
        assert CANARY not in said
    assert "too large for this topic" in asyncio.run(
        refused(MessageSizeTooLargeError("too large for this topic"))
    )
    with pytest.raises(PublishError) as caught:
        list(pack([CANARY.encode()], [CANARY.encode() * 1_000_000], TIME_MS, "none"))
    assert CANARY not in str(caught.value)


def test_no_probe_is_told_what_an_error_quotes() -> None:
    app = SimpleNamespace(
        host=host(),
        consumer_generation_id=0,
        rebalancing=True,
        in_recovery=True,
        waiting="",
        tables=SimpleNamespace(actives_ready=False),
        remarks=[],
    )
    for error in (KeyError(CANARY), ModelDataError(f"item {CANARY} is unknown")):
        app.host.failure = error
        reasons = WebServer(app).not_ready()
        assert reasons[0].startswith(f"failing: {type(error).__name__}")
        assert CANARY not in str(reasons)


def test_an_error_that_nobody_waits_for_is_not_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    async def lose() -> None:
        async def fail() -> None:
            raise KeyError(CANARY)

        task = asyncio.ensure_future(fail())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(_raise)
        del task
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(lose())
    said = capsys.readouterr().err
    assert said.count("KeyError") == 2
    assert CANARY not in said


def _raise() -> None:
    raise KeyError(CANARY)


def test_no_error_of_a_library_or_a_model_is_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (
        KeyError(CANARY),
        ValueError(f"could not convert string to float: '{CANARY}'"),
        UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, CANARY),
        ModelDataError(f"item {CANARY} is unknown"),
        AssertionError(CANARY),
    ):
        worker = host()
        worker.fail(error)
        assert CANARY not in str(process.own(worker.failure))
        # what Faust and aiokafka log of an agent, a task or a callback that failed
        logging.getLogger("faust.agents").error("[%s] Crashed reason=%r", "agent", error)
        logging.getLogger("aiokafka.consumer").exception("failed: %s", error, exc_info=error)
    told = capsys.readouterr().err
    assert "KeyError" in told
    assert CANARY not in told
    own = FencedError("not ours any more")
    assert process.own(own) is own


def test_no_user_is_named_by_a_damaged_state() -> None:
    metrics = SimpleNamespace(regressions=None, recovered=None)
    store = ArenaStore.__new__(ArenaStore)
    store.shape, store.arenas = TableShape(4, 9, "clicks", 1), {}
    store._host = SimpleNamespace(metrics=metrics)
    with pytest.raises(CorruptRecordError) as caught:
        store.restore(TP("changelog", 3), [record(CANARY.encode() * 9, offset=41)])
    assert str(caught.value).startswith("changelog[3] offset 41: a state record")
    assert CANARY not in str(caught.value)


def test_nobody_is_named_when_forwarding_fails(caplog: pytest.LogCaptureFixture) -> None:
    worker = host()

    def producer() -> Any:
        raise KeyError(CANARY)

    async def stream() -> AsyncIterator[Any]:
        yield SimpleNamespace(message=None, value=[record(b"{}")])

    no_consumer: Any = None
    forwarder = Forwarder(worker, lambda: no_consumer, producer)
    asyncio.run(forwarder.consume(stream()))
    assert "forwarding to clickstream failed: KeyError" in str(worker.failure)
    assert CANARY not in str(worker.failure) + caplog.text


def test_a_foreign_record_among_the_snapshots_is_not_quoted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    follower = PopularityFollower(Settings(), None, None, host().metrics)  # type: ignore[arg-type]
    sound_key = Settings().source_topic.encode()
    for each in (record(CANARY.encode()), record(b"{" + CANARY.encode(), key=sound_key)):
        each.topic = "item-popularity"
        asyncio.run(follower._take(each, None))  # type: ignore[arg-type]
    told = capsys.readouterr().err
    assert told.count("is left out") == 2
    assert CANARY not in told
