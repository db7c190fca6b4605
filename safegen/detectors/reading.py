"""A prompt as the n-gram network reads it: rows of the vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from safegen.detectors.lexicon import built_in
from safegen.text.languages import SMALL_WORDS, foreign_clauses
from safegen.text.phrases import Phrases
from safegen.text.vocabulary import vocabulary
from safegen.text.words import Token

STOP, UNKNOWN = -1, -2
"""What stands for the end of a clause, and for a word nobody knows or that is shielded."""
_LONGEST_UNSPACED = 6
_SHORTEST_CUT = 4


@dataclass(frozen=True)
class Reading:
    """A prompt as the network reads it.

    Args:
        rows: Row of the vocabulary for each word, or `STOP`, or `UNKNOWN`.
        tokens: The token of each row; ``None`` for a stop. A word of several characters in a
            script without blanks is one token.
        foreign: Of each row, whether it is in a clause of another language.
    """

    rows: tuple[int, ...]
    tokens: tuple[Token | None, ...]
    foreign: tuple[bool, ...]


@lru_cache(maxsize=1 << 16)
def _row(word: str) -> int:
    """The row of ``word``, or of the longest known beginning of it in a language with many
    endings; `UNKNOWN` if there is none."""
    known = vocabulary()
    row = known.row(word)
    if row is None and not word.isascii():
        for size in range(len(word) - 1, max(_SHORTEST_CUT, len(word) // 2) - 1, -1):
            row = known.row(word[:size])
            if row is not None:
                break
    return UNKNOWN if row is None else row


def _unspaced(tokens: Sequence[Token], index: int) -> int:
    """How many one-character tokens from ``index`` on are one known word."""
    word, best = "", 1
    for size, token in enumerate(tokens[index : index + _LONGEST_UNSPACED], 1):
        if size > 1 and token.start != tokens[index + size - 2].end:
            break
        word += token.word
        if size > 1 and word in vocabulary():
            best = size
    return best


def _is_unspaced(token: Token) -> bool:
    """Of a token of one character."""
    first = token.word[:1]
    return "\u2e80" <= first <= "\U0003ffff" and not "\uac00" <= first <= "\ud7ff"


def read(tokens: Sequence[Token], harmless: Phrases | None = None) -> Reading:
    """``tokens`` as rows. The words of ``harmless`` phrases say nothing."""
    hits = (harmless or built_in().harmless).find(tokens)
    shielded = {place for hit in hits for place in range(hit.start, hit.end)}
    foreign = foreign_clauses(tokens)
    rows: list[int] = []
    kept: list[Token | None] = []
    behind = 0
    for index, token in enumerate(tokens):
        if index < behind:
            continue
        if index and token.clause != tokens[index - 1].clause:
            rows.append(STOP)
            kept.append(None)
        is_grammar = token.clause in foreign and token.word in SMALL_WORDS
        if is_grammar or token.start in shielded:
            rows.append(UNKNOWN)
        elif token.end - token.start == 1 and _is_unspaced(token):
            behind = index + _unspaced(tokens, index)
            word = "".join(one.word for one in tokens[index:behind])
            rows.append(_row(word))
            if behind > index + 1:
                token = token._replace(word=word, end=tokens[behind - 1].end, readings=(word,))
        elif len(token.readings) == 1:
            rows.append(_row(token.word))
        else:
            rows.append(next((r for r in map(_row, token.readings) if r >= 0), UNKNOWN))
        kept.append(token)
    of = [token is not None and token.clause in foreign for token in kept]
    return Reading(tuple(rows), tuple(kept), tuple(of))
