"""GRU4Rec of Cornac, which carries the options of its authors' implementation, with the setting they give for cross-entropy on clicks.

In an environment of its own: `pip install cornac==3.0.1 torch`, then `python cornac_gru4rec.py FOLDER SEED`.

100 units, shared embedding, batch 32, rate 0.1, embedding dropout 0.1, logq 1 (RSC15 in hidasib/GRU4Rec_PyTorch_Official), 2,048 samples.
Validation: every tenth of the training sessions, Recall@20 after each of at most CORNAC_EPOCHS (10) epochs; the best epoch stays.
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
FIXED = {"layers": [100], "loss": "cross-entropy", "batch_size": 32, "dropout_p_embed": 0.1, "learning_rate": 0.1}
FIXED |= {"constrained_embedding": True, "n_sample": 2_048, "sample_alpha": 0.5, "logq": 1.0, "device": "cpu"}


def fit(questions: ask.Questions, seed: int) -> Callable[[list[Array]], Array]:
    """Trains; the answer scores histories."""
    sessions = [each for each in questions.train if len(each) > 1]
    rest = [each for number, each in enumerate(sessions) if number % 10 != 9]
    train = SequentialDataset.build(_rows(rest), fmt="SIT", seed=seed)
    held = SequentialDataset.build(
        _rows(sessions[9::10]), fmt="SIT", seed=seed, global_iid_map=train.iid_map, exclude_unknowns=True
    )
    model = GRU4Rec(
        **FIXED,
        n_epochs=int(os.environ.get("CORNAC_EPOCHS", "10")),
        model_selection="best",
        val_eval_every=1,
        seed=seed,
    )
    model.fit(train, held)
    places = np.full(questions.items, -1)
    for item, place in train.iid_map.items():
        places[item] = place
    known = places >= 0

    def scores(histories: list[Array]) -> Array:
        said = np.full((len(histories), questions.items), -np.inf)
        for row, history in enumerate(histories):
            heard = places[history]
            said[row, known] = np.asarray(model.score(None, heard[heard >= 0].tolist()))[places[known]]
        return said

    return scores


def _rows(sessions: list[Array]) -> list[tuple[int, int, int]]:
    return [
        (number, item, moment) for number, items in enumerate(sessions) for moment, item in enumerate(items.tolist())
    ]


if __name__ == "__main__":
    ask.run("cornac GRU4Rec", fit)
