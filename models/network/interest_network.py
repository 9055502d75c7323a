"""Puts the whole network together: event inputs, LSTM, soft tokens, language model, candidates.

The LSTM's feature vector of a user becomes k soft tokens, placed behind up to n recent events, one
token each; the language model reads them and answers at the last soft token. All positions of a
sequence train in one pass: an event sees itself, the soft tokens of position t see the last n
events up to t and each other. Events do not see events: with two blocks an event would else bring
along what it had read, and an answer in training would look back further than the n events that
serving has. Order and context are what the soft tokens bring. Candidates (items, interests) are
vectors from their text, plus an id embedding for known items, so that a user is scored with one
pass and a matrix product (E4SRec, arXiv 2312.02443, with the linear head replaced by candidate
encodings).

Glossary: B sequences, T events, U users, D width, V items (row 0: unknown), C interests, M rows of
items, k soft tokens, n recent events, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models.compact import ACTIONS, RECENT
from models.errors import ModelDataError
from models.network.attention import Attention, newest_items
from models.network.dropout import Dropout, Part, hidden_by_chance
from models.network.language_model import LanguageModel
from models.network.lstm import Lstm
from models.vocabulary import GAP_BUCKETS


@dataclass(frozen=True)
class NetworkConfig:
    """Holds the sizes of a network; the state of a user is 2 * lstm_layers * width floats."""

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
    window: int = 0  # items that the attention reads; 0: there is none
    attention_dropout: float = 0.5
    # the demo model of 0.1.0 was trained so; its answers saw further back than they do served
    events_see_events: bool = False

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ModelDataError(f"width {self.width} cannot be divided among {self.heads} heads")
        if not 1 <= self.recent <= RECENT:
            raise ModelDataError(f"recent is {self.recent}; a state keeps 1 to {RECENT} events")
        if not 0 <= self.window <= RECENT:
            raise ModelDataError(f"window is {self.window}; a state keeps 0 to {RECENT} events")
        if self.soft_tokens < 1:
            raise ModelDataError("soft_tokens is 0; the answer is read at the last of them")


class InterestNetwork(nn.Module):
    """Holds all weights.

    The text encodings of catalogue and interests are buffers: they are made once, by `text_model`.
    """

    text: Tensor
    interest_text: Tensor
    heard: Tensor
    part: Part | None = None

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
        self.input_dropout = Dropout(config.dropout)
        self.lstm = Lstm(width, config.lstm_layers, config.dropout)
        self.text_model = LanguageModel(
            config.tokens, width, config.lm_layers, config.heads, 0.1, config.recent
        )
        self.language_model = LanguageModel(
            1, width, config.lm_layers, config.heads, config.dropout, config.recent
        )
        self.soft = nn.Linear(width, config.soft_tokens * width)
        self.soft_place = nn.Parameter(torch.randn(config.soft_tokens, width) * 0.02)
        self.item_bias = nn.Parameter(torch.zeros(config.items + 1))
        self.interest = nn.Parameter(torch.zeros(config.interests, width))
        self.interest_bias = nn.Parameter(torch.zeros(config.interests))
        self.register_buffer("text", torch.zeros(config.items + 1, width))
        self.register_buffer("interest_text", torch.zeros(config.interests, width))
        self.register_buffer(
            "heard", torch.zeros(0, width), persistent=False
        )  # other texts of a training: searches
        # drawn last: the others begin as they do without it
        self.attention = (
            Attention(config.items, width, config.window, config.attention_dropout)
            if config.window
            else None
        )

    @classmethod
    def without_weights(cls, config: NetworkConfig) -> InterestNetwork:
        """Returns a network whose weights are yet to be assigned: none are drawn by chance.

        Those that are missing in `load_state_dict(..., assign=True)` are an error, as ever.
        """
        with torch.device("meta"):
            network = cls(config)
        network.heard = torch.zeros(0, config.width)
        return network

    def start_items(self, log_popularity: Tensor, met: Tensor) -> None:
        """Sets biases to the log of training counts, so that popularity need not be learned.

        log_popularity, met: [V + 1]. An item that was not met has no vector of its own, and the
        bias of an average one; it never takes part in a step.
        """
        with torch.no_grad():
            self.item.weight[~met] = 0
            self.item_bias.copy_(torch.where(met, log_popularity - log_popularity[met].mean(), 0.0))

    def take_texts(self, other: InterestNetwork) -> None:
        """Takes over all that another network of the same sizes knows of words.

        That is its text model and the encodings made by it.
        """
        self.text_model.load_state_dict(other.text_model.state_dict())
        self.text.copy_(other.text)
        self.interest_text.copy_(other.interest_text)
        self.heard = other.heard

    def compute_part(self, part: Part | None) -> None:
        """Has what is hidden by chance drawn for a whole batch; None: each batch is a whole one."""
        self.part = part
        for module in self.modules():
            if isinstance(module, Dropout):
                module.part = part

    # -- inputs

    def event_vectors(
        self, rows: Tensor, actions: Tensor, gaps: Tensor, hide_ids: float = 0.0
    ) -> Tensor:
        """Returns the vectors [.., D] of item rows, action codes and gap buckets [..].

        A row beyond the items is one of `heard`, a text without an item. hide_ids: share of the
        events, drawn anew each time, of which the text alone is read, as of an item that is not in
        the catalogue.
        """
        beyond = rows > self.config.items
        known = rows.masked_fill(beyond, 0)
        text = self.text[known]
        text[beyond] = self.heard[rows[beyond] - self.config.items - 1]
        if hide_ids:
            known = known.masked_fill(hidden_by_chance(rows, hide_ids, self.part), 0)
        item = self.item(known) * self.config.width**0.5
        summed: Tensor = item + self.text_in(text) + self.action(actions) + self.gap(gaps)
        return summed

    # -- candidates

    def item_candidates(self, rows: Tensor | None = None) -> Tensor:
        """Returns the vectors of all items [V + 1, D], or of rows [M]: [M, D].

        The score of an item is the product of its vector with an answer, plus item_bias.
        """
        return self._candidates(self.item, self.text_out, rows)

    def _candidates(self, items: nn.Embedding, text_out: nn.Linear, rows: Tensor | None) -> Tensor:
        """Returns vectors of items, with the part that their texts give, of all or of rows."""
        known, text = (items.weight, self.text) if rows is None else (items(rows), self.text[rows])
        candidates: Tensor = known + text_out(text)
        return candidates

    def interest_candidates(self) -> Tensor:
        """Returns the vectors of all interests, [C, D]."""
        candidates: Tensor = self.interest + self.text_out(self.interest_text)
        return candidates

    # -- attention over the newest items, which has vectors of its own

    def attention_candidates(self, rows: Tensor | None = None) -> Tensor:
        """Returns the vectors of all items, or of rows, that the attention's answers are for."""
        assert self.attention is not None
        return self._candidates(self.attention.item, self.attention.text_out, rows)

    def attended(self, windows: Tensor) -> Tensor:
        """Returns the attention's answers [B, D] to windows of item rows int64 [B, T]."""
        assert self.attention is not None
        answers: Tensor = self.attention(windows, self.attention_candidates(windows))
        return answers

    def attended_newest(self, rows: Tensor) -> Tensor:
        """Returns the attention's answers [U, D] to rows [U, R] newest first, 0: about no item."""
        return self.attended(newest_items(rows, self.config.window)[0])

    def without_attention(self) -> None:
        """Takes the attention out."""
        self.attention, self.config = None, replace(self.config, window=0)

    # -- training: all positions in one pass

    def features(self, x: Tensor) -> Tensor:
        """Returns LSTM features [B, T, D] of event vectors [B, T, D]."""
        features: Tensor = self.lstm(self.input_dropout(x))
        return features

    def answers(self, x: Tensor, features: Tensor) -> Tensor:
        """Returns language-model answers [B, T, D], one for each position."""
        batch, length, width = x.shape
        k = self.config.soft_tokens
        soft = self.soft_tokens(features.reshape(batch * length, width)).view(
            batch, length * k, width
        )
        tokens = torch.cat((self.input_dropout(x), soft), dim=1)
        hidden = self.language_model(tokens, self.sequence_bias(length)[None], last=length * k)
        answers: Tensor = hidden.view(batch, length, k, width)[:, :, -1]
        return answers

    def soft_tokens(self, features: Tensor) -> Tensor:
        """Returns the soft tokens [U, k, D] of features [U, D]."""
        soft: Tensor = (
            self.soft(features).view(-1, self.config.soft_tokens, self.config.width)
            + self.soft_place
        )
        return soft

    def sequence_bias(self, length: int) -> Tensor:
        """Returns who sees whom when all positions train at once, [H, T + kT, T + kT]."""
        k, n = self.config.soft_tokens, self.config.recent
        # of each token: the position it belongs to, whether it is soft, which soft one it is
        device = self.soft_place.device
        events = torch.arange(length, device=device)
        place = torch.cat((events, events.repeat_interleave(k)))
        is_soft = torch.cat(
            (torch.zeros(length, dtype=torch.bool), torch.ones(length * k, dtype=torch.bool))
        ).to(device)
        order = torch.cat(
            (torch.zeros(length, dtype=torch.long), torch.arange(k).repeat(length))
        ).to(device)
        # soft tokens see the last n events and the soft ones before them; events see themselves
        distance = place[:, None] - place[None, :]
        reads = is_soft[:, None] | (distance == 0) | self.config.events_see_events
        sees_event = ~is_soft[None, :] & reads & (distance >= 0) & (distance < n)
        sees_soft = (
            is_soft[None, :]
            & is_soft[:, None]
            & (distance == 0)
            & (order[:, None] >= order[None, :])
        )
        return self.language_model.distance_bias(place, place).masked_fill(
            ~(sees_event | sees_soft), float("-inf")
        )

    # -- serving: one position a user

    def serving_tokens(self, x: Tensor, there: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Returns tokens [U, n + k, D] and bias [U, H, n + k, n + k] of users as they are served.

        x: vectors of the recent events [U, n, D], oldest first; there: bool [U, n], which of them
        exist. The numbers are those that `answers` gives at the last position.
        """
        # the events, then the soft tokens, which stand at the place of the newest event
        k, n = self.config.soft_tokens, x.shape[1]
        tokens = torch.cat((x, self.soft_tokens(features)), dim=1)
        places = torch.cat((torch.arange(n), torch.full((k,), n - 1)))
        # soft tokens see all that is before them; events see themselves alone
        order = torch.arange(n + k)
        sees = order[None, :] <= order[:, None]
        if not self.config.events_see_events:
            sees = sees & ((order[:, None] >= n) | (order[:, None] == order))
        bias = self.language_model.distance_bias(places, places).masked_fill(~sees, float("-inf"))
        # nobody sees an event that does not exist, but for itself: no row is empty
        missing = torch.cat((~there, torch.zeros(x.shape[0], k, dtype=torch.bool)), dim=1)
        hidden = missing[:, None, None, :] & (order[:, None] != order)
        return tokens, bias[None].masked_fill(hidden, float("-inf"))
