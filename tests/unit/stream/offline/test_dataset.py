"""Files become a prepared data set whose report says what was left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from models.data.prepare import PrepareConfig
from stream.errors import DataError
from stream.files.places import Remote
from stream.offline import dataset as module
from stream.offline.dataset import (
    EVENTS_A_USER,
    STEPS,
    Inputs,
    load_dataset,
    simulated_dataset,
    with_known_interests,
)

CONFIG = PrepareConfig(min_events=2)
HEADER = "user_id,item_id,time\n"


def written(folder: Path, text: str, name: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_events_and_catalogue_are_joined_and_reported(tmp_path: Path) -> None:
    events = written(
        tmp_path,
        HEADER + "u1,a,1764000005\nu1,b,1764000006\nu2\nu2,a,1764000007\nu2,b,1764000008\n",
        "events.csv",
    )
    items = written(
        tmp_path, '{"item_id": "a", "title": "Tent"}\n{"item_id": "b"}\n[]\n', "items.jsonl"
    )
    dataset = load_dataset(Inputs([events], [items]), CONFIG)
    assert (dataset.users, dataset.item_ids) == (["u1", "u2"], ["a", "b"])
    assert dataset.report["bad_lines"] == {"wrong-columns": 1}
    assert dataset.report["bad_line_samples"][0].startswith(f"{events}:4: ")
    assert dataset.report["notes"] == [
        "5 rows read: 4 gave an event, 1 did not",
        "4 times are seconds: read as such",
        "4 events have no action: read as a view",
    ]
    assert dataset.report["rows_read"] == 5 == dataset.report["events_read"] + 1
    assert dataset.report["catalogue_problems"]["not a JSON object"] == 1


def test_a_data_set_of_nothing_names_the_first_bad_line(tmp_path: Path) -> None:
    events = written(tmp_path, HEADER + "u1\n", "events.csv")
    with pytest.raises(DataError, match=r"0 gave an event, 1 did not; the first: .*events.csv:2: "):
        load_dataset(Inputs([events]), CONFIG)


def test_a_simulation_goes_through_files_and_has_a_catalogue() -> None:
    dataset = simulated_dataset(20, 3, PrepareConfig())
    assert len(dataset.users) <= 20
    assert len(dataset.events) <= 20 * EVENTS_A_USER
    assert dataset.report["notes"][-1] == "simulated: 20 users, seed 3"
    assert dataset.report["catalogue_files"]


def test_known_interests_belong_to_the_items_that_are_named(tmp_path: Path) -> None:
    events = written(tmp_path, HEADER + "u1,a,1764000005\nu1,b,1764000006\n", "events.csv")
    dataset = load_dataset(Inputs([events]), CONFIG)
    belongs = np.array([[True, False], [True, True]])
    found = with_known_interests(dataset, ["x", "y"], belongs)
    assert found.interests == ["x", "y"]
    assert found.membership.indptr.tolist() == [0, 1, 3]
    assert found.membership.indices.tolist() == [0, 0, 1]


def test_different_actions_are_no_duplicates_whatever_they_map_to(tmp_path: Path) -> None:
    rows = [
        "u1,a,1700000005000,beamed",
        "u1,a,1700000005000,teleported",
        "u1,a,1700000005000,teleported",
        "u1,b,1700000006000,View",
        "u1,b,1700000006000,page_view",
        "u1,b,1700000006000,page view",
    ]
    events = written(
        tmp_path, "user_id,item_id,time,action\n" + "\n".join(rows) + "\n", "events.csv"
    )
    dataset = load_dataset(Inputs([events]), CONFIG)
    assert len(dataset.events) == 4
    assert dataset.report["dropped"][0]["events"] == 2
    assert dataset.report["unknown_actions"] == {"teleported": 2, "beamed": 1}
    (said,) = dataset.report["notes"]
    assert said == (
        "3 events have an action that is not listed and count as other: 'teleported' (2), "
        "'beamed' (1)"
    )


def test_rows_that_are_left_out_on_purpose_are_told(tmp_path: Path) -> None:
    row = "1\tU{}\t11/1{}/2019 9:05:58 AM\tN1\tN2-{} N3-1\n"
    text = "".join(row.format(user, day, day % 2) for user in range(2) for day in range(3))
    found = load_dataset(Inputs([written(tmp_path, text, "behaviors.tsv")]), CONFIG).report
    assert found["rows_read"] == found["events_read"] + sum(found["left_out"].values()) == 12
    assert "4 rows are items that were shown and not clicked: left out" in found["notes"]
    nothing = written(tmp_path, row.format(1, 1, 0).replace("-1", "-0"), "behaviors.tsv")
    with pytest.raises(DataError, match=r"; 2 rows are items that were shown and not clicked$"):
        load_dataset(Inputs([nothing]), CONFIG)


def test_parts_at_an_address_are_read_with_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    system = fsspec.filesystem("memory")
    for part in range(2):
        rows = "".join(f"u{row % 7},i{row % 9},{1764000000 + row}\n" for row in range(9_000))
        system.pipe(f"/shop/events/part-{part}.csv", (HEADER + rows).encode())
    shown: list[tuple[str, int, int]] = []

    def progress(stage: str, done: int, total: int, figures: dict[str, Any], /) -> None:
        shown.append((stage, done, total))

    monkeypatch.setattr(module, "LONG_READ", 1 << 10)
    inputs = Inputs([Remote("memory://shop/events")])
    assert load_dataset(inputs, CONFIG, progress=progress).report["rows_read"] == 18_000
    assert [each[0] for each in shown] == ["reading"] * len(shown)
    assert [done for _, done, _ in shown] == sorted(done for _, done, _ in shown)
    assert (len(shown) > 2, shown[-1][1:]) == (True, (STEPS, STEPS))
    system.store.clear()
