"""Compares half-lives of recent popularity and cuts between lengths of history, for a blend.

    python -m tests.benchmarks.blend_settings EVENTS ITEMS MODEL [USERS [live]]

It prints two tables of losses on validation users: half-lives with the first cuts, and cuts with
the best half-life. With `live` recent popularity is a live count of the hour of each event
(models/scorers/recent_popularity.py), else one of its week.

The scorers of a trained model score what comes before the last training event of the newest USERS;
weights of the blend are fitted to half of them with each setting, the other half is predicted, and
the two change places. The last event of each user, which is the test, is not read. The loss is that
of a softmax over what is likely for the user (its own events, the best of each scorer and
half-life, the most popular) and a weighed sample of the rest: a seventh of the work of all items.

Glossary: U users, K candidates of each, the target first; F scorers; V items (row 0: unknown).
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from models.data.prepare import PrepareConfig
from models.data.replay import replay
from models.data.splits import Cases, split
from models.evaluation import metrics
from models.predict import load_predictor
from models.scorers import fit_weights, popularity, recent_popularity
from models.scorers.blend import Blend
from models.scorers.registry import NAMES, SCORERS, ScorerSet, before_last
from models.scorers.scorer import Histories
from models.serving.predictor import Predictor
from models.training.sequences import TrainingData
from stream.offline.dataset import Inputs, load_dataset

Array = np.ndarray[Any, Any]

HALF_LIVES: Final = (4.0, 0.5, 1.0, 2.0, 8.0, 16.0)
CUTS: Final = ((3, 10), (), (5,), (10,), (5, 20), (8, 20), (2, 5, 10))
HEAD: Final = 800
TAIL: Final = 400
BEST: Final = 40
RECENT_POPULARITY: Final = NAMES.index("recent_popularity")
NOT: Final = -1e9
"""Weight of a candidate that is there twice."""


@dataclass(frozen=True)
class Candidates:
    """Holds the scores of a user's candidates."""

    scores: Tensor  # [U, K, F]
    weight: Tensor  # [U, K] logarithm of how many items each stands for
    held: Tensor  # bool [U, 32] events that the states keep
    recent: dict[float, Tensor]  # [U, K] recent popularity for each half-life


def main(events: str, items: str, model: str, most: str = "3000", kind: str = "") -> None:
    """Prints two tables: half-lives with the first cuts, cuts with the best half-life."""
    found = candidates(Path(events), Path(items), Path(model), int(most), live=kind == "live")
    sys.stdout.write(f"{len(found.scores)} users of validation\n")
    loss = {
        half_life: _try(f"half-life {half_life:g} days", found, half_life, CUTS[0])
        for half_life in HALF_LIVES
    }
    best = min(loss, key=lambda each: loss[each].mean())
    _differences({f"{half_life:g} days": value for half_life, value in loss.items()})
    _differences({f"cuts {cuts}": _try(f"cuts {cuts}", found, best, cuts) for cuts in CUTS})


def candidates(events: Path, items: Path, model: Path, most: int, *, live: bool) -> Candidates:
    """Returns the candidates of the newest validation users of a leave-one-out training."""
    # The users, and the cases that are the last of their training events.
    dataset = split(load_dataset(Inputs([events], [items]), PrepareConfig(min_events=3))).train
    data, times, count = TrainingData(dataset, 50), dataset.events["time_ms"], len(dataset.item_ids)
    users, _ = data.validation(5_000, 0)
    users = users[np.argsort(-times[data.ends[users] - 1], kind="stable")[:most]]
    last = data.ends[users] - 1
    cases = Cases(
        last, users, last - data.starts[users], data.rows[last].astype(np.int32) - 1, times[last]
    )
    popular = popularity.log_shares(data.rows[~data.is_validation], count)
    trained = load_predictor(model).trained
    known = before_last(Histories(data.rows, dataset.user_start, count))
    start = Blend.start(trained.blend.base, popular)
    predictor = Predictor(replace(trained, scorers=ScorerSet.learn(known), blend=start))

    # Candidates that all users share: the most popular items, and a sample of the rest.
    order = torch.argsort(popular[1:], descending=True, stable=True) + 1
    tail = order[HEAD:][
        torch.randperm(max(count - HEAD, 0), generator=torch.Generator().manual_seed(0))[:TAIL]
    ]
    common = torch.cat((order[:HEAD], tail))
    weight = torch.zeros(len(common))
    weight[len(order[:HEAD]) :] = math.log(max(count - HEAD, 1) / max(len(tail), 1))
    asked = torch.from_numpy(data.rows[last])

    # Recent popularity with each half-life.
    lately = {}
    for half_life in HALF_LIVES:
        with (
            mock.patch.object(recent_popularity, "HALF_LIFE_DAYS", half_life),
            mock.patch.object(recent_popularity, "POPULARITY_HALF_LIFE_DAYS", half_life),
        ):
            lately[half_life] = (
                recent_popularity.LivePopularity(data.rows, times, popular).at(times[last])
                if live
                else recent_popularity.popularity_by_week(data.rows, times, times[last], count)
            )

    # What each scorer gives to the candidates of each user.
    places, parts = [], []
    with torch.no_grad():
        for some, state, recent in replay(predictor, trained.info.state_size, dataset, cases, 512):
            reading = predictor.read(state, recent)
            strong = [*reading.scores[:3], *(shares[some] for shares in lately.values())]
            best = [scorer.topk(min(BEST, count), 1).indices for scorer in strong]
            rows, weights = _of_user(
                asked[some], torch.cat((reading.recent.rows, *best), 1), common, weight
            )
            scores = torch.stack([scorer.gather(1, rows) for scorer in reading.scores], 2)
            places.append(some)
            parts.append((rows, scores, weights, reading.recent.held))
    rows, scores, weights, held = (torch.cat(column) for column in zip(*parts, strict=True))
    place = np.concatenate(places)
    return Candidates(
        scores,
        weights,
        held,
        {each: shares[place].gather(1, rows) for each, shares in lately.items()},
    )


def _of_user(asked: Tensor, own: Tensor, common: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the rows [U, K] and weights [U, K] of the candidates.

    They are the targets [U], the users' own items [U, N] and the common ones [M], each once.
    """
    own = torch.cat((asked[:, None], own), 1)
    rows = torch.cat((own, common.expand(len(own), -1)), 1)
    weights = torch.zeros(rows.shape).masked_fill(rows == 0, NOT)
    weights[:, own.shape[1] :] += weight
    order = rows.argsort(dim=1, stable=True)
    repeated = torch.zeros_like(rows, dtype=torch.bool)
    repeated[:, 1:] = rows.gather(1, order).diff(dim=1) == 0
    return rows, weights.masked_fill(torch.zeros_like(repeated).scatter(1, order, repeated), NOT)


def _try(name: str, found: Candidates, half_life: float, cuts: tuple[int, ...]) -> Array:
    """Returns the loss float64 [U], each half of the users by weights fitted to the other half."""
    found.scores[:, :, RECENT_POPULARITY] = found.recent[half_life]
    length = torch.bucketize(found.held.sum(1), torch.tensor(cuts, dtype=torch.long))
    fold = torch.from_numpy(np.random.default_rng(0).permutation(len(length)) % 2)
    loss, rank = np.empty(len(length)), np.empty(len(length))
    for half in (0, 1):
        learn, test = fold != half, fold == half
        weights = _fit(found.scores[learn], found.weight[learn], length[learn], len(cuts) + 1)
        logits = torch.bmm(found.scores[test], weights[length[test]].unsqueeze(2)).squeeze(2)
        loss[test] = (torch.logsumexp(logits + found.weight[test], 1) - logits[:, 0]).numpy()
        rank[test] = ((logits >= logits[:, :1]) * found.weight[test].exp()).sum(1).numpy() - 1
    hits = metrics.hits(rank, 10).mean()
    sys.stdout.write(f"{name}: loss {loss.mean():.4f}, HR@10 about {hits:.4f}\n")
    return loss


def _fit(scores: Tensor, weight: Tensor, length: Tensor, lengths: int) -> Tensor:
    """Returns weights [lengths, F] over the candidates.

    They are fitted as models/scorers/fit_weights.py does.
    """

    def loss(parts: Tensor) -> Tensor:
        """Returns the cross-entropy of the targets."""
        logits = torch.bmm(scores, (parts[:1] + parts[1:])[length].unsqueeze(2)).squeeze(2)
        entropy = (torch.logsumexp(logits + weight, 1) - logits[:, 0]).mean()
        return (
            entropy
            + fit_weights.COMMON * parts[0].square().sum()
            + fit_weights.OWN * parts[1:].square().sum()
        )

    start = torch.zeros(1 + lengths, scores.shape[2])
    start[0] = torch.tensor([scorer.start_weight for scorer in SCORERS])
    parts = fit_weights.minimised(loss, start)
    return parts[:1] + parts[1:]


def _differences(losses: dict[str, Array]) -> None:
    """Prints the paired difference of each setting's loss from that of the first one."""
    first, *others = losses
    for name in others:
        low, high = metrics.interval(
            losses[name] - losses[first], np.arange(len(losses[first])), seed=0
        )
        sys.stdout.write(f"  loss of {name} minus that of {first}: {low:+.4f} .. {high:+.4f}\n")


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5, 6):
        sys.exit("python -m tests.benchmarks.blend_settings EVENTS ITEMS MODEL [USERS [live]]")
    main(*sys.argv[1:])
