"""A prompt as the n-gram network reads it: rows of the vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from safegen.detectors.lexicon import built_in
from safegen.text.languages import SMALL_WORDS, is_foreign
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
    return (
        token.end - token.start == 1
        and "\u2e80" <= token.word[:1] <= "\U0003ffff"
        and not ("\uac00" <= token.word[:1] <= "\ud7ff")
    )


def read(tokens: Sequence[Token], harmless: Phrases | None = None) -> Reading:
    """``tokens`` as rows. The words of ``harmless`` phrases say nothing."""
    shielded = list((harmless or built_in().harmless).find(tokens))
    rows: list[int] = []
    kept: list[Token | None] = []
    foreign = {
        clause: is_foreign(list(of)) for clause, of in groupby(tokens, lambda token: token.clause)
    }
    index, clause = 0, None
    while index < len(tokens):
        token = tokens[index]
        if clause is not None and token.clause != clause:
            rows.append(STOP)
            kept.append(None)
        clause = token.clause
        size = 1
        is_grammar = foreign[clause] and token.word in SMALL_WORDS
        if is_grammar or (shielded and any(hit.start <= token.start < hit.end for hit in shielded)):
            rows.append(UNKNOWN)
        elif _is_unspaced(token):
            size = _unspaced(tokens, index)
            rows.append(_row("".join(t.word for t in tokens[index : index + size])))
        elif len(token.readings) == 1:
            rows.append(_row(token.word))
        else:
            rows.append(next((r for r in map(_row, token.readings) if r >= 0), UNKNOWN))
        if size > 1:
            word = "".join(t.word for t in tokens[index : index + size])
            token = Token(word, token.start, tokens[index + size - 1].end, token.clause, (word,))
        kept.append(token)
        index += size
    of = [token is not None and foreign[token.clause] for token in kept]
    return Reading(tuple(rows), tuple(kept), tuple(of))
