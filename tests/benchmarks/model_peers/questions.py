"""Writes what a peer may learn from and the cases it is tested on, as plain arrays.

    python -m tests.benchmarks.model_peers.questions FOLDER --events events.tsv.gz \
        --items items.jsonl.gz --protocol leave-one-out

It writes FOLDER/questions.npz, which ask.py reads in the peer's environment, and prints how many
cases there are. The split is that of `train` and `evaluate`; options are those of `interest-stream
evaluate`. Events that are about no item of the catalogue (searches) are left out, as peers know
item ids only.

Glossary: N training events, T cases, V items.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from models.data.prepare import catalogue_rows, owners
from models.data.splits import Split, split
from stream.cli.data_options import data_options, prepare_config
from stream.files.columns import parse_mapping
from stream.offline.dataset import Inputs, load_dataset

_FILE = click.Path(path_type=Path, exists=True)


def cut(events: tuple[Path, ...], items: tuple[Path, ...], given: dict[str, Any]) -> Split:
    """Returns the split that `train` makes of the same files with the same options."""
    inputs = Inputs(events, items, parse_mapping(given["columns"]), given["sequences"])
    dataset = load_dataset(inputs, prepare_config(given))
    return split(
        dataset,
        given["protocol"],
        session_gap_s=given["session_gap"],
        most_cases=len(dataset.events),
    )


def save(split: Split, folder: Path, *, keep_seen: bool) -> None:
    """Writes questions.npz: training events in each user's order, cases with their histories."""
    whole, train, cases = split.whole, split.train, split.cases
    rows = catalogue_rows(train.events["key"], train.item_ids)
    known = rows > 0
    history_rows = catalogue_rows(whole.events["key"], whole.item_ids)
    begin = cases.position - cases.history if split.begun is None else split.begun[cases.position]
    histories = [
        history_rows[first:last]
        for first, last in zip(begin.tolist(), cases.position.tolist(), strict=True)
    ]
    histories = [each[each > 0] - 1 for each in histories]
    group = owners(train) if split.train_begun is None else split.train_begun
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        folder / "questions.npz",
        items=len(whole.item_ids),
        keep_seen=keep_seen,
        train_group=group[known],  # int64 [N]: user, or session where sessions are asked
        train_item=(rows[known] - 1).astype(np.int32),
        case_user=cases.user,
        case_target=cases.target,
        history_stop=np.cumsum([len(each) for each in histories]),
        history_item=np.concatenate(histories).astype(np.int32),
    )


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--events", multiple=True, required=True, type=_FILE)
@click.option("--items", multiple=True, type=_FILE)
@data_options
def main(folder: Path, events: tuple[Path, ...], items: tuple[Path, ...], **given: Any) -> None:
    """Writes the cases of a data set."""
    found = cut(events, items, given)
    save(found, folder, keep_seen=given["seen"] == "keep")
    click.echo(
        f"{found.description}: {len(found.train.events)} events to learn from, "
        f"{len(found.cases)} cases"
    )


if __name__ == "__main__":
    main()
