"""Attacks a model: can it be told from its losses which users it was trained on?

Protocol. A training left out a share of the users, drawn by a hash of their ids; the others are its
members. Of both the attacker has the history that training would have learned, and asks the model
for the next item at some of its places. A user's loss is the mean of -log softmax of the blended
item scores there: all that a model stores (networks, pair tables, popularity) is attacked at once.
Who has a smaller loss is called a member [1]. The AUC is the chance that a member drawn at random
has a smaller loss than one who was left out, ties counting half: 0.5 tells nothing, 1 everything.

A second attack takes from each loss that of the item's popularity, so that a user of rare items
does not look like a stranger [2]. Both come with the share of members found where one in a hundred
of the others is taken for one [3]. Intervals: 95 %, bootstrap over users, members and others apart.

[1] Yeom, Giacomelli, Fredrikson, Jha: Privacy Risk in Machine Learning: Analyzing the Connection to
    Overfitting (2018), adversary 1, with every threshold.
[2] Watson, Guo, Cormode, Sablayrolles: On the Importance of Difficulty Calibration in Membership
    Inference Attacks (2022), with popularity as the reference model.
[3] Carlini et al.: Membership Inference Attacks From First Principles (2022), section 3.

Glossary: U users, T cases (places in histories), V items.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.data.prepare import Dataset, catalogue_rows, owners
from models.data.replay import replay
from models.data.splits import Cases
from models.errors import ModelDataError
from models.evaluation.evaluate import CELLS, MOST_BATCH, EvaluatedModel
from models.evaluation.metrics import RESAMPLES
from models.progress import Progress, ignore_progress

Array = np.ndarray[Any, Any]

MOST_USERS: Final = 2_000
"""Users of each of the two groups, at most: the AUC's standard error is then below 0.01."""
PLACES: Final = 8
"""Places of a history that are asked, at most."""
FALSE_POSITIVES: Final = 0.01
LEAST_USERS: Final = 20
"""Fewer users in a group show nothing."""


def measure_membership(
    model: EvaluatedModel,
    learned: Dataset,
    members: Array,
    *,
    seed: int = 0,
    progress: Progress = ignore_progress,
) -> dict[str, Any]:
    """Returns how well losses tell members from others, as JSON.

    learned: the events that training learns of its users, of members and of others alike; members:
    bool [U]. Raises ModelDataError if there are too few users of one kind.
    """
    cases = _cases(learned, members, seed)
    losses, popular = _losses(model, learned, cases, progress)
    users, place = np.unique(cases.user, return_inverse=True)
    count = np.bincount(place)
    of_user, of_popularity = (np.bincount(place, each) / count for each in (losses, popular))
    mine, beside = members[users], of_user - of_popularity
    return {
        "members": int(mine.sum()),
        "held_out": int((~mine).sum()),
        "places": len(cases),
        "seed": seed,
        "loss": {
            "members": round(float(of_user[mine].mean()), 4),
            "held_out": round(float(of_user[~mine].mean()), 4),
        },
        "attacks": {
            "loss": attack(of_user[mine], of_user[~mine], seed),
            "loss less that of popularity": attack(beside[mine], beside[~mine], seed),
        },
    }


def attack(members: Array, others: Array, seed: int = 0) -> dict[str, Any]:
    """Returns the AUC of telling members by smaller losses, its interval, and how many are found.

    members, others: the loss of each user, float.
    """
    random = np.random.default_rng(seed)
    drawn = [
        auc(
            members[random.integers(len(members), size=len(members))],
            others[random.integers(len(others), size=len(others))],
        )
        for _ in range(RESAMPLES)
    ]
    threshold = np.quantile(others, FALSE_POSITIVES, method="lower")
    return {
        "auc": round(auc(members, others), 4),
        "auc interval": [round(float(each), 4) for each in np.quantile(drawn, (0.025, 0.975))],
        "found_at_1_in_100": round(float((members < threshold).mean()), 4),
    }


def auc(members: Array, others: Array) -> float:
    """Returns the chance that a member has the smaller loss; ties count half."""
    ranked = np.sort(members)
    below = np.searchsorted(ranked, others, side="left")
    equal = np.searchsorted(ranked, others, side="right") - below
    return float((below + equal / 2).mean() / len(members))


def _cases(learned: Dataset, members: Array, seed: int) -> Cases:
    """Returns the places that are asked, at most PLACES of a user and MOST_USERS of each group."""
    random = np.random.default_rng(seed)
    rows, owner = catalogue_rows(learned.events["key"], learned.item_ids), owners(learned)
    history = np.arange(len(owner)) - learned.user_start[owner]
    # in a random order, the first few of each user
    asked = random.permutation(np.flatnonzero((rows > 0) & (history > 0)))
    asked = asked[np.argsort(owner[asked], kind="stable")]
    users, first, count = np.unique(owner[asked], return_index=True, return_counts=True)
    turn = np.arange(len(asked)) - np.repeat(first, count)
    chosen = []
    for group in (users[members[users]], users[~members[users]]):
        if len(group) < LEAST_USERS:
            raise ModelDataError(
                f"only {len(group)} users are of one of the two kinds, {LEAST_USERS} are needed; "
                "give the events of the training, with the same options"
            )
        chosen.append(random.permutation(group)[:MOST_USERS])
    kept = np.sort(asked[(turn < PLACES) & np.isin(owner[asked], np.concatenate(chosen))])
    times = learned.events["time_ms"]
    return Cases(kept, owner[kept], history[kept], rows[kept].astype(np.int32) - 1, times[kept])


def _losses(
    model: EvaluatedModel, learned: Dataset, cases: Cases, progress: Progress
) -> tuple[Array, Array]:
    """Returns the loss of each case float64 [T] by the model, and that by popularity alone."""
    batch = max(1, min(MOST_BATCH, CELLS // max(len(learned.item_ids), 1)))
    losses, done = np.empty(len(cases)), 0
    for places, state, recent in replay(model, model.info.state_size, learned, cases, batch):
        scores = model.score_all(state, recent).astype(np.float64)
        highest = scores.max(1)
        total = highest + np.log(np.exp(scores - highest[:, None]).sum(1))
        losses[places] = total - scores[np.arange(len(places)), cases.target[places]]
        done += len(places)
        progress("membership", done, len(cases), {})
    rows = catalogue_rows(learned.events["key"], learned.item_ids)
    counts = np.bincount(rows, minlength=len(learned.item_ids) + 1)[1:] + 0.5
    return losses, -np.log(counts / counts.sum())[cases.target]
