"""Whether words are English: what a model has learned from English counts for less elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby
from operator import attrgetter

from safegen.text.words import Token, word_set

SMALL_WORDS = word_set(
    "el la los las un una unos unas del al de en con por para que su sus y se lo le es ein eine "
    "einen einem einer eines der das den dem und mit im auf zum zur vom von ist sich aus bei nach "
    "vor unter wird ihre seine sein ihr les du dans avec et sur au aux qui pour ses est il elle um "
    "uma umas uns os nos na nas em com da dos das ao seu sua e o i gli uno di che nel nella sul "
    "sulla dal dalla della dello dei degli delle alla une deux sa des cette leur leurs sous vers "
    "lors tres ich sie zwei drei neben uber durch beim seinen seinem ihren ihrem sind dos sobre "
    "entre mientras este esta dois duas pelo pela enquanto alle sono mentre questo tra"
)
"""Small words of Spanish, German, French, Portuguese and Italian that are none in English."""
_ENGLISH = word_set(
    "a the of on at to and or with his her their its is are were as by for from it that "
    "this into while who be has have he she they them you your my not no"
)
"""Small words of English that are none elsewhere, as *in* is."""
_FEW = 6
"""Words among which one small word of another language is enough."""


def foreign_clauses(tokens: Sequence[Token]) -> set[int]:
    """The numbers of the clauses that are of another language; in most prompts none is."""
    small = not SMALL_WORDS.isdisjoint(chain.from_iterable(token.readings for token in tokens))
    if not small and all(token.word.isascii() for token in tokens):
        return set()
    clauses = groupby(tokens, attrgetter("clause"))
    return {clause for clause, of in clauses if is_foreign(list(of))}


def is_foreign(clause: Sequence[Token]) -> bool:
    """Whether the words of a clause are of another language: by their script, or by the small
    words among them."""
    words = [token.word for token in clause]
    elsewhere = sum(not SMALL_WORDS.isdisjoint(token.readings) for token in clause)
    if not elsewhere and all(map(str.isascii, words)):
        return False
    if 2 * sum(not any("a" <= c <= "z" for c in word) for word in words) > len(words):
        return any(not word.isascii() for word in words)
    english = sum(map(_ENGLISH.__contains__, words))
    return elsewhere > english and (elsewhere > 1 or len(words) <= _FEW)
