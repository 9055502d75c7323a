"""Trains a model directory with a privacy budget for every user.

`train` is the order of the steps. What is learned of users passes through `noise` alone: `counts`
makes noisy tables, `network` trains the LSTM with noisy gradients, `weights` fits the blend the
same way. `user_gradients` computes what each user adds to a gradient, and `account` says what all
of it may tell of one user.
"""

from models.training.private.account import Budget
from models.training.private.train import train_private

__all__ = ["Budget", "train_private"]
