"""Reads the last items of a user at once: attention beside a filter of frequencies.

It has item vectors of its own and is trained by itself, so that it errs where the other networks do
not. A window of items is read as a whole, each of them sees all others, and the answer stands at
the newest one. Nothing but the window is read, so it costs the same whatever the history.

Source: BSARec (Shin et al. 2024, "An Attentive Inductive Bias for Sequential Recommendation beyond
the Self-Attention", arXiv:2312.10325), equations 4 to 10: a block mixes `FILTERED` parts of a
low-pass filter along the window with the rest of self-attention. Ours: the filter is that of a
frame of FRAME places, of which the window is the newest; items are numbered by place from the
newest one; an item's vector has a part that its title gives.

Glossary: B windows, T places of one, D width, V items (row 0: none), M rows of items.
"""

from __future__ import annotations

from typing import Final, NamedTuple, cast

import torch
from torch import Tensor, nn

from models.network.dropout import Dropout
from models.network.norms import through_norm

FILTERED: Final = 0.7
"""Share of the filter in a block; the rest is attention (alpha of the source)."""
FRAME: Final = 50
"""Places over which frequencies are taken."""
LOW: Final = 3
"""The lowest frequencies, which the filter keeps whole (c // 2 + 1 of the source, for c = 5)."""
BLOCKS: Final = 2
HIDDEN: Final = 1e4
"""What is taken from the logit of an empty place; a window of such places is a distribution too."""
START: Final = 0.02
"""Standard deviation of the weights as they are drawn."""


class Attention(nn.Module):
    """Computes the answer to a window of items, to be held against the vectors of all items."""

    def __init__(self, items: int, width: int, window: int, dropout: float) -> None:
        super().__init__()
        self.window = window
        self.item = nn.Embedding(items + 1, width, padding_idx=0)
        self.place = nn.Embedding(window, width)
        self.text_out = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(AttentionBlock(width, window, dropout) for _ in range(BLOCKS))
        for module in self.modules():
            if isinstance(module, nn.Embedding | nn.Linear):
                nn.init.normal_(module.weight, std=START)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.item.weight[0] = 0

    def forward(self, rows: Tensor, vectors: Tensor) -> Tensor:
        """Returns answers [B, D] to windows of item rows, oldest first; 0 where a place is empty.

        rows: int64 [B, T], T at most the window, empty places first; vectors: of them, [B, T, D].
        Who has no item has an answer of 0, which says the same of all items.
        """
        answers: Tensor = self.blocks[-1](self.read(rows, vectors), _there(rows))[:, -1]
        return answers

    def read(self, rows: Tensor, vectors: Tensor) -> Tensor:
        """Returns what the last block reads of windows, [B, T, D]."""
        there = _there(rows)
        x: Tensor = self.dropout(self.norm(vectors + self.place.weight[-rows.shape[1] :])) * there
        for block in self.blocks[:-1]:
            x = block(x, there)
        return x

    def answer(self, rows: Tensor, read: Tensor) -> Tensor:
        """Returns the answers [B, D] to what the last block reads, as `forward` does in serving."""
        block, there = cast(AttentionBlock, self.blocks[-1]), _there(rows)
        newest = block.newest(read, there)
        answers: Tensor = block.after(newest.both + newest.inner) * there[:, -1]
        return answers

    def unread(self, rows: Tensor, read: Tensor, towards: Tensor) -> Tensor:
        """Returns what an answer loses along a direction without each item, [B, T].

        towards: [B, D]. Only the last block is looked into: what its filter has of an item at the
        newest place is taken away, its attention goes to the others. The feed-forward is left out,
        and each LayerNorm is taken as linear at its value.
        """
        return cast(AttentionBlock, self.blocks[-1]).unread(read, _there(rows), towards)


class Newest(NamedTuple):
    """Holds what a block computes at the newest place, on the way to its output."""

    filtered: Tensor  # [B, D] before its norm
    share: Tensor  # [B, T] of attention
    v: Tensor  # [B, T, D]
    attended: Tensor  # [B, D] before its norm
    both: Tensor  # [B, D] both halves, before the feed-forward
    inner: Tensor  # [B, D] of the feed-forward


class AttentionBlock(nn.Module):
    """Computes filter and attention side by side, then a feed-forward."""

    low: Tensor

    def __init__(self, width: int, window: int, dropout: float) -> None:
        super().__init__()
        self.scale = width**-0.5
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.high = nn.Parameter(torch.randn(width) * START)
        """What passes of the other frequencies, squared (beta of the source)."""
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.after_filter, self.after_attention, self.after = (
            nn.LayerNorm(width) for _ in range(3)
        )
        self.dropouts = nn.ModuleList(Dropout(dropout) for _ in range(4))
        self.register_buffer("low", low_pass(window))  # stored: who loads it computes nothing

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """Returns the output [B, T, D] of x [B, T, D]; there: [B, T, 1], 0 at empty places."""
        of_filter, of_shares, of_attention, of_inner = self.dropouts

        # low frequencies, and some of the others
        low = self.low[-x.shape[1] :, -x.shape[1] :] @ x
        filtered = self.after_filter(x + of_filter(low + self.high.square() * (x - low)))

        # attention, of one head
        q, k, v = self.qkv(x).chunk(3, dim=2)
        logits = q @ k.transpose(1, 2) * self.scale + (there.transpose(1, 2) - 1) * HIDDEN
        mixed = of_shares(torch.softmax(logits, 2)) @ v
        attended = self.after_attention(x + of_attention(self.out(mixed)))

        # both, then the feed-forward
        both = FILTERED * filtered + (1 - FILTERED) * attended
        inner = of_inner(self.down(nn.functional.gelu(self.up(both))))
        out: Tensor = self.after(both + inner) * there
        return out

    def newest(self, x: Tensor, there: Tensor) -> Newest:
        """Returns what `forward` has at the newest place in serving, and computes nothing else."""
        last = x[:, -1]
        low = self.low[-1, -x.shape[1] :] @ x
        filtered = last + low + self.high.square() * (last - low)
        q, k, v = self.qkv(x).chunk(3, dim=2)
        logits = (q[:, -1:] @ k.transpose(1, 2)).squeeze(1) * self.scale
        share = torch.softmax(logits + (there.squeeze(2) - 1) * HIDDEN, 1)
        attended = last + self.out((share.unsqueeze(1) @ v).squeeze(1))
        both = FILTERED * self.after_filter(filtered) + (1 - FILTERED) * self.after_attention(
            attended
        )
        inner = self.down(nn.functional.gelu(self.up(both)))
        return Newest(filtered, share, v, attended, both, inner)

    def unread(self, x: Tensor, there: Tensor, towards: Tensor) -> Tensor:
        """Returns what the newest place loses along a direction without each item, [B, T].

        See `Attention.unread`.
        """
        newest, passes = self.newest(x, there), self.high.square()

        # the direction, led back through the norms to both halves
        towards = through_norm(self.after, newest.both + newest.inner, towards)
        of_filter = through_norm(self.after_filter, newest.filtered, FILTERED * towards)
        of_attention = through_norm(self.after_attention, newest.attended, (1 - FILTERED) * towards)

        # what each item gives to them
        low = self.low[-1, -x.shape[1] :]
        lost = low * (x @ ((1 - passes) * of_filter).unsqueeze(2)).squeeze(2)
        value = (newest.v @ (of_attention @ self.out.weight).unsqueeze(2)).squeeze(2)
        share, mean = newest.share, (newest.share * value).sum(1, keepdim=True)
        lost = lost + share / (1 - share).clamp(min=1e-6) * (value - mean)
        own = (x[:, -1] * ((1 + passes) * of_filter + of_attention)).sum(1, keepdim=True)
        return torch.cat((lost[:, :-1], lost[:, -1:] + own), 1) * there.squeeze(2)


def _there(rows: Tensor) -> Tensor:
    """Returns 1 where a place has an item and 0 where it is empty, float32 [B, T, 1]."""
    return (rows > 0).unsqueeze(2).float()


def low_pass(window: int) -> Tensor:
    """Returns the filter that keeps the LOW lowest frequencies, [T, T], of the newest T places."""
    frequencies = torch.fft.rfft(torch.eye(FRAME), dim=0)
    frequencies[LOW:] = 0
    kernel: Tensor = torch.fft.irfft(frequencies, n=FRAME, dim=0)
    return kernel[-window:, -window:].contiguous()


def newest_items(rows: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Returns the newest items of users as windows, and where they stood, int64 [U, T] each.

    rows: int64 [U, R] item rows, newest first, 0: about no item. A window goes from the oldest to
    the newest, empty places first.
    """
    order = (rows == 0).to(torch.uint8).sort(dim=1, stable=True).indices[:, :window].flip(1)
    return rows.gather(1, order), order
