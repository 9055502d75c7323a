"""What a training leaves of single users in its files, and a training under a privacy budget."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from models.data.known_events import read_known_events
from models.model_directory import fingerprint_of
from tests.support.training_commands import run, training
from tests.support.training_commands import shop as shop  # the fixture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def canaries(shop: Path) -> Path:
    """The shop's events, and those of four users who alone have certain words, items and pairs."""
    rows = ["visitor,sku,event_type,timestamp,query,title"]
    rows += [
        f"u{user},{'OK'[user % 2]}{place % 6},view,{1764000000 + 60 * place},,"
        for user in range(20)
        for place in range(6)
    ]
    for user in range(4):
        rows += [
            f"canaryuser{user},,canaryaction,1764000000,canaryquery tent,",
            f"canaryuser{user},canaryitem,view,1764000001,,Canarytitle",
            f"canaryuser{user},,search,1764000002,canaryquery canaryword,",
            f"canaryuser{user},O5,view,1764000003,,",
            f"canaryuser{user},canaryitem,view,1764000004,,Canarytitle",
            f"canaryuser{user},K5,view,1764000005,,",
        ]
    rows.append("canaryuser0,O1,view,canarytime,,")
    (shop / "canaries.csv").write_text("\n".join(rows), encoding="utf-8")
    (shop / "ids.txt").write_text(
        "\n".join(["canaryuser0", "", "nobody", *(f"canaryuser{each}" for each in (1, 2, 3))]),
        encoding="utf-8",
    )
    return shop


@pytest.mark.parametrize(
    ("words", "held"),
    [
        ((), False),
        (("--min-users", 4, "--no-examples"), True),
        (("--min-users", 1, "--exclude-users", "ids.txt"), False),
    ],
    ids=["usual", "fewer", "excluded"],
)
def test_no_file_of_a_model_holds_what_few_users_did_or_those_who_were_excluded(
    canaries: Path, words: tuple[object, ...], held: bool
) -> None:
    """Checks every byte of every file; the second row shows that the check finds something."""
    out = canaries / f"private{len(words)}{held}"
    files = ("--events", canaries / "canaries.csv", "--items", canaries / "items.jsonl")
    words = tuple(canaries / each if each == "ids.txt" else each for each in words)
    columns = ("--columns", "user_id=visitor,item_id=sku", "--unknown-items", "add")
    done = run("train", *files, *columns, "--out", out, "--epochs", 1, "--json", *words)
    assert done.returncode == 0, done.stderr
    found = {
        path.name: sorted(set(re.findall(rb"canary[a-z0-9]*", path.read_bytes().lower())))
        for path in out.rglob("*")
        if path.is_file()
    }
    assert {"vocabulary.json", "catalogue.jsonl", "report.json", "report.html"} <= set(found)
    if held:
        assert found["vocabulary.json"] == [b"canaryquery"]
        assert found["catalogue.jsonl"] == [b"canaryitem", b"canarytitle"]
        assert json.loads(done.stdout)["examples"] == []
    elif "--exclude-users" in words:
        assert not any(found.values()), found
        notes = json.loads(done.stdout)["preparation"]["notes"]
        assert notes[-1] == (
            "--exclude-users: 4 of 5 users were met and left out with 24 events; 1 have no event "
            "here"
        )
        known = read_known_events(out, fingerprint_of(out))
        assert known is not None
        assert len(known.events) == 20 * 5
    else:
        told = found.pop("report.json") + found.pop("report.html")
        items = found.pop("catalogue.jsonl")
        assert items == [b"canaryitem", b"canarytitle"]  # which are the shop's, not a user's
        assert not any(found.values()), found
        assert set(told) == {b"canarytime"}  # a bad line is quoted; --no-examples leaves it out
    table = load_file(out / "weights.safetensors")["followers.rows"]
    names = [
        json.loads(line)["item_id"] for line in (out / "catalogue.jsonl").read_text().splitlines()
    ]
    if held:
        assert table[names.index("canaryitem") + 1].any()
    else:
        assert "canaryitem" not in names or not table[names.index("canaryitem") + 1].any()
        assert not table[names.index("O5") + 1].eq(names.index("K5") + 1).any()


def test_a_privacy_budget_leaves_no_figure_in_the_directory(shop: Path) -> None:
    out = shop / "private"
    assert run(*training(shop, out, "--epochs", 1)).returncode == 0
    private = ("--dp-epsilon", 8, "--dp-lstm-share", 0.5)
    done = run(*training(shop, out, *private, "--hold-out-users", 0.5, "--epochs", 2))
    assert done.returncode == 0, done.stderr
    assert "Epsilon 8, delta 1e-06, for all events of one user" in done.stdout
    assert "Not trained: the language model over users" in done.stdout
    assert "Not covered: the catalogue" in done.stdout
    held = {path.name for path in out.iterdir()}
    assert not held & {"known-events.safetensors", "report.html", ".training"}
    stored = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert set(stored) == {"config", "network", "privacy", "held_out_users"}
    files = ("--events", shop / "events.csv", "--columns", "user_id=visitor,item_id=sku")
    told = run("evaluate", "--model", out, *files, "--membership", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["privacy"]["epsilon"] == 8


def test_an_interrupted_training_with_a_budget_begins_anew_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stream.cli.train_report.train", stop)
    words = ("train", "--events", "e.csv", "--items", "i.jsonl", "--out", tmp_path / "m")
    done = run(*words, "--dp-epsilon", 3)
    assert done.returncode == 130
    assert "nothing is kept and nothing was released" in done.stderr
    assert "The same command begins anew" in done.stderr
    assert "goes on from there" in run(*words).stderr
    alone = run(*words, "--dp-lstm-share", 0.5)
    assert (alone.returncode, "give --dp-epsilon too" in alone.stderr) == (2, True), alone.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--unknown-items", "add"), "takes the catalogue as public"),
        (("--effort", "normal"), "no account of --effort normal"),
        (("--hold-out-validation",), "no account of --hold-out-validation"),
        (("--protocol", "time-split"), "give --cut"),
        (("--device", "cuda"), "no account of --device cuda"),
    ],
)
def test_what_would_read_users_past_the_budget_is_refused(
    shop: Path, words: tuple[str, ...], message: str
) -> None:
    done = run(*training(shop, shop / "refused", "--dp-epsilon", 3, *words))
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
