"""Computes the gradient of each user apart, while all users of a batch go through one pass.

Every linear layer gets a probe: zeros that are added to what it gives. The gradient of a loss by a
probe is that by the layer's output, and the gradient of one user by the layer's weights is the sum
over the user's positions of that times the layer's input [1]. So no user needs a pass of its own,
and the LSTM's recurrent weights are a layer like any other, with the memory before each step as its
input. A gradient that is only to be shortened and added up is never held for all users at once [2].

[1] Goodfellow: Efficient Per-Example Gradient Computations (2015), section 4.
[2] Lee, Kifer: Scaling up Differentially Private Deep Learning with Fast Per-Example Gradient
    Clipping (2021), section 3.

Glossary: B users, T positions, D width, G = 4 * D gates, V items (row 0: unknown), K candidates,
I inputs of a layer, O outputs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear

from models.network.interest_network import InterestNetwork
from models.network.lstm import LstmBlock, cell_step


class Batch(NamedTuple):
    """Holds the events of B users, right-padded, and which item comes after each."""

    text: Tensor  # [B, T, D] encodings of what the events are about
    actions: Tensor  # int64 [B, T]
    gaps: Tensor  # int64 [B, T]
    targets: Tensor  # int64 [B, T] the row that comes after, 0: none to learn


class Candidates(NamedTuple):
    """Holds the items that a target is compared with, and how many each stands for."""

    rows: Tensor  # int64 [K]
    weight: Tensor  # [K] logarithms


class Part(NamedTuple):
    """Holds what the gradient by some weights is made of: sum over T of output x input."""

    name: str
    """Of the weights, a parameter of the network."""
    inputs: Tensor | None
    """[B, T, I]; None: a bias, whose input is 1."""
    output: int
    """Place of the probe whose gradient [B, T, O] is that of the output."""
    how: str = "matrix"
    """matrix: [O, I]; transposed: [I, O]; scale: [O], input and output multiplied cell by cell."""


class UserGradients:
    """Goes through a batch once, and keeps what the gradients of its users are made of."""

    def __init__(self, network: InterestNetwork, batch: Batch, candidates: Candidates) -> None:
        self._network = network
        self._weights = {name: each.detach() for name, each in network.named_parameters()}
        self._probes: list[Tensor] = []
        self._parts: list[Part] = []
        with torch.enable_grad():
            losses = self._losses(batch, candidates)
            self._outputs = torch.autograd.grad(losses.sum(), self._probes)
        self.losses = losses.detach()
        """The mean cross-entropy of each user's targets, [B]."""

    def norms(self) -> Tensor:
        """Returns the L2 norm of each user's gradient, [B]."""
        total = torch.zeros(len(self.losses))
        for part in self._parts:
            of_users = self._of_users(part)
            total += of_users.flatten(1).square().sum(1)
        return total.sqrt()

    def sums(self, scale: Tensor) -> dict[str, Tensor]:
        """Returns the sum over users of gradients, each times a number [B], by name of weights."""
        found = {}
        for part in self._parts:
            output = self._outputs[part.output] * scale[:, None, None]
            if part.inputs is None:
                found[part.name] = output.sum((0, 1))
            elif part.how == "scale":
                found[part.name] = (output * part.inputs).sum((0, 1))
            else:
                product = output.flatten(0, 1).t() @ part.inputs.flatten(0, 1)
                found[part.name] = product.t() if part.how == "transposed" else product
        return found

    def _of_users(self, part: Part) -> Tensor:
        """Returns the gradient of each user by some weights, [B, ...], transposed or not."""
        output = self._outputs[part.output]
        if part.inputs is None:
            return output.sum(1)
        if part.how == "scale":
            return (output * part.inputs).sum(1)
        return output.transpose(1, 2) @ part.inputs

    # -- the pass

    def _losses(self, batch: Batch, candidates: Candidates) -> Tensor:
        """Returns the mean cross-entropy of each user's targets, [B]."""
        hidden = self._features(self._event_vectors(batch))
        # candidates are text_out(text): to project what asks costs less than to project them all
        asks = self._probed(linear(hidden, self._weights["text_out.weight"].t()))
        self._note("text_out.weight", hidden, how="transposed")
        text, bias = self._network.text, self._weights["item_bias"]
        targets, rows = batch.targets, candidates.rows
        wanted = (asks * text[targets]).sum(2) + bias[targets]
        others = linear(asks, text[rows], bias[rows] + candidates.weight)
        others = others.masked_fill(targets[:, :, None] == rows, float("-inf"))
        loss = torch.logsumexp(torch.cat((wanted[:, :, None], others), 2), 2) - wanted
        there = targets > 0
        return torch.where(there, loss, 0.0).sum(1) / there.sum(1).clamp(min=1)

    def _event_vectors(self, batch: Batch) -> Tensor:
        """Returns what InterestNetwork.event_vectors does of items without vectors, [B, T, D]."""
        weights = self._weights
        x = self._probed(
            linear(batch.text, weights["text_in.weight"], weights["text_in.bias"])
            + weights["action.weight"][batch.actions]
            + weights["gap.weight"][batch.gaps]
        )
        self._note("text_in.weight", batch.text)
        self._note("text_in.bias", None)
        for name, codes in (("action.weight", batch.actions), ("gap.weight", batch.gaps)):
            one_hot = torch.nn.functional.one_hot(codes, len(weights[name])).to(x.dtype)
            self._note(name, one_hot, how="transposed")
        return x

    def _features(self, x: Tensor) -> Tensor:
        """Returns what Lstm.forward does, [B, T, D]."""
        for number, block in enumerate(self._network.lstm.layer_blocks()):
            x = self._block(f"lstm.blocks.{number}", block, x)
        return self._normed("lstm.norm", x)

    def _block(self, name: str, block: LstmBlock, x: Tensor) -> Tensor:
        """Returns what LstmBlock.forward does, the cell step by step, [B, T, D]."""
        weights, cell = self._weights, f"{name}.lstm"
        bias = weights[f"{cell}.bias_ih_l0"] + weights[f"{cell}.bias_hh_l0"]
        gates = self._probed(linear(x, weights[f"{cell}.weight_ih_l0"], bias))
        recurrent = weights[f"{cell}.weight_hh_l0"]
        h = c = torch.zeros(x.shape[0], x.shape[2])
        before, after = [], []
        for each in gates.unbind(1):
            before.append(h)
            h, c = cell_step(each, h, c, recurrent)
            after.append(h)
        self._note(f"{cell}.weight_ih_l0", x)
        self._note(f"{cell}.weight_hh_l0", torch.stack(before, 1))
        self._note(f"{cell}.bias_ih_l0", None)
        self._note(f"{cell}.bias_hh_l0", None)
        # residual and feed-forward
        x = x + torch.stack(after, 1)
        inner = self._normed(f"{name}.feed_forward.norm", x)
        inner = gelu(self._linear(f"{name}.feed_forward.up", inner))
        return x + self._linear(f"{name}.feed_forward.down", inner)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        """Returns the output of a linear layer with its probe."""
        out = self._probed(
            linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])
        )
        self._note(f"{name}.weight", x)
        self._note(f"{name}.bias", None)
        return out

    def _normed(self, name: str, x: Tensor) -> Tensor:
        """Returns the output of a LayerNorm with its probe."""
        unit = layer_norm(x, x.shape[-1:])
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        out = self._probed(unit * weight + bias)
        self._note(f"{name}.weight", unit, how="scale")
        self._note(f"{name}.bias", None)
        return out

    def _probed(self, out: Tensor) -> Tensor:
        """Returns the output of a layer with a probe added to it."""
        self._probes.append(torch.zeros_like(out, requires_grad=True))
        return out + self._probes[-1]

    def _note(self, name: str, inputs: Tensor | None, how: str = "matrix") -> None:
        """Remembers the weights that the newest probe stands behind."""
        held = None if inputs is None else inputs.detach()
        self._parts.append(Part(name, held, len(self._probes) - 1, how))


def trained_parameters(network: InterestNetwork) -> dict[str, torch.nn.Parameter]:
    """Returns the parameters that UserGradients has gradients of, by name."""
    modules = ("text_in.", "text_out.", "action.", "gap.", "lstm.")
    return {name: each for name, each in network.named_parameters() if name.startswith(modules)}
