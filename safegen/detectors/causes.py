"""Which words of a text bring what the model would draw for it: the text is read without them.

Every reading takes a row of the model, so phrases are left out before words where that is fewer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from safegen.text.words import word_set

LONGEST = 4
"""Words that may bring harm together, in a row."""
ROUNDS = 4
"""Stretches of one text that may bring it."""

_WORD = re.compile(r"[^\s,;:.!?()\[\]{}|]+")
_LEADING = word_set(
    "a an the of in on at to with from by for as and or into onto over under beside behind near "
    "next after before during when where while struck is are his her their its"
)
"""Words that say nothing without the one that follows them."""

Row = tuple[int, ...]
"""Words that are left out together, by their numbers."""
Place = tuple[int, int]


def causes_of(
    text: str, read: Callable[[Sequence[str]], Sequence[float]], clear: float
) -> list[Place]:
    """The fewest words without which ``text`` shows nothing, as stretches of it.

    Args:
        text: It shows something itself.
        read: How suspicious texts are: 0 or more where one shows something.
        clear: Up to this what is left is enough below 0.

    Returns:
        Start and end of each stretch; none where leaving words out does not help.
    """
    words = [match.span() for match in _WORD.finditer(text)]
    gone: Row = ()
    for _ in range(ROUNDS):
        left = tuple(i for i in range(len(words)) if i not in gone)
        if len(left) < 2:
            return []
        z, found = _Round(text, words, gone, read, clear).best(left)
        gone += found
        if z < 0:
            return _stretches(text, words, gone)
    return []


class _Round:
    """One search for the words that take most of the harm with them, some being gone already."""

    def __init__(
        self,
        text: str,
        words: Sequence[Place],
        gone: Row,
        read: Callable[[Sequence[str]], Sequence[float]],
        clear: float,
    ) -> None:
        self.text, self.words, self.gone = text, words, gone
        self.read, self.clear = read, clear
        self.known: dict[Row, float] = {}

    def best(self, left: Row) -> tuple[float, Row]:
        """The shortest row of ``left`` that is enough, and what is left then scores.

        Where phrases are far fewer than words they are asked first, and then the words of the one
        that is enough. Where nothing is, all words in a row are asked, and what does most is best.
        """
        singles, phrases = self._singles(left), _phrases(self.text, self.words, left)
        if len(singles) <= 2 * len(phrases) and self._tried(singles)[0] <= self.clear:
            return self._tried(singles)
        if len(phrases) > 1:
            z, phrase = self._tried(phrases)
            within = self._within(z, phrase)
            if within[0] <= self.clear and len(within[1]) <= LONGEST:
                return within
        best = self._tried(singles)
        windows = _windows(left)
        for rows in ([row for row in windows if best[1][0] in row], windows):
            if rows and best[0] > self.clear:
                best = min(best, self._tried(rows))
        return self._within(*best)

    def _within(self, z: float, row: Row) -> tuple[float, Row]:
        """``row`` or, if it is enough, the shortest part of it that is."""
        if z <= self.clear:
            for parts in (self._singles(row), _windows(row)):
                if parts and self._tried(parts)[0] <= self.clear:
                    return self._tried(parts)
        return z, row

    def _tried(self, rows: Sequence[Row]) -> tuple[float, Row]:
        """Of ``rows`` the shortest that is enough, or else the one that does most."""
        new = [row for row in rows if row not in self.known]
        if new:
            texts = [_without(self.text, [self.words[i] for i in self.gone + row]) for row in new]
            self.known.update(zip(new, self.read(texts), strict=True))

        def order(row: Row) -> tuple[float, float]:
            z = self.known[row]
            return (len(row) if z <= self.clear else math.inf), z

        best = min(rows, key=order)
        return self.known[best], best

    def _singles(self, row: Row) -> list[Row]:
        """Its words, without those that say nothing alone if there are others."""
        telling = [i for i in row if _plain(self.text, self.words[i]) not in _LEADING]
        return [(i,) for i in telling or row]


def _windows(row: Row) -> list[Row]:
    """Two to `LONGEST` neighbours of ``row``, but not the whole."""
    lengths = range(2, min(LONGEST, len(row) - 1) + 1)
    return [row[i : i + n] for n in lengths for i in range(len(row) - n + 1)]


def _phrases(text: str, words: Sequence[Place], left: Row) -> list[Row]:
    """The words ``left``, cut at punctuation, at gaps and before words that lead on."""
    rows: list[Row] = []
    for i in left:
        before = i - 1 if rows and rows[-1][-1] == i - 1 else None
        if before is not None:
            leads = [_plain(text, words[k]) in _LEADING for k in (before, i)]
            if not text[words[before][1] : words[i][0]].strip() and leads != [False, True]:
                rows[-1] += (i,)
                continue
        rows.append((i,))
    return rows


def _without(text: str, stretches: Sequence[Place]) -> str:
    """``text`` without ``stretches``, blanks and commas tidied."""
    kept, position = "", 0
    for start, end in sorted(stretches):
        kept += text[position:start]
        position = end
    kept += text[position:]
    kept = re.sub(r"\s+", " ", kept)
    return re.sub(r"(?:\s*,)+", ",", kept).strip(" ,")


def _stretches(text: str, words: Sequence[Place], gone: Row) -> list[Place]:
    """What ``gone`` covers: words in a row together, with those that led up to them alone."""
    rows: list[list[int]] = []
    for i in sorted(gone):
        if rows and i == rows[-1][-1] + 1:
            rows[-1].append(i)
        else:
            rows.append([i])
    found: list[Place] = []
    for row in rows:
        first, last = row[0], row[-1]
        following = text[words[last][1] : words[last + 1][0]] if last + 1 < len(words) else "."
        leads_on = not following.strip() and _plain(text, words[last + 1]) not in _LEADING
        while first and not leads_on and _plain(text, words[first - 1]) in _LEADING:
            between = text[words[first - 1][1] : words[first][0]]
            if between.strip():
                break
            first -= 1
        found.append((words[first][0], words[last][1]))
    return found


def _plain(text: str, word: Place) -> str:
    return text[word[0] : word[1]].lower()
