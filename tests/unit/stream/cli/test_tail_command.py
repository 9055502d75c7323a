"""An update is shown as one line; tests/kafka reads the topic."""

from __future__ import annotations

import io
import sys
from collections.abc import AsyncIterator
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from stream.cli.inspect_command import in_words
from stream.cli.root import main
from stream.cli.tail_command import readable
from stream.clients.reader import update_of
from tests.support.contracts import golden

UPDATES = golden("updates-valid.jsonl")


def test_an_update_is_one_line_and_names_user_interest_and_cause() -> None:
    line = readable(UPDATES[0])
    assert "\n" not in line
    for shown in ("user-7", "Camping", " 62% ↑", "书籍", "add_to_cart item-0119"):
        assert shown in line
    assert readable(UPDATES[1])


EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b0m\u202e\n"


def evil_update() -> dict[str, Any]:
    """A sound update whose every text would act in a terminal."""
    update: dict[str, Any] = deepcopy(UPDATES[0])
    update["user_id"] = EVIL
    for each in update["interests"]:
        each["interest"] = EVIL
    for each in update["because"]:
        each.pop("item_id", None)
        each.pop("title", None)
        each |= {"action": EVIL, "query": EVIL}
    for each in update["items"]:
        each["item_id"] = EVIL
    return update


def test_nothing_of_an_update_acts_in_the_terminal() -> None:
    shown = readable(evil_update())
    assert shown.isprintable()
    assert "\\u001b]0;owned\\u0007" in shown
    words = in_words({"user_id": EVIL, "state": None, "profile": evil_update()})
    assert all(line.isprintable() for line in words.split("\n"))
    assert "\\u202e" in words


def test_records_of_others_are_left_out_counted_and_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = [b"{", b'{"user_id": 7}', *map(orjson.dumps, (evil_update(), UPDATES[1]))]

    class Reader:
        def __init__(self, settings: object, **_: object) -> None: ...

        async def __aiter__(self) -> AsyncIterator[Any]:
            for offset, value in enumerate(values):
                yield SimpleNamespace(topic="t", partition=0, offset=offset, value=value)

        async def close(self) -> None: ...

    monkeypatch.setattr("stream.clients.reader.UpdateReader", Reader)
    for more in ((), ("--json",)):
        with pytest.raises(SystemExit) as ended:
            main(["tail", "--limit", "2", *more])
        assert not ended.value.code
        out, err = capsys.readouterr()
        assert out.count("\n") == 2
        assert "\x1b" not in out
        assert "\x9b" not in out
        assert "t[0] offset 0" in err
        assert "2 records were left out" in err
    assert orjson.loads(out.splitlines()[0])["user_id"] == EVIL


def test_every_update_of_the_contract_is_taken_for_one() -> None:
    assert all(update_of(orjson.dumps(each)) == each for each in UPDATES)
    for value in (None, b"", b"[]", b'"x"', b"\xff", b"[" * 100_000):
        assert update_of(value) is None


def test_a_terminal_of_one_script_gets_the_others_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("latin-1", "ascii"):  # to a terminal of ASCII click writes UTF-8
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        monkeypatch.setenv("INTEREST_STREAM_MODEL", "书籍")
        with pytest.raises(SystemExit) as ended:
            main(["worker", "--show-settings"])
        sys.stdout.flush()
        assert not ended.value.code
        assert (b"\\u4e66\\u7c4d" in raw.getvalue()) == (encoding == "latin-1")


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WHOLE = ("--webhook", "https://crm/in", "--webhook-secret-file", "FILE", "--group", "crm")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--webhook", "http://crm/in?token=abc"), "--webhook: use https"),
        (("--webhook", "crm"), "--webhook: use https://host/path"),
        (("--webhook", ""), "--webhook: use https://host/path"),
        (WHOLE[:4], "--webhook needs --group NAME, which says where to go on"),
        ((*WHOLE[:2], "--group", "crm"), "--webhook needs --webhook-secret-file FILE"),
        ((*WHOLE, "--json"), "--unique and --json are for printing"),
        (WHOLE[4:], "--group and --webhook-secret-file are for --webhook"),
        ((*WHOLE[:3], "EMPTY", *WHOLE[4:]), "EMPTY: it holds no secret; make one with"),
        ((*WHOLE[:3], "MISSING", *WHOLE[4:]), "MISSING: No such file"),
    ],
)
def test_a_webhook_that_cannot_work_is_refused_with_the_fix(
    words: tuple[str, ...],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_text(SECRET, encoding="ascii")
    Path("EMPTY").touch()
    with pytest.raises(SystemExit) as ended:
        main(["tail", *words])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert told in said
    assert "abc" not in said
    assert SECRET not in said
