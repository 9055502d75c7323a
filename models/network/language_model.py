"""Reads texts of the catalogue, and users as recent events and soft tokens.

It is a small causal transformer that the project trains itself.

Sources
[1] Pre-LN transformer (Xiong et al. 2020).
[2] Learned bias by distance instead of positions (T5, Raffel et al. 2020, without buckets): an
    event means the same wherever in a history it stands, only its distance to the reader counts.

Glossary: B sequences, T tokens, D width, H heads, W text tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.network.dropout import Dropout
from models.network.lstm import FeedForward
from models.network.norms import through_norm
from models.vocabulary import PAD


class Block(nn.Module):
    """Computes attention and feed-forward, both with residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.dropout = Dropout(dropout)
        self.feed_forward = FeedForward(width, dropout)

    def forward(self, x: Tensor, bias: Tensor, last: int | None = None) -> Tensor:
        """Returns the output [B, T, D] of x [B, T, D].

        bias: [B or 1, H, T, T], added to the attention logits (-inf: not seen). last: only the last
        that many positions are computed (as queries), [B, last, D].
        """
        q, k, v = self._heads(self.norm(x))
        if last is not None:
            q, x, bias = q[:, :, -last:], x[:, -last:], bias[:, :, -last:]
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        x = x + self.dropout(self.out(self._merged(mixed)))
        out: Tensor = self.feed_forward(x)
        return out

    def unread(self, x: Tensor, bias: Tensor, norm: nn.LayerNorm, towards: Tensor) -> Tensor:
        """Returns what the last position's output loses when it does not see another one, [B, T].

        It is what norm(output) @ towards loses, towards: [B, D]. The attention goes to the rest
        then, in the same proportions: a_t / (1 - a_t) * (v_t - sum_s a_s v_s) is lost of head after
        head. The LayerNorm is taken as linear at its value, the feed-forward is left out. The
        weights of keys and values are multiplied with the one query and the one direction first,
        which costs 1 / T of multiplying them with all positions.
        """
        # how the last position's attention is shared out
        read, heads = self.norm(x), self.heads
        w_q, w_k, w_v = self.qkv.weight.view(3, heads, -1, x.shape[2])  # [H, D / H, D] each
        q = torch.einsum("bd,hed->bhe", read[:, -1], w_q) + self.qkv.bias.view(3, heads, -1)[0]
        logits = (
            torch.einsum("btd,bhd->bht", read, torch.einsum("bhe,hed->bhd", q, w_k))
            / q.shape[-1] ** 0.5
        )
        # (the bias of the keys adds the same to all positions)
        share = torch.softmax(logits + bias[:, :, -1], dim=-1)
        # what each position's value is worth along the direction
        mixed = (
            torch.einsum("bhd,hed->bhe", share @ read, w_v).flatten(1)
            + self.qkv.bias[2 * x.shape[2] :]
        )
        through = through_norm(norm, x[:, -1] + self.out(mixed), towards) @ self.out.weight
        along = torch.einsum("bhe,hed->bhd", through.view(x.shape[0], heads, -1), w_v)
        value = torch.einsum("btd,bhd->bht", read, along)
        lost = share / (1 - share).clamp(min=1e-6) * (value - (share * value).sum(2, keepdim=True))
        return lost.sum(1)

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns queries, keys and values, [B, H, T, D / H] each."""
        batch, length, width = x.shape
        q, k, v = (
            self.qkv(x)
            .view(batch, length, 3, self.heads, width // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        return q, k, v

    def _merged(self, x: Tensor) -> Tensor:
        """Returns the heads [B, H, T, D / H] as one, [B, T, D]."""
        batch, heads, length, width = x.shape
        return x.transpose(1, 2).reshape(batch, length, heads * width)


class LanguageModel(nn.Module):
    """Computes token embedding, blocks and LayerNorm; distances up to `reach` differ."""

    def __init__(
        self, tokens: int, width: int, layers: int, heads: int, dropout: float, reach: int
    ) -> None:
        super().__init__()
        self.width, self.heads, self.reach = width, heads, reach
        self.embedding = nn.Embedding(tokens, width, padding_idx=PAD)
        nn.init.normal_(self.embedding.weight, std=0.05)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.distance = nn.Parameter(torch.zeros(heads, reach + 1))

    def forward(self, x: Tensor, bias: Tensor, last: int | None = None) -> Tensor:
        """Returns hidden states [B, T, D] of input vectors [B, T, D].

        last: of the last that many; the last block computes no other.
        """
        for block in self.blocks[:-1]:
            x = block(x, bias)
        hidden: Tensor = self.norm(self.blocks[-1](x, bias, last=last))
        return hidden

    def last_hidden(self, x: Tensor, bias: Tensor) -> Tensor:
        """Returns the hidden state of the last position only, [B, D]."""
        hidden: Tensor = self(x, bias, last=1)[:, -1]
        return hidden

    def distance_bias(self, query_at: Tensor, key_at: Tensor) -> Tensor:
        """Returns the learned bias of places query_at [Q] looking back at key_at [K], [H, Q, K]."""
        return self.distance[:, (query_at[:, None] - key_at[None, :]).clamp(0, self.reach)]

    def read_text(self, tokens: Tensor) -> Tensor:
        """Returns hidden states [B, L, D] of token numbers [B, L].

        Each sees itself and what stands before it.
        """
        places = torch.arange(tokens.shape[1], device=tokens.device)
        bias = self.distance_bias(places, places).masked_fill(
            places[None, :] > places[:, None], float("-inf")
        )
        hidden: Tensor = self(self.embedding(tokens) * self.width**0.5, bias[None])
        return hidden

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Returns encodings of texts [B, D], the mean of the hidden states of their words."""
        hidden, there = self.read_text(tokens), (tokens != PAD).unsqueeze(-1)
        return (hidden * there).sum(1) / there.sum(1)

    def text_loss(self, tokens: Tensor) -> Tensor:
        """Returns the mean cross-entropy of the next word, tied to the embedding."""
        hidden = self.read_text(tokens[:, :-1])
        logits = nn.functional.linear(hidden, self.embedding.weight)
        return nn.functional.cross_entropy(
            logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD
        )
