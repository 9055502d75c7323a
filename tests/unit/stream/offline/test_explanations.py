"""The histories on which explanations are measured; the measures are tested in models."""

from __future__ import annotations

from pathlib import Path

from models.data.prepare import PrepareConfig
from stream.offline.dataset import Inputs, load_dataset
from stream.offline.explanations import LENGTHS, LONGEST, histories_of, simulated_histories


def test_simulated_histories_have_many_lengths() -> None:
    histories = simulated_histories(30, seed=2)
    assert len(histories) == 30
    assert all(LENGTHS[0] <= len(each) < LENGTHS[1] for each in histories)
    assert len({len(each) for each in histories}) > 5


def test_histories_of_a_data_set_leave_out_the_last_event(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    rows = [f"long,item-{number % 7},{1_764_000_000 + number}" for number in range(LONGEST + 50)]
    rows += ["short,a,1764000000", "short,b,1764000001"]
    path.write_text("user_id,item_id,time\n" + "\n".join(rows) + "\n", encoding="utf-8")
    dataset = load_dataset(Inputs([path]), PrepareConfig(min_events=2))
    (history,) = histories_of(dataset, 9, seed=1)  # two events are too few to take one away
    assert len(history) == LONGEST
    assert history["time_ms"][-1] == 1_000 * (1_764_000_000 + LONGEST + 48)
