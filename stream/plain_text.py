"""Makes what strangers wrote safe to show: in a terminal nothing of an event may act.

Ids, titles and queries come from whoever produces events. Raw in a terminal, an escape sequence in
one of them would move the cursor, change the title of the window or hide a line, and an override of
the writing direction would show another word than the one that is there.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

_ACTS: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL and C1: 0x9b alone begins an escape sequence
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # line separators, writing direction
    "\ufff9-\ufffb\ud800-\udfff]"  # annotations, halves of surrogate pairs
)
_ACTS_IN_LINES: Final = re.compile(_ACTS.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f", 1))


def plain(text: object) -> str:
    """Returns a value in one line: what would act in a terminal is escaped, as in JSON."""
    return _ACTS.sub(_escaped, str(text))


def plain_lines(text: str) -> str:
    """Returns text of several lines, whose line ends stay; for JSON it is JSON still."""
    return _ACTS_IN_LINES.sub(_escaped, text)


def utc(time_ms: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Returns a moment in UTC; one that no calendar has is returned as its number."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime(form)
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms"


def span(length_ms: int) -> str:
    """Returns a length of time by its two largest units, rounded up: `7 d 6 h`, `90 s`."""
    for large, small, unit, part in (
        (86_400_000, 3_600_000, "d", "h"),
        (3_600_000, 60_000, "h", "min"),
        (60_000, 1_000, "min", "s"),
    ):
        if length_ms >= 2 * large or (length_ms >= large and unit != "min"):
            whole, rest = divmod(-(-length_ms // small), large // small)
            return f"{whole} {unit} {rest} {part}" if rest else f"{whole} {unit}"
    return f"{-(-length_ms // 1_000)} s"


def told(error: BaseException) -> str:
    """Returns an error in words that hold nothing of an event.

    Errors of this project, of Kafka's client and of the system say what to do and quote no event.
    Those of others may quote what they failed on, so of them only class and place are told.
    """
    kinds = {each.__module__.partition(".")[0] for each in type(error).__mro__}
    own = any(each.__name__ == "InterestStreamError" for each in type(error).__mro__)
    if own or "aiokafka" in kinds or isinstance(error, OSError):
        return f"{type(error).__name__}: {error}"
    return f"{type(error).__name__}{_place(error)}"


def _place(error: BaseException) -> str:
    trace: Any = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    code = trace.tb_frame.f_code
    return f" in {code.co_name} ({code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})"


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
