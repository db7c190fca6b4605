"""Words of a prompt as a reader sees them, however they are spelled.

`tokenize` undoes what people do to hide a word (capitals, accents, look-alike letters, invisible
characters, digits for letters, drawn-out or spaced-out spelling) and keeps, for every word, the
stretch of the given text it came from.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby


@dataclass(frozen=True)
class Token:
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


# Letters that look like a Latin one and that Unicode's own decomposition leaves alone.
_LOOK_ALIKES = {
    look_alike: letter
    for letter, look_alikes in {
        "a": "аАαΑɑᴀаӑӓΛ∀Ꭺ",
        "b": "вВβΒьЬʙБƄᏴ",
        "c": "сСϲСᴄϹƈ¢Ꮯ",
        "d": "ԁᴅɗđĐԀᎠ",
        "e": "еЕεΕєЄёᴇɛ℮Ꭼэ",
        "f": "ғҒƒϜꜰſ",
        "g": "ɡɢցԍɠᏀ",
        "h": "нНηΗһҺʜհᎻ",
        "i": "іІιΙıɩɪіΙӀӏÌᎥ¡",
        "j": "јЈϳᴊʝᎫ",
        "k": "кКκΚᴋқҚƙᏦ",
        "l": "ⅼʟłŁւᏞ",
        "m": "мМΜᴍɱᎷ",
        "n": "пПΝνռɴηŋи",
        "o": "оОοΟσօᴏøØɵθ",
        "p": "рРρΡᴘƥᏢ",
        "q": "ԛզɋ",
        "r": "гГᴦяЯʀɼᏒ",
        "s": "ѕЅꜱʂ§Ꮪ",
        "t": "тТτΤᴛŧŦᎢ",
        "u": "υսᴜʊцμ",
        "v": "νѵѴᴠʋᏙ",
        "w": "ԝԜωᴡшШɯᎳ",
        "x": "хХχΧ×",
        "y": "уУγΥүҮʏУч",
        "z": "ᴢʐƶᏃ",
        "ss": "ß",
        "ae": "æÆ",
        "oe": "œŒ",
        "th": "þÞ",
    }.items()
    for look_alike in look_alikes
}
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")

_LEET = str.maketrans("013456789@$!+€£", "oieasgtbgasitel")
_LEET_AS_L = str.maketrans({"1": "l", "!": "l", "|": "l"})
_NOT_LEET = re.compile(r"\d+[a-z]{1,2}|[a-z]{1,2}\d+")  # 8k, 3d, 35mm, f2

_INNER = r"[@$!+*€£]+(?=[^\W_])"
_WORD = re.compile(
    rf"""(?P<spelled>(?<![^\W_])[^\W\d_](?P<gap>[ ._*/~\-]|\ [._*/~\-]\ )[^\W_@$]
            (?:(?P=gap)[^\W_@$])+(?![^\W_]))
       | (?P<word>[@$€£]?[^\W_](?:[^\W_]|{_INNER}|(?<=[^\W\d_])[$]+|['’](?=[^\W_]))*)
       | (?P<stop>[,.;:!?\n\r|()\[\]{{}}"“”]+)
       | (?P<symbol>[^\s\w])""",
    re.VERBOSE,
)
_HYPHEN = re.compile(r"\w[-‐‑]\w")
_SYMBOL_CATEGORIES = frozenset({"So", "Sk", "Cn", "Co"})


@lru_cache(maxsize=4096)
def _fold_character(character: str) -> str:
    """Plain lower-case letters for one character; ``""`` for one that cannot be seen."""
    if character in _BLANK_LETTERS or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return ""
    known = _LOOK_ALIKES.get(character)
    if known is not None:
        return known
    decomposed = unicodedata.normalize("NFKD", character)
    folded = "".join(
        _LOOK_ALIKES.get(part, part) for part in decomposed if not unicodedata.combining(part)
    )
    return folded.casefold()


def fold(text: str) -> tuple[str, Sequence[int]]:
    """``text`` in plain lower-case letters, and for each of them its place in ``text``.

    Invisible characters are left out, a ligature becomes several letters. The places have one
    more entry than the folded text: its end.
    """
    if text.isascii():
        return text.lower(), range(len(text) + 1)
    letters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        folded = character.lower() if character.isascii() else _fold_character(character)
        letters.append(folded)
        places.extend([place] * len(folded))
    places.append(len(text))
    return "".join(letters), places


def _runs(word: str) -> list[tuple[str, int]]:
    return [(letter, len(list(group))) for letter, group in groupby(word)]


def _calm(word: str, longest: int) -> str:
    """``word`` with each letter said three or more times in a row said ``longest`` times."""
    return "".join(letter * (longest if n >= 3 else n) for letter, n in _runs(word))


_LONG_RUN = re.compile(r"([^\W\d_])\1\1")
_PLAIN_WORD = re.compile(r"[a-z]+")


@lru_cache(maxsize=65536)
def _readings(raw: str) -> tuple[str, ...]:
    """Every way to read ``raw`` (already folded), the most likely first."""
    raw = raw.replace("’", "'")
    if raw.endswith("'s"):
        raw = raw[:-2]
    raw = raw.replace("'", "")
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


def tokenize(text: str) -> list[Token]:
    """The words of ``text`` in order, each with its stretch of ``text``."""
    folded, places = fold(text)
    tokens: list[Token] = []
    clause = 0
    for match in _WORD.finditer(folded):
        kind, start, end = match.lastgroup, match.start(), match.end()
        if kind == "stop":
            clause += 1
            continue
        raw = match.group()
        if match["spelled"] is not None:
            raw = raw[:: 1 + len(match["gap"])]
            kind = "spelled"
        elif kind == "symbol" and unicodedata.category(raw) not in _SYMBOL_CATEGORIES:
            continue
        readings = _readings(raw)
        if readings:
            # Up to the next visible letter: accents and invisible characters belong to the word.
            stop = max(places[end], places[end - 1] + 1)
            spelled = kind == "spelled"
            hyphenated = bool(_HYPHEN.match(folded, max(start - 2, 0)))
            tokens.append(
                Token(readings[0], places[start], stop, clause, readings, spelled, hyphenated)
            )
    return tokens


def word_set(words: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(words.split())


NEGATORS = word_set(
    "no not without never none zero nor non neither lacking avoid avoiding isnt arent wasnt dont "
    "doesnt cannot"
)
"""Words that say the next one is not there."""
_CARRIERS = word_set(
    "a an the any more visible real actual such kind sort of form sign signs trace traces hint "
    "hints single drop drops bit depiction depictions at all very too even"
)
_LINKS = frozenset({"or", "nor", "and"})


def negated(tokens: Sequence[Token]) -> frozenset[int]:
    """Indices of the words that are said not to be there: ``blood`` in *no blood*.

    The reach is short on purpose: the first word after the negation, and words linked to it by
    *or*, *and*, *nor*. *Free* after a word (*blood-free*) and *free of* before it count too, and
    two negations cancel.
    """
    found: set[int] = set()
    count = len(tokens)
    index = 0
    while index < count:
        word, clause = tokens[index].word, tokens[index].clause
        free_of = word == "free" and index + 1 < count and tokens[index + 1].word in {"of", "from"}
        if word == "free" and index and tokens[index].hyphenated:
            found.add(index - 1)
        if word not in NEGATORS and not free_of:
            index += 1
            continue
        negations = 1
        index += 2 if free_of else 1
        while index < count and tokens[index].clause == clause:
            word = tokens[index].word
            if word in NEGATORS:
                negations += 1
            elif word not in _CARRIERS:
                break
            index += 1
        while index < count and tokens[index].clause == clause:
            if negations % 2:
                found.add(index)
            follows = index + 2 < count and tokens[index + 1].word in _LINKS
            if not follows or tokens[index + 2].clause != clause:
                break
            index += 2
            while index < count - 1 and tokens[index].word in _CARRIERS:
                index += 1
    return frozenset(found)
