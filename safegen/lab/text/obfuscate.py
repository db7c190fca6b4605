"""Ways to hide a word from a filter, to measure which of them work.

Each takes a word and a `random.Random` and gives what somebody might write instead.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping

from safegen.detectors.protocol import Span

_LEET = {"a": "4@", "e": "3", "i": "1!", "o": "0", "s": "5$", "t": "7"}
_LOOK_ALIKE = {
    "a": "а",
    "c": "с",
    "e": "е",
    "i": "і",
    "o": "о",
    "p": "р",
    "s": "ѕ",
    "x": "х",
    "y": "у",
}
_ACCENTED = {"a": "áä", "e": "éë", "i": "íï", "o": "óö", "u": "úü", "n": "ñ", "c": "ç"}


def _substitute(word: str, table: Mapping[str, str], rng: random.Random, *, most: int = 99) -> str:
    able = [i for i, letter in enumerate(word) if letter.lower() in table]
    chosen = set(rng.sample(able, min(most, len(able))))
    return "".join(
        rng.choice(table[letter.lower()]) if i in chosen else letter
        for i, letter in enumerate(word)
    )


def leet(word: str, rng: random.Random) -> str:
    """``bl00d``: digits and signs for up to two letters."""
    return _substitute(word, _LEET, rng, most=2)


def look_alikes(word: str, rng: random.Random) -> str:
    """Cyrillic letters that look like Latin ones."""
    return _substitute(word, _LOOK_ALIKE, rng)


def accents(word: str, rng: random.Random) -> str:
    """``blöód``."""
    return _substitute(word, _ACCENTED, rng)


def invisible(word: str, rng: random.Random) -> str:
    """Zero-width characters between the letters."""
    return "".join(letter + rng.choice("\u200b\u200c\u2060\u00ad") for letter in word)


def spaced(word: str, rng: random.Random) -> str:
    """``b l o o d``, or with dots or hyphens."""
    return rng.choice((" ", ".", "-")).join(word)


def drawn_out(word: str, rng: random.Random) -> str:
    """``bloooood``: one letter said three to six times."""
    place = rng.randrange(len(word))
    return word[:place] + word[place] * rng.randint(3, 6) + word[place + 1 :]


def split_in_two(word: str, rng: random.Random) -> str:
    """``blo od``."""
    if len(word) < 4:
        return word
    place = rng.randint(2, len(word) - 2)
    return f"{word[:place]} {word[place:]}"


def swapped(word: str, rng: random.Random) -> str:
    """A typing mistake: two neighbouring letters inside the word swapped."""
    if len(word) < 4:
        return word
    place = rng.randint(1, len(word) - 3)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def dropped(word: str, rng: random.Random) -> str:
    """A typing mistake: one letter inside the word missing."""
    if len(word) < 4:
        return word
    place = rng.randint(1, len(word) - 2)
    return word[:place] + word[place + 1 :]


def doubled(word: str, rng: random.Random) -> str:
    """A typing mistake: one letter inside the word said twice."""
    if len(word) < 4:
        return word
    place = rng.randint(1, len(word) - 2)
    return word[:place] + word[place] + word[place:]


def emphasis(word: str, rng: random.Random) -> str:
    """WebUI syntax inside the word: ``(bl:1.2)ood``, or a network tag."""
    place = rng.randint(1, max(1, len(word) - 1))
    if rng.random() < 0.5:
        return f"({word[:place]}:1.2){word[place:]}"
    return f"{word[:place]}<lora:style:0.5>{word[place:]}"


OBFUSCATIONS: Mapping[str, Callable[[str, random.Random], str]] = {
    "leet": leet,
    "look-alikes": look_alikes,
    "accents": accents,
    "invisible": invisible,
    "spaced": spaced,
    "drawn out": drawn_out,
    "split in two": split_in_two,
    "swapped letters": swapped,
    "dropped letter": dropped,
    "doubled letter": doubled,
    "syntax inside": emphasis,
}

HARMLESS_PADDING = ", peaceful, serene, gentle, joyful, celebrating kindness, a beautiful sunny day"


def obfuscate(
    prompt: str, spans: Iterable[Span], way: Callable[[str, random.Random], str], rng: random.Random
) -> str:
    """``prompt`` with every word in ``spans`` hidden."""
    result, end = "", 0
    for span in sorted(spans):
        if span.start < end:
            continue
        hidden = " ".join(way(word, rng) for word in prompt[span.start : span.end].split())
        result += prompt[end : span.start] + hidden
        end = span.end
    return result + prompt[end:]
