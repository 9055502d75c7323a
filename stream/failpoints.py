"""Exact points at which a test makes the worker die. Refused unless the environment says that this is a test.

INTEREST_STREAM_FAILPOINTS="after_updates=kill@3"  with  INTEREST_STREAM_TEST=1: SIGKILL the third time that point is reached.
Points of a batch, in order: computed, before_updates, after_updates, after_states; of --rekey: after_forward.
Actions: kill, stop (SIGSTOP), raise.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping

from stream.errors import SettingsError

POINTS = ("computed", "before_updates", "after_updates", "after_states", "after_forward")
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class FailpointError(Exception):
    """Raised by a failpoint with the action `raise`."""


def from_environment(environment: Mapping[str, str]) -> Callable[[str], None]:
    """A function to call at each point; does nothing unless configured."""
    spec = environment.get("INTEREST_STREAM_FAILPOINTS", "")
    if not spec:
        return lambda name: None
    if environment.get("INTEREST_STREAM_TEST") != "1":
        raise SettingsError(
            "INTEREST_STREAM_FAILPOINTS kills workers on purpose; it is refused unless INTEREST_STREAM_TEST=1"
        )
    wanted = dict(_parse(each) for each in spec.split(","))
    reached: Counter[str] = Counter()

    def reach(name: str) -> None:
        reached[name] += 1
        action, at = wanted.get(name, ("", 0))
        if reached[name] != at:
            return
        if action == "raise":
            raise FailpointError(name)
        os.kill(os.getpid(), SIGNALS[action])

    return reach


def _parse(text: str) -> tuple[str, tuple[str, int]]:
    name, _, rest = text.partition("=")
    action, _, count = rest.partition("@")
    if name not in POINTS or action not in (*SIGNALS, "raise") or not (count or "1").isdecimal():
        raise SettingsError(
            f"INTEREST_STREAM_FAILPOINTS: {text!r} is not POINT=ACTION@N with a point of {', '.join(POINTS)}"
        )
    return name, (action, int(count or 1))
