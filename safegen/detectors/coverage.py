"""How much of a prompt the detectors can read: nothing found in unknown words proves nothing."""

from __future__ import annotations

from safegen.detectors.ngram import GLUE
from safegen.detectors.reading import UNKNOWN, read
from safegen.sentence import told
from safegen.text.phrases import Phrases
from safegen.text.syntax import prepare
from safegen.text.words import tokenize

ENOUGH = 0.5
"""Share of a prompt's words below which it is said how few are known."""


def known_words(prompt: str) -> tuple[int, int]:
    """How many of ``prompt``'s words the vocabulary has, and how many there are.

    Each counts once. Words too common to tell anything and numbers don't count.
    """
    found: dict[str, bool] = {}
    for passage in prepare(prompt):
        reading = read(tokenize(passage.text), Phrases())
        for row, token in zip(reading.rows, reading.tokens, strict=True):
            if token is not None and token.word not in GLUE and not token.word.isdigit():
                found[token.word] = row != UNKNOWN
    return sum(found.values()), len(found)


def nothing_found(prompt: str) -> str:
    """What Auto says of a prompt in which it found nothing unsafe."""
    known, words = known_words(prompt)
    if not words:
        return told("Auto found nothing unsafe; it found no words that say anything")
    if known < ENOUGH * words:
        if not known:
            return told("Auto found nothing unsafe, but it knows none of the {n} words", n=words)
        return told(
            "Auto found nothing unsafe, but it knows only {known} of the {n} words",
            known=known,
            n=words,
        )
    return told("Auto found nothing unsafe")
