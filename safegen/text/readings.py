"""Other ways in which an image model reads a text than a person does.

Syntax within a word cuts it: of ``(naked)woman`` the model is shown two words. And it does not
read *no*: ``a cup, no blood`` makes blood likelier, not less likely. What negates is left out
therefore, and what it negated is read like any other word. A negative prompt is the place for what
shall not be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from safegen.text.syntax import Passage

_PREPOSITIONS = (
    *("without", "lacking", "minus", "free of", "free from", "devoid of", "absence of", "lack of"),
)
"""Read as *with*."""
_WORDS = (
    *("no", "not", "non", "never", "none", "nor", "neither", "zero"),
    *("kein", "keine", "keinen", "keinem", "keiner", "keines", "nicht", "ohne"),
    *("sans", "pas de", "pas d['’]", "aucun", "aucune", "sin", "ningún", "ninguna", "sem"),
    *("nenhum", "nenhuma", "senza", "nessun", "nessuna", "zonder", "geen", "niet", "bez"),
    *("без", "нет", "не"),
)
_NEGATING = re.compile(
    rf"(?P<with>\b(?:{'|'.join(_PREPOSITIONS)})(?![\w-]))|(?<=\w)[-‐‑]free\b"
    rf"|\b(?:{'|'.join(sorted(_WORDS, key=len, reverse=True))})(?:(?<=['’])|(?![\w-])\s*)",
    re.IGNORECASE,
)
_WITH = "with"
_LETTERS = re.compile(r"\w+")
_FIRST = {_LETTERS.findall(words)[0] for words in (*_PREPOSITIONS, *_WORDS)} | {"free"}
"""Words with one of which everything that negates begins, or ends."""


def affirmed(passage: Passage) -> Passage | None:
    """``passage`` without what negates in it, *without* being *with*; ``None`` if nothing does."""
    if passage.text.isascii() and _FIRST.isdisjoint(_LETTERS.findall(passage.text.lower())):
        return None  # the faster way to see what the search would
    text, places, position = "", tuple[int, ...](), 0
    for match in _NEGATING.finditer(passage.text):
        text += passage.text[position : match.start()]
        places += passage.places[position : match.start()]
        if match["with"]:
            text += _WITH
            places += passage.places[match.start() :][: len(_WITH)]
        position = match.end()
    if not position:
        return None
    text += passage.text[position:]
    return Passage(text, places + passage.places[position:])


_BORDERS = " \t\r\n,"
_LONGEST = 12
"""Pieces of which a word may consist, if it isn't all that stands together."""


def parted(passage: Passage) -> Iterator[Passage]:
    """``passage`` with blanks where syntax stands between two letters.

    Whether the host shows the pieces apart goes by their weights: of ``(na)(ked)woman`` it makes
    two words. So any pieces in a row stand together in one of the readings, and alone.
    """
    runs: list[list[int]] = []
    end = 0
    for cut in passage.cuts:
        if not passage.text[:cut] or passage.text[cut - 1] in _BORDERS:
            continue
        if cut == len(passage.text) or passage.text[cut] in _BORDERS:
            continue
        if not runs or any(letter in _BORDERS for letter in passage.text[end:cut]):
            runs.append([])
        runs[-1].append(cut)
        end = cut
    longest = min(max(map(len, runs), default=0), _LONGEST)
    for size in range(1, longest + 1):
        for first in range(size):
            yield _with_blanks(passage, [cut for run in runs for cut in run[first::size]])


def _with_blanks(passage: Passage, cuts: Iterable[int]) -> Passage:
    text, places, begin = "", tuple[int, ...](), 0
    for cut in cuts:
        text += passage.text[begin:cut] + " "
        places += (*passage.places[begin:cut], passage.places[cut - 1] + 1)
        begin = cut
    return Passage(text + passage.text[begin:], places + passage.places[begin:])
