"""Measures what a least number of users costs tables of pairs, each of them asked alone.

    python -m tests.benchmarks.least_users FOLDER --least 1 2 3 5 10

FOLDER has events.tsv.gz and items.jsonl.gz, or sequences.txt.gz. The last event of each user is
asked for, all items are candidates, and the table learned all events before it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from models.compact import RECENT
from models.data.prepare import PrepareConfig, catalogue_rows
from models.data.splits import split
from models.evaluation import metrics
from models.scorers.registry import SCORERS
from models.scorers.scorer import Family, Histories, RecentItems, ScorerInput
from stream.offline.dataset import Inputs, load_dataset

BATCH = 256


def main() -> None:
    """Reads the words of the command line, and prints a line a table and threshold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--least", type=int, nargs="+", default=[1, 2, 3, 5, 10])
    parser.add_argument("--most-cases", type=int, default=20_000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    lists = given.folder / "sequences.txt.gz"
    inputs = Inputs([given.folder / "events.tsv.gz"], [given.folder / "items.jsonl.gz"])
    if lists.exists():
        inputs = Inputs([lists], sequences=True)
    cut = split(load_dataset(inputs, PrepareConfig()), most_cases=given.most_cases)
    kinds = [each for each in SCORERS if each.family in (Family.PAIRS, Family.SUCCESSION)]

    # what the users of the cases met before, newest first
    rows = catalogue_rows(cut.whole.events["key"], cut.whole.item_ids).astype(np.int64)
    back = np.arange(1, RECENT + 1)
    there = back <= cut.cases.history[:, None]
    before = np.where(there, rows[np.maximum(cut.cases.position[:, None] - back, 0)], 0)
    recent, held = torch.from_numpy(before), torch.from_numpy(there)
    learned = catalogue_rows(cut.train.events["key"], cut.train.item_ids).astype(np.int64)

    items = len(cut.whole.item_ids)
    for least in given.least:
        for kind in kinds:
            table = kind.learn(Histories(learned, cut.train.user_start, items, least))
            if table is None:
                continue
            ranks = []
            for start in range(0, len(recent), BATCH):
                some = slice(start, start + BATCH)
                nothing = torch.zeros(1, 1).expand(len(recent[some]), items + 1)
                met = RecentItems(recent[some], held[some], held[some])
                asked = ScorerInput(met, nothing, nothing, nothing[0], nothing[:1])
                scores = table.scores(asked).scores[:, 1:].numpy()
                ranks.append(metrics.ranks(scores, cut.cases.target[some]))
            rank = np.concatenate(ranks)
            pairs = int((next(iter(table.tensors().values())) > 0).sum())
            print(  # noqa: T201
                f"{given.folder.name}: {least} users, {kind.name}: {pairs} pairs, "
                f"HR@10 {metrics.hits(rank, 10).mean():.4f}, "
                f"NDCG@10 {metrics.gains(rank, 10).mean():.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
