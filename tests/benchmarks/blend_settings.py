"""Which half-life of recent popularity, and which cuts between lengths of history, a blend should have: picked on validation users.

    python -m tests.benchmarks.blend_settings EVENTS ITEMS MODEL [USERS [live]]

With `live` recent popularity is a live count of the hour of each event (models/popularity.py), else one of its week.
The scorers of a trained model say what they would have said before the last training event of the newest USERS; weights of the
blend are fitted to half of them with each setting, the other half is predicted, and the two change places. The last event of
each user, which is the test, is not read. The loss is that of a softmax over what is likely for the user (its own events, the
best of each scorer and half-life, the most popular) and a weighed sample of the rest: a seventh of the work of all items.

Glossary: U users, K candidates of each, the asked item first; F scorers; V items (row 0: unknown).
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from models import blend, metrics, pairs, popularity
from models.blend import Blend
from models.predict import load_predictor
from models.predictor import Predictor
from models.prepare import PrepareConfig
from models.protocols import Cases, split
from models.replay import replay
from models.training_data import TrainingData
from stream.training_inputs import Inputs, load_dataset

Array = np.ndarray[Any, Any]

HALF_LIVES: Final = (4.0, 0.5, 1.0, 2.0, 8.0, 16.0)
CUTS: Final = ((3, 10), (), (5,), (10,), (5, 20), (8, 20), (2, 5, 10))
HEAD: Final = 800
TAIL: Final = 400
BEST: Final = 40
RECENT_POPULARITY: Final = blend.ITEM_SCORERS.index("recent_popularity")
NOT: Final = -1e9
"""Weight of a candidate that is there twice."""


@dataclass(frozen=True)
class Candidates:
    """What the scorers say of them."""

    said: Tensor  # [U, K, F]
    weight: Tensor  # [U, K] logarithm of how many items each stands for
    held: Tensor  # bool [U, 32] events that the states keep
    recent: dict[float, Tensor]  # [U, K] recent popularity for each half-life


def main(events: str, items: str, model: str, most: str = "3000", kind: str = "") -> None:
    """Print two tables: half-lives with the first cuts, cuts with the best half-life."""
    found = candidates(Path(events), Path(items), Path(model), int(most), live=kind == "live")
    sys.stdout.write(f"{len(found.said)} users of validation\n")
    loss = {half_life: _try(f"half-life {half_life:g} days", found, half_life, CUTS[0]) for half_life in HALF_LIVES}
    best = min(loss, key=lambda each: loss[each].mean())
    _differences({f"{half_life:g} days": value for half_life, value in loss.items()})
    _differences({f"cuts {cuts}": _try(f"cuts {cuts}", found, best, cuts) for cuts in CUTS})


def candidates(events: Path, items: Path, model: Path, most: int, *, live: bool) -> Candidates:
    """Of the newest validation users of a leave-one-out training."""
    dataset = split(load_dataset(Inputs([events], [items]), PrepareConfig(min_events=3))).train
    data, times, count = TrainingData(dataset, 50), dataset.events["time_ms"], len(dataset.item_ids)
    users, _ = data.validation(5_000, 0)
    users = users[np.argsort(-times[data.ends[users] - 1], kind="stable")[:most]]
    last = data.ends[users] - 1
    cases = Cases(last, users, last - data.starts[users], data.rows[last].astype(np.int32) - 1, times[last])
    popular = popularity.log_shares(data.rows[~data.is_validation], count)
    network, tokenizer, _, old, membership, info = load_predictor(model).parts
    before = pairs.learn_before_last(data.rows, dataset.user_start, count)
    predictor = Predictor(network, tokenizer, before, Blend.start(old.base, popular), membership, info)
    order = torch.argsort(popular[1:], descending=True, stable=True) + 1
    tail = order[HEAD:][torch.randperm(max(count - HEAD, 0), generator=torch.Generator().manual_seed(0))[:TAIL]]
    common = torch.cat((order[:HEAD], tail))
    weight = torch.zeros(len(common))
    weight[len(order[:HEAD]) :] = math.log(max(count - HEAD, 1) / max(len(tail), 1))
    asked = torch.from_numpy(data.rows[last])
    lately = {}
    for half_life in HALF_LIVES:
        with (
            mock.patch.object(popularity, "HALF_LIFE_DAYS", half_life),
            mock.patch.object(popularity, "POPULARITY_HALF_LIFE_DAYS", half_life),
        ):
            lately[half_life] = (
                popularity.LivePopularity(data.rows, times, popular).at(times[last])
                if live
                else popularity.popularity_by_week(data.rows, times, times[last], count)
            )
    places, parts = [], []
    with torch.no_grad():
        for some, state, recent in replay(predictor, info.state_size, dataset, cases, 512):
            reading = predictor.read(state, recent)
            strong = [*reading.scorers[:3], *(shares[some] for shares in lately.values())]
            best = [scorer.topk(min(BEST, count), 1).indices for scorer in strong]
            rows, weights = _of_user(asked[some], torch.cat((reading.rows, *best), 1), common, weight)
            said = torch.stack([scorer.gather(1, rows) for scorer in reading.scorers], 2)
            places.append(some)
            parts.append((rows, said, weights, reading.held))
    rows, said, weights, held = (torch.cat(column) for column in zip(*parts, strict=True))
    place = np.concatenate(places)
    return Candidates(said, weights, held, {each: shares[place].gather(1, rows) for each, shares in lately.items()})


def _of_user(asked: Tensor, own: Tensor, common: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [U, K] and weights [U, K]: the item asked for [U], own ones [U, N] and the common ones [M], each counted once."""
    own = torch.cat((asked[:, None], own), 1)
    rows = torch.cat((own, common.expand(len(own), -1)), 1)
    weights = torch.zeros(rows.shape).masked_fill(rows == 0, NOT)
    weights[:, own.shape[1] :] += weight
    order = rows.argsort(dim=1, stable=True)
    repeated = torch.zeros_like(rows, dtype=torch.bool)
    repeated[:, 1:] = rows.gather(1, order).diff(dim=1) == 0
    return rows, weights.masked_fill(torch.zeros_like(repeated).scatter(1, order, repeated), NOT)


def _try(name: str, found: Candidates, half_life: float, cuts: tuple[int, ...]) -> Array:
    """Loss float64 [U], each half of the users by weights fitted to the other half."""
    found.said[:, :, RECENT_POPULARITY] = found.recent[half_life]
    length = torch.bucketize(found.held.sum(1), torch.tensor(cuts, dtype=torch.long))
    fold = torch.from_numpy(np.random.default_rng(0).permutation(len(length)) % 2)
    loss, rank = np.empty(len(length)), np.empty(len(length))
    for half in (0, 1):
        learn, test = fold != half, fold == half
        weights = _fit(found.said[learn], found.weight[learn], length[learn], len(cuts) + 1)
        logits = torch.bmm(found.said[test], weights[length[test]].unsqueeze(2)).squeeze(2)
        loss[test] = (torch.logsumexp(logits + found.weight[test], 1) - logits[:, 0]).numpy()
        rank[test] = ((logits >= logits[:, :1]) * found.weight[test].exp()).sum(1).numpy() - 1
    hits = metrics.hits(rank, 10).mean()
    sys.stdout.write(f"{name}: loss {loss.mean():.4f}, HR@10 about {hits:.4f}\n")
    return loss


def _fit(said: Tensor, weight: Tensor, length: Tensor, lengths: int) -> Tensor:
    """Weights [lengths, F] as models/blend.py fits them, over the candidates."""

    def loss(parts: Tensor) -> Tensor:
        logits = torch.bmm(said, (parts[:1] + parts[1:])[length].unsqueeze(2)).squeeze(2)
        entropy = (torch.logsumexp(logits + weight, 1) - logits[:, 0]).mean()
        return entropy + blend.COMMON * parts[0].square().sum() + blend.OWN * parts[1:].square().sum()

    start = torch.zeros(1 + lengths, said.shape[2])
    start[0, :3] = torch.tensor([0.5, 0.5, 0.3])
    parts = blend.minimised(loss, start)
    return parts[:1] + parts[1:]


def _differences(losses: dict[str, Array]) -> None:
    first, *others = losses
    for name in others:
        low, high = metrics.interval(losses[name] - losses[first], np.arange(len(losses[first])), seed=0)
        sys.stdout.write(f"  loss of {name} minus that of {first}: {low:+.4f} .. {high:+.4f}\n")


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5, 6):
        sys.exit("python -m tests.benchmarks.blend_settings EVENTS ITEMS MODEL [USERS [live]]")
    main(*sys.argv[1:])
