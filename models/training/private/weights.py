"""Fits the weights of the blend by gradient steps with noise.

Glossary: U users, V items (row 0: unknown), C interests, F scorers or features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.data.prepare import Dataset
from models.data.splits import Cases
from models.errors import ModelDataError
from models.scorers import blend as blending
from models.scorers.blend import INTEREST_FEATURES, Blend
from models.scorers.registry import NAMES
from models.serving.predictor import Predictor
from models.serving.trained_model import TrainedModel
from models.training.fit_blend import CELLS, read_cases
from models.training.private.noise import Noise

Array = np.ndarray[Any, Any]

WEIGHED: Final = (
    "cooccurrence",
    "popularity",
    "seen",
    "seen_lately",
    "following",
    "seen_this_session",
)
"""Scorers that always weigh something."""
LEARNED: Final = ("lstm",)
"""Those that weigh something if the LSTM was trained."""
STEPS: Final = 40
"""Gradient steps to the weights of the blend."""
STEP_LENGTHS: Final = (0.5, 0.03)
"""Of the first and the last step."""
GRADIENT_NORMS: Final = (2.0, 0.5)
"""Largest norm of a user's gradient, of item and interest weights."""


def fitted(
    model: TrainedModel,
    dataset: Dataset,
    chosen: tuple[Array, Array],
    weighed: tuple[str, ...],
    mu: float,
    noise: Noise,
) -> Blend:
    """Returns the blend with weights fitted to the last events of some users.

    chosen: rows of the data set's events [N], and which users take part, bool [U]; weighed: names
    of the scorers that may weigh something; mu: of all steps together.
    """
    blend = model.blend
    item = torch.zeros(len(NAMES))
    places = [NAMES.index(name) for name in weighed]
    item[places] = 0.3
    interest = torch.zeros(len(INTEREST_FEATURES))
    interest[[INTEREST_FEATURES.index(name) for name in ("items", "own_16", "base")]] = 0.3
    cases = _cases(dataset, *chosen)
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
    found_so_far = _weighed(blend, item, interest)
    with torch.no_grad():
        for each in readings:
            each.items = blending.weighted(each.scores, found_so_far.item_weights(each.recent))
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


def _descended(
    gradients: Callable[[Tensor], Tensor], start: Tensor, norm: float, mu: float, noise: Noise
) -> Tensor:
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
        noisy, _ = noise.dense("weights of the blend", total, 2 * norm, math.sqrt(STEPS) / mu)
        direction = noisy / max(float(np.linalg.norm(noisy)), 1e-12)
        weights = weights - length * torch.from_numpy(direction.astype(np.float32))
        if number >= STEPS // 2:
            later.append(weights)
    return torch.stack(later).mean(0)
