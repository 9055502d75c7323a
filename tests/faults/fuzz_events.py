"""Feeds raw bytes to the worker's decoder, guided by coverage (Atheris).

The answer is an event or a reason.

    python -m pip install --target runs/atheris atheris==3.0.0
    PYTHONPATH=runs/atheris:. python -m tests.faults.fuzz_events --seconds 1200

A finding: an exception, more than 100 ms of CPU, more than 50 MB of growth, or an answer other than
that of the second reading of the contract (audit/event_rules.py, the standard library's json).
Inputs that found something are kept in OUT/findings, and the run goes on. Atheris is no dependency
of the project: it has wheels for some Pythons only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tests.faults.campaign.load import POISON
from tests.support.poison import CORPUS, STRANGE, TIME_MS, USER

try:
    import atheris

    instrumented = atheris.instrument_imports(
        include=["stream.pipeline.decode", "stream.contracts.faults", "stream.audit.event_rules"]
    )
except ImportError:
    atheris, instrumented = None, nullcontext()
with instrumented:  # what is imported here tells the fuzzer where an input went
    from stream.audit import event_rules as audit_events
    from stream.contracts.event import Event, Limits, parse_event
    from stream.contracts.faults import REASONS
    from stream.pipeline.decode import Decoder

SLOW_S: Final = 0.1
GROWTH_BYTES: Final = 50_000_000
LONGEST: Final = 4_096
"""Bytes of an input.

Texts may be too long, values are never too large, and a second sees hundreds of inputs instead of
twenty.
"""

TEXTS: Final = ("user_id", "action", "item_id", "title", "query", "event_id", "session_id")


@dataclass(frozen=True, slots=True)
class Bytes:
    """Is a record as a consumer gives it to the decoder.

    The key is the user that the value seems to name.
    """

    value: bytes
    offset: int = 7
    timestamp: int = TIME_MS
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def key(self) -> bytes:
        named: list[bytes] = re.findall(rb'"user_id"\s*:\s*"([^"\\]*)"', self.value)
        return named[-1] if named else USER


def examine(value: bytes, decoder: Any) -> str | None:
    """Returns what is wrong with the decoder's answer to these bytes, in a short sentence.

    None: nothing.
    """
    record, before = Bytes(value), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.thread_time()
    try:
        batch = decoder.decode("events", 0, [record])
        spent_s = time.thread_time() - began
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {place.name}, line {place.lineno}"
    if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 > GROWTH_BYTES:
        return "memory"
    if spent_s > SLOW_S:
        return "slow"
    if len(batch.users) + len(batch.rejects) != 1:
        return "neither an event nor a reason"
    if batch.rejects and batch.rejects[0].reason not in REASONS:
        return f"reason {batch.rejects[0].reason} is not on the list"
    return differs(record, accepted=not batch.rejects)


def differs(record: Bytes, accepted: bool) -> str | None:
    """Is this what the standard library's json makes of it?"""
    read_by_json = audit_events.valid_event(
        record.key, record.value, record.timestamp, audit_events.Limits()
    )
    if (read_by_json is not None) != accepted:
        return f"the decoder {'accepts' if accepted else 'refuses'} what the audit does not"
    if read_by_json is None:
        return None
    wrong = [
        name
        for name, same in compared(parse_event(record, Limits()), read_by_json).items()
        if not same
    ]
    return f"other {', '.join(wrong)} than json reads" if wrong else None


def compared(event: Event, read_by_json: dict[str, Any]) -> dict[str, bool]:
    """Compares the decoder's event with the dictionary that json reads, field by field."""
    texts = {name: (getattr(event, name) or "") == (read_by_json.get(name) or "") for name in TEXTS}
    numbers = {
        name: getattr(event, name) == read_by_json.get(name) for name in ("dwell_ms", "value")
    }
    time_ms = audit_events.milliseconds(read_by_json["time"])
    return {
        **texts,
        **numbers,
        "categories": event.categories == read_by_json.get("categories"),
        "time": event.time == time_ms,
    }


@dataclass
class Fuzzer:
    """Counts what it is given, and keeps what found something.

    It ends the process when its time is over.
    """

    out: Path
    seconds: float
    decoder: Any = field(default_factory=Decoder)
    executions: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)

    def __call__(self, value: bytes) -> None:
        self.executions += 1
        found = examine(value, self.decoder)
        if found is not None:
            self.findings[found] += 1
            if self.findings[found] == 1:
                (self.out / "findings" / sha256(value).hexdigest()[:16]).write_bytes(value)
                os.write(1, f"FINDING: {found}: {value[:200]!r}\n".encode())
        if self.executions % 100 == 0 and time.monotonic() > self.began + self.seconds:
            os.write(1, json.dumps(self.report()).encode() + b"\n")
            os._exit(bool(self.findings))  # Atheris has no other end that keeps the report

    def report(self) -> dict[str, Any]:
        corpus = list((self.out / "corpus").iterdir())
        return {
            "executions": self.executions,
            "seconds": round(time.monotonic() - self.began),
            "corpus": len(corpus),
            "corpus_bytes": sum(each.stat().st_size for each in corpus),
            "findings": dict(self.findings),
        }


def seeds(longest: int = LONGEST) -> list[bytes]:
    """Returns the bad records of tests and campaign, and the sound ones that look like them.

    All but the largest.
    """
    values = [each.value or b"" for each in CORPUS] + list(STRANGE.values()) + list(POISON)
    return sorted({value for value in values if len(value) <= longest})


def main(arguments: Sequence[str] | None = None) -> int:
    """0: nothing found; 1: something, in OUT/findings; 2: Atheris is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz_events", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/fuzz"),
        help="corpus and findings; a corpus is gone on with",
    )
    parser.add_argument(
        "--longest", type=int, default=LONGEST, help="bytes of an input (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    if atheris is None:
        os.write(
            2, b"Atheris is missing: python -m pip install --target runs/atheris atheris==3.0.0\n"
        )
        return 2
    for name in ("corpus", "findings"):
        (options.out / name).mkdir(parents=True, exist_ok=True)
    for value in seeds(options.longest):
        (options.out / "corpus" / f"seed-{sha256(value).hexdigest()[:16]}").write_bytes(value)
    atheris.Setup(
        [sys.argv[0], f"-max_len={options.longest}", "-timeout=60", str(options.out / "corpus")],
        Fuzzer(options.out, options.seconds),
    )
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
