"""The words a context has a neutral one for, found in a text however they are spelled."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from safegen.contexts.context import SafetyContext
from safegen.text.phrases import Hit, Phrases, Term, plural
from safegen.text.words import tokenize


def hits(text: str, context: SafetyContext) -> list[Hit]:
    """The words of ``context.neutral`` in ``text``, from left to right; a hit's term is the key.

    What the text says is not there (*no blood*) is among them, marked as negated.
    """
    phrases = _phrases(tuple(context.neutral), context.category or "any")
    return list(phrases.find(tokenize(text)))


def replacement(found: str, context: SafetyContext) -> str:
    """The neutral words for a risky stretch ``found``; ``""`` to drop it.

    The stretch is looked up as it is written; then as the words it stands for, so that
    ``bl00d``, ``b l o o d`` and ``Blood`` are all *blood*; then word by word, where the context
    knows each of them. What is left has the context's ``fallback``.
    """
    literal = context.neutral.get(" ".join(found.lower().split()))
    if literal is not None:
        return literal
    tokens = tokenize(found)
    known = hits(found, context)
    covered = [any(hit.start <= t.start < hit.end for hit in known) for t in tokens]
    if not known or not all(covered):
        return context.fallback
    words: Sequence[str] = [context.neutral[hit.term.name] for hit in known]
    return " ".join(word for word in words if word)


@lru_cache(maxsize=64)
def _phrases(keys: tuple[str, ...], category: str) -> Phrases:
    phrases = Phrases()
    written = [(key, tuple(token.word for token in tokenize(key))) for key in keys]
    # A key that is written out counts more than the plural of another.
    for key, words in written:
        if words:
            phrases.add((*words[:-1], plural(words[-1])), Term(key, category, 1.0))
    for key, words in written:
        if words:
            phrases.add(words, Term(key, category, 1.0))
    return phrases
