"""Words of a prompt as a reader sees them, however they are spelled.

`tokenize` undoes what people do to hide a word (capitals, accents, look-alike letters, invisible
characters, digits for letters, drawn-out or spaced-out spelling) and keeps, for every word, the
stretch of the given text it came from.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple


class Token(NamedTuple):
    """One word, and where it stands.

    Args:
        word: The most likely reading, in lower-case plain letters.
        start: Where it starts in the given text.
        end: Where it ends.
        clause: Number of the clause it belongs to; commas and full stops end a clause.
        readings: Every reading worth a look-up, the most likely first.
        spelled: Whether it was spelled out letter by letter, such as ``b l o o d``; several
            words may then have run together.
        hyphenated: Whether a hyphen joins it to the word before.
    """

    word: str
    start: int
    end: int
    clause: int
    readings: tuple[str, ...]
    spelled: bool = False
    hyphenated: bool = False


LOOK_ALIKES = Path(__file__).with_name("look_alikes.json")
"""Letters that look like a Latin one and that Unicode's own decomposition leaves alone."""


def _read_look_alikes() -> dict[str, str]:
    letters = json.loads(LOOK_ALIKES.read_text(encoding="utf-8"))["letters"]
    return {character: letter for letter, like in letters.items() for character in like}


_LOOK_ALIKES = _read_look_alikes() if LOOK_ALIKES.is_file() else {}
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")

_LEET = str.maketrans("013456789@$!+€£", "oieasgtbgasitel")
_LEET_AS_L = str.maketrans({"1": "l", "!": "l", "|": "l"})
_NOT_LEET = re.compile(r"\d+[a-z]{1,2}|[a-z]{1,2}\d+")  # 8k, 3d, 35mm, f2

# Scripts without blanks between words: each character is a token, so that a phrase of several is
# found wherever it stands. Korean has blanks and is read as words.
_UNSPACED = "\u2e80-\u2fff\u3041-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LETTER = rf"[^\W\d_{_UNSPACED}]"
_SIGN = rf"[^\W_{_UNSPACED}]"
_INNER = rf"[@$!+*€£]+(?={_SIGN})"
_WORD = re.compile(
    rf"""(?P<spelled>(?<![^\W_]){_LETTER}(?P<gap>[ ._*/~\-]|\ [._*/~\-]\ )[^\W_@${_UNSPACED}]
            (?:(?P=gap)[^\W_@${_UNSPACED}])+(?![^\W_]))
       | (?P<unspaced>[{_UNSPACED}])
       | (?P<word>[@$€£]?{_SIGN}(?:{_SIGN}|{_INNER}|(?<={_LETTER})[$]+|['’](?={_SIGN}))*)
       | (?P<stop>[,.;:!?\n\r|()\[\]{{}}"“”、。，；：！？]+)
       | (?P<symbol>[^\s\w])""",
    re.VERBOSE,
)
_HYPHEN = re.compile(r"\w[-‐‑]\w")
_SYMBOL_CATEGORIES = frozenset({"So", "Sk", "Cn", "Co"})


@lru_cache(maxsize=4096)
def _fold_character(character: str) -> str:
    """Plain lower-case letters for one character; ``""`` for one that cannot be seen."""
    if character.isascii():
        return character.lower()
    if character in _BLANK_LETTERS or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return ""
    known = _LOOK_ALIKES.get(character) or _LOOK_ALIKES.get(character.lower())
    if known is not None:
        return known
    decomposed = unicodedata.normalize("NFKD", character)
    folded = "".join(
        _LOOK_ALIKES.get(part, part) for part in decomposed if not unicodedata.combining(part)
    )
    return folded.casefold()


_ENTITY = re.compile(r"&(?:#\d{1,8}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});?")


def _without_entities(text: str) -> tuple[str, Sequence[int]]:
    """``text`` with HTML entities resolved, to the last one as ftfy does, and the places."""
    places: Sequence[int] = range(len(text))
    while True:
        letters: list[str] = []
        kept: list[int] = []
        position = 0
        for match in _ENTITY.finditer(text):
            meant = html.unescape(match.group())
            if meant == match.group():
                continue
            letters += text[position : match.start()]
            kept += places[position : match.start()]
            letters += meant
            kept += [places[match.start()]] * len(meant)
            position = match.end()
        if not position:
            break
        letters += text[position:]
        kept += places[position:]
        text, places = "".join(letters), kept
    return text, places


def fold(text: str) -> tuple[str, Sequence[int]]:
    """``text`` in plain lower-case letters, and for each of them its place in ``text``.

    Invisible characters are left out, a ligature becomes several letters, an HTML entity what it
    stands for. The places have one more entry than the folded text: its end.
    """
    if text.isascii() and "&" not in text:
        return text.lower(), range(len(text) + 1)
    if "&" not in text and all(len(_fold_character(character)) == 1 for character in set(text)):
        return "".join(map(_fold_character, text)), range(len(text) + 1)
    letters: list[str] = []
    places: list[int] = []
    for character, place in zip(*_without_entities(text), strict=True):
        folded = _fold_character(character)
        letters.append(folded)
        places.extend([place] * len(folded))
    places.append(len(text))
    return "".join(letters), places


def _runs(word: str) -> list[tuple[str, int]]:
    return [(letter, len(list(group))) for letter, group in groupby(word)]


def _calm(word: str, longest: int) -> str:
    """``word`` with each letter said three or more times in a row said ``longest`` times."""
    return "".join(letter * (longest if n >= 3 else n) for letter, n in _runs(word))


_ELIDED = re.compile(r"(?:[cdjlmnst]|qu|dell|nell|all|sull|un)'(\w{2,})$")
"""A French or Italian word with what is drawn to it: *l'assassin*, *dell'omicidio*."""
_LONG_RUN = re.compile(r"([^\W\d_])\1\1")
_PLAIN_WORD = re.compile(r"[a-z]+")


@lru_cache(maxsize=65536)
def _readings(raw: str) -> tuple[str, ...]:
    """Every way to read ``raw`` (already folded), the most likely first."""
    raw = raw.replace("’", "'")
    if raw.endswith("'s"):
        raw = raw[:-2]
    elided = _ELIDED.match(raw)
    raw = raw.replace("'", "")
    if elided is not None:
        return (raw, *_readings(elided[1]))
    if _PLAIN_WORD.fullmatch(raw) and not _LONG_RUN.search(raw):
        return (raw,)
    readings = [raw]
    has_letters = any(c.isalpha() for c in raw)
    if has_letters and not _NOT_LEET.fullmatch(raw):
        decoded = [raw.translate(_LEET), raw.translate(_LEET_AS_L).translate(_LEET)]
        # A number in front is more often a count ("2girls") than a letter.
        readings = [raw, *decoded] if raw[0].isdigit() else [*decoded, raw]
    readings = [
        calm
        for reading in readings
        for calm in (_calm(reading, 2), _calm(reading, 1), reading)
        if _LONG_RUN.search(reading) or calm is reading
    ]
    return tuple(dict.fromkeys(reading for reading in readings if reading))


_CYRILLIC = re.compile(r"[\u0400-\u04ff]+")
_LIKE_LATIN = frozenset("аеорсухѕіјһԁԛԝ")


def _cyrillic(written: str) -> tuple[str, ...]:
    """How to read a word of Cyrillic letters only; nothing for any other.

    It is a word of its language and not a disguise, unless each letter looks like a Latin one.
    """
    if written.isascii() or not _CYRILLIC.fullmatch(written.strip()):
        return ()
    word = written.strip().lower().replace("ё", "е")
    return (word, fold(word)[0]) if set(word) <= _LIKE_LATIN else (word,)


def tokenize(text: str) -> list[Token]:
    """The words of ``text`` in order, each with its stretch of ``text``."""
    return list(_tokens(text))


@lru_cache(maxsize=128)  # every detector asks for the same texts
def _tokens(text: str) -> tuple[Token, ...]:
    folded, places = fold(text)
    tokens: list[Token] = []
    clause, plain, moved = 0, text.isascii(), not isinstance(places, range)
    any_hyphen = not folded.isascii() or "-" in folded
    for match in _WORD.finditer(folded):
        kind = match.lastgroup
        if kind == "stop":
            clause += 1
            continue
        raw, (start, end) = match.group(), match.span()
        if kind == "spelled":
            raw = raw[:: 1 + len(match["gap"])]
        elif kind == "symbol" and unicodedata.category(raw) not in _SYMBOL_CATEGORIES:
            continue
        hyphenated = any_hyphen and bool(_HYPHEN.match(folded, max(start - 2, 0)))
        if moved:
            # Up to the next visible letter: accents and invisible characters belong to the word.
            start, end = places[start], max(places[end], places[end - 1] + 1)
        readings = (not plain and _cyrillic(text[start:end])) or _readings(raw)
        if readings:
            spelled = kind == "spelled"
            tokens.append(Token(readings[0], start, end, clause, readings, spelled, hyphenated))
    return tuple(tokens)


def word_set(words: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(words.split())
