"""Checks what the commands about users' data say, and with which code they end."""

from __future__ import annotations

import json

import click
import pytest

from stream.cli.privacy_view import in_words, tell
from stream.clients.erasing import Held, Outcome
from stream.clients.holdings import EVENTS, LETTERS, PROFILE, STATE, Place
from stream.clients.requests import DONE, REFUSED, WAITING, Ask, Request
from stream.errors import Failure
from stream.kafka.topic_life import Life

AT_MS = 1_767_225_600_000
DAY_MS = 86_400_000


def outcome(*states: str, control: str = "erase", sent: int | None = None) -> Outcome:
    requests = [
        Request(
            f"user-{n}", b"user-%d" % n, 0, n if sent is None or n < sent else None, AT_MS, each
        )
        for n, each in enumerate(states)
    ]
    state = Place(STATE, "changelog", Life(7 * DAY_MS, 14 * DAY_MS, True), {2: (0, 9)}, 1)
    state.users = {b"user-0"}
    profile = Place(PROFILE, "profiles", Life(None, None, True), {2: (0, 9)}, 1, {b"user-0"})
    events = Place(
        EVENTS, "clicks", Life(DAY_MS, DAY_MS, False), {2: (0, 9)}, 3, {b"user-0"}, AT_MS
    )
    made = Outcome(Ask(control, "erase-1"), requests)
    made.places = [
        Held(
            state,
            "emptied",
            AT_MS + 7 * DAY_MS,
            AT_MS + 44 * DAY_MS,
            details={"events_kept": 20, "events": 1204},
        ),
        Held(profile, "replaced by a null", endless=True),
        Held(events, "left", events.gone_by_ms),
        Held(Place(LETTERS, "dead", None, dict.fromkeys(range(9), (0, 0))), "left"),
    ]
    return made


def code(made: Outcome, *, as_json: bool = False, wait_s: float = 60, status: bool = False) -> int:
    with click.Context(click.Command("erase")):
        try:
            tell(made, as_json=as_json, wait_s=wait_s, status=status)
        except click.exceptions.Exit as ended:
            return ended.exit_code
        except Failure as error:
            click.echo(str(error), err=True)
            return 1
    return 0


def test_place_by_place_it_says_what_was_found_what_is_done_and_until_when_the_rest_lives() -> None:
    assert in_words(outcome(DONE)) == [
        "User user-0: erased",
        "Request erase-1, partition 0, offset 0",
        "",
        "state         changelog[2]: 20 events kept of 1,204",
        "              emptied",
        "              can be read until 2026-01-08 00:00 UTC, the key by 2026-02-14 00:00 UTC",
        "profile       profiles[2]: the latest update",
        "              replaced by a null",
        "              it stays without end: see `interest-stream topics check`",
        "events        clicks[2]: 3 records, the newest of 2026-01-01 00:00:00 UTC",
        "              left",
        "              can be read until 2026-01-02 00:00 UTC",
        "dead letters  dead: nothing",
        "",
        "Not touched:",
        "  trained models: train again without the user (train --exclude-users)",
        "  event files, data sets and other copies outside the topics, and backups of the brokers",
        "  what readers of the updates and profiles have stored",
    ]


def test_nobody_is_erased_too(capsys: pytest.CaptureFixture[str]) -> None:
    made = outcome(DONE, control="suppress")
    made.places = []
    assert code(made) == 0
    said = capsys.readouterr().out
    assert said.startswith("User user-0: erased, and new events are dropped; nothing was held\n")


@pytest.mark.parametrize(
    ("made", "how", "expected", "said"),
    [
        (outcome(DONE), {}, 0, ""),
        (outcome(WAITING), {}, 1, "it is not obeyed within 60 s: nobody reads it"),
        (outcome(WAITING), {"wait_s": 0}, 0, ""),
        (outcome(WAITING), {"status": True}, 3, "waiting: nobody reads it"),
        (outcome(REFUSED), {"status": True}, 1, "it was refused: nobody reads it"),
        (outcome(DONE, REFUSED, WAITING), {}, 1, "1 of 3 requests were refused"),
        (outcome(DONE, WAITING, WAITING), {}, 1, "2 of 3 requests are not obeyed within 60 s"),
    ],
)
def test_codes_and_reasons(
    made: Outcome,
    how: dict[str, float],
    expected: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made.why = "nobody reads it"
    assert code(made, **how) == expected  # type: ignore[arg-type]
    assert said in capsys.readouterr().err
    assert code(made, as_json=True, **how) == expected  # type: ignore[arg-type]
    found = json.loads(capsys.readouterr().out)
    assert found["state"] == made.state
    assert [each["place"] for each in found["places"]] == [
        "state",
        "profile",
        "events",
        "dead letters",
    ]


def test_an_interrupted_call_says_what_was_sent_and_is_safe_to_run_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = outcome(WAITING, WAITING, WAITING, sent=2)
    made.interrupted = True
    assert code(made) == 130
    assert "2 of 3 requests were sent" in (told := capsys.readouterr().err)
    assert "safe to run the command again" in told
    made = outcome(WAITING, WAITING)
    made.interrupted = True
    assert code(made) == 130
    assert "all 2 requests are in the topic" in (told := capsys.readouterr().err)
    assert "--status erase-1" in told


def test_who_is_not_suppressed_any_more_is_told_in_two_lines() -> None:
    assert in_words(outcome(DONE, control="unsuppress")) == [
        "User user-0: not suppressed any more",
        "Request erase-1, partition 0, offset 0",
    ]


def test_a_dry_run_says_what_would_be() -> None:
    made = outcome(WAITING, sent=0)
    made.dry_run = True
    words = in_words(made)
    assert words[0] == "User user-0: nothing was sent (--dry-run)"
    assert "              would be emptied" in words
    assert code(made) == 0
