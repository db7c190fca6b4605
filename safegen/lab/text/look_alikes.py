"""Make ``safegen/text/look_alikes.json`` from Unicode's own list: ``python -m
safegen.lab.text.look_alikes``.

The list is Unicode's ``confusables.txt`` (Unicode licence v3), as the package
``confusable-homoglyphs`` ships it. Kept are the characters that look like one Latin letter and
that decomposition alone does not bring back to it. Chinese, Japanese and Korean characters are
left out, as they are read as what they are.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safegen.text.words import LOOK_ALIKES

BY_HAND = {
    "a": "∀Λӓᴀ", "b": "ьвβʙ", "c": "¢ƈ", "d": "đᴅɗ", "e": "эє℮εᴇɛ", "f": "ƒғꜰ", "g": "ɢԍɠ",
    "h": "һнʜ", "i": "¡ıІΙӀ", "j": "ᴊʝ", "k": "кκᴋқƙ", "l": "łʟ", "m": "мᴍɱ", "n": "пиηɴŋ",
    "o": "øɵθ", "p": "ᴘƥ", "q": "ɋ", "r": "гяʀɼ", "s": "§ʂ", "t": "тτᴛŧ", "u": "цμʊ", "v": "ʋ",
    "w": "шω", "x": "χ", "y": "чү", "z": "ƶʐ", "ss": "ß", "ae": "æ", "oe": "œ", "th": "þ",
}  # fmt: skip
"""What people use for a letter though Unicode does not call the two confusable."""

_OTHER_SCRIPTS = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "KANGXI", "BOPOMOFO", "YI ")


def table(confusables: Mapping[str, list[dict[str, Any]]]) -> dict[str, str]:
    """Letter to the characters that look like it."""
    found: dict[str, set[str]] = {}
    taken: set[str] = set()
    for letter, characters in BY_HAND.items():
        found.setdefault(letter, set()).update(characters)
        taken |= set(characters)
    for character, likenesses in confusables.items():
        if len(character) != 1 or character.isascii() or character in taken:
            continue
        name = unicodedata.name(character, "")
        if not name or name.startswith(_OTHER_SCRIPTS):
            continue
        decomposed = unicodedata.normalize("NFKD", character)[:1].lower()
        letters = sorted(
            {c["c"].lower() for c in likenesses if c["c"].isascii() and c["c"].isalpha()}
        )
        letters = [x for x in letters if len(x) == 1]
        if not letters or decomposed.isascii():
            continue
        # An upper-case i, a lower-case L and a one look alike: the character's own name decides.
        own = [x for x in letters if x.upper() in name.split()[-1:]]
        found.setdefault((own or letters)[0], set()).add(character)
    return {letter: "".join(sorted(found[letter])) for letter in sorted(found)}


def main() -> None:
    """Write the table."""
    import confusable_homoglyphs  # type: ignore[import-not-found]

    source = Path(confusable_homoglyphs.__file__).with_name("confusables.json")
    made = table(json.loads(source.read_text(encoding="utf-8")))
    data = {
        "comment": "Derived from Unicode's confusables.txt, licence: "
        "https://www.unicode.org/license.txt; made by safegen.lab.text.look_alikes",
        "letters": made,
    }
    LOOK_ALIKES.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
