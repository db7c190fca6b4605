"""A prompt cut into what is made anew as a whole."""

from __future__ import annotations

import re
from functools import lru_cache

from safegen.text.languages import SMALL_WORDS, is_foreign
from safegen.text.words import tokenize

_PART = re.compile(r"[^,.;:!?\n|()\[\]{}<>\\\"“”]+")
SENTENCE = re.compile(r"[^.;:!?\n|()\[\]{}<>\\]+")
QUOTED = re.compile(r"[\"“][^\"”]*[\"”]?")
_STYLE = re.compile(
    r"^\s*by\s|\b(?:\d+\s?mm|\d+k|u?hdr?|art|artwork|artstation|paint(?:ing|ed)|photo|photograph(?:y)?|"
    r"illustration|drawing|sketch|engraving|woodcut|render(?:ing|ed)?|anime|manga|cartoon|comic|"
    r"style|watercolou?r|oil|acrylic|ink|pastel|digital|concept|detailed|intricate|elegant|epic|"
    r"lighting|light|colou?rs|cinematic|(?:hyper|photo)?-?realis(?:m|tic)|bokeh|film|grain|lens|"
    r"sharp\s(?:focus|details?)|details|shot|close-?up|focus|engine|octane|trending|masterpiece|quality|noir|vintage)\b",
    re.IGNORECASE,
)
"""What a clause has in it that says how a picture is made, and nothing of what is on it."""
_BEGUN = re.compile(
    r"\s*(?:(?:art|photo(?:graph(?:y|s)?)?|painting|illustration|drawing) by\s[^,]*|"
    r"(?:[^\W_]+\s){1,4}motif|film still|close-?\s?up|oil painting|"
    r"(?:3d|octane) render|concept art)\s*",
    re.IGNORECASE,
)
"""The same of one that a sentence begins with: by whom or what kind of picture it is."""


def is_style(text: str) -> bool:
    """Whether ``text`` says how a picture is made."""
    return _STYLE.search(text) is not None


def is_only_style(text: str) -> bool:
    """Whether ``text`` says how a picture is made, and not of what it is."""
    return is_style(text) and " of " not in text


_NO_STOP = re.compile(r"\b(?:St|Mr|Mrs|Ms|Dr|Jr|Sr|vs)\.(?= )|\b[A-Z]\.(?=[ A-Z])|(?<=\d):(?=\d)")
"""A sign that ends a sentence elsewhere."""
_PARTED = re.compile(r"\b(?:BREAK|AND)\b")
_FEWEST_WORDS = 3
"""Words that the clauses of a sentence have on average; tags have fewer."""


@lru_cache(maxsize=256)
def of_another_language(text: str) -> bool:
    """Whether ``text`` is none of English."""
    if text.isascii() and SMALL_WORDS.isdisjoint(re.findall(r"[a-z]+", text.lower())):
        return False
    return is_foreign(tokenize(text))


@lru_cache(maxsize=256)
def clauses(prompt: str) -> tuple[tuple[int, int], ...]:
    """What is made anew as a whole: a sentence, or, of a row of tags, each. What follows a
    sentence and only says how the picture is made is no part of it."""
    found: list[tuple[int, int]] = []
    prompt = QUOTED.sub(lambda m: re.sub(r"[.!?]", " ", m[0]), prompt)  # said within a sentence
    prompt = _NO_STOP.sub(lambda m: m[0].replace(".", " ").replace(":", " "), prompt)
    prompt = _PARTED.sub(lambda m: "|" * len(m[0]), prompt)
    for match in SENTENCE.finditer(prompt):
        start = match.start()
        told = match.group().split(",")
        while len(told) > 1 and (not told[-1].strip() or is_style(told[-1])):
            told.pop()
        while len(told) > 1 and _BEGUN.fullmatch(told[0]):
            made = told.pop(0)
            found.append((start, start + len(made)))
            start += len(made) + 1
        text = ",".join(told)
        if len(told) <= 4 and len(text.split()) >= _FEWEST_WORDS * len(told):
            found.append((start, start + len(text)))
        else:
            text = ""
        begin = start + len(text)
        rest = prompt[begin : match.end()]
        found += [(begin + m.start(), begin + m.end()) for m in _PART.finditer(rest)]
    return tuple(found)
