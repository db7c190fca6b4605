"""What is left of a clause beside its exchanged words: it may tell of the same without them.

A table has a word for *dismembered*; that the body lies in a suitcase nobody exchanges. So a clause
of which something is exchanged is not kept where bodies or weapons are left in it, nor where words
are that nobody knows: a slip or a piece of one that stands beside a risky word is likely one, too.
"""

from __future__ import annotations

import re

from safegen.conditioning.clauses import of_another_language
from safegen.contexts import grammar
from safegen.contexts.substitutes import substitutes
from safegen.text.vocabulary import vocabulary
from safegen.text.words import word_set

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_FRAMED = re.compile(
    r"\b(?:full|upper|half|lower|whole)[ -]?body\b|\bhead(?:shot| and shoulders?)\b|"
    r"\bby\s+(?:[^\W\d_]+[\s.-]*){1,3}|[’']s\b|\w*\d\w*",
    re.IGNORECASE,
)
"""How much of somebody a picture shows, by whom it is, and what is no word."""
_GUN = re.compile(r"\b(?:ak|ar|mp|glock)[- ]?\d+|\bm(?:4|16)\b", re.IGNORECASE)
"""A gun by its number."""
_LOOKS = word_set(
    "hair haircut hairdo hairstyle beard goatee mustache moustache whiskers ponytail braid heart "
    "eyebrow eyelash visage smile back come quick small joint lash roach nail tear molar imperial "
    "permanent tunic ruff marcel transplant hooks"
)
"""What is said of anybody, or is a word of the body in a dictionary alone."""
_SHOWN = word_set("face eye head ear hand finger arm shoulder foot")
"""What is seen of somebody dressed: harmless beside a sexual word, not beside a violent one."""
_PIECES = word_set(
    "part piece half remains tusk horn hide carcass meat flesh guts severed chopped sawn"
)
_OWN = word_set("his her their its he she they him them")
_SHORTEST = 3
"""Letters of a word that has to be known."""


def _of_body(word: str, looks: frozenset[str]) -> bool:
    """Whether ``word`` names a part of a body that is none of ``looks``."""
    return any(
        form.part == "n" and (form.kind == "B" or form.lemma in _PIECES) and form.lemma not in looks
        for form in grammar.forms(word)
    )


def is_known(word: str) -> bool:
    """Whether ``word``, in lower case, is in the dictionary or in the vocabulary."""
    return word in vocabulary() or bool(grammar.forms(word))


def tells(left: str, *, sexual: bool = False) -> bool:
    """Whether what is ``left`` of a clause has what is not kept beside a risky word.

    Args:
        left: The clause without what is exchanged.
        sexual: Whether nothing but sexual words is exchanged in it.
    """
    words, looks = _words(left), _LOOKS | _SHOWN if sexual else _LOOKS
    if _GUN.search(left):
        return True
    return any(
        _of_body(word, looks) or _unknown(word, left) or _exchangeable(word) for word in words
    )


def tells_of_them(clause: str) -> bool:
    """Whether a clause without any risky word goes on about somebody's body, or what they do to
    each other."""
    words = _words(clause)
    if not _OWN & set(words):
        return False
    looks = _LOOKS | _SHOWN
    return "other" in words or any(_of_body(word, looks) or _exchangeable(word) for word in words)


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(_FRAMED.sub(" ", text))]


def _unknown(word: str, clause: str) -> bool:
    """Whether nobody knows ``word``, or none but other languages do in a clause that is English."""
    if len(word) < _SHORTEST or not word.isascii() or grammar.forms(word):
        return False
    if vocabulary().commonness(word) > 0:
        return False
    return not (is_known(word) and of_another_language(clause))


def _exchangeable(word: str) -> bool:
    """Whether the shared table has another noun for ``word``; a place is none that does harm."""
    nouns = substitutes().nouns
    return any(
        form.part == "n" and form.kind != "L" and form.lemma in nouns
        for form in grammar.forms(word)
    )
