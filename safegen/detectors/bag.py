"""What the words of a few clauses say together: a linear model over words and pairs of them.

The networks of `safegen.detectors.ngram` read eight words to either side of a place. This reads
whole clauses, however their words lie apart, but knows nothing of words that it has not met. The
log-odds of a stretch of a prompt are those of a logistic regression on tf-idf vectors of unit
length::

    z = Σ wᵢ / √(Σ rᵢ²) + offset

where i are the words and pairs of neighbours in the stretch that it has met, r is how rare each is
(its inverse document frequency) and w its evidence times r.

A prompt is read in all stretches of up to `CLAUSES` clauses; the highest z counts. So what is
added in other clauses cannot hide anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from operator import add
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from safegen.detectors.reading import STOP
from safegen.text.vocabulary import Vocabulary

CLAUSES = 3
"""Clauses of a stretch, at most."""
FEWEST = 5
"""Words of a stretch, at least, unless the prompt has fewer."""
MOST = 24
"""Places of a stretch, at most; a longer one is read in pieces that overlap by half."""
LEAST = -1.0
"""Log-odds that harmless words come to at least, however many they are: they shall not outweigh
what the networks find."""


@dataclass(frozen=True, eq=False)
class Bag:
    """The linear model.

    Args:
        keys: What `features` says of each word and pair, ascending, ``[features]``.
        weight: Their evidence, in log-odds times rarity, ``[features]``.
        rarity: How rare they are, above 0, ``[features]``.
        offset: Log-odds of a stretch that speaks neither way.
    """

    keys: NDArray[np.uint32]
    weight: NDArray[np.float32]
    rarity: NDArray[np.float32]
    offset: float

    def log_odds(self, rows: Sequence[int], foreign: Sequence[bool], hashes: Hashes) -> float:
        """z of a prompt, `LEAST` or more; 0 if nothing in it was ever met.

        Args:
            rows: Of the vocabulary, `STOP` or `UNKNOWN`.
            foreign: Of each row, whether it is in a clause of another language: it says nothing.
            hashes: Those of the vocabulary, from `hashes_of`.
        """
        found = self._read(rows, foreign, hashes)
        return 0.0 if found is None else max(found.highest + self.offset, LEAST)

    def evidence(
        self, rows: Sequence[int], foreign: Sequence[bool], hashes: Hashes
    ) -> NDArray[np.float64]:
        """What each place of the highest stretch adds to z, as a word and in pairs with the words
        beside it, ``[places]``; 0 elsewhere. Arguments as for `log_odds`."""
        said = np.zeros(len(rows))
        found = self._read(rows, foreign, hashes)
        if found is not None:
            start, end = found.start, found.end
            pairs = np.real(found.pairs[start + 1 : end])
            said[start:end] = np.real(found.words[start:end])
            said[start + 1 : end] += pairs
            said[start : end - 1] += pairs
            said /= found.length
        return said

    def _read(
        self, rows: Sequence[int], foreign: Sequence[bool], hashes: Hashes
    ) -> _Stretch | None:
        if not rows:
            return None
        # Prompts are short: lists are faster than arrays here.
        words, pairs = (
            [self._met.get(key, 0j) for key in keys] for keys in _keys(rows, foreign, hashes)
        )
        until = [0j, *accumulate(map(add, words, pairs))]
        best = None
        for start, end in _stretches(rows):
            said = until[end] - until[start] - pairs[start]
            if said.imag > _NOTHING:
                length = math.sqrt(said.imag)
                if best is None or said.real / length > best.highest:
                    best = _Stretch(start, end, said.real / length, length, words, pairs)
        return best

    @cached_property
    def _met(self) -> dict[int | None, complex]:
        """The evidence of each key and, as imaginary part, its rarity's square: both are summed
        over the same stretches."""
        said = map(complex, self.weight.tolist(), (self.rarity**2).tolist())
        return dict(zip(self.keys.tolist(), said, strict=True))


_NOTHING = 1e-6
"""Less than the square of any rarity: what rounding leaves of none."""


class _Stretch(NamedTuple):
    """The highest stretch of a prompt, and what all of the prompt's places say."""

    start: int
    end: int
    highest: float
    length: float
    words: list[complex]
    pairs: list[complex]
    """With the word before."""


Hashes = NDArray[np.uint32]


def hashes_of(known: Vocabulary) -> Hashes:
    """The hash of every row's word, ``[len(known.vectors)]``."""
    return np.fromiter(known.rows, np.uint32, len(known.rows))


def features(rows: Sequence[int], hashes: Hashes) -> list[int]:
    """The keys of the words in ``rows`` and then of the pairs of neighbours. A word's is its hash,
    a pair's a hash of both, in their order."""
    words, pairs = _keys(rows, [False] * len(rows), hashes)
    return [key for key in (*words, *pairs) if key is not None]


def _keys(
    rows: Sequence[int], foreign: Sequence[bool], hashes: Hashes
) -> tuple[list[int | None], list[int | None]]:
    """Of each place the key of its word, and of that with the word before; ``None`` for none."""
    every = zip(hashes[np.asarray(rows, np.int64)].tolist(), rows, foreign, strict=True)
    words = [None if row < 0 or elsewhere else key for key, row, elsewhere in every]
    return words, [None, *(_paired(*pair) for pair in pairwise(words))]


def _paired(first: int | None, second: int | None) -> int | None:
    if first is None or second is None:
        return None
    return (first * _MIX[0] + second) * _MIX[1] >> 32 & 0xFFFFFFFF


_MIX = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9
"""Odd numbers that spread hashes over 64 bits, of which the upper half counts."""


def _stretches(rows: Sequence[int]) -> list[tuple[int, int]]:
    """The stretches that are read: first place, and the place after the last."""
    stops = [*(place for place, row in enumerate(rows) if row == STOP), len(rows)]
    clauses, start = [], 0
    for stop in stops:
        if stop > start:
            clauses.append((start, stop))
        start = stop + 1
    found: list[tuple[int, int]] = []
    for i, (start, _) in enumerate(clauses):
        words = 0
        for begin, end in clauses[i : i + CLAUSES]:
            words += end - begin
            if words >= FEWEST:
                found += _pieces(start, end)
    return found or _pieces(0, len(rows))


def _pieces(start: int, end: int) -> list[tuple[int, int]]:
    if end - start <= MOST:
        return [(start, end)]
    half = MOST // 2
    return [(begin, min(begin + MOST, end)) for begin in range(start, end - half, half)]
