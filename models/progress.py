"""Defines how a training or an evaluation reports how far it is: one signature for all of them."""

from __future__ import annotations

from typing import Any, Protocol


class Progress(Protocol):
    """Is called while a computation runs, with what a progress bar or a line of a log needs."""

    def __call__(self, stage: str, done: int, total: int, figures: dict[str, Any], /) -> None:
        """Notes that `done` of `total` are through; figures: what was measured, if anything."""
        ...


def ignore_progress(_stage: str, _done: int, _total: int, _figures: dict[str, Any], /) -> None:
    """Does nothing: the progress of a computation that nobody watches."""
