"""Defines exact points at which a test makes the worker fail.

They are refused unless the environment says that this is a test. With INTEREST_STREAM_TEST=1,
INTEREST_STREAM_FAILPOINTS="after_updates=kill@3" means SIGKILL the third time that point is
reached. Several are separated by commas. What was done is written to standard error first, so that
a run can prove it.

    kill         SIGKILL to itself          raise        FailpointError
    stop         SIGSTOP to itself          sleep:2.5    the thread that got there sleeps, seconds
    hang         that thread never returns

POINTS are in the order in which a worker meets them. Of those of a batch, decoded and mid_batch are
met in other threads, all others in the event loop.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from stream.errors import SettingsError

POINTS: Final = {
    "joined": "the group has given partitions, this worker has not heard of it",
    "assigned": "partitions assigned, states not yet restored",
    "restoring": "a batch of the changelog restored, more may follow",
    "recovered": "states restored, nothing read from the source yet",
    "fetched": "a batch fetched",
    "decoded": "a batch decoded",
    "mid_batch": "the LSTM has stepped, nothing scored, memory of the worker not yet changed",
    "computed": "a batch applied in memory, nothing published",
    "before_updates": "the same, ownership checked",
    "updates_sent": "updates sent, not acknowledged",
    "dead_letters_sent": "the same, of a batch with bad records",
    "after_updates": "updates acknowledged, states not sent",
    "states_sent": "states sent, not acknowledged",
    "after_states": "states acknowledged, the batch not",
    "committed": "offsets committed",
    "revoking": "a rebalance takes partitions away, batches in flight",
    "flushed": "the same, batches in flight done and not committed",
    "stopping": "SIGTERM or Ctrl-C arrived",
    "after_forward": "--rekey: a batch forwarded, not acknowledged",
}
BATCH_POINTS: Final = tuple(POINTS)[4:15]
SIGNALS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class FailpointError(RuntimeError):
    """Says that a failpoint with the action `raise` was reached.

    In the model thread it looks like a failing model.
    """


def from_environment(environment: Mapping[str, str]) -> Callable[[str], None]:
    """Returns a function to call at each point, which does nothing unless configured.

    Raises SettingsError if the environment does not say that this is a test, or names no such
    point.
    """
    spec = environment.get("INTEREST_STREAM_FAILPOINTS", "")
    if not spec:
        return lambda name: None
    if environment.get("INTEREST_STREAM_TEST") != "1":
        raise SettingsError(
            "INTEREST_STREAM_FAILPOINTS kills workers on purpose; it is refused unless "
            "INTEREST_STREAM_TEST=1"
        )
    wanted = dict(_parse(each) for each in spec.split(","))
    reached: Counter[str] = Counter()

    def reach(name: str) -> None:
        reached[name] += 1
        action, at = wanted.get(name, ("", 0))
        if reached[name] == at:
            os.write(2, f"failpoint {name}: {action}, reached {at} times\n".encode())
            _act(name, action)

    return reach


def _act(name: str, action: str) -> None:
    if action == "raise":
        raise FailpointError(name)
    if action in SIGNALS:
        os.kill(os.getpid(), SIGNALS[action])
        return
    time.sleep(float(action.partition(":")[2] or 1e6))  # hang: 11 days


def _parse(text: str) -> tuple[str, tuple[str, int]]:
    name, _, rest = text.partition("=")
    action, _, count = rest.partition("@")
    kind, _, seconds = action.partition(":")
    sound = action in (*SIGNALS, "raise", "hang") or (
        kind == "sleep" and seconds.replace(".", "", 1).isdecimal()
    )
    if name not in POINTS or not sound or not (count or "1").isdecimal():
        raise SettingsError(
            f"INTEREST_STREAM_FAILPOINTS: {text!r} is not POINT=ACTION@N with a point of "
            f"{', '.join(POINTS)} "
            "and an action of kill, stop, raise, hang, sleep:SECONDS"
        )
    return name, (action, int(count or 1))
