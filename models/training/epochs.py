"""Repeats the epochs of a stage until validation stops to improve, with a checkpoint after each.

A stage says what is learned (`stages`); this file is the same for all of them: the optimiser, the
running mean of the weights, the checkpoints, and the reasons to end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol, cast

import torch
from torch import Tensor

from models.network.dropout import Part
from models.network.interest_network import InterestNetwork
from models.progress import Progress
from models.training.averaging import averaged
from models.training.checkpoints import Checkpoints, put, put_moments
from models.training.config import TrainConfig
from models.training.ranks import ALONE, Ranks
from models.training.sequences import Sequences
from models.training.validation import Curve, newest_is_best, stopped_improving, validate

CLIPPED_AT: Final = 5.0
"""Norm of the gradient of an average batch beyond which it is shortened."""
Losses = dict[str, float]
"""Holds means over the targets of an epoch, in nats; `loss` is of what the stage answers with."""


class Weights:
    """Moves the weights of a network by losses, and their running mean after them."""

    def __init__(
        self,
        network: InterestNetwork,
        groups: list[dict[str, Any]],
        config: TrainConfig,
        ranks: Ranks = ALONE,
    ) -> None:
        self._network, self._ranks = network, ranks
        self.optimiser: torch.optim.Optimizer = torch.optim.AdamW(
            groups, lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.average = averaged(network)

    @property
    def means(self) -> InterestNetwork:
        """Returns the network with the running means as its weights."""
        return cast(InterestNetwork, self.average.module)

    @property
    def device(self) -> torch.device:
        """Returns the device that a batch has to be on."""
        return self._ranks.device

    def part_of(self, targets: Tensor) -> Part:
        """Returns the rows of a batch that this process computes, which it has to do next.

        targets: how many each row has, int [B].
        """
        part = self._ranks.part_of(targets)
        self._network.compute_part(part if self._ranks.size > 1 else None)
        return part

    def step(
        self, losses: Sequence[Tensor], share: float, part: Part, factors: Sequence[float] = (1.0,)
    ) -> list[float]:
        """Moves the weights by the losses of a batch, and their running mean after them.

        losses: means over the targets of a part of it, each of which counts with its factor. share:
        targets of the batch over those of an average one. The gradient is multiplied by it, and so
        is the norm at which it is clipped: a target counts the same in every batch. Returns the
        losses of the whole batch.
        """
        loss, *others = (factor * each for factor, each in zip(factors, losses, strict=False))
        self.optimiser.zero_grad()
        (sum(others, loss) * (share * part.weight)).backward()  # type: ignore[no-untyped-call]
        weighed = torch.stack([each.detach() for each in losses]) * part.weight
        found: list[float] = self._ranks.add_up(self._network.parameters(), weighed).tolist()
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), CLIPPED_AT * share)
        self.optimiser.step()
        with torch.no_grad():
            self._network.item.weight[0] = 0
        self.average.update_parameters(self._network)
        return found


class Stage(Protocol):
    """Says what a stage learns: of which network which parameters, and by what."""

    @property
    def network(self) -> InterestNetwork:
        """Returns the network that learns."""

    def parameters(self) -> list[dict[str, Any]]:
        """Returns the groups of parameters that the optimiser moves."""

    def epoch(self, weights: Weights, generator: torch.Generator, number: int, /) -> Losses:
        """Shows the network everything once; number: epochs of the stage before this one."""


class Epochs:
    """Runs the stages of one training, and remembers how each of them went."""

    def __init__(
        self,
        config: TrainConfig,
        checkpoints: Checkpoints,
        validation: Sequences,
        progress: Progress,
        ranks: Ranks = ALONE,
    ) -> None:
        self._config, self._checkpoints, self._ranks = config, checkpoints, ranks
        self._validation, self._progress = validation, progress
        self.deadline = math.inf
        """Processor time at which a stage ends with the epochs that it has."""
        self.curves: dict[str, Curve] = {}
        self.ended_by_budget: list[str] = []

    def run(self, name: str, epochs: int, stage: Stage, *, valued: bool) -> None:
        """Runs epochs until the validation of the averaged weights stops to improve.

        The best averaged weights stay. name: of the stage in checkpoints and report; valued:
        whether each epoch is validated, else the last one is the best.
        """
        config, checkpoints, network = self._config, self._checkpoints, stage.network
        state = checkpoints.load(name, network.state_dict())
        curve: Curve = state.get("curve", [])
        self.curves[name] = curve
        if state.get("done") or (not epochs):
            return
        moments = checkpoints.newest(name, "optimiser")
        self._ranks.tell((stage, config, moments))
        weights = _started(stage, config, moments, self._ranks)
        put(checkpoints.newest(name, "average"), weights.average.state_dict())
        for number in range(len(curve), epochs):
            if valued and stopped_improving(curve, config.patience):
                break  # here, so that one who was stopped before the end of the stage sees it too

            # An epoch, and what it is worth by the running mean of the weights.
            self._ranks.tell(number)
            figures: dict[str, Any] = {
                part: round(mean, 4)
                for part, mean in _epoch(stage, weights, config, number).items()
            }
            if valued:
                by = name.partition("_")[0]
                gain = validate(weights.means, self._validation, by=by, seen=config.seen)
                figures["ndcg@10"] = round(gain, 4)

            # All that a resumed training needs.
            curve.append(figures)
            best = not valued or newest_is_best(curve)
            checkpoints.save(
                name,
                network.state_dict(),
                weights.optimiser,
                curve,
                best=weights.means.state_dict() if best else None,
                average=weights.average.state_dict(),
            )
            self._progress(name, number + 1, epochs, figures)
            if time.process_time() > self.deadline and number + 1 < epochs:
                self.ended_by_budget.append(name)
                break
        self._ranks.tell(None)
        checkpoints.finish(name, network.state_dict(), curve)
        network.to("cpu")


def follow(ranks: Ranks) -> None:
    """Computes this rank's part of every step, until rank 0 says that the training is over."""
    while (told := ranks.hear()) is not None:
        stage, config, moments = told
        torch.set_num_threads(config.threads)
        weights = _started(stage, config, moments, ranks)
        while (number := ranks.hear()) is not None:
            _epoch(stage, weights, config, number)


def _started(
    stage: Stage, config: TrainConfig, moments: dict[str, Tensor], ranks: Ranks
) -> Weights:
    """Returns the weights of a stage's network on the device of this rank; moments: as stored."""
    stage.network.to(ranks.device)
    weights = Weights(stage.network, stage.parameters(), config, ranks)
    put_moments(moments, weights.optimiser)
    # Gradients left by the stage before would count in the clipping, and not after a resume.
    stage.network.zero_grad()
    return weights


def _epoch(stage: Stage, weights: Weights, config: TrainConfig, number: int) -> Losses:
    """Runs an epoch of a stage, with the random numbers that every rank draws in it."""
    seed = config.seed * 1_000_003 + number
    torch.manual_seed(seed)
    stage.network.train()
    try:
        return stage.epoch(weights, torch.Generator().manual_seed(seed), number)
    finally:
        stage.network.compute_part(None)
