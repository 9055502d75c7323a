"""Trains a model directory with a differentially private share in it of every user.

What is learned of users reaches the model through `privacy.Noise` alone:

    counted users      item popularity, co-occurrence and what followed what, as noisy sums
    fitting users      the weights of the blend, by gradient steps with noise

Each user is one or the other, by a hash of the id, so that both may spend the whole budget.
Everything else is made of the catalogue, which must be public, and of settings: words, interests
and the text model. The networks over users stay as they were drawn, and weigh nothing: nothing
here trains them with noise (docs/measured/privacy.md says why). EASE and recent popularity are left
out: a regression needs every cell of its matrix, and what is recent depends on the newest event.

Glossary: U users, V items (row 0: unknown), C interests, F scorers or features.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.data.prepare import Dataset, catalogue_rows, owners
from models.data.splits import Cases, held_out
from models.errors import ModelDataError
from models.model_directory import catalogue_of, membership_of, write_model
from models.progress import Progress, ignore_progress
from models.scorers import blend as blending
from models.scorers.blend import INTEREST_FEATURES, Blend
from models.scorers.cooccurrence import Cooccurrence
from models.scorers.markov import FEW, FLOOR, MANY, MANY_ITEMS, PRIOR, Markov, Successors
from models.scorers.pair_table import WINDOW, most_kept, strongest
from models.scorers.registry import NAMES, SCORERS, ScorerSet
from models.serving.predictor import Predictor
from models.serving.trained_model import TrainedModel
from models.training.config import TrainConfig
from models.training.epochs import Weights
from models.training.fit_blend import CELLS, read_cases
from models.training.new_network import new_info, new_network
from models.training.privacy import Budget, Noise, clipped
from models.training.stages import TextStage
from models.vocabulary import Tokenizer

Array = np.ndarray[Any, Any]

FITTING_SHARE: Final = 0.2
"""Users whose last events fit the weights; nothing else is learned of them."""
SHARES: Final = {"popularity": 0.2, "co-occurrence": 0.4, "what followed": 0.4}
"""How the squared budget of the counted users is divided."""
NORMS: Final = {"popularity": 3.0, "co-occurrence": 4.0, "what followed": 3.0}
"""Largest L2 norm of what a user adds: some ten events count fully, those of more a little less."""
CERTAIN: Final = 2.5
"""Standard deviations of noise below which a popularity counts as none."""
STEPS: Final = 40
"""Gradient steps to the weights of the blend."""
STEP_LENGTHS: Final = (0.5, 0.03)
"""Of the first and the last step."""
GRADIENT_NORMS: Final = (2.0, 0.5)
"""Largest norm of a user's gradient, of item and interest weights."""
WEIGHED: Final = (
    "cooccurrence",
    "popularity",
    "seen",
    "seen_lately",
    "following",
    "seen_this_session",
)
"""Scorers that weigh something."""


def train_private(
    dataset: Dataset,
    out: Path,
    config: TrainConfig,
    budget: Budget,
    progress: Progress = ignore_progress,
) -> dict[str, Any]:
    """Trains and writes a model directory; returns the report, which says what the promise is of.

    The catalogue and the interests of the data set must not depend on any user.
    """
    if dataset.report.get("items_added"):
        raise ModelDataError("items that users brought are no public catalogue; give --items")
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    model = _public(dataset, config, progress)
    rows = catalogue_rows(dataset.events["key"], dataset.item_ids).astype(np.int64)
    fits = held_out(dataset.users, FITTING_SHARE, config.seed + 1_000_003)
    counts, steps = Noise(), Noise()
    model = _counted(model, dataset, rows, ~fits, budget.mu, counts)
    progress("counts", 1, 1, {})
    model = replace(model, blend=_fitted(model, dataset, rows, fits, budget.mu, steps))
    progress("blend", 1, 1, {})
    report = {
        "config": asdict(config),
        "network": asdict(model.network.config),
        "privacy": {
            "epsilon": budget.epsilon,
            "delta": budget.delta,
            "unit": "all events of one user, added or removed",
            "mu": {"counted users": counts.total(), "fitting users": steps.total()},
            "releases": [
                *(f"counted users, {what}: mu {mu:.4f}" for what, mu in counts.spent),
                f"fitting users, {len(steps.spent)} gradient steps: mu {steps.total():.4f}",
            ],
            "not_trained": [
                "the networks over users, which weigh nothing",
                "EASE and recent popularity",
            ],
            "outside": [
                "the catalogue, a taxonomy and all options: they are taken as public",
                "accuracy that is printed, and what evaluate says: computed from the events",
                "attacks on floating-point numbers, and on the generator of the noise (PCG64)",
            ],
        },
    }
    write_model(out, model, catalogue=catalogue_of(dataset), report=report)
    return report


def _public(dataset: Dataset, config: TrainConfig, progress: Progress) -> TrainedModel:
    """Returns a model of the catalogue alone."""
    texts = [
        " ".join([title, *categories])
        for title, categories in zip(dataset.titles, dataset.categories, strict=True)
    ]
    tokenizer = Tokenizer.learn([*dataset.titles, *dataset.interests])
    network = new_network(config, dataset, tokenizer)
    stage = TextStage(network, tokenizer, texts)
    weights = Weights(network, stage.parameters(), config)
    for number in range(config.text_epochs):
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
        progress("text", number + 1, config.text_epochs, stage.epoch(weights, generator, number))
    network.eval()
    with torch.no_grad():
        for some, into in ((texts, network.text[1:]), (dataset.interests, network.interest_text)):
            tokens = torch.from_numpy(tokenizer.encode(some))
            parts = [network.text_model.encode_text(each) for each in torch.split(tokens, 1_024)]
            into.copy_(torch.cat(parts))
        for item, (item_id, text) in enumerate(zip(dataset.item_ids, texts, strict=True)):
            if text.strip() == item_id:
                network.text[item + 1] = 0  # a bare id says nothing
    membership = membership_of(catalogue_of(dataset), len(dataset.interests))
    info = new_info(config, dataset, network)
    nothing = torch.zeros(len(dataset.item_ids) + 1)
    blend = Blend.start(torch.full((len(dataset.interests),), 0.5), nothing)
    scorers = ScorerSet(tuple(None if each.tensors_prefix else each() for each in SCORERS))
    return TrainedModel(network, tokenizer, scorers, blend, membership, info)


def _counted(
    model: TrainedModel, dataset: Dataset, rows: Array, chosen: Array, mu: float, noise: Noise
) -> TrainedModel:
    """Returns the model with what was counted of the chosen users, bool [U]."""
    items, owner = len(dataset.item_ids), owners(dataset)
    here = chosen[owner] & (rows > 0)
    owner, rows = owner[here], rows[here]
    share = {what: mu * math.sqrt(part) for what, part in SHARES.items()}

    # how many met each item, once a user
    what = "popularity"
    once = np.unique(owner * (items + 1) + rows)
    cells, met = clipped(once // (items + 1), once % (items + 1), np.ones(len(once)), NORMS[what])
    sums = np.zeros(items)
    sums[cells - 1] = met
    counts, deviation = noise.dense(what, sums, NORMS[what], share[what])

    # which went together, and which came directly after which
    tables = {
        what: noise.pairs(what, clipped(*found, NORMS[what]), items, NORMS[what], share[what])
        for what, found in _pairs(owner, rows, items).items()
    }

    # from here on nothing is read but what the noise let through
    counts = np.concatenate(([0.0], np.where(counts > CERTAIN * deviation, counts, 0)))
    shares = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    log_popularity = torch.from_numpy(np.log(shares).astype(np.float32))
    log_popularity[0], shares[0] = 0, 0
    touched = (shares @ model.membership / shares.sum()).clip(1e-5, 1 - 1e-5)
    base = torch.from_numpy(touched.astype(np.float32))
    with torch.no_grad():
        model.network.interest_bias.copy_(torch.logit(base))
    scorers = model.scorers.replaced(
        "cooccurrence", _cooccurrence(*tables["co-occurrence"], counts, items)
    ).replaced("following", _followers(*tables["what followed"], items))
    return replace(model, scorers=scorers, blend=Blend.start(base, log_popularity))


def _pairs(owner: Array, rows: Array, items: int) -> dict[str, tuple[Array, Array, Array]]:
    """Returns what each event adds to the tables of pairs: users, cells and amounts.

    owner, rows: of events about known items, user after user. The amounts are those of
    models/scorers/cooccurrence.py, and 1 for what directly followed.
    """
    nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    together, followed = [nothing], [nothing]
    for distance in range(1, min(WINDOW, len(rows) - 1) + 1):
        mine, first, second = owner[:-distance], rows[:-distance], rows[distance:]
        good = (mine == owner[distance:]) & (first != second)
        mine, first, second = mine[good], first[good], second[good]
        ahead, back = first * (items + 1) + second, second * (items + 1) + first
        ones = np.ones(len(mine))
        together += [(mine, ahead, ones / distance), (mine, back, ones / distance / 2)]
        if distance == 1:
            followed.append((mine, ahead, ones))
    found = {}
    for what, parts in (("co-occurrence", together), ("what followed", followed)):
        users, cells, amounts = (np.concatenate(column) for column in zip(*parts, strict=True))
        found[what] = (users, cells, amounts)
    return found


def _cooccurrence(keys: Array, sums: Array, counts: Array, items: int) -> Cooccurrence:
    """Returns the scorer of noisy sums; counts: of each item, noisy as well, [V + 1]."""
    first, second = keys // (items + 1), keys % (items + 1)
    strength = (sums / np.sqrt(counts[second] + 1)).astype(np.float32)
    return Cooccurrence.of(*strongest(first, second, strength, items, most_kept(items)))


def _followers(keys: Array, sums: Array, items: int) -> Markov:
    """Returns the scorer of noisy counts of what followed what."""
    first, second = keys // (items + 1), keys % (items + 1)
    total = np.bincount(first, sums, minlength=items + 1)
    scores = np.log1p(sums / (total[first] + PRIOR) / FLOOR)
    most = MANY if items <= MANY_ITEMS else FEW
    return Markov(Successors(*strongest(first, second, scores, items, most)))


def _fitted(
    model: TrainedModel, dataset: Dataset, rows: Array, chosen: Array, mu: float, noise: Noise
) -> Blend:
    """Returns the blend with weights fitted to the last events of the chosen users, bool [U]."""
    blend = model.blend
    item = torch.zeros(len(NAMES))
    places = [NAMES.index(name) for name in WEIGHED]
    item[places] = 0.3
    interest = torch.zeros(len(INTEREST_FEATURES))
    interest[[INTEREST_FEATURES.index(name) for name in ("items", "own_16", "base")]] = 0.3
    cases = _cases(dataset, rows, chosen)
    predictor = Predictor(replace(model, blend=_weighed(blend, item, interest)))
    recently = blend.log_recent.expand(len(cases), -1)
    readings, targets = read_cases(predictor, dataset, cases, recently)
    each_mu = mu / math.sqrt(2)

    # item weights: the gradient of a user is what the scorers expect less what the item had
    stacked = [torch.stack([each.scores[place] for place in places], 2) for each in readings]
    scores = torch.cat(stacked)[:, 1:]
    wanted = scores[torch.arange(len(targets)), targets - 1]

    def of_items(weights: Tensor) -> Tensor:
        """Returns each user's gradient [U, F]."""
        chance = torch.softmax(scores @ weights, dim=1)
        return torch.einsum("uv,uvf->uf", chance, scores) - wanted

    found = _descended(of_items, item[places], GRADIENT_NORMS[0], each_mu, noise)
    item[places] = found

    # interest weights, of the items so weighed; the network that knows nothing says nothing
    weighed = _weighed(blend, item, interest)
    with torch.no_grad():
        for each in readings:
            each.items = blending.weighted(each.scores, weighed.item_weights(each.recent))
        features = torch.cat([predictor.interest_features(each)[0] for each in readings])
    features[:, :, INTEREST_FEATURES.index("language_model")] = 0
    happened = torch.from_numpy(model.membership.astype(np.float32))[targets]

    def of_interests(weights: Tensor) -> Tensor:
        """Returns each user's gradient [U, F]."""
        wrong = torch.sigmoid(features @ weights) - happened
        return torch.einsum("uc,ucf->uf", wrong, features) / features.shape[1]

    interest = _descended(of_interests, interest, GRADIENT_NORMS[1], each_mu, noise)
    interest[INTEREST_FEATURES.index("language_model")] = 0
    return _weighed(blend, item, interest)


def _weighed(blend: Blend, item: Tensor, interest: Tensor) -> Blend:
    """Returns the blend with the same item weights for histories of all lengths."""
    return replace(blend, item=item.expand(blend.item.shape[0], -1).clone(), interest=interest)


def _cases(dataset: Dataset, rows: Array, chosen: Array) -> Cases:
    """Returns the last events of the chosen users, those about an item with something before it.

    Of more than their scores may take memory, those stay whose ids come first: one user more
    changes two of them at most. Raises ModelDataError if there is nobody.
    """
    starts, last = dataset.user_start[:-1], dataset.user_start[1:] - 1
    users = np.flatnonzero(chosen & (last > starts) & (rows[last] > 0))
    if not len(users):
        raise ModelDataError("too few users to train with a privacy budget; give a longer log")
    most = max(1, CELLS // len(dataset.item_ids))
    turn = np.argsort([dataset.users[user] for user in users.tolist()])
    users = np.sort(users[turn[:most]])
    last = last[users]
    history, times = last - starts[users], dataset.events["time_ms"][last]
    return Cases(last, users, history, rows[last].astype(np.int32) - 1, times)


def _descended(gradients: Any, start: Tensor, norm: float, mu: float, noise: Noise) -> Tensor:
    """Returns the weights after STEPS noisy steps, the mean of the later half of them.

    gradients: weights [F] to each user's gradient [U, F]. One user more adds a gradient and may put
    another's out, so the sum moves by twice the norm at most. A step has a length of its own, so
    that the number of users is not needed.
    """
    weights, later = start.clone(), []
    lengths = np.geomspace(*STEP_LENGTHS, STEPS)
    for number, length in enumerate(lengths.tolist()):
        with torch.no_grad():
            each = gradients(weights)
        size = each.norm(dim=1, keepdim=True).clamp(min=1e-12)
        total = (each * (norm / size).clamp(max=1)).sum(0).double().numpy()
        noisy, _ = noise.dense("weights of the blend", total, 2 * norm, mu / math.sqrt(STEPS))
        direction = noisy / max(float(np.linalg.norm(noisy)), 1e-12)
        weights = weights - length * torch.from_numpy(direction.astype(np.float32))
        if number >= STEPS // 2:
            later.append(weights)
    return torch.stack(later).mean(0)
