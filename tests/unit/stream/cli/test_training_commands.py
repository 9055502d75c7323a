"""train, evaluate and rank as a user meets them: a small shop, trained once, used in every way."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from tests.support.training_commands import KINDS, run, training
from tests.support.training_commands import shop as shop  # the fixture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(shop: Path) -> tuple[Path, dict[str, Any]]:
    out = shop / "model"
    done = run(*training(shop, out, "--json"))
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_train_reports_what_it_left_out_and_how_it_compares(
    trained: tuple[Path, dict[str, Any]],
) -> None:
    out, report = trained
    preparation = report["preparation"]
    assert preparation["bad_lines"] == {"wrong-columns": 1, "bad-time": 1}
    assert [each["users"] for each in preparation["dropped"] if each["events"]] == [
        1
    ]  # u70 has one event
    assert preparation["interests"] == {
        "source": "categories of the catalogue",
        "count": 2,
        "events_covered": 1.0,
    }
    assert report["evaluation"]["cases"] == 60
    assert len(report["evaluation"]["verdict"]) == 6
    assert json.loads((out / "report.json").read_text(encoding="utf-8")) == report
    page = (out / "report.html").read_text(encoding="utf-8")
    for part in (
        "Left out",
        "Next item",
        "Calibration",
        "lstm: ndcg@10",
        "Weights of the blend",
        "Users in words",
    ):
        assert part in page
    for example in report["examples"]:
        assert example["next"] in " ".join(KINDS.values())
        assert {each["interest"] for each in example["interests"]} == set(KINDS)
        assert all(line.startswith("view ") for line in example["history"])


def test_evaluate_says_the_same_as_the_training_did(
    shop: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    out, report = trained
    done = run(
        "evaluate",
        "--model",
        out,
        "--events",
        shop / "events.csv",
        "--columns",
        "user_id=visitor,item_id=sku",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["items"] == report["evaluation"]["items"]
    assert found["notes"] == ["The model was trained on these events without what is asked here."]
    words = ("--protocol", "prequential", "--columns", "user_id=visitor,item_id=sku")
    place = shop / "over-time.html"
    table = run(
        "evaluate",
        "--model",
        out,
        "--events",
        shop / "events.csv",
        *words,
        "--live-popularity",
        "--html",
        place,
    )
    assert "first-order Markov" in table.stdout
    assert "were learned in training" in table.stdout
    assert "NO RESULT" in table.stdout
    assert "The model beats" not in table.stdout
    page = place.read_text(encoding="utf-8")
    assert all(
        part in page
        for part in (
            "Next item",
            "HR@10 by hours",
            "model, states frozen at the cut",
            "Calibration",
        )
    )
    nowhere = run("evaluate", "--drift", 4, "--html", shop / "no" / "folder.html")
    assert nowhere.returncode == 2
    assert "folder.html cannot be written: No such file or directory" in nowhere.stderr


def test_an_older_cut_of_the_training_is_no_result(
    shop: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    """Checks yesterday's log: the same events less each user's last one; all were learned."""
    out, _ = trained
    header, *rows = (shop / "events.csv").read_text(encoding="utf-8").splitlines()
    rows = [row for row in rows if row[-1].isdigit()]  # the others are broken
    last = {row.split(",")[0]: row for row in rows}
    older = shop / "yesterday.csv"
    older.write_text("\n".join([header, *(row for row in rows if row not in last.values())]))
    words = ("--events", older, "--columns", "user_id=visitor,item_id=sku")
    found = json.loads(run("evaluate", "--model", out, *words, "--json").stdout)
    assert found["asked_known_to_training"] == found["cases"] == 60
    assert found["verdict"] == []
    assert "60 of the 60 events that are asked were learned" in found["notes"][1]
    both = json.loads(run("evaluate", "--compare", out, out, *words, "--json").stdout)
    assert both["asked_known_to_training"] == [60, 60]
    # a model that was trained before trainings noted their events
    kept = (out / "known-events.safetensors").read_bytes()
    (out / "known-events.safetensors").unlink()
    before = json.loads(run("evaluate", "--model", out, *words, "--json").stdout)
    (out / "known-events.safetensors").write_bytes(kept)
    assert before["asked_known_to_training"] is None
    assert "cannot be known" in before["notes"][0]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
    ],
    ids=["file", "safetensors"],
)
def test_a_disk_that_is_full_is_told_with_what_is_kept(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr("stream.cli.train_report.train", full)
    done = run(*training(shop, tmp_path / "model"))
    assert (done.returncode, "unexpected" in done.stderr) == (1, False)
    assert "cannot be written" in done.stderr
    assert "No space left on device" in done.stderr
    assert "make room there" in done.stderr


def test_a_test_file_says_what_is_asked_for(
    shop: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    """Checks that later events of some users are asked for, and none that was learned."""
    later = shop / "later.csv"
    later.write_text(
        "visitor,sku,timestamp\nu0,O1,1764100000\nu0,O2,1764100060\nu1,K1,1764100000\n",
        encoding="utf-8",
    )
    words = ("--model", trained[0], "--events", shop / "events.csv", "--test", later)
    columns = ("--columns", "user_id=visitor,item_id=sku")
    found = json.loads(run("evaluate", *words, *columns, "--json").stdout)
    assert (found["protocol"], found["cases"], found["users"]) == ("test-files", 3, 2)
    assert found["asked_known_to_training"] == 0
    assert found["preparation"]["test_files"] == ["later.csv"]
    both = run("evaluate", *words, *columns, "--protocol", "time-split")
    assert (both.returncode, "leave out --protocol" in both.stderr) == (2, True)
    drift = run("evaluate", "--drift", 4, "--test", later)
    assert (drift.returncode, "--test goes with --events" in drift.stderr) == (2, True)


def test_rank_answers_good_lines_in_order_and_names_bad_ones(
    trained: tuple[Path, dict[str, Any]],
) -> None:
    event = {"action": "view", "time": 1764000000000, "item_id": "O1"}
    lines = [
        {"user_id": "a", "events": [event, {**event, "item_id": "O2", "time": 1764000060000}]},
        {"user_id": "b", "events": [{**event, "time": "soon"}]},
        {"user_id": "a", "events": [event]},
        {"user_id": "c", "events": []},
        {"user_id": "d", "events": [{"action": "search", "time": 1764000000000, "query": "pan"}]},
    ]
    text = "\n".join(map(json.dumps, lines))
    done = run("rank", "--model", trained[0], "--histories", "-", "--items", 3, text=text)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["user_id"], each["events_seen"]) for each in answers] == [
        ("a", 2),
        ("a", 1),
        ("d", 1),
    ]
    assert all(len(each["items"]) == 3 for each in answers)
    assert done.returncode == 1
    assert "standard input:2: events[0]: time 'soon' is not RFC 3339" in done.stderr
    assert "standard input:4: events is missing, empty" in done.stderr
    assert "2 of 5 lines were bad; the 3 others are answered" in done.stderr


def test_a_history_is_scored_alike_alone_and_among_others(
    trained: tuple[Path, dict[str, Any]],
) -> None:
    def line(user: str, count: int) -> str:
        events = [
            {"action": "view", "time": 1764000000000 + place, "item_id": f"K{place % 6}"}
            for place in range(count)
        ]
        return json.dumps({"user_id": user, "events": events})

    many = [line(f"u{count}", count) for count in range(1, 40)]
    same = ("--precision", "float32")  # else each process picks the one that it finds faster
    rank = ("rank", "--model", trained[0], "--histories", "-", *same)
    together = run(*rank, text="\n".join(many)).stdout.splitlines()
    alone = run(*rank, text=many[20]).stdout.splitlines()
    mine, other = json.loads(together[20]), json.loads(alone[0])
    for field in ("user_id", "events_seen", "time", "model"):
        assert mine[field] == other[field]
    for field, figure in (("interests", "probability"), ("items", "score")):
        assert [each[figure] for each in mine[field]] == pytest.approx(
            [each[figure] for each in other[field]], abs=2e-5
        )


def test_evaluate_holds_predictions_against_what_followed(
    shop: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    out, _ = trained
    events = [
        {"user_id": "x", "action": "view", "time": 1764000000000 + place, "item_id": f"O{place}"}
        for place in range(4)
    ]
    history = json.dumps({"user_id": "x", "events": events[:3]})
    (shop / "log.jsonl").write_text("\n".join(map(json.dumps, events)), encoding="utf-8")
    updates = run(
        "rank", "--model", out, "--histories", "-", "--items", 12, "--interests", 2, text=history
    ).stdout
    (shop / "updates.jsonl").write_text(updates + "no update\n", encoding="utf-8")
    done = run(
        "evaluate",
        "--model",
        out,
        "--predictions",
        shop / "updates.jsonl",
        "--events",
        shop / "log.jsonl",
        "--json",
    )
    found = json.loads(done.stdout)
    assert (found["updates"], found["updates_with_a_next_event"]) == (1, 1)
    assert found["MRR@12"] > 0  # all items are named, so the one that followed is
    assert found["bad_lines"] == {"not an interest update": 1}
    place = [each["item_id"] for each in json.loads(updates)["items"]].index("O3")
    assert found["HR@5"] == float(place < 5)


def test_drift_is_measured_on_the_shipped_model_and_refused_on_others(
    trained: tuple[Path, dict[str, Any]],
) -> None:
    found = json.loads(run("evaluate", "--drift", 5, "--json").stdout)
    levels = {level["noise"]: level for level in found["levels"]}
    drawn, clean, noisy = levels[None], levels[0.0], levels[0.3]
    assert drawn["model"]["switches"] > 10
    assert drawn["model"]["right"] > 0.6  # twenty interests: chance would be right in 0.05
    assert clean["model"]["right"] > noisy["model"]["right"]
    restless, patient = (
        drawn["trackers"][f"counter, half-life {half_life}"] for half_life in ("0.5", "8")
    )
    assert restless["false per 100"] > patient["false per 100"]
    assert drawn["knows the rates"]["right"] > drawn["trackers"]["last 50 events"]["right"]
    assert "Changed interests, by noise" in run("evaluate", "--drift", 5).stdout
    other = run("evaluate", "--model", trained[0], "--drift", 5)
    assert other.returncode == 1
    assert "--drift is for models of the simulation" in other.stderr


def test_explanations_are_held_against_replays(
    shop: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    simulated = json.loads(run("evaluate", "--explanations", 20, "--json").stdout)
    assert simulated["users"] == 20
    assert simulated["table"][0]["fall"] > simulated["random event"]
    mapped = ("--columns", "user_id=visitor,item_id=sku")
    done = run(
        "evaluate",
        "--model",
        trained[0],
        "--events",
        shop / "events.csv",
        *mapped,
        "--explanations",
        10,
    )
    assert done.returncode == 0, done.stderr
    assert "because, as published" in done.stdout
    both = run("evaluate", "--drift", 5, "--explanations", 5, "--events", shop / "events.csv")
    assert (both.returncode, "--drift" in both.stderr) == (2, True)


def test_parts_of_a_model_are_held_against_their_blend(
    shop: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    words = (
        "--model",
        trained[0],
        "--events",
        shop / "events.csv",
        "--columns",
        "user_id=visitor,item_id=sku",
        "--parts",
    )
    done = run("evaluate", *words, "--json")
    found = {row["part"]: row for row in json.loads(done.stdout)["parts"]}
    assert "minus blend" not in found["blend"]
    chance = 10 / 12  # of HR@10 among twelve items; the shop's users go round in a circle
    assert found["blend"]["HR@10"] >= found["popularity alone"]["HR@10"]
    assert found["lstm alone"]["HR@10"] > chance
    low, high = found["blend without all networks"]["minus blend"]["NDCG@10"]
    assert low <= high
    assert {"language model without soft tokens alone", "blend, networks without text"} <= set(
        found
    )
    # no row stands there twice
    assert ("blend without EASE" in found) == ("blend without co-occurrence and EASE" in found)
    assert "Parts of the model" in run("evaluate", *words).stdout
    both = run("evaluate", *words, "--drift", 5)
    assert (both.returncode, "--parts" in both.stderr) == (2, True)


def test_sequences_without_times_are_trained_on_and_evaluated(tmp_path: Path) -> None:
    lines = [
        " ".join([f"u{user}", *(f"i{(user + place) % 9}" for place in range(6))])
        for user in range(60)
    ]
    (tmp_path / "sequences.txt").write_text("\n".join(lines), encoding="utf-8")
    words = ("--events", tmp_path / "sequences.txt", "--sequences", "--seen", "remove")
    done = run("train", *words, "--out", tmp_path / "model", "--epochs", 2, "--json")
    assert done.returncode == 0, done.stderr
    again = run("evaluate", "--model", tmp_path / "model", *words, "--json")
    assert json.loads(again.stdout)["items"][0] == json.loads(done.stdout)["evaluation"]["items"][0]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["train", "--out", "{}/m"], 2, "name event files with --events"),
        (
            ["train", "--events", "{}/none.csv", "--out", "{}/m"],
            1,
            "none.csv: there is no such file",
        ),
        (
            ["train", "--events", "{}/events.csv", "--out", "{}/m"],
            1,
            "its columns are visitor, sku, event_type, timestamp",
        ),
        (
            ["train", "--events", "{}/events.csv", "--columns", "x", "--out", "{}/m"],
            2,
            "is not FIELD=COLUMN",
        ),
        (
            ["train", "--events", "{}/events.csv", "--out", "{}/items.jsonl"],
            2,
            "is a file; name a directory",
        ),
        (["train", "--events", "{}/events.csv", "--out", "{}"], 2, "holds other files"),
        (
            ["train", "--events", "{}/events.csv", "--out", "{}/m", "--device", "cuda"],
            1,
            "torch sees no GPU; set it to cpu",
        ),
        (["evaluate"], 2, "name event files with --events, or simulated users with --drift"),
        (["evaluate", "--model", "{}", "--events", "{}/events.csv"], 1, "is not a model directory"),
        (["evaluate", "--events", "{}/events.csv"], 2, "or take the one of the simulated shop"),
        (["evaluate", "--parts", "--events", "{}/events.csv"], 2, "--demo-model"),
        (["evaluate", "--explanations", "9", "--events", "{}/events.csv"], 2, "--demo-model"),
        (["evaluate", "--demo-model", "--model", "{}/model", "--drift", "2"], 2, "one of them"),
        (["rank", "--histories", "{}/none"], 2, "--demo-model"),
        (["match", "--phrases", "{}/none"], 2, "--demo-model"),
        (
            ["rank", "--model", "{}/model", "--histories", "{}/none"],
            1,
            "none: there is no such file",
        ),
    ],
)
def test_mistakes_end_with_a_message_and_a_code(
    shop: Path, trained: tuple[Path, dict[str, Any]], words: list[str], code: int, message: str
) -> None:
    done = run(*(word.format(shop) for word in words))
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert message in done.stderr


def test_who_was_trained_on_is_asked_of_a_model_that_held_users_out(
    shop: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    out = shop / "half"
    done = run(*training(shop, out, "--hold-out-users", 0.5, "--epochs", 2, "--json"))
    assert done.returncode == 0, done.stderr
    users = json.loads(done.stdout)["preparation"]["users"]
    files = ("--events", shop / "events.csv", "--columns", "user_id=visitor,item_id=sku")
    told = run("evaluate", "--model", out, *files, "--membership", "--json")
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    assert (report["members"], report["members"] + report["held_out"]) == (users, 60)
    for each in report["attacks"].values():
        low, high = each["auc interval"]
        assert 0 <= low <= each["auc"] <= high <= 1
    text = run("evaluate", "--model", out, *files, "--membership").stdout
    assert "Who was trained on?" in text
    assert "known-events.safetensors" in text
    whole = run("evaluate", "--model", trained[0], *files, "--membership")
    assert (whole.returncode, "--hold-out-users" in whole.stderr) == (2, True)
    rows = (shop / "events.csv").read_text().replace(",176400", ",176401")
    (shop / "others.csv").write_text(rows, encoding="utf-8")
    others = ("--events", shop / "others.csv", *files[2:])
    other = run("evaluate", "--model", out, *others, "--membership")
    assert (other.returncode, "events and options of its training" in other.stderr) == (1, True)
