"""Defines the compact form of an event: what a state keeps of it, and all that a model sees of it.

Training, serving, rebuilding a state after a model change, and the explanation of an update all
read this form, so there is one encoder of event fields and no way for training and serving to
disagree. It depends on no vocabulary: an item is a 64-bit hash of its id, which the vocabulary of a
model maps to a row (models/vocabulary.py). Pure: numpy and the standard library only.

Glossary: U users.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]

RECENT: Final = 32
"""Events kept in a user's state, newest first."""

SESSION_GAP_S: Final = 1_800.0
"""Half an hour of silence ends a session, as web analytics has it."""

TEXT_BYTES: Final = 30
"""UTF-8 bytes kept of a query, title or unknown item id.

That is five English words or ten Chinese characters.
"""

NO_TEXT, QUERY, TITLE, ITEM_ID = range(4)
"""Values of `kind`: what the text of a compact event is."""

WORDS: Final = (QUERY, TITLE)
"""Kinds of text that are read.

A bare item id is kept to name the event, not to be read: its words are an accident.
"""

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
"""56 bytes an event.

Its layout is part of the state record: a change needs a new record version
(stream/pipeline/state.py).
"""

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
    "view": "page_view page screen screen_view view_item product_viewed product_view view_product "
    "item_view item_viewed view_content content_view detail detail_page_view view_detail viewed "
    "views pv read visit open",
    "click": "select_item select_content product_clicked item_clicked click_item clicked clicks "
    "clickout clickout_item tap",
    "search": "searched searches products_searched view_search_results search_query",
    "like": "liked likes upvote upvoted thumbs_up heart",
    "share": "shared shares product_shared retweet repost",
    "follow": "followed subscribe subscribed",
    "save": "saved saves bookmark bookmarked wishlist add_to_wishlist added_to_wishlist "
    "product_added_to_wishlist fav favorite favorited favourite favourited add_to_favorites "
    "add_to_favourites collect",
    "add_to_cart": "added_to_cart product_added cart add_to_basket added_to_basket add_to_bag "
    "begin_checkout checkout_started initiate_checkout add_payment_info add_shipping_info",
    "purchase": "buy bought purchased purchases order ordered order_completed order_placed "
    "place_order completed_order checkout_completed complete_payment transaction sale "
    "ecommerce_purchase in_app_purchase review_purchase",
    "rate": "rating rated review reviewed product_reviewed",
    "play": "played plays listen listened watch watched stream streamed video_start video_started "
    "video_play video_playback_started song_played",
    "dislike": "disliked dislikes downvote downvoted thumbs_down",
    "comment": "commented comments reply replied",
    "remove_from_cart": "removed_from_cart product_removed remove_from_basket",
    "cancel": "cancelled canceled order_cancelled order_canceled order_refunded refund refunded",
    "unfollow": "unfollowed unsubscribe unsubscribed",
    "impression": "impressions view_item_list product_list_viewed view_promotion promotion_viewed "
    "exposure",
    "skip": "skipped skips back",
    "edit": "edited edits minor_edit",
}
"""Names that trackers, shops and common data sets give to a listed action: GA4, Segment, PostHog,
Meta, RetailRocket, REES46, Taobao and others. Case and separators do not count."""

SPELLINGS_KEPT: Final = 10_000
"""Unlisted spellings whose code is remembered."""

_SEPARATORS: Final = re.compile(r"[\W_]+")


def _folded(action: str) -> str:
    """Returns an action without case and separators: `Product Viewed` is `productviewed`."""
    return _SEPARATORS.sub("", action).casefold()


class _ActionCodes(dict[str, int]):
    """Holds the code of each spelling of an action; one that is not known is `other`, code 0."""

    def __init__(self) -> None:
        super().__init__({name: code for code, name in enumerate(ACTIONS)})
        self._by_fold = {_folded(name): code for name, code in self.items()} | {
            _folded(alias): ACTIONS.index(name)
            for name, aliases in ALIASES.items()
            for alias in aliases.split()
        }
        self._listed = len(self)

    def __missing__(self, action: str) -> int:
        if len(self) >= self._listed + SPELLINGS_KEPT:
            self.clear()
            self.update({name: code for code, name in enumerate(ACTIONS)})
        code = self[action] = self._by_fold.get(_folded(action), 0)
        return code


ACTION_CODES: Final[dict[str, int]] = _ActionCodes()
"""Index into ACTIONS by any spelling of an action: ask with [], which knows all of them."""


def hash64(text: str) -> int:
    """Returns the 64-bit key of an item id, event id, query or title.

    It is never 0, which marks an empty slot.
    """
    return (
        int.from_bytes(
            blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
        )
        or 1
    )


class ItemIndex:
    """Finds the catalogue rows of compact-event keys."""

    def __init__(self, item_ids: Sequence[str]) -> None:
        keys = np.fromiter(map(hash64, item_ids), np.uint64, len(item_ids))
        order = np.argsort(keys)
        self._keys, self._rows = keys[order], (order + 1).astype(np.int64)

    def rows(self, keys: Array) -> Array:
        """Returns rows 1..V, or 0 for what is not in the catalogue, int64 in the shape of keys.

        keys: uint64.
        """
        if not len(self._keys):
            return np.zeros(keys.shape, np.int64)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        rows: Array = np.where(self._keys[place] == keys, self._rows[place], 0)
        return rows


def of_last_session(recent: Array) -> Array:
    """Returns which recent events are of the session of the newest one, bool [U, 32].

    No silence of half an hour parts them from it. recent: COMPACT [U, 32], newest first. Events
    without times are all of one session.
    """
    silence = recent["time_ms"][:, :-1] - recent["time_ms"][:, 1:]
    unbroken = np.logical_and.accumulate(silence <= 1000 * SESSION_GAP_S, axis=1)
    found: Array = recent["key"] != 0
    found[:, 1:] &= unbroken
    return found


def text_of(raw: bytes) -> str:
    """Returns the text field as a string.

    The cut may have split its last character, which is then dropped.
    """
    return raw.decode("utf-8", "ignore")
