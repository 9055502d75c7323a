"""Is `interest-stream` with a null model (worker --null-model) that remembers what was popular."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models import predict
from stream.cli.root import main


class Following(predict.NullPredictor):
    """Names in its updates what it was given last."""

    popularity_as_of: int | None = None

    def set_popularity(self, item_ids: Sequence[str], shares: Any, as_of_ms: int) -> None:
        assert len(item_ids) == len(shares) > 0
        assert (shares[:-1] >= shares[1:]).all()
        self.popularity_as_of = as_of_ms


def work(arguments: list[str]) -> None:
    """Runs the command in a process that is made for it."""
    following = Following(predict.null_predictor().info)
    predict.null_predictor = lambda state_size=128: following
    main(arguments)
