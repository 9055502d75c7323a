"""Says what an update is made from, and where its user's state is (hop 6).

How it is written, and how much it says, is a contract (stream/contracts/update.py). Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from stream.contracts.update import ScoredUsers
from stream.pipeline.state import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored(ScoredUsers):
    """Holds scored users of one partition, and where their states are."""

    arena: object  # stands for the places of rows in the arena (Arena.naming)
    places: Array  # int64 [U] of the rows in it
