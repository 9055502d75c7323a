"""`python -m tests.slow_language_model` is `interest-stream` whose language model takes 20 ms a user more, however fast the machine."""

from __future__ import annotations

import time
from typing import Any, Final

from models.llm.predictor import HostedPredictor
from stream.cli.root import main

USER_S: Final = 0.02

_quick = HostedPredictor._answer


def _slow(self: HostedPredictor, newest: Any, *rest: Any) -> Any:
    time.sleep(USER_S * len(newest))
    return _quick(self, newest, *rest)


if __name__ == "__main__":
    HostedPredictor._answer = _slow  # type: ignore[assignment]
    main()
