"""Runs GRU4Rec of RecBole with its defaults on the cases of a benchmark.

    pip install numpy==1.26.4 torch==2.5.1 recbole==1.2.1      (in an environment of its own)
    python recbole_gru4rec.py FOLDER SEED

It prints HR@10 and NDCG@10. Defaults: 64 wide, GRU of 128, cross-entropy, every prefix a sample.
Validation is the last training item of each user or session, NDCG@10, at most RECBOLE_EPOCHS (300)
and RECBOLE_MINUTES (600), with a patience of RECBOLE_PATIENCE epochs (10, RecBole's default; on
some data it rests at popularity for as long). The best epoch by validation answers; where time or
epochs ran out before patience did, the last line that is printed says so.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ask
import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.utils import get_model, get_trainer, init_seed

Array = np.ndarray[Any, Any]
LENGTH = 50
PATIENCE = int(os.environ.get("RECBOLE_PATIENCE", "10"))


class _NoTimeLeft(Exception):
    """Ends a training whose minutes are over."""


def fit(questions: ask.Questions, seed: int) -> Callable[[list[Array]], Array]:
    """Trains, and returns a function that scores histories."""
    # The training events as a file, and the defaults where they say nothing else.
    folder = Path(tempfile.mkdtemp(prefix="recbole-"))
    _write(questions, folder)
    config = Config(
        model="GRU4Rec",
        dataset="asked",
        config_dict={
            "data_path": str(folder),
            "checkpoint_dir": str(folder / "saved"),
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "USER_ID_FIELD": "user_id",
            "ITEM_ID_FIELD": "item_id",
            "TIME_FIELD": "timestamp",
            "MAX_ITEM_LIST_LENGTH": LENGTH,
            "train_neg_sample_args": None,
            "eval_args": {
                "split": {"LS": "valid_and_test"},
                "order": "TO",
                "group_by": "user",
                "mode": "full",
            },
            "valid_metric": "NDCG@10",
            "stopping_step": PATIENCE,
            "epochs": int(os.environ.get("RECBOLE_EPOCHS", "300")),
            "use_gpu": False,
            "show_progress": False,
            "seed": seed,
        },
    )

    # The training: epochs until patience or the minutes are over; it writes a log where it is
    # started.
    init_seed(seed, reproducibility=True)
    dataset = create_dataset(config)
    train, validation, _ = data_preparation(config, dataset)
    model = get_model(config["model"])(config, train.dataset)
    curve: list[float] = []
    until = time.monotonic() + 60 * float(os.environ.get("RECBOLE_MINUTES", "600"))

    def validated(epoch: int, gain: float) -> None:
        """Notes the validation of an epoch, and ends the training when its minutes are over."""
        curve.append(gain)
        sys.stdout.write(f"epoch {epoch + 1}: NDCG@10 of validation {gain:.4f}\n")
        sys.stdout.flush()
        if time.monotonic() > until:
            raise _NoTimeLeft

    with contextlib.chdir(folder), contextlib.suppress(_NoTimeLeft):
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        trainer.fit(train, validation, saved=True, show_progress=False, callback_fn=validated)
    best = int(np.argmax(curve))
    ended = "patience" if len(curve) - 1 - best > PATIENCE else "its limit, before patience did"
    sys.stdout.write(
        f"{len(curve)} epochs, ended by {ended}; best the {best + 1}th: {curve[best]:.4f}\n"
    )

    # The best epoch answers.
    model.load_state_dict(torch.load(trainer.saved_model_file, weights_only=False)["state_dict"])
    model.eval()
    places = np.zeros(questions.items, np.int64)  # 0: never met in training
    for item in dataset.field2id_token["item_id"][1:]:
        places[int(item)] = dataset.token2id("item_id", item)

    @torch.no_grad()
    def scores(histories: list[Array]) -> Array:
        """Returns the scores of all items, float [B, V]."""
        asked = torch.zeros(len(histories), LENGTH, dtype=torch.long)
        length = torch.ones(len(histories), dtype=torch.long)
        for row, history in enumerate(histories):
            known = places[history]
            known = known[known > 0][-LENGTH:]
            asked[row, : len(known)] = torch.from_numpy(known)
            length[row] = max(len(known), 1)
        scored = model.full_sort_predict(
            Interaction({"item_id_list": asked, "item_length": length})
        ).numpy()
        scored[:, 0] = -np.inf
        found: Array = scored[:, places]
        return found

    return scores


def _write(questions: ask.Questions, folder: Path) -> None:
    """Writes RecBole's atomic file.

    RecBole holds out two events of each user: the last of them is the validation's own, repeated
    and unused.
    """
    (folder / "asked").mkdir()
    with (folder / "asked" / "asked.inter").open("w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for group, items in enumerate(questions.train):
            for moment, item in enumerate([*items.tolist(), int(items[-1])]):
                file.write(f"{group}\t{item}\t{moment}\n")


if __name__ == "__main__":
    ask.run("recbole GRU4Rec", fit)
