"""Trains a model directory from a data set, in stages that can be interrupted and resumed.

`train` is the order of the stages, `stages` what each of them learns, `epochs` the loop over the
epochs of one; `config` holds the settings. `effort` says what a training may cost and `trials` find
settings by validation; `sequences` are histories as tensors; `fit_blend` fits the weights of the
scorers; the room `private` trains with a privacy budget; `distillation` has a large encoder teach
the small text model; `ranks` shares the steps among processes. The `hosted` files train the bridge
to a user's own language model. The package `stream` imports only the names that are offered here.
Begin with `train`.
"""

from models.training.config import TrainConfig
from models.training.distillation import DistilledTraining
from models.training.effort import effort_of, exact_softmax, settings_for
from models.training.epochs import follow
from models.training.hosted import HostedConfig, train_hosted
from models.training.private import Budget, train_private
from models.training.ranks import ALONE, Ranks, joined
from models.training.train import train_model
from models.training.trials import run_trials

__all__ = [
    "ALONE",
    "Budget",
    "DistilledTraining",
    "HostedConfig",
    "Ranks",
    "TrainConfig",
    "effort_of",
    "exact_softmax",
    "follow",
    "joined",
    "run_trials",
    "settings_for",
    "train_hosted",
    "train_model",
    "train_private",
]
