"""Published updates and the users' events are read for `evaluate --predictions`."""

from __future__ import annotations

import json
from pathlib import Path

from stream.files.events import EventFiles
from stream.files.predictions import PredictionFile, read_logs
from tests.support.contracts import golden


def test_updates_are_read_and_other_lines_counted(tmp_path: Path) -> None:
    update = golden("updates-valid.jsonl")[0]
    path = tmp_path / "updates.jsonl"
    path.write_text(f"{json.dumps(update)}\n{{}}\nno JSON\n", encoding="utf-8")
    file = PredictionFile(path)
    (prediction,) = file
    assert (prediction.user_id, prediction.events_seen) == (
        update["user_id"],
        update["events_seen"],
    )
    assert prediction.items == [each["item_id"] for each in update["items"]]
    assert file.bad == {"not an interest update": 2}
    assert file.first_bad.startswith(f"{path}:2: not an interest update")


def test_logs_are_by_user_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(
        "user_id,item_id,time\nu1,a,1764000005\nu2,b,1764000006\nu1,c,1764000004\n",
        encoding="utf-8",
    )
    logs = read_logs(EventFiles([path]))
    assert list(logs) == ["u1", "u2"]
    assert logs["u1"].items == ["a", "c"]
    assert logs["u1"].times_ms == [1764000005000, 1764000004000]
