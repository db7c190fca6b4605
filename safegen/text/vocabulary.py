"""The words that are known, in ten languages, and what each means as a vector.

A word's vector is its embedding by Google's multilingual universal sentence encoder, cut to its
leading principal components: words of one meaning lie near each other, whatever their language.
Words are kept as hashes only. `safegen.lab.text.vectors` makes the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from safegen.errors import SafeGenError
from safegen.text.shipped import opened

FILE = Path(__file__).with_name("vocabulary.safetensors")
FORMAT = "safegen-vocabulary-1"


class VocabularyError(SafeGenError):
    """The file of known words is missing or of another format."""


def word_hash(word: str) -> int:
    """What a word is kept as."""
    return crc32(word.encode())


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The known words.

    Args:
        rows: Hash of a word, as `safegen.text.words.tokenize` gives it, to its row.
        vectors: ``[words, width]``, 8-bit; to be multiplied with ``scale``.
        english: How common each word is in English, on the Zipf scale times ten; 0 for a word
            of other languages only.
        scale: Of the vectors.
        origin: Where they come from.
    """

    rows: Mapping[int, int]
    vectors: NDArray[np.int8]
    english: NDArray[np.uint8]
    scale: float
    origin: Mapping[str, Any]

    @classmethod
    def load(cls, file: Path = FILE) -> Vocabulary:
        """Read a file.

        Raises:
            VocabularyError: if it is missing, damaged or of another format.
        """
        with opened(file, FORMAT, VocabularyError) as (tensors, header):
            hashes = tensors.get_tensor("hashes").tolist()
            return cls(
                rows={key: row for row, key in enumerate(hashes)},
                vectors=tensors.get_tensor("vectors"),
                english=tensors.get_tensor("english"),
                scale=float(header["scale"]),
                origin=header["origin"],
            )

    def row(self, word: str) -> int | None:
        """The row of ``word``, or ``None`` if it is not known."""
        return self.rows.get(word_hash(word))

    def __contains__(self, word: str) -> bool:
        return word_hash(word) in self.rows

    def commonness(self, word: str) -> float:
        """How common ``word`` is in English: 7 *the*, 5 *blood*, 4 *corpse*; 0 if unknown."""
        row = self.row(word)
        return 0.0 if row is None else float(self.english[row]) / 10


@lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    """The shipped words; one object for all."""
    return Vocabulary.load()
