"""Packs records that go to two topics: a log, and a compacted topic of the newest of each key.

Both get the same records, packed once, unless a key goes (its value is null, which says nothing in
the log), or the log has its values in another form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stream.kafka.record_batches import Section, pack


class Publishing:
    """Knows how batches are compressed, and the form of values in the log."""

    def __init__(self, compression: str, encode: Callable[[bytes], bytes] | None = None) -> None:
        """Takes what makes the form of values in the log; None: they are as they are."""
        self._compression = compression
        self._encode = encode

    def sections(
        self, keys: Sequence[bytes], values: Sequence[bytes | None], now_ms: int
    ) -> list[Section]:
        """Returns records as Kafka will store them."""
        return list(pack(keys, values, now_ms, self._compression))

    def both(
        self, keys: Sequence[bytes], values: Sequence[bytes | None], now_ms: int
    ) -> tuple[list[Section], list[Section], int]:
        """Returns what goes to the log, to the compacted topic, and how many records the log gets.

        A value that is null is of a key that goes.
        """
        compacted, encode = self.sections(keys, values, now_ms), self._encode
        if None not in values and encode is None:
            return compacted, compacted, len(values)
        keys = [key for key, value in zip(keys, values, strict=True) if value is not None]
        kept = [encode(each) if encode else each for each in values if each is not None]
        return self.sections(keys, kept, now_ms), compacted, len(kept)
