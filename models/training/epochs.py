"""Repeats the epochs of a stage until validation stops to improve, with a checkpoint after each.

A stage says what is learned (`stages`); this file is the same for all of them: the optimiser, the
running mean of the weights, the checkpoints, and the reasons to end.
"""

from __future__ import annotations

import math
import time
from typing import Any, Final, Protocol, cast

import torch
from torch import Tensor

from models.network.interest_network import InterestNetwork
from models.progress import Progress
from models.training.averaging import averaged
from models.training.checkpoints import Checkpoints
from models.training.config import TrainConfig
from models.training.sequences import Sequences
from models.training.validation import Curve, newest_is_best, stopped_improving, validate

CLIPPED_AT: Final = 5.0
"""Norm of the gradient of an average batch beyond which it is shortened."""
Losses = dict[str, float]
"""Holds means over the targets of an epoch, in nats; `loss` is of what the stage answers with."""


class Weights:
    """Moves the weights of a network by losses, and their running mean after them."""

    def __init__(
        self, network: InterestNetwork, groups: list[dict[str, Any]], config: TrainConfig
    ) -> None:
        self._network = network
        self.optimiser: torch.optim.Optimizer = torch.optim.AdamW(
            groups, lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.average = averaged(network)

    @property
    def means(self) -> InterestNetwork:
        """Returns the network with the running means as its weights."""
        return cast(InterestNetwork, self.average.module)

    def step(self, loss: Tensor, share: float) -> None:
        """Moves the weights by the mean loss of a batch, and their running mean after them.

        share: targets of the batch over those of an average one. The gradient is multiplied by it,
        and so is the norm at which it is clipped: a target counts the same in every batch.
        """
        self.optimiser.zero_grad()
        (loss * share).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), CLIPPED_AT * share)
        self.optimiser.step()
        with torch.no_grad():
            self._network.item.weight[0] = 0
        self.average.update_parameters(self._network)


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
    ) -> None:
        self._config, self._checkpoints = config, checkpoints
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
        weights = Weights(network, stage.parameters(), config)
        checkpoints.load_optimiser(name, weights.optimiser)
        checkpoints.fill(f"{name}.average", weights.average.state_dict())
        # Gradients left by the stage before would count in the clipping, and not after a resume.
        network.zero_grad()
        for number in range(len(curve), epochs):
            generator = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
            torch.manual_seed(config.seed * 1_000_003 + number)
            network.train()

            # An epoch, and what it is worth by the running mean of the weights.
            figures: dict[str, Any] = {
                part: round(mean, 4)
                for part, mean in stage.epoch(weights, generator, number).items()
            }
            if valued:
                answers = name.startswith("bridge")
                gain = validate(weights.means, self._validation, answers=answers, seen=config.seen)
                figures["ndcg@10"] = round(gain, 4)

            # All that a resumed training needs; then the reasons to end the stage.
            curve.append(figures)
            best = not valued or newest_is_best(curve)
            checkpoints.keep(f"{name}.average", weights.average.state_dict())
            checkpoints.save(
                name,
                network.state_dict(),
                weights.optimiser,
                curve,
                best=weights.means.state_dict() if best else None,
            )
            self._progress(name, number + 1, epochs, figures)
            if valued and stopped_improving(curve, config.patience):
                break
            if time.process_time() > self.deadline and number + 1 < epochs:
                self.ended_by_budget.append(name)
                break
        checkpoints.finish(name, network.state_dict(), curve)
