"""Checks that logging says each thing once.

A broker that is away must not fill a disk, and nothing of our own is ever held back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from stream.logs import NOISY, PERIOD_S, RateLimit, configure


def record(
    text: str, at: float, level: int = logging.WARNING, name: str = "aiokafka"
) -> logging.LogRecord:
    made = logging.LogRecord(name, level, "", 0, text, (), None)
    made.created = at
    return made


def test_the_first_lines_of_a_period_pass_and_the_rest_are_counted() -> None:
    limit = RateLimit(2)
    assert [limit.filter(record(str(place), 100.0)) for place in range(5)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    later = record("again", 100.0 + PERIOD_S + 1)
    assert limit.filter(later)
    assert later.msg == "[3 lines left out] again"
    quiet = record("quiet", 100.0 + 2 * PERIOD_S + 2)
    assert limit.filter(quiet)
    assert quiet.msg == "quiet"


def test_lines_that_say_nothing_never_pass() -> None:
    limit = RateLimit(100)
    assert not limit.filter(record("Topic creation disabled!", 1.0))
    assert limit.filter(record("Topic creation disabled!", 1.0, logging.CRITICAL))


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("interest_stream")
    before = (root.handlers[:], root.level, own.level)
    yield
    root.handlers[:], own.level = before[0], before[2]
    root.setLevel(before[1])


def test_own_lines_are_never_held_back_and_tracebacks_need_v(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure(verbose=False)
    for _ in range(50):
        logging.getLogger("interest_stream").info("own")
        logging.getLogger("aiokafka.client").error("Cannot connect")
        logging.getLogger("faust").info("chatter")
    try:
        raise ValueError("inside")
    except ValueError:
        logging.getLogger("interest_stream").exception("failed")
    told = capsys.readouterr().err
    assert told.count("INFO interest_stream: own") == 50
    assert told.count("Cannot connect") == NOISY["aiokafka"]
    assert "chatter" not in told
    assert "failed" in told
    assert "Traceback" not in told


def test_v_shows_tracebacks_and_what_libraries_say(capsys: pytest.CaptureFixture[str]) -> None:
    configure(verbose=True)
    logging.getLogger("faust").info("chatter")
    try:
        raise ValueError("inside")
    except ValueError:
        logging.getLogger("interest_stream").exception("failed")
    told = capsys.readouterr().err
    assert "chatter" in told
    assert "Traceback" in told
