"""Gives numbers to what a model sees: item rows, text tokens, buckets of the time between events.

They are made once and saved with the weights.

Glossary: V catalogue items (row 0 is "not in the catalogue"), W text tokens, N events, L tokens of
a text.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from models.compact import hash64

Array = np.ndarray[Any, Any]

PAD: Final = 0
START: Final = 1
FIRST_WORD: Final = 2
HASHED: Final = 512
"""Buckets for words that the catalogue did not show often enough; two rare words may share one."""

GAP_BUCKETS: Final = 16
"""Numbers of buckets of the time since the user's event before.

0 is a first event, 1 within a second, then doubling powers of four up to a month.
"""

_WORD: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")


def gap_buckets(gap_ms: Array) -> Array:
    """Returns the buckets of gaps in milliseconds, int64; a negative gap: no event before."""
    seconds = np.maximum(gap_ms, 0) / 1000.0
    bucket = 1 + np.ceil(np.log2(np.maximum(seconds, 1.0)) / 1.6).astype(np.int64)
    result: Array = np.where(gap_ms < 0, 0, np.minimum(bucket, GAP_BUCKETS - 1))
    return result


def words(text: str) -> list[str]:
    """Returns the lower-case words of a text; each Chinese, Japanese or Korean character is one."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


class Tokenizer:
    """Turns texts into token numbers.

    Words that were seen often enough in the catalogue have one each, the rest is hashed into
    buckets.
    """

    def __init__(self, known: Sequence[str], length: int = 16) -> None:
        self.known = list(known)
        self.length = length
        self._index = {word: FIRST_WORD + HASHED + place for place, word in enumerate(self.known)}

    @classmethod
    def learn(
        cls,
        texts: Iterable[str],
        most: int = 8_000,
        least: int = 2,
        length: int = 16,
        said: Iterable[Sequence[str]] = (),
    ) -> Tokenizer:
        """Returns a tokenizer of the most frequent words; ties are in alphabetical order.

        said: words of texts of users, of which the caller left out what few users wrote.
        """
        counts = Counter(word for text in texts for word in words(text))
        counts.update(word for text in said for word in text)
        ranked = sorted(
            (word for word, count in counts.items() if count >= least),
            key=lambda word: (-counts[word], word),
        )
        return cls(ranked[:most], length)

    @property
    def size(self) -> int:
        """Returns how many numbers are in use (W)."""
        return FIRST_WORD + HASHED + len(self.known)

    def encode(self, texts: Sequence[str]) -> Array:
        """Returns token numbers, int64 [texts, L]: START, then the first words, then PAD."""
        tokens = np.full((len(texts), self.length), PAD, np.int64)
        tokens[:, 0] = START
        for row, text in enumerate(texts):
            numbers = [
                self._index.get(word) or FIRST_WORD + hash64(word) % HASHED for word in words(text)
            ]
            tokens[row, 1 : 1 + min(len(numbers), self.length - 1)] = numbers[: self.length - 1]
        return tokens
