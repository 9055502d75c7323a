"""Follows which interest a user has at the moment, by a hidden Markov model of the recent events.

A user has one current interest. With each event it is another one with the chance `switch`, drawn
as interests are met in training; an event is about the current one with the chance `focus`, and
else about anything. So a single event about something else is taken for what it most often is, and
a second one is believed. A counter of events can only do one or the other: where it is quick it
follows every stray event, and where it is not it is late.

The belief is the forward pass (Rabiner, A Tutorial on Hidden Markov Models, 1989, equations 19 and
20) over the newest events; what is older has no say by then. The two rates are those under which
the events of training are most probable.

Glossary: U users, C interests, R = 32 recent events, newest first, T events oldest first.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]

WINDOW: Final = 12
"""Recent events that are read: on simulated users 16 and 32 say the same, 8 a little less."""

SWITCHES: Final = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6)
FOCUSES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Rates that are tried."""

FIT_USERS: Final = 2_000
FIT_EVENTS: Final = 64
"""Users whose events the rates are fitted to, and how many of the newest of each."""

SCALED: Final = 4
"""Steps of a backward pass after which its numbers are scaled. One step makes them a billion times
as large at most, and never smaller."""


class Followed(NamedTuple):
    """Holds what is believed of the current interest of users, and by which steps."""

    belief: Tensor
    """How probable each interest is the current one after all events, [U, C]; sums to 1."""
    first: Tensor
    """1 at the most probable one, [U, C]; 0 where no event touched any."""
    before: tuple[Tensor, ...]
    """The belief before each of W events, time passed, [U, C] each, oldest first."""
    likelihoods: tuple[Tensor, ...]
    """How likely each of them is under each interest, in the same order."""


def followed(touched: Tensor, base: Tensor, rates: Tensor) -> Followed:
    """Returns what events say of the current interest; one that touches nothing lets time pass.

    touched: 0/1 [U, R, C], newest first, 0 where there is no event; base: [C], how often each is
    met; rates: switch and focus.
    """
    read, prior = touched[:, :WINDOW], _prior(base)
    likelihoods = _likelihoods(read, prior, rates).unbind(1)[::-1]
    belief, before = prior.expand(touched.shape[0], -1), []
    for likelihood in likelihoods:
        passed, _, belief = _told(belief, likelihood, prior, rates[0])
        before.append(passed)
    first = (belief == belief.amax(1, keepdim=True)) * read.amax((1, 2)).unsqueeze(1)
    return Followed(belief, first, tuple(before), likelihoods)


def without_each(given: Followed, base: Tensor, rates: Tensor, which: Tensor) -> Tensor:
    """Returns what is believed of one interest a user had an event said nothing, [U, W].

    W is WINDOW, the newest event first; which: int64 [U]. Of the events after the one that is left
    out, the backward pass (equations 24 and 25) says how likely they are from each interest: all of
    them, and with the interest asked for at their end.
    """
    (switch, _), prior = rates, _prior(base)
    asked = torch.nn.functional.one_hot(which, base.shape[0]).to(prior.dtype)
    later = torch.stack((asked, torch.ones_like(asked)), 1)  # [U, 2, C]
    laters = [later]
    for number, likelihood in enumerate(given.likelihoods[:0:-1], start=1):
        later = later * likelihood.unsqueeze(1)
        later = torch.lerp(later, later @ prior.view(1, -1, 1), switch)
        if number % SCALED == 0:
            later = later / later.amax((1, 2), keepdim=True)  # only their ratio counts
        laters.append(later)
    before = torch.stack(given.before[::-1], 1).unsqueeze(3)
    ended, in_all = (torch.stack(laters, 1) @ before).squeeze(3).unbind(2)
    return ended / in_all


def fit_rates(rows: Array, user_start: Array, belongs: Array, base: Tensor) -> Tensor:
    """Returns switch and focus, float32 [2], under which the events of users are most probable.

    rows: int64 [N], catalogue rows of events, user after user, 0 where an event is not to be
    learned; user_start: [users + 1]; belongs: bool [V + 1, C], row 0 empty.
    """
    touched = torch.from_numpy(belongs[_newest(rows, user_start)].astype(np.float32))
    prior = _prior(base)
    found = {
        (switch, focus): _log_likelihood(touched, prior, torch.tensor([switch, focus]))
        for switch in SWITCHES
        for focus in FOCUSES
    }
    return torch.tensor(max(found, key=lambda rates: found[rates]))


def _newest(rows: Array, user_start: Array) -> Array:
    """Returns the rows of the newest events of some users, int64 [U, T], oldest first."""
    lengths = np.diff(user_start)
    users = np.flatnonzero(lengths > 1)
    users = users[:: max(1, len(users) // FIT_USERS)][:FIT_USERS]
    events = min(FIT_EVENTS, int(lengths[users].max(initial=0)))
    places = user_start[1:][users, None] - np.arange(events, 0, -1)
    inside = places >= user_start[:-1][users, None]
    found: Array = np.where(inside, rows[np.maximum(places, 0)], 0)
    return found


def _log_likelihood(touched: Tensor, prior: Tensor, rates: Tensor) -> float:
    """Returns the log-likelihood of events [U, T, C], oldest first, each after those before it."""
    belief = prior.expand(touched.shape[0], -1)
    total = 0.0
    for event in touched.unbind(1):
        # against what is expected of an event about anything, which no rate changes
        likelihood = _likelihoods(event.unsqueeze(1), prior, rates)[:, 0]
        anything = (1 - rates[1]).log() * event.amax(1)
        _, expected, belief = _told(belief, likelihood, prior, rates[0])
        total += float((expected.log().squeeze(1) + anything).sum())
    return total


def _told(
    belief: Tensor, likelihood: Tensor, prior: Tensor, switch: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns one step of the forward pass: the belief before an event, and after it, [U, C].

    Time has passed before it. Between the two stands how likely the event was, [U, 1].
    """
    before = torch.lerp(belief, prior, switch)
    after = before * likelihood
    expected = after.sum(1, keepdim=True)
    return before, expected, after / expected


def _prior(base: Tensor) -> Tensor:
    """Returns the share of each interest, [C], which sums to 1."""
    return base / base.sum()


def _likelihoods(touched: Tensor, prior: Tensor, rates: Tensor) -> Tensor:
    """Returns how likely each event is under each interest, [U, T, C], against an event at large.

    An event at large touches what it touches with the chance that its interests have together.
    """
    focus = rates[1]
    at_large = (1 - focus) * (touched @ prior)
    ratio = focus / at_large.clamp(min=1e-9)
    return torch.addcmul(torch.ones(1), touched, ratio.unsqueeze(2))
