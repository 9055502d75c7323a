"""Runs SASRec of RecTools with its defaults on the cases of a benchmark.

    pip install "rectools[torch]==0.19.0"      (in an environment of its own)
    python rectools_sasrec.py FOLDER SEED

It prints HR@10 and NDCG@10. Defaults: 256 wide, two blocks, softmax over all items. Validation is
the last training item of each user or session, by loss, as RecTools' guide to training has it;
patience 3, at most RECTOOLS_EPOCHS (100) and RECTOOLS_MINUTES (600). The best epoch by validation
answers; where time or epochs ran out before patience did, the last line that is printed says so.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import ask
import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

Array = np.ndarray[Any, Any]
BEST = 50
"""Items that are ranked; what is not among them ranks behind all others."""


def fit(questions: ask.Questions, seed: int) -> Callable[[list[Array]], Array]:
    """Trains, and returns a function that scores histories."""
    seed_everything(seed, workers=True)
    folder = tempfile.mkdtemp(prefix="rectools-")

    def trainer() -> Trainer:
        """Returns the trainer of RecTools' guide."""
        return Trainer(
            max_epochs=int(os.environ.get("RECTOOLS_EPOCHS", "100")),
            max_time=timedelta(minutes=float(os.environ.get("RECTOOLS_MINUTES", "600"))),
            accelerator="cpu",
            deterministic=True,
            enable_progress_bar=False,
            logger=False,
            callbacks=[
                EarlyStopping(SASRecModel.val_loss_name, mode="min", patience=3),
                ModelCheckpoint(
                    folder, filename="{epoch}", monitor=SASRecModel.val_loss_name, mode="min"
                ),
            ],
        )

    # Training, and how it ended.
    model = SASRecModel(
        deterministic=True, get_val_mask_func=_last_of_each, get_trainer_func=trainer
    )
    model.fit(Dataset.construct(_interactions(questions.train)))
    stopping, kept = (
        _callback(model.fit_trainer, kind) for kind in (EarlyStopping, ModelCheckpoint)
    )
    ended = "patience" if stopping.stopped_epoch else "its limit, before patience did"
    epochs, loss = model.fit_trainer.current_epoch, float(kept.best_model_score)
    sys.stdout.write(
        f"{epochs} epochs, ended by {ended}; best {Path(kept.best_model_path).stem}: "
        f"loss {loss:.4f}\n"
    )
    model.load_weights_from_checkpoint(kept.best_model_path)
    return answers(model, questions)


def answers(model: SASRecModel, questions: ask.Questions) -> Callable[[list[Array]], Array]:
    """Returns the scores of histories by a trained model.

    It knows no items that only users with a single event met.
    """
    known = np.array(model.data_preparator.get_known_item_ids(), np.int64)

    def scores(histories: list[Array]) -> Array:
        """Returns the scores of all items, float [B, V]."""
        scored = np.full((len(histories), questions.items), -np.inf)
        known_items = [history[np.isin(history, known)] for history in histories]
        asked = [row for row, history in enumerate(known_items) if len(history)]
        if asked:
            table = model.recommend(
                users=np.array(asked),
                dataset=Dataset.construct(
                    _interactions([known_items[row] for row in asked], asked)
                ),
                k=BEST,
                filter_viewed=not questions.keep_seen,
            )
            scored[table[Columns.User], table[Columns.Item]] = table[Columns.Score]
        return scored

    return scores


def _callback(trainer: Trainer, kind: type[Any]) -> Any:
    """Returns the callback of a kind that a trainer has."""
    return next(each for each in trainer.callbacks if isinstance(each, kind))


def _interactions(sequences: list[Array], users: list[int] | None = None) -> pd.DataFrame:
    """Returns RecTools' table; the order in a sequence is its time, a second an event."""
    lengths = [len(each) for each in sequences]
    moments = np.concatenate([np.arange(each) for each in lengths])
    return pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(len(sequences)) if users is None else users, lengths),
            Columns.Item: np.concatenate(sequences),
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2020-01-01") + pd.to_timedelta(moments, unit="s"),
        }
    )


def _last_of_each(interactions: pd.DataFrame) -> Array:
    """Returns which rows are the last of a user with more than two, a mask."""
    order = interactions.groupby(Columns.User)[Columns.Datetime].rank(
        method="first", ascending=False
    )
    many = interactions.groupby(Columns.User)[Columns.Item].transform("count") > 2
    return np.asarray((order == 1) & many)


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    ask.run("rectools SASRec", fit)
