"""Words without the brackets that stress them, as the WebUI takes these out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from safegen.text.passage import Passage

_PIECE = re.compile(
    r"\\(?P<letter>[()\[\]\\])|\\|:\s*[+-]?[.\d]+\s*(?P<weight>\))|[()\[\]]|[^\\()\[\]:]+|:"
)
_SYNTAX = re.compile(r"[\\()\[\]:]")
_BREAK = re.compile(r"\bBREAK\b")


def plain(text: str, places: Sequence[int]) -> Passage:
    """``text`` as the words that are encoded, with a cut where a bracket stood.

    A bracket that closes nothing is a letter, and what stands on both sides of a cut may be one
    word or two: that goes by the weights.
    """
    if not _SYNTAX.search(text):
        return Passage(_BREAK.sub("\n" * len("BREAK"), text), tuple(places))
    letters: list[str] = []
    kept: list[int] = []
    cuts: list[int] = []
    open_ones = {"(": 0, "[": 0}
    for match in _PIECE.finditer(text):
        piece, start = match.group(), match.start()
        closes = "(" if match["weight"] or piece == ")" else "[" if piece == "]" else ""
        if piece in open_ones:
            open_ones[piece] += 1
        elif closes and open_ones[closes]:
            open_ones[closes] -= 1
        else:
            if piece[0] == "\\":
                piece, start = match["letter"] or "", start + 1
            letters.append(_BREAK.sub("\n" * len("BREAK"), piece))
            kept += places[start : start + len(piece)]
            continue
        cuts.append(len(kept))
    return Passage("".join(letters), tuple(kept), tuple(dict.fromkeys(cuts)))
