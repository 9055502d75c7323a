"""Runs each event format from a topic through a worker to updates, and says what reading costs.

    python -m tests.benchmarks.event_formats [--records 3000] [--formats segment ga4] [--decode]
    python -m tests.benchmarks.event_formats --throughput 200000 [--formats segment] [--model demo]

Records are made by the generators of tests/support/foreign, after the specifications of the
formats' owners, with known truth. Each format goes through two workers of a real Kafka: one reads
the topic as it is, keyed by user, and its audit has a reading of its own; one forwards records
without keys (`--rekey`). A row is printed for each: records, events, what was left out, dead
letters, updates, and whether the audit was clean; the program fails if a figure is not the truth.

`--decode` starts no Kafka. It prints microseconds of processor time a record and an event of each
format, as those generators draw them, beside those of the contract, whose events are the same. Then
what one view of an item costs, decoded to columns by a worker's decoder, in each format and read by
a mapping, beside the contract; those of the contract in each way that a schema registry knows; and
what an update costs as JSON behind a frame and as Avro.

`--throughput` starts one Kafka and prints events a second of a worker in each format, by a
mapping and as Avro, each beside the contract in turns: the same events, ready in the topic before
the worker starts, in batches of at most 4,096 events of 5,000 users as in `bench compare`.
`interest-stream bench conditions --only formats` needs no checkout for it.
"""

from __future__ import annotations

import argparse

from stream.config import OWNERS_FORMATS
from tests.benchmarks.event_formats.decoding import ROUNDS, decode, decode_written, encode_updates
from tests.benchmarks.event_formats.flow import run
from tests.benchmarks.event_formats.throughput import throughput
from tests.benchmarks.event_formats.ways import framed_ways, written_ways


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=3_000)
    parser.add_argument("--formats", nargs="+", choices=OWNERS_FORMATS, default=OWNERS_FORMATS)
    parser.add_argument("--decode", action="store_true", help="Measure reading, without Kafka.")
    parser.add_argument("--throughput", type=int, metavar="EVENTS", help="Drain so many in turns.")
    parser.add_argument(
        "--model", choices=("null", "demo"), default="null", help="Of --throughput."
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="Of --throughput.")
    given = parser.parse_args()
    if given.throughput:
        throughput(given.formats, given.throughput, given.model, given.rounds)
    elif given.decode:
        decode(given.formats, given.records)
        decode_written("a view", written_ways(given.formats, given.records))
        decode_written("values", framed_ways(given.records))
        encode_updates(given.records)
    else:
        run(given.formats, given.records)


if __name__ == "__main__":
    main()
