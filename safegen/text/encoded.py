"""A text as CLIP's tokenizer takes it apart, where its words then differ from those on the page.

The tokenizer first repairs a text with ftfy, which hosts have: escapes of terminals and signs that
control go, and ``ï½‚`` is a *b* that was decoded in a wrong way. Then it cuts wherever letters end:
``qxz@bloody``, ``9bloody9`` and ``x'rebloody`` are several words to it, one of them *bloody*.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

from safegen.text.passage import Passage
from safegen.text.words import tokenize

_ftfy: Any
try:
    import ftfy as _ftfy
except ImportError:  # the host's tokenizer repairs nothing then
    _ftfy = None

_REPAIRABLE = re.compile(r"[^\t\n\r -~]|&")
_SHORTEST = 3
"""Letters in a row that may be a word: *8k* and *f2* are left as they are."""
_PLAIN = r"[(\"]*(?:[A-Za-z]+(?:-[A-Za-z]+)*|\d+[A-Za-z]{0,2}|-)?[)\",.;:!?]*"
"""Between blanks, what the tokenizer cuts where words are told apart anyway."""
_UNPLAIN = re.compile(rf"(?<![^ ])(?!{_PLAIN}(?: |\Z))")
_CONTRACTION = re.compile(r"['’](?:s|t|re|ve|m|ll|d)", re.IGNORECASE)
_APART = re.compile(rf"(?i:{_CONTRACTION.pattern})|[^\W\d_]{{{_SHORTEST},}}")
"""What blanks are put around, in a text without marks and without numbers that are no digits."""


def encoded(passages: Iterable[Passage], raw: Iterable[Passage]) -> Iterator[Passage]:
    """What the tokenizer makes of ``passages``, of those that it reads as other words.

    Args:
        raw: Texts whose brackets may be letters to it too, as with *Emphasis: None*.
    """
    for passage in passages:
        if not _UNPLAIN.search(passage.text):
            continue
        for text in (passage, *_repaired(passage)):
            yield from _unless_alike(text, passage)
            yield from _unless_alike(_cut(text), passage)
    for passage in raw:
        if "\\" in passage.text:
            yield passage
        for text in _repaired(passage):
            yield from _unless_alike(text, passage)


def _unless_alike(found: Passage, known: Passage) -> Iterator[Passage]:
    """``found``, if its words are not those of ``known``."""
    if found.text == known.text:
        return
    if [one.word for one in tokenize(found.text)] != [one.word for one in tokenize(known.text)]:
        yield found


def _repaired(passage: Passage) -> Iterator[Passage]:
    """Repaired as a whole, and what stands between brackets by itself."""
    if _ftfy is None or not _REPAIRABLE.search(passage.text):
        return
    yield _repair(passage)
    if not passage.cuts:
        return
    ends = sorted({0, *passage.cuts, len(passage.text)})
    text, places = "", list[int]()
    for start, end in pairwise(ends):
        own = _repair(Passage(passage.text[start:end], passage.places[start:end]))
        text += own.text + " "
        places += (*own.places, passage.places[end - 1] + 1)
    yield Passage(text, tuple(places))


@lru_cache(maxsize=128)  # mostly a part's passage is the part as it was written
def _fixed(text: str) -> str:
    return str(_ftfy.fix_text(text))


def _repair(passage: Passage) -> Passage:
    """What ftfy changes has the place of what it was."""
    before, after = passage.text, _fixed(passage.text)
    if after == before or not after:
        return passage
    short = min(len(before), len(after))
    same = next((i for i in range(short) if before[i] != after[i]), short)
    left = short - same
    behind = next((i for i in range(left) if before[-1 - i] != after[-1 - i]), left)
    last = max(len(before) - behind - 1, 0)
    changed = (passage.places[min(i, last)] for i in range(same, len(after) - behind))
    end = passage.places[len(before) - behind :]
    return Passage(after, (*passage.places[:same], *changed, *end))


def _cut(passage: Passage) -> Passage:
    """``passage`` with blanks around letters in a row, and around what contracts two words."""
    text, places, behind = "", list[int](), 0
    for start, end in _apart(passage.text):
        own = passage.places[start:end]
        text += f"{passage.text[behind:start]} {passage.text[start:end]} "
        places += (*passage.places[behind:start], own[0], *own, own[-1] + 1)
        behind = end
    return Passage(text + passage.text[behind:], (*places, *passage.places[behind:]))


def _apart(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each piece that blanks are to stand around."""
    if text.isascii() or not any(map(_is_mark_or_number, set(text))):
        yield from (match.span() for match in _APART.finditer(text))
        return
    start = 0
    while start < len(text):
        contraction = _CONTRACTION.match(text, start)
        end = contraction.end() if contraction else start + 1
        letters = not contraction and _is_letter(text, start)
        while letters and end < len(text) and _is_letter(text, end):
            end += 1
        if contraction or end - start >= _SHORTEST:
            yield start, end
        start = end


def _is_mark_or_number(character: str) -> bool:
    if character.isalnum():
        return not (character.isalpha() or character.isdecimal())
    return unicodedata.combining(character) > 0


def _is_letter(text: str, place: int) -> bool:
    """A mark is none, unless it makes one letter with the one that it stands on."""
    character = text[place]
    if character.isalpha() or not place or not unicodedata.combining(character):
        return character.isalpha()
    return len(unicodedata.normalize("NFC", text[place - 1 : place + 1])) == 1
