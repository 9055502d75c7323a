"""Where reading goes on after a pause, and when nothing but a new start is safe."""

from __future__ import annotations

import pytest

from stream.kafka.topic_identity import Shape
from stream.serving.following.follower import where_to_begin
from stream.serving.store import Known, Place

NOW_MS = 1_767_225_600_000
AWAY_MS = 43_200_000
P0, P1, U0 = ("profiles", 0), ("profiles", 1), ("updates", 0)
IDS = {"profiles": Shape("id-1", 2), "updates": Shape("id-2", 2)}
KNOWN = {"profiles": "id-1", "updates": "id-2"}
BEGINS: dict[Place, int] = {P0: 10, P1: 0}
ENDS: dict[Place, int] = {P0: 50, P1: 40}


def start(
    positions: dict[Place, int] | None = None,
    *,
    ids: dict[str, Shape] | None = None,
    known: dict[str, str] | None = None,
    ago_ms: int = AWAY_MS,
) -> tuple[dict[Place, int], str]:
    left = Known(
        KNOWN if known is None else known,
        {P0: 30, P1: 40, U0: 7} if positions is None else positions,
        NOW_MS - ago_ms,
    )
    found = where_to_begin(left, ids or IDS, BEGINS, ENDS, AWAY_MS, NOW_MS)
    return found.positions, found.anew


def test_it_goes_on_where_it_ended() -> None:
    assert start() == ({P0: 30, P1: 40}, "")


def test_an_empty_store_is_filled() -> None:
    assert start({}, known={}, ago_ms=NOW_MS) == (BEGINS, "the store is empty")


@pytest.mark.parametrize(
    ("anew", "why"),
    [
        (start(ago_ms=AWAY_MS + 1), "away for so long"),
        (start({P0: 9, P1: 40}), "does not go on"),
        (start({P0: 30}), "does not go on"),  # a partition that is new
        (start({P0: 51, P1: 40}), "ahead of the topic"),
        (start(ids={**IDS, "profiles": Shape("id-9", 2)}), "profiles was deleted and created"),
        (start(ids={**IDS, "updates": Shape("id-9", 2)}), "updates was deleted and created"),
        (start(ago_ms=NOW_MS), "did not come to its end"),
        (start(known={"others": "id-1"}), "of other topics"),
    ],
)
def test_what_may_have_missed_something_begins_anew(
    anew: tuple[dict[Place, int], str], why: str
) -> None:
    assert why in anew[1]
    assert anew[0] == BEGINS
