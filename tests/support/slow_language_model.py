"""Is `interest-stream` with a language model that is slower by 20 ms a user."""

from __future__ import annotations

import time
from typing import Final

from torch import Tensor

from models.llm.predictor import HostedPredictor
from models.serving.reading import Known
from stream.cli.root import main

USER_S: Final = 0.02

_quick = HostedPredictor.answer


def _slow(self: HostedPredictor, known: Known, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    time.sleep(USER_S * len(feature))
    return _quick(self, known, feature)


def work(arguments: list[str]) -> None:
    """Runs the command in a process that is made for it."""
    HostedPredictor.answer = _slow  # type: ignore[method-assign]
    main(arguments)
