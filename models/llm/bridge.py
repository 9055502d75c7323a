"""Maps the LSTM's features into a user's own language model, and its hidden states back.

It is all that is trained of the hosted model, apart from LoRA. The input of the model is

    [template words] [event tokens of the last m <= n events] [k soft tokens]
                                                                            ^ the answer

An event token is the item's title (texts.title_tokens) plus a linear map of the event vector; soft
tokens are a two-layer map of the feature. The hidden state at the last soft token is mapped back to
the width of the LSTM and added to its feature, so an untrained bridge ranks as the LSTM does.
Candidates are those of the small network plus a map of their texts' encodings by the model: a user
is scored with one pass and a product (E4SRec, arXiv 2312.02443).

Glossary: B windows or U users, n events read, m of them there, k soft tokens, A answers of a
window, P template words, T positions of the input, D width of the LSTM, H width of the language
model, V items (row 0: unknown), C interests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from models.errors import ModelDataError, ModelDirectoryError

TEMPLATE: Final = "What one person chose lately, oldest first:"


@dataclass(frozen=True)
class BridgeConfig:
    """Holds sizes: everything that decides what a token means is here or in the weights."""

    width: int  # D
    host_width: int  # H
    items: int  # V
    interests: int  # C
    recent: int = 8  # n
    soft_tokens: int = 2  # k
    scale: float = 1.0  # length of the host's own input embeddings
    template: str = TEMPLATE

    def __post_init__(self) -> None:
        if self.recent < 2 or self.recent % 2:
            raise ModelDataError(
                f"recent is {self.recent}; the bridge needs an even number of events, 2 or more"
            )

    @property
    def answers(self) -> int:
        """Returns A: a training window of n events has an answer at each of its last n / 2."""
        return self.recent // 2


class Bridge(nn.Module):
    """Holds the trained weights, and cached encodings of the catalogue's texts by the host."""

    template: Tensor
    item_text: Tensor
    interest_text: Tensor
    text_middle: Tensor
    text_spread: Tensor
    title: Tensor

    def __init__(self, config: BridgeConfig) -> None:
        super().__init__()
        self.config = config
        width, host = config.width, config.host_width
        self.event = nn.Linear(width, host)
        self.soft = nn.Sequential(
            nn.Linear(width, host), nn.GELU(), nn.Linear(host, config.soft_tokens * host)
        )
        self.soft_norm = nn.LayerNorm(host, elementwise_affine=False)
        self.soft_place = nn.Parameter(torch.randn(config.soft_tokens, host) * 0.02)
        self.out_norm, self.out = nn.LayerNorm(host), nn.Linear(host, width)
        self.text_out = nn.Linear(host, width, bias=False)
        for untouched in (self.out.weight, self.out.bias, self.text_out.weight):
            nn.init.zeros_(untouched)
        nn.init.normal_(self.event.weight, std=0.02 / width**0.5)
        self.register_buffer("item_text", torch.zeros(config.items + 1, host))
        self.register_buffer("interest_text", torch.zeros(config.interests, host))
        self.register_buffer("text_middle", torch.zeros(host))
        self.register_buffer("text_spread", torch.ones(()))
        self.register_buffer("title", torch.zeros(config.items + 1, host), persistent=False)
        self.register_buffer("template", torch.zeros(0, host), persistent=False)

    # -- texts

    def keep_texts(self, items: Tensor, interests: Tensor) -> None:
        """Caches encodings [V, H] and [C, H] by the host.

        They are moved to a common middle of zero and scaled to a spread of one.
        """
        both = torch.cat((items, interests))
        self.text_middle = both.mean(0)
        self.text_spread = (both - self.text_middle).std().clamp(min=1e-6)
        self.item_text[1:], self.interest_text[:] = self.centred(items), self.centred(interests)

    def centred(self, encodings: Tensor) -> Tensor:
        """Returns encodings [.., H] of texts by the host in the form of the cached ones."""
        return (encodings - self.text_middle) / self.text_spread

    # -- tokens

    def event_tokens(self, x: Tensor, titles: Tensor) -> Tensor:
        """Returns tokens [.., H] of event vectors x [.., D] and their titles' tokens [.., H]."""
        tokens: Tensor = titles + self._scaled(self.event(x))
        return tokens

    def soft_tokens(self, features: Tensor) -> Tensor:
        """Returns soft tokens [.., k, H] of features [.., D]."""
        k, host = self.config.soft_tokens, self.config.host_width
        soft = self.soft_norm(self.soft(features).unflatten(-1, (k, host)))
        tokens: Tensor = self._scaled(soft) + self.soft_place
        return tokens

    def answer(self, features: Tensor, hidden: Tensor) -> Tensor:
        """Returns the answers [.., D] to hidden states at the last soft token [.., H].

        features: [.., D] that the answers are added to.
        """
        answer: Tensor = features + self.out(self.out_norm(hidden))
        return answer

    def _scaled(self, x: Tensor) -> Tensor:
        """Returns vectors of unit variance at the length of the host's own embeddings."""
        scaled: Tensor = x * (self.config.scale / self.config.host_width**0.5)
        return scaled

    # -- layouts

    def serve(self, host: Any, events: Tensor, count: Tensor, soft: Tensor) -> Tensor:
        """Returns the hidden states [U, H] at the last soft token of each user.

        events: [U, n, H] oldest first, of which the last count [U] are there.
        """
        users, n = events.shape[:2]
        k, prefix = self.config.soft_tokens, len(self.template)
        longest = int(count.max())

        # Events that are there move to the left, directly behind the template.
        places = torch.arange(longest, device=count.device)[None]
        source = (n - count)[:, None] + places
        tokens = events.new_zeros(users, prefix + longest + k, events.shape[2])
        tokens[:, :prefix] = self.template
        tokens[:, prefix : prefix + longest] = events.gather(
            1, source.clamp(max=n - 1).unsqueeze(2).expand(-1, -1, events.shape[2])
        )

        # Soft tokens stand directly behind the last event of each user.
        place = prefix + count[:, None] + torch.arange(k, device=count.device)[None]
        row = torch.arange(users, device=count.device)[:, None]
        tokens[row, place] = soft
        hidden = run(host, tokens)
        return hidden[row[:, 0], place[:, -1]]

    def train_windows(self, host: Any, events: Tensor, soft: Tensor, after: Tensor) -> Tensor:
        """Returns hidden states [B, A, H]: many positions of a history in one pass.

        Each is what `serve` would see there. events: [B, n, H] at the left; soft: [B, A, k, H];
        after: [B, A] place of the last event before each answer.
        """
        batch, n, width = events.shape
        answers, k, prefix = after.shape[1], self.config.soft_tokens, len(self.template)
        tokens = torch.cat((self.template.expand(batch, -1, -1), events, soft.flatten(1, 2)), dim=1)
        mask, positions = self.window_mask(after, n)
        hidden = run(host, tokens, mask, positions)
        return hidden[:, prefix + n :].view(batch, answers, k, width)[:, :, -1]

    def window_mask(self, after: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Returns which position sees which, bool [B, 1, T, T], and positions int [B, T].

        T = P + n + kA; after: [B, A] place of the last event before each answer.
        """
        k, prefix = self.config.soft_tokens, len(self.template)
        batch, answers = after.shape
        device = after.device

        # Each group of k soft tokens goes on where its own events end: first [B, kA] is the
        # position of the group's first soft token.
        head = prefix + n
        order = torch.arange(k, device=device).repeat(answers)
        group = torch.arange(answers, device=device).repeat_interleave(k)
        first = prefix + 1 + after[:, group]
        positions = torch.cat(
            (torch.arange(head, device=device).expand(batch, -1), first + order), dim=1
        )

        # Template and events see what is to their left; soft tokens see template and events before
        # their own position, and of the soft tokens those of their own group.
        size = head + answers * k
        mask = torch.zeros(batch, size, size, dtype=torch.bool, device=device)
        mask[:, :head, :head] = torch.ones(head, head, dtype=torch.bool, device=device).tril()
        mask[:, head:, :head] = torch.arange(head, device=device)[None, None] < first.unsqueeze(2)
        mask[:, head:, head:] = (group[:, None] == group[None]) & (order[:, None] >= order[None])
        return mask.unsqueeze(1), positions


def run(
    host: Any, tokens: Tensor, mask: Tensor | None = None, positions: Tensor | None = None
) -> Tensor:
    """Returns the host's hidden states, float32 [B, T, H], for input vectors [B, T, H].

    The host computes in its own precision and on its own device. mask, positions: of `window_mask`;
    without them each position sees what is to its left.
    """
    parameter = next(host.parameters())
    options: dict[str, Any] = {"use_cache": False}
    if mask is not None and positions is not None:
        floor = torch.finfo(parameter.dtype).min
        additive = torch.zeros(mask.shape, dtype=parameter.dtype).masked_fill_(~mask.cpu(), floor)
        options |= {
            "attention_mask": additive.to(parameter.device),
            "position_ids": positions.to(parameter.device),
        }
    inputs = tokens.pin_memory() if parameter.is_cuda and tokens.device.type == "cpu" else tokens
    inputs = inputs.to(parameter.device, parameter.dtype, non_blocking=True)
    hidden: Tensor = host(inputs_embeds=inputs, **options).last_hidden_state
    return hidden.to(tokens.device, torch.float32)


@torch.no_grad()
def ensure_masks_count(host: Any, width: int) -> None:
    """Raises ModelDirectoryError for an architecture that ignores the mask or the positions given.

    Training reads many positions in one pass, and that needs a model which keeps to both.
    """
    # A token that nothing may see changes; what comes after it must not, and must be as without it.
    tokens = torch.randn(1, 4, width, generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, 1] += 1
    mask = torch.ones(4, 4, dtype=torch.bool).tril()
    mask[2:, 1] = False
    positions = torch.tensor([[0, 1, 1, 2]])
    seen = [run(host, each, mask[None, None], positions)[:, 2:] for each in (tokens, changed)]
    alone = run(host, tokens[:, [0, 2, 3]])[:, 1:]
    tolerance = 0.05 * float(alone.abs().max())
    if (seen[0] - seen[1]).abs().max() > tolerance or (seen[0] - alone).abs().max() > tolerance:
        raise ModelDirectoryError(
            f"{type(host).__name__} does not keep to a given attention mask and positions, so it "
            "cannot be trained here; use a decoder with standard attention (Llama, Qwen, Mistral, "
            "Gemma, Phi, GPT-2 ...)"
        )
