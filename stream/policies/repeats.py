"""Finds events that came before: their event_id is one of the user's last 32 applied events'.

Pure. N events of a batch, W users that occur in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from models.compact import RECENT

Array = np.ndarray[Any, Any]


def repeats(ids: Array, owner: Array, states: Array, fresh: Array) -> Array:
    """Returns the events whose event_id is among the user's last 32 applied ones, bool [N].

    Those of this batch are included. ids: uint64 [N], 0 for none; owner: int64 [N], place of each
    event's user among the states, row dtype [W]; fresh: bool [N], which events count at all.
    """
    found = np.zeros(len(owner), bool)
    candidates = np.flatnonzero(fresh & (ids != 0))
    held = states["recent"]["event_id"]
    slots = np.arange(RECENT)[None, :] < states["n_recent"][:, None]
    held_owner, held_slot = np.nonzero(slots & (held != 0))
    all_owners = np.concatenate((held_owner, owner[candidates]))
    all_ids = np.concatenate((held[held_owner, held_slot], ids[candidates]))
    order = np.lexsort((all_ids, all_owners))
    same = (all_ids[order][1:] == all_ids[order][:-1]) & (
        all_owners[order][1:] == all_owners[order][:-1]
    )
    for user in np.unique(all_owners[order][1:][same]).tolist():
        _mark(user, states, np.flatnonzero(fresh & (owner == user)), ids, found)
    return found


def _mark(user: int, states: Array, mine: Array, ids: Array, found: Array) -> None:
    """Marks the repeats of one user who has some id twice.

    It goes event by event, because each repeat shifts the window.
    """
    recent = states["recent"]["event_id"][user][: states["n_recent"][user]]
    window = recent[::-1].tolist()
    for place in mine.tolist():
        event_id = int(ids[place])
        if event_id and event_id in window[-RECENT:]:
            found[place] = True
        else:
            window.append(event_id)
