"""The whole network: event inputs, LSTM, soft tokens, language model, candidates.

The LSTM's feature vector of a user becomes k soft tokens, placed behind up to n recent events, one token each; the language
model reads them and answers at the last soft token. All positions of a sequence train in one pass: an event sees itself, the soft
tokens of position t see the last n events up to t and each other. Events do not see events: with two blocks an event would else bring
along what it had read, and an answer in training would look back further than the n events that serving has. Order and
context are what the soft tokens bring. Candidates (items, interests) are vectors from
their text, plus an id embedding for known items, so that a user is scored with one pass and a matrix product (E4SRec,
arXiv 2312.02443, with the linear head replaced by candidate encodings).

Glossary: B sequences, T events, D width, V items (row 0: unknown), C interests, k soft tokens, n recent events, H heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.compact import ACTIONS, RECENT
from models.errors import ModelDataError
from models.language_model import LanguageModel
from models.lstm import Lstm
from models.vocabulary import GAP_BUCKETS


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes. State of a user: 2 * lstm_layers * width floats."""

    items: int  # V
    interests: int  # C
    tokens: int  # W, of the tokenizer
    width: int = 64  # D
    lstm_layers: int = 1
    lm_layers: int = 2
    heads: int = 2
    soft_tokens: int = 2  # k
    recent: int = 8  # n
    dropout: float = 0.2
    events_see_events: bool = (
        False  # the demo model of 0.1.0 was trained so; its answers saw further back than they do served
    )

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ModelDataError(f"width {self.width} cannot be divided among {self.heads} heads")
        if not 1 <= self.recent <= RECENT:
            raise ModelDataError(f"recent is {self.recent}; a state keeps 1 to {RECENT} events")
        if self.soft_tokens < 1:
            raise ModelDataError("soft_tokens is 0; the answer is read at the last of them")


class InterestNetwork(nn.Module):
    """All weights. The text encodings of catalogue and interests are buffers: they are made once, by `text_model`."""

    text: Tensor
    interest_text: Tensor
    heard: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.item = nn.Embedding(config.items + 1, width, padding_idx=0)
        nn.init.normal_(self.item.weight, std=0.02)
        with torch.no_grad():
            self.item.weight[0] = 0
        self.action = nn.Embedding(len(ACTIONS), width)
        self.gap = nn.Embedding(GAP_BUCKETS, width)
        self.text_in, self.text_out = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        for embedding in (self.action, self.gap):
            nn.init.normal_(embedding.weight, std=0.02)
        self.input_dropout = nn.Dropout(config.dropout)
        self.lstm = Lstm(width, config.lstm_layers, config.dropout)
        self.text_model = LanguageModel(config.tokens, width, config.lm_layers, config.heads, 0.1, config.recent)
        self.language_model = LanguageModel(1, width, config.lm_layers, config.heads, config.dropout, config.recent)
        self.soft = nn.Linear(width, config.soft_tokens * width)
        self.soft_place = nn.Parameter(torch.randn(config.soft_tokens, width) * 0.02)
        self.item_bias = nn.Parameter(torch.zeros(config.items + 1))
        self.interest = nn.Parameter(torch.zeros(config.interests, width))
        self.interest_bias = nn.Parameter(torch.zeros(config.interests))
        self.register_buffer("text", torch.zeros(config.items + 1, width))
        self.register_buffer("interest_text", torch.zeros(config.interests, width))
        self.register_buffer("heard", torch.zeros(0, width), persistent=False)  # other texts of a training: searches

    def start_items(self, log_popularity: Tensor, met: Tensor) -> None:
        """Biases at the log of training counts, so nothing has to be learned to know what is popular: both [V + 1].

        An item that was not met has no vector of its own, and the bias of an average one; it never takes part in a step.
        """
        with torch.no_grad():
            self.item.weight[~met] = 0
            self.item_bias.copy_(torch.where(met, log_popularity - log_popularity[met].mean(), 0.0))

    def take_texts(self, other: InterestNetwork) -> None:
        """All that another network of the same sizes knows of words: its text model and the encodings made by it."""
        self.text_model.load_state_dict(other.text_model.state_dict())
        self.text.copy_(other.text)
        self.interest_text.copy_(other.interest_text)
        self.heard = other.heard

    # -- inputs

    def event_vectors(self, rows: Tensor, actions: Tensor, gaps: Tensor, hide_ids: float = 0.0) -> Tensor:
        """[.., D] of item rows, action codes and gap buckets [..]; a row beyond the items is one of `heard`, a text without an item.

        hide_ids: share of the events, drawn anew each time, of which the text alone is read, as of an item that is not in the catalogue.
        """
        beyond = rows > self.config.items
        known = rows.masked_fill(beyond, 0)
        text = self.text[known]
        text[beyond] = self.heard[rows[beyond] - self.config.items - 1]
        if hide_ids:
            known = known.masked_fill(torch.rand(rows.shape) < hide_ids, 0)
        item = self.item(known) * self.config.width**0.5
        summed: Tensor = item + self.text_in(text) + self.action(actions) + self.gap(gaps)
        return summed

    # -- candidates

    def item_candidates(self, rows: Tensor | None = None) -> Tensor:
        """[V + 1, D], or those of rows [M]: [M, D]; a row's score is its product with an answer, plus item_bias."""
        known, text = (self.item.weight, self.text) if rows is None else (self.item(rows), self.text[rows])
        candidates: Tensor = known + self.text_out(text)
        return candidates

    def interest_candidates(self) -> Tensor:
        """[C, D]."""
        candidates: Tensor = self.interest + self.text_out(self.interest_text)
        return candidates

    # -- training: all positions in one pass

    def features(self, x: Tensor) -> Tensor:
        """LSTM features [B, T, D] of event vectors [B, T, D]."""
        features: Tensor = self.lstm(self.input_dropout(x))
        return features

    def answers(self, x: Tensor, features: Tensor) -> Tensor:
        """Language-model answers [B, T, D], one for each position."""
        batch, length, width = x.shape
        k = self.config.soft_tokens
        soft = self.soft_tokens(features.reshape(batch * length, width)).view(batch, length * k, width)
        tokens = torch.cat((self.input_dropout(x), soft), dim=1)
        hidden = self.language_model(tokens, self.sequence_bias(length)[None], last=length * k)
        answers: Tensor = hidden.view(batch, length, k, width)[:, :, -1]
        return answers

    def soft_tokens(self, features: Tensor) -> Tensor:
        """[U, k, D] from features [U, D]."""
        soft: Tensor = self.soft(features).view(-1, self.config.soft_tokens, self.config.width) + self.soft_place
        return soft

    def sequence_bias(self, length: int) -> Tensor:
        """[H, T + kT, T + kT]: who sees whom when all positions train at once."""
        k, n = self.config.soft_tokens, self.config.recent
        events = torch.arange(length)
        place = torch.cat((events, events.repeat_interleave(k)))
        is_soft = torch.cat((torch.zeros(length, dtype=torch.bool), torch.ones(length * k, dtype=torch.bool)))
        order = torch.cat((torch.zeros(length, dtype=torch.long), torch.arange(k).repeat(length)))
        distance = place[:, None] - place[None, :]
        reads = is_soft[:, None] | (distance == 0) | self.config.events_see_events
        sees_event = ~is_soft[None, :] & reads & (distance >= 0) & (distance < n)
        sees_soft = is_soft[None, :] & is_soft[:, None] & (distance == 0) & (order[:, None] >= order[None, :])
        return self.language_model.distance_bias(place, place).masked_fill(~(sees_event | sees_soft), float("-inf"))

    # -- serving: one position a user

    def serving_tokens(self, x: Tensor, there: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [U, n + k, D] and bias [U, H, n + k, n + k] from recent event vectors x [U, n, D], oldest first.

        there: bool [U, n], which of them exist. The same numbers as `answers` gives at the last position.
        """
        k, n = self.config.soft_tokens, x.shape[1]
        tokens = torch.cat((x, self.soft_tokens(features)), dim=1)
        places = torch.cat((torch.arange(n), torch.full((k,), n - 1)))
        order = torch.arange(n + k)
        sees = order[None, :] <= order[:, None]
        if not self.config.events_see_events:
            sees = sees & ((order[:, None] >= n) | (order[:, None] == order))
        bias = self.language_model.distance_bias(places, places).masked_fill(~sees, float("-inf"))
        missing = torch.cat((~there, torch.zeros(x.shape[0], k, dtype=torch.bool)), dim=1)
        hidden = missing[:, None, None, :] & (order[:, None] != order)  # a missing event sees itself: no row is empty
        return tokens, bias[None].masked_fill(hidden, float("-inf"))


@dataclass(frozen=True)
class Negatives:
    """Which items a softmax sums over: the most popular ones exactly, of the others some that stand for all (or all of them).

    A few popular items hold most of the probability; drawn by chance now and then they would make the estimate noisy. Items without
    an event take no part: wrong at every step and right at none, they would be pushed away from every answer, and a new one never
    be found by its text.
    """

    head: Tensor  # int64 rows that always take part
    tail: Tensor  # int64 rows that are drawn from
    drawn: int  # 0: the head is all that was met
    place: Tensor  # int64 [V + 1] of a row in the head

    @classmethod
    def of_counts(cls, counts: Tensor, most: int) -> Negatives:
        """Half of `most` for the head, half for the draw; 0, or as many as there are: all. counts [V + 1] of events."""
        rows = torch.argsort(counts[1:], descending=True, stable=True) + 1
        rows = rows[counts[rows] > 0]
        all_take_part = not most or most >= len(rows)
        head, tail = (rows, rows[:0]) if all_take_part else (rows[: most // 2], rows[most // 2 :])
        place = torch.zeros(len(counts), dtype=torch.long)
        place[head] = torch.arange(len(head))
        return cls(head, tail, 0 if all_take_part else most - most // 2, place)

    def draw(self) -> tuple[Tensor, Tensor]:
        """Rows [K] and the logarithm of how many items each stands for [K]."""
        chosen = self.tail[torch.randint(len(self.tail), (self.drawn,))]
        weight = torch.zeros(len(self.head) + self.drawn)
        weight[len(self.head) :] = math.log(len(self.tail) / self.drawn)
        return torch.cat((self.head, chosen)), weight


def next_item_loss(hidden: Tensor, targets: Tensor, network: InterestNetwork, negatives: Negatives) -> Tensor:
    """Mean cross-entropy of targets [M] (rows 1..V) given hidden [M, D], over the items that were met.

    Where negatives are drawn the sum over the other items is estimated from them (sampled softmax, Jean et al. 2015; weighed as in
    Xu et al. 2024, arXiv 2402.06216); its cost does not grow with the catalogue.
    """
    if not negatives.drawn:
        head = negatives.head
        logits = nn.functional.linear(hidden, network.item_candidates(head), network.item_bias[head])
        return nn.functional.cross_entropy(logits, negatives.place[targets])
    rows, weight = negatives.draw()
    wanted = (hidden * network.item_candidates(targets)).sum(1) + network.item_bias[targets]
    others = nn.functional.linear(hidden, network.item_candidates(rows), network.item_bias[rows] + weight)
    others = others.masked_fill(targets[:, None] == rows, float("-inf"))
    return (torch.logsumexp(torch.cat((wanted[:, None], others), 1), 1) - wanted).mean()


def interest_loss(answers: Tensor, wanted: Tensor, network: Any) -> Tensor:
    """Mean binary cross-entropy of the interests of the next event, wanted [M, C], given answers [M, D]."""
    logits = nn.functional.linear(answers, network.interest_candidates(), network.interest_bias)
    return nn.functional.binary_cross_entropy_with_logits(logits, wanted)
