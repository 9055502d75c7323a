"""Remembers a user in an LSTM: one step an event, in a state of fixed size.

Sources
[1] Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; gate order and biases
    as torch.nn.LSTM:
        i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)      f = sigmoid(W_if x + b_if + W_hf h + b_hf)
        g = tanh(W_ig x + b_ig + W_hg h + b_hg)         o = sigmoid(W_io x + b_io + W_ho h + b_ho)
        c' = f * c + i * g                              h' = o * tanh(c')
[2] Residual, LayerNorm and feed-forward around the cell, as in transformer blocks (pre-LN, Xiong et
    al. 2020).

Glossary: B sequences, T events of each, U users, D width, S = 2 * layers * D numbers of state,
G = 4 * D gates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.network.dropout import Dropout


class FeedForward(nn.Module):
    """Computes x + W2 gelu(W1 LN(x)), [.., D] to [.., D]."""

    def __init__(self, width: int, dropout: float, factor: int = 2) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, factor * width), nn.Linear(factor * width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Returns [.., D] of x [.., D]."""
        inner: Tensor = self.dropout(self.down(nn.functional.gelu(self.up(self.norm(x)))))
        return x + inner


class LstmBlock(nn.Module):
    """Computes an LSTM layer with residual and feed-forward.

    The cell is torch's in training and `cell_step` in serving.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.dropout = Dropout(dropout, steps_first=True)
        self.feed_forward = FeedForward(width, dropout)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Returns [B, T, D] of x [B, T, D]; state: h and c, [1, B, D] each, zeros when None."""
        h, _ = self.lstm(x, state)
        return self.after_cell(x, h)

    def after_cell(self, x: Tensor, h: Tensor) -> Tensor:
        """Returns what the next block, or the feature, sees of a step's input and new h."""
        out: Tensor = self.feed_forward(x + self.dropout(h))
        return out


class Lstm(nn.Module):
    """Computes the feature vector of each position: blocks, then LayerNorm."""

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.width, self.layers = width, layers
        self.blocks = nn.ModuleList(LstmBlock(width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    @property
    def state_size(self) -> int:
        """Returns how many numbers h and c of every layer are (S)."""
        return 2 * self.layers * self.width

    def forward(self, x: Tensor) -> Tensor:
        """Returns features [B, T, D] of inputs [B, T, D], from zero states."""
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.norm(x)
        return features

    def step(self, x: Tensor, gates_x: Tensor, state: Tensor) -> None:
        """Takes one event of U users into their state [U, S], in place.

        x: [U, D]; gates_x: [U, G], the first layer's W_i x + b_i + b_h.
        """
        for number, block in enumerate(self.layer_blocks()):
            h, c = self.parts(state, number)
            if number:
                gates_x = input_gates(block.lstm, x)
            new_h, new_c = cell_step(gates_x, h, c, cast(Tensor, block.lstm.weight_hh_l0))
            h.copy_(new_h)
            c.copy_(new_c)
            if number + 1 < self.layers:
                x = block.after_cell(x, new_h)

    def feature(self, x: Tensor, state: Tensor) -> Tensor:
        """Returns the feature [U, D] after the step that took x [U, D] and left state [U, S]."""
        for number, block in enumerate(self.layer_blocks()):
            x = block.after_cell(x, self.parts(state, number)[0])
        feature: Tensor = self.norm(x)
        return feature

    def layer_blocks(self) -> Iterator[LstmBlock]:
        """Returns the blocks with their type."""
        return (cast(LstmBlock, block) for block in self.blocks)

    def parts(self, state: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Returns views of h and c of a layer, [U, D] each, into state [U, S]."""
        start = 2 * layer * self.width
        return state[:, start : start + self.width], state[
            :, start + self.width : start + 2 * self.width
        ]


def input_gates(lstm: Any, x: Tensor) -> Tensor:
    """Returns W_i x + b_i + b_h: [U, G] of x [U, D], all of the gates that no state changes."""
    return nn.functional.linear(x, lstm.weight_ih_l0, lstm.bias_ih_l0 + lstm.bias_hh_l0)


def cell_step(gates_x: Tensor, h: Tensor, c: Tensor, weight_hh: Tensor) -> tuple[Tensor, Tensor]:
    """Returns new h and c by equations [1], [U, D] each, from gates_x [U, G] and h, c [U, D]."""
    gates = torch.addmm(gates_x, h, weight_hh.t())
    i, f, g, o = gates.chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c
