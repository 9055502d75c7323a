"""The compact form of one event: what a user's state keeps of it and all that a model ever sees of it.

Training, serving, rebuilding a state after a model change, and the explanation of an update all read this form, so there is
one encoder of event fields and no way for training and serving to disagree. It depends on no vocabulary: an item is a 64-bit
hash of its id, which the vocabulary of a model maps to a row (models/vocabulary.py). Pure: numpy and the standard library only.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]

RECENT: Final = 32
"""Events kept in a user's state, newest first."""

SESSION_GAP_S: Final = 1_800.0
"""Half an hour of silence ends a session, as web analytics has it."""

TEXT_BYTES: Final = 30
"""UTF-8 bytes kept of a query, title or unknown item id: five English words, ten Chinese characters."""

NO_TEXT, QUERY, TITLE, ITEM_ID = range(4)
"""Values of `kind`: what the text of a compact event is."""

WORDS: Final = (QUERY, TITLE)
"""Kinds of text that say something. A bare item id is kept to name the event, not to be read: its words are an accident."""

COMPACT: Final = np.dtype(
    [
        ("key", "<u8"),  # hash64 of item_id, else of the query, else of the title; 0: no event here
        ("event_id", "<u8"),  # hash64 of event_id; 0: none given
        ("time_ms", "<i8"),  # Unix milliseconds, from the event
        ("action", "u1"),  # index into ACTIONS
        ("kind", "u1"),  # NO_TEXT, QUERY, TITLE or ITEM_ID
        ("text", f"S{TEXT_BYTES}"),  # query; or the event's title; or its item id
    ]
)
"""56 bytes an event. Its layout is part of the state record: a change needs a new record version (stream/state.py)."""

ACTIONS: Final = (
    "other",
    "view",
    "click",
    "search",
    "like",
    "share",
    "follow",
    "save",
    "add_to_cart",
    "purchase",
    "rate",
    "play",
    "dislike",
    "comment",
    "remove_from_cart",
    "cancel",
    "unfollow",
    "impression",
    "skip",
    "edit",
)
"""Append only: the index is stored in states and in trained weights. Anything else is `other`."""

ALIASES: Final = {
    "rating": "rate",
    "buy": "purchase",
    "review_purchase": "purchase",
    "minor_edit": "edit",
    "back": "skip",
}
"""Names that common data sets use for a listed action."""

ACTION_CODES: Final = {name: code for code, name in enumerate(ACTIONS)} | {
    alias: ACTIONS.index(name) for alias, name in ALIASES.items()
}


def hash64(text: str) -> int:
    """64-bit key of an item id, event id, query or title; never 0, which marks an empty slot."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") or 1


def of_last_session(recent: Array) -> Array:
    """Bool [U, 32]: which of the recent events COMPACT [U, 32], newest first, no silence of half an hour parts from the newest.

    Events without times are all of one session.
    """
    silence = recent["time_ms"][:, :-1] - recent["time_ms"][:, 1:]
    unbroken = np.logical_and.accumulate(silence <= 1000 * SESSION_GAP_S, axis=1)
    found: Array = recent["key"] != 0
    found[:, 1:] &= unbroken
    return found


def text_of(raw: bytes) -> str:
    """The text field as a string; the cut may have split its last character, which is then dropped."""
    return raw.decode("utf-8", "ignore")
