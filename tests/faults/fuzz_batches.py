"""Damages record batches at random and reads them as every consumer of ours does.

    python -m tests.faults.fuzz_batches --seconds 1200 --seed 7

A finding: an exception, a batch that is read for longer than a second or grows the process by more
than 200 MB, a log that a reader cannot get past, an offset that is neither a record's nor within
what is told unreadable, or is told twice, and a record of an undamaged batch that is not as it was.
Damage is made of flipped bits, other numbers in the head, bytes taken out and put in, with the
length and the checksum made to fit or not. The same seed gives the same batches.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import struct
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiokafka.structs import TopicPartition

from stream.contracts.event import Limits, parse_event
from stream.contracts.faults import BadEvent, UnreadableBytes
from stream.kafka.batches.checked_records import CheckedPartitionRecords, CheckedRecords
from tests.support.raw_batches import CODECS, HEADER, batch, record, with_checksum

SLOW_S: Final = 1.0
GROWTH_BYTES: Final = 200_000_000
BATCHES: Final = 4
FIELDS: Final = {
    "base": (0, ">q"),
    "length": (8, ">i"),
    "epoch": (12, ">i"),
    "magic": (16, ">b"),
    "checksum": (17, ">I"),
    "attributes": (21, ">h"),
    "delta": (23, ">i"),
    "first time": (27, ">q"),
    "latest time": (35, ">q"),
    "producer": (43, ">q"),
    "count": (57, ">i"),
}
"""Where each field of a head is, and of which kind."""

KINDS: Final = ("bits", "bytes", "field", "cut", "insert", "repeat")


@dataclass(frozen=True)
class Log:
    """Holds a partition of which one batch is damaged, as its broker has it."""

    batches: list[bytes]
    firsts: list[int]
    lasts: list[int]
    damaged: int  # which one
    values: dict[int, bytes]  # by offset

    @property
    def end(self) -> int:
        return self.lasts[-1] + 1

    def fetch(self, position: int) -> bytes:
        """Returns what a broker answers: all from the batch on that holds the position."""
        return b"".join(
            raw for raw, last in zip(self.batches, self.lasts, strict=True) if last >= position
        )


def make_log(chance: random.Random) -> Log:
    """Returns sound batches of random codecs, one of which is damaged then."""
    batches, firsts, lasts, values = [], [], [], {}
    offset = chance.choice((0, 5, 1 << 33))
    for _ in range(BATCHES):
        count = chance.randint(1, 6)
        body = b""
        for place in range(count):
            value = values[offset + place] = chance.randbytes(chance.choice((0, 5, 200)))
            headers = [(chance.randbytes(3), b"h")] if chance.random() < 0.2 else []
            body += record(place, b"user", value, headers)
        batches.append(batch(body, count, offset, chance.choice(list(CODECS))))
        firsts.append(offset)
        offset += count
        lasts.append(offset - 1)
    damaged = chance.randrange(BATCHES)
    sound, batches[damaged] = batches[damaged], damage(batches[damaged], chance)
    (base,) = struct.unpack_from(">q", batches[damaged])
    cannot_be_told = (  # from one behind a gap, or one that a fetch begins within
        damaged == BATCHES - 1
        or abs(base - firsts[damaged]) < 1_000
        or _is_sound_with_more_behind(batches[damaged])
    )
    if cannot_be_told:
        batches[damaged] = sound[:8] + batches[damaged][8:]
    return Log(batches, firsts, lasts, damaged, values)


def _is_sound_with_more_behind(raw: bytes) -> bool:
    """Returns whether bytes begin with a batch whose checksum fits, and go on with rubbish."""
    (length,) = struct.unpack_from(">i", raw, 8)
    end = 12 + length
    return HEADER.size <= end < len(raw) and with_checksum(raw[:end]) == raw[:end]


def damage(raw: bytes, chance: random.Random) -> bytes:
    """Returns a batch with one or a few faults."""
    out = bytearray(raw)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(out))
        match chance.choice(KINDS):
            case "bits":
                out[at] ^= 1 << chance.randrange(8)
            case "bytes":
                size = chance.choice((1, 2, 8, 40))
                out[at : at + size] = chance.randbytes(min(size, len(out) - at))
            case "field":
                _change_field(out, chance)
            case "cut":
                del out[at : at + chance.choice((1, 4, 100))]
                out += bytes(max(0, 12 - len(out)))
            case "insert":
                out[at:at] = chance.randbytes(chance.choice((1, 4, 100)))
            case _:
                out[at:at] = out[at : at + 50] * chance.choice((1, 20))
    return _mended(out, raw, chance)


def _mended(out: bytearray, raw: bytes, chance: random.Random) -> bytes:
    """Returns a damaged batch, often with the length and the checksum that fit it."""
    if chance.random() < 0.7 and len(out) >= HEADER.size:
        struct.pack_into(">i", out, 8, len(out) - 12)
    if chance.random() < 0.3 or len(out) < HEADER.size:
        return bytes(out)
    # a broker counts the records and their offsets before it stores a batch, and its markers are
    # its own
    out[23:27], out[57:61] = raw[23:27], raw[57:61]
    out[22] &= ~0x20
    return with_checksum(bytes(out))


def _change_field(raw: bytearray, chance: random.Random) -> None:
    """Gives a field of the head another number, often one at a limit."""
    place, kind = FIELDS[chance.choice(list(FIELDS))]
    bits = 8 * struct.calcsize(kind)
    wide = 1 << (bits if kind == ">I" else bits - 1)
    numbers = [0, 1, 2, 5, wide - 1, chance.randrange(wide)]
    numbers += [] if kind == ">I" else [-1, -2, -wide]
    if len(raw) >= place + struct.calcsize(kind):
        struct.pack_into(kind, raw, place, chance.choice(numbers))


def examine(log: Log) -> str | None:
    """Returns what is wrong with the reading of a log, in a short sentence; None: nothing."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    position, told = log.firsts[0], Counter[int]()
    while position < log.end:
        began = time.thread_time()
        try:
            records, after = read(log.fetch(position), position)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            return f"{type(error).__name__} in {place.name}, line {place.lineno}"
        if time.thread_time() - began > SLOW_S:
            return "slow"
        if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 > GROWTH_BYTES:
            return "memory"
        if after <= position:
            return "no way past it"
        if (wrong := _account(log, records, position, after, told)) is not None:
            return wrong
        position = after
    missing = set(range(log.firsts[0], log.end)) - told.keys()
    if missing:
        return "offsets are untold"
    return "offsets are told twice" if max(told.values()) > 1 else None


def _account(
    log: Log, records: list[Any], position: int, after: int, told: Counter[int]
) -> str | None:
    due = position
    damaged = range(log.firsts[log.damaged], log.lasts[log.damaged] + 1)
    for each in records:
        bad = isinstance(each.value, UnreadableBytes)
        first = each.value.first_offset if bad else each.offset
        if not due <= first <= each.offset < after:
            return "offsets out of order"
        due = each.offset + 1
        if each.offset - first > 1_000_000:
            return "a span without end"
        told.update(range(first, each.offset + 1))
        if each.offset in damaged or (first in damaged and bad):
            continue
        if bad or each.value != log.values.get(each.offset):
            return "an undamaged record is not as it was"
    for each in records:
        try:
            parse_event(each, Limits())
        except BadEvent:
            pass
        except Exception as error:
            return f"{type(error).__name__} in the decoder"
    return None


def read(data: bytes, position: int) -> tuple[list[Any], int]:
    """Returns the records of a fetch as aiokafka's fetcher gives them, and where it goes on."""
    records = CheckedRecords(data)
    if not records.has_next():
        return [], position
    tp = TopicPartition("fuzzed", 0)
    fetched = CheckedPartitionRecords(tp, records, [], position, None, None, True, 1)
    return list(fetched), fetched.next_fetch_offset


def run(seed: int, logs: int, seconds: float, out: Path | None = None) -> dict[str, Any]:
    """Reads damaged logs until there were enough, or time is over; returns what was found."""
    findings: Counter[str] = Counter()
    began, done = time.monotonic(), 0
    while done < logs and time.monotonic() < began + seconds:
        log = make_log(random.Random(f"{seed}-{done}"))
        found = examine(log)
        if found is not None:
            findings[found] += 1
            if findings[found] == 1 and out is not None:
                out.mkdir(parents=True, exist_ok=True)
                (out / f"{seed}-{done}").write_bytes(b"".join(log.batches))
                sys.stdout.write(f"FINDING: {found}: seed {seed}, log {done}\n")
        done += 1
    return {
        "logs": done,
        "seconds": round(time.monotonic() - began),
        "seed": seed,
        "findings": dict(findings),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """0: nothing found; 1: something, in OUT."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.fuzz_batches", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz-batches"))
    options = parser.parse_args(arguments)
    report = run(options.seed, sys.maxsize, options.seconds, options.out)
    sys.stdout.write(json.dumps(report) + "\n")
    return int(bool(report["findings"]))


if __name__ == "__main__":
    sys.exit(main())
