"""Runs GRU4Rec of Cornac on the cases of a benchmark.

    pip install cornac==3.0.1 torch      (in an environment of its own)
    python cornac_gru4rec.py FOLDER SEED

It prints HR@10 and NDCG@10. The implementation carries the options of its authors' one, with the
setting they give for cross-entropy on clicks: 100 units, shared embedding, batch 32, rate 0.1,
embedding dropout 0.1, logq 1 (RSC15 in hidasib/GRU4Rec_PyTorch_Official), 2,048 samples.
Validation: every tenth of the training sessions, Recall@20 after each of at most CORNAC_EPOCHS (10)
epochs; the best epoch stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import ask
import numpy as np
from cornac.data import SequentialDataset
from cornac.models import GRU4Rec

Array = np.ndarray[Any, Any]
FIXED = {
    "layers": [100],
    "loss": "cross-entropy",
    "batch_size": 32,
    "dropout_p_embed": 0.1,
    "learning_rate": 0.1,
}
FIXED |= {
    "constrained_embedding": True,
    "n_sample": 2_048,
    "sample_alpha": 0.5,
    "logq": 1.0,
    "device": "cpu",
}


def fit(questions: ask.Questions, seed: int) -> Callable[[list[Array]], Array]:
    """Trains, and returns a function that scores histories."""
    # Every tenth session is for validation.
    sessions = [each for each in questions.train if len(each) > 1]
    rest = [each for number, each in enumerate(sessions) if number % 10 != 9]
    train = SequentialDataset.build(_rows(rest), fmt="SIT", seed=seed)
    held = SequentialDataset.build(
        _rows(sessions[9::10]),
        fmt="SIT",
        seed=seed,
        global_iid_map=train.iid_map,
        exclude_unknowns=True,
    )
    model = GRU4Rec(
        **FIXED,
        n_epochs=int(os.environ.get("CORNAC_EPOCHS", "10")),
        model_selection="best",
        val_eval_every=1,
        seed=seed,
    )
    model.fit(train, held)

    # Its numbers of the items, -1 for those that it never met.
    places = np.full(questions.items, -1)
    for item, place in train.iid_map.items():
        places[item] = place
    known = places >= 0

    def scores(histories: list[Array]) -> Array:
        """Returns the scores of all items, float [B, V]."""
        scored = np.full((len(histories), questions.items), -np.inf)
        for row, history in enumerate(histories):
            known_items = places[history]
            scored[row, known] = np.asarray(
                model.score(None, known_items[known_items >= 0].tolist())
            )[places[known]]
        return scored

    return scores


def _rows(sessions: list[Array]) -> list[tuple[int, int, int]]:
    """Returns the rows of a table that Cornac reads."""
    return [
        (number, item, moment)
        for number, items in enumerate(sessions)
        for moment, item in enumerate(items.tolist())
    ]


if __name__ == "__main__":
    ask.run("cornac GRU4Rec", fit)
