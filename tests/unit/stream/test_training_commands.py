"""train, evaluate and rank as a user meets them: one small shop, trained once, asked in every way."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stream.cli.root import main

pytestmark = pytest.mark.slow

KINDS = {"Outdoor": "tent rope lamp stove boots map", "Kitchen": "pan knife bowl cup plate spoon"}


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def run(*words: object, text: str = "") -> Done:
    """The command line inside this process: importing torch anew for each call would take most of the time."""
    streams = [io.TextIOWrapper(io.BytesIO(data), "utf-8", write_through=True) for data in (text.encode(), b"", b"")]
    with pytest.MonkeyPatch.context() as patch:
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            patch.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
    out, err = (stream.buffer.getvalue().decode() for stream in streams[1:])
    return Done(int(ended.value.code or 0), out, err)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with events.csv and items.jsonl: 60 users who walk round one kind of goods, some lines broken."""
    folder = tmp_path_factory.mktemp("shop")
    items = [
        {"item_id": f"{kind[0]}{place}", "title": word, "categories": [kind]}
        for kind, words in KINDS.items()
        for place, word in enumerate(words.split())
    ]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, items)), encoding="utf-8")
    rows = ["visitor,sku,event_type,timestamp"]
    for user in range(60):
        kind = "OK"[user % 2]
        rows += [f"u{user},{kind}{(user + place) % 6},view,{1764000000 + 60 * place}" for place in range(5 + user % 4)]
    rows += ["broken", "u1,O1,view,yesterday", "u70,O1,view,1764000000"]
    (folder / "events.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def training(shop: Path, out: Path, *more: object) -> tuple[object, ...]:
    files = (
        "--events",
        shop / "events.csv",
        "--items",
        shop / "items.jsonl",
        "--columns",
        "user_id=visitor,item_id=sku",
    )
    return ("train", *files, "--out", out, "--epochs", 12, *more)


@pytest.fixture(scope="module")
def trained(shop: Path) -> tuple[Path, dict[str, Any]]:
    out = shop / "model"
    done = run(*training(shop, out, "--json"))
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_train_reports_what_it_left_out_and_how_it_compares(trained: tuple[Path, dict[str, Any]]) -> None:
    out, report = trained
    preparation = report["preparation"]
    assert preparation["bad_lines"] == {"wrong-columns": 1, "bad-time": 1}
    assert [each["users"] for each in preparation["dropped"] if each["events"]] == [1]  # u70 has one event
    assert preparation["interests"] == {"source": "categories of the catalogue", "count": 2, "events_covered": 1.0}
    assert report["evaluation"]["cases"] == 60
    assert len(report["evaluation"]["verdict"]) == 4
    assert json.loads((out / "report.json").read_text(encoding="utf-8")) == report
    page = (out / "report.html").read_text(encoding="utf-8")
    for part in ("Left out", "Next item", "Calibration", "lstm: ndcg@10", "Weights of the blend", "Users in words"):
        assert part in page
    for example in report["examples"]:
        assert example["next"] in " ".join(KINDS.values())
        assert {each["interest"] for each in example["interests"]} == set(KINDS)
        assert all(line.startswith("view ") for line in example["history"])


def test_evaluate_says_the_same_as_the_training_did(shop: Path, trained: tuple[Path, dict[str, Any]]) -> None:
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
        "evaluate", "--model", out, "--events", shop / "events.csv", *words, "--live-popularity", "--html", place
    )
    assert "first-order Markov" in table.stdout
    assert "it may have learned what is asked here" in table.stdout
    page = place.read_text(encoding="utf-8")
    assert all(
        part in page for part in ("Next item", "HR@10 by hours", "model, states frozen at the cut", "Calibration")
    )
    nowhere = run("evaluate", "--drift", 4, "--html", shop / "no" / "folder.html")
    assert nowhere.returncode == 2
    assert "folder.html cannot be written: No such file or directory" in nowhere.stderr


def test_rank_answers_good_lines_in_order_and_names_bad_ones(trained: tuple[Path, dict[str, Any]]) -> None:
    event = {"action": "view", "time": 1764000000000, "item_id": "O1"}
    lines = [
        {"user_id": "a", "events": [event, {**event, "item_id": "O2", "time": 1764000060000}]},
        {"user_id": "b", "events": [{**event, "time": "soon"}]},
        {"user_id": "a", "events": [event]},
        {"user_id": "c", "events": []},
        {"user_id": "d", "events": [{"action": "search", "time": 5, "query": "pan"}]},
    ]
    text = "\n".join(map(json.dumps, lines))
    done = run("rank", "--model", trained[0], "--histories", "-", "--items", 3, text=text)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["user_id"], each["events_seen"]) for each in answers] == [("a", 2), ("a", 1), ("d", 1)]
    assert all(len(each["items"]) == 3 for each in answers)
    assert done.returncode == 1
    assert "standard input:2: events[0]: time 'soon' is not RFC 3339" in done.stderr
    assert "standard input:4: events is missing, empty" in done.stderr
    assert "2 of 5 lines were bad; the 3 others are answered" in done.stderr


def test_a_history_is_scored_alike_alone_and_among_others(trained: tuple[Path, dict[str, Any]]) -> None:
    def line(user: str, count: int) -> str:
        events = [
            {"action": "view", "time": 1764000000000 + place, "item_id": f"K{place % 6}"} for place in range(count)
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


def test_evaluate_holds_predictions_against_what_followed(shop: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    out, _ = trained
    events = [{"user_id": "x", "action": "view", "time": place, "item_id": f"O{place}"} for place in range(4)]
    history = json.dumps({"user_id": "x", "events": events[:3]})
    (shop / "log.jsonl").write_text("\n".join(map(json.dumps, events)), encoding="utf-8")
    updates = run("rank", "--model", out, "--histories", "-", "--items", 12, "--interests", 2, text=history).stdout
    (shop / "updates.jsonl").write_text(updates + "no update\n", encoding="utf-8")
    done = run(
        "evaluate", "--model", out, "--predictions", shop / "updates.jsonl", "--events", shop / "log.jsonl", "--json"
    )
    found = json.loads(done.stdout)
    assert (found["updates"], found["updates_with_a_next_event"]) == (1, 1)
    assert found["MRR@12"] > 0  # all items are named, so the one that followed is
    assert found["bad_lines"] == {"not an interest update": 1}
    place = [each["item_id"] for each in json.loads(updates)["items"]].index("O3")
    assert found["HR@5"] == float(place < 5)


def test_drift_is_measured_on_the_shipped_model_and_refused_on_others(trained: tuple[Path, dict[str, Any]]) -> None:
    found = json.loads(run("evaluate", "--drift", 5, "--json").stdout)
    levels = {level["noise"]: level for level in found["levels"]}
    drawn, clean, noisy = levels[None], levels[0.0], levels[0.3]
    assert drawn["model"]["switches"] > 10
    assert drawn["model"]["right"] > 0.6  # twenty interests: chance would be right in 0.05
    assert clean["model"]["right"] > noisy["model"]["right"]
    restless, patient = (drawn["trackers"][f"counter, half-life {half_life}"] for half_life in ("0.5", "8"))
    assert restless["false per 100"] > patient["false per 100"]
    assert drawn["knows the rates"]["right"] > drawn["trackers"]["last 50 events"]["right"]
    assert "Changed interests, by noise" in run("evaluate", "--drift", 5).stdout
    other = run("evaluate", "--model", trained[0], "--drift", 5)
    assert other.returncode == 1
    assert "--drift is for models of the simulation" in other.stderr


def test_explanations_are_held_against_replays(shop: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    simulated = json.loads(run("evaluate", "--explanations", 20, "--json").stdout)
    assert simulated["users"] == 20
    assert simulated["table"][0]["fall"] > simulated["random event"]
    mapped = ("--columns", "user_id=visitor,item_id=sku")
    done = run("evaluate", "--model", trained[0], "--events", shop / "events.csv", *mapped, "--explanations", 10)
    assert done.returncode == 0, done.stderr
    assert "because, as published" in done.stdout
    both = run("evaluate", "--drift", 5, "--explanations", 5, "--events", shop / "events.csv")
    assert (both.returncode, "--drift" in both.stderr) == (2, True)


def test_parts_of_a_model_are_held_against_their_blend(shop: Path, trained: tuple[Path, dict[str, Any]]) -> None:
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
    low, high = found["blend without both networks"]["minus blend"]["NDCG@10"]
    assert low <= high
    assert {"language model without soft tokens alone", "blend, networks without text"} <= set(found)
    # no row stands there twice
    assert ("blend without EASE" in found) == ("blend without co-occurrence and EASE" in found)
    assert "Parts of the model" in run("evaluate", *words).stdout
    both = run("evaluate", *words, "--drift", 5)
    assert (both.returncode, "--parts" in both.stderr) == (2, True)


def test_sequences_without_times_are_trained_on_and_evaluated(tmp_path: Path) -> None:
    lines = [" ".join([f"u{user}", *(f"i{(user + place) % 9}" for place in range(6))]) for user in range(60)]
    (tmp_path / "sequences.txt").write_text("\n".join(lines), encoding="utf-8")
    words = ("--events", tmp_path / "sequences.txt", "--sequences", "--seen", "remove")
    done = run("train", *words, "--out", tmp_path / "model", "--epochs", 2, "--json")
    assert done.returncode == 0, done.stderr
    again = run("evaluate", "--model", tmp_path / "model", *words, "--json")
    assert json.loads(again.stdout)["items"][0] == json.loads(done.stdout)["evaluation"]["items"][0]


def test_interrupted_and_resumed_equals_uninterrupted(shop: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    out = shop / "interrupted"
    words = [sys.executable, "-m", "stream.cli", *map(str, training(shop, out, "--name", "model"))]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("lstm 1/12"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "The same command goes on from there" in rest
    again = run(*training(shop, out, "--name", "model"))
    assert again.returncode == 0, again.stderr
    assert "lstm 1/12" not in again.stderr  # that epoch is not run again
    weights = (out / "weights.safetensors", trained[0] / "weights.safetensors")
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["train", "--out", "{}/m"], 2, "name event files with --events"),
        (["train", "--events", "{}/none.csv", "--out", "{}/m"], 1, "none.csv: there is no such file"),
        (
            ["train", "--events", "{}/events.csv", "--out", "{}/m"],
            1,
            "its columns are visitor, sku, event_type, timestamp",
        ),
        (["train", "--events", "{}/events.csv", "--columns", "x", "--out", "{}/m"], 2, "is not FIELD=COLUMN"),
        (["train", "--events", "{}/events.csv", "--out", "{}/items.jsonl"], 2, "is a file; name a directory"),
        (["train", "--events", "{}/events.csv", "--out", "{}"], 2, "holds other files"),
        (["evaluate"], 2, "name event files with --events, or simulated users with --drift"),
        (["evaluate", "--model", "{}", "--events", "{}/events.csv"], 1, "is not a model directory"),
        (["rank", "--model", "{}/model", "--histories", "{}/none"], 1, "none: there is no such file"),
    ],
)
def test_mistakes_end_with_a_message_and_a_code(
    shop: Path, trained: tuple[Path, dict[str, Any]], words: list[str], code: int, message: str
) -> None:
    done = run(*(word.format(shop) for word in words))
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert message in done.stderr
