"""`python -m tests.slow_language_model` is `interest-stream` whose language model takes 20 ms a user more, however fast the machine."""

from __future__ import annotations

import time
from typing import Final

from torch import Tensor

from models.llm.predictor import HostedPredictor
from models.scorer import Known
from stream.cli.root import main

USER_S: Final = 0.02

_quick = HostedPredictor._answer


def _slow(self: HostedPredictor, known: Known, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    time.sleep(USER_S * len(feature))
    return _quick(self, known, feature)


if __name__ == "__main__":
    HostedPredictor._answer = _slow  # type: ignore[method-assign]
    main()
