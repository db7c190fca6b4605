"""Other ways in which an image model reads a text than a person does.

Syntax within a word cuts it: of ``(naked)woman`` the model is shown two words. And it does not
read *no*: ``a cup, no blood`` makes blood likelier, not less likely. What negates is left out
therefore, and what it negated is read like any other word. A negative prompt is the place for what
shall not be.
"""

from __future__ import annotations

import re

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


def affirmed(passage: Passage) -> Passage | None:
    """``passage`` without what negates in it, *without* being *with*; ``None`` if nothing does."""
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


def parted(passage: Passage) -> Passage | None:
    """``passage`` with a blank wherever syntax stood between two letters; ``None`` if nowhere."""
    text, places = passage.text[:1], passage.places[:1]
    for before, letter, place in zip(
        passage.text, passage.text[1:], passage.places[1:], strict=False
    ):
        if place != places[-1] + 1 and not before.isspace() and not letter.isspace():
            text += " "
            places += (places[-1] + 1,)
        text += letter
        places += (place,)
    return Passage(text, places) if len(text) > len(passage.text) else None
