"""Words that were mistyped, run together or cut in two, read as what was meant.

Only words nobody knows are read anew, and only as one of the words that a detector looks for:
``knfe``, ``knnife`` and ``knief`` as *knife*, ``bloodyknife`` as *bloody knife*, ``blo ody`` as
*bloody*. In a clause of another language an unknown word is more likely a word of it than a slip.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

from safegen.text.languages import is_foreign
from safegen.text.vocabulary import vocabulary
from safegen.text.words import Token

_SHORTEST = 5
"""Letters a word must have to be recognised with a letter missing, doubled or swapped."""
_SHORT = 6
"""Letters up to which the word that was meant must be one that people write: near a short rare
word lie many names (Kote, *kotze*)."""
_RARE = 2.2
"""Zipf frequency below which it isn't."""
_SHORTEST_GLUED = 4
"""Letters a word must have to be found in one that is run together with another."""
_COMMON = 3.3
"""Zipf frequency from which a word is one that people write for itself, not half of another."""
_LONGEST = 40


def _without_one(word: str) -> list[str]:
    return [word[:i] + word[i + 1 :] for i in range(len(word))]


def _one_slip(wrong: str, right: str) -> bool:
    """Whether a letter was dropped or added, or two neighbours swapped."""
    if len(wrong) == len(right):
        differing = [i for i, (a, b) in enumerate(zip(wrong, right, strict=True)) if a != b]
        return (
            len(differing) == 2
            and differing[1] == differing[0] + 1
            and wrong[differing[0]] == right[differing[1]]
            and wrong[differing[1]] == right[differing[0]]
        )
    short, long = sorted((wrong, right), key=len)
    return len(long) - len(short) == 1 and short in _without_one(long)


class Spelling:
    """Reads unknown words as one of ``wanted``.

    Args:
        wanted: The words to look for, in plain lower-case letters.
        harmless: Words that are none of them, though the vocabulary has them not (*squawking*).
        endings: Those that are also found behind any letters, all if none are named.
    """

    def __init__(
        self,
        wanted: Iterable[str],
        harmless: Iterable[str] = (),
        endings: Collection[str] | None = None,
    ) -> None:
        self.wanted = frozenset(w for w in wanted if w.isascii() and w.isalpha())
        self._right = self.wanted | frozenset(harmless)
        self._endings = self.wanted if endings is None else endings
        self._near: dict[str, list[str]] = defaultdict(list)
        known = vocabulary()
        for word in sorted(self.wanted):
            if len(word) > _SHORT or (len(word) >= _SHORTEST and known.commonness(word) >= _RARE):
                for key in {word, *_without_one(word)}:
                    self._near[key].append(word)
        self.meant = lru_cache(maxsize=1 << 14)(self._meant)
        self.parts = lru_cache(maxsize=1 << 14)(self._parts)
        self._as_written = lru_cache(maxsize=1 << 14)(self._is_as_written)

    def _meant(self, word: str) -> str:
        """The wanted word that ``word`` is a slip of; ``""`` if it is known or like none."""
        if not _SHORTEST - 1 <= len(word) <= _LONGEST or not word.isascii() or not word.isalpha():
            return ""
        if word in vocabulary() or word in self._right:
            return ""
        for key in (word, *_without_one(word)):
            for right in self._near.get(key, ()):
                if right[0] == word[0] and _one_slip(word, right):
                    return right
        return ""

    def _parts(self, word: str) -> tuple[str, ...]:
        """Two words that were run together, one of them wanted; none if ``word`` is known."""
        if not _SHORTEST <= len(word) <= _LONGEST or not word.isascii() or not word.isalpha():
            return ()
        known = vocabulary()
        if word in known or word in self._right:
            return ()
        best: tuple[float, tuple[str, ...]] = (0.0, ())
        for cut in range(3, len(word) - 2):
            left, right = word[:cut], word[cut:]
            if left not in self.wanted and right not in self.wanted:
                continue
            wanted = [w for w in (left, right) if w in self.wanted and len(w) >= _SHORTEST_GLUED]
            if not wanted:
                continue
            others = [w for w in (left, right) if w not in self.wanted]
            common = min((known.commonness(w) for w in others), default=7.0)
            if common >= _COMMON and common > best[0]:
                best = common, (left, right)
        return best[1] or self._ending(word)

    def _is_as_written(self, word: str) -> bool:
        """Whether ``word`` is neither two in one nor a slip of another; true of nearly all."""
        if word in vocabulary() or word in self._right:
            return True
        return not self.parts(word) and not self.meant(word)

    def _ending(self, word: str) -> tuple[str, ...]:
        """A wanted word that people write, and any letters before it: of ``xnaked`` CLIP's
        tokenizer makes *x* and the very token of *naked*."""
        for cut in range(1, len(word) - _SHORTEST_GLUED + 1):
            ending = word[cut:]
            if ending in self._endings and vocabulary().commonness(ending) >= _COMMON:
                return word[:cut], ending
        return ()

    def inside(self, word: str) -> str:
        """The longest wanted word in one that nobody knows (*nakedvorn*); ``""`` if there is none.

        It may stand anywhere if it is long, else at the beginning. For texts that are risky
        already: by itself such a word says little.
        """
        if not _SHORTEST < len(word) <= _LONGEST or not word.isascii() or not word.isalpha():
            return ""
        if word in vocabulary() or word in self._right:
            return ""
        for size in range(len(word) - 1, _SHORTEST_GLUED - 1, -1):
            last = len(word) - size if size >= _SHORTEST else 0
            for start in range(last + 1):
                found = word[start : start + size]
                common = size >= _SHORTEST or vocabulary().commonness(found) >= _COMMON
                if common and found in self.wanted:
                    return found
        return ""

    def read(self, tokens: Sequence[Token]) -> list[Token]:
        """``tokens`` with what was mistyped read as what was meant."""
        words = [token.word for token in tokens]
        pairs = (first + second for first, second in pairwise(words))
        if self.wanted.isdisjoint(pairs) and all(map(self._as_written, words)):
            return list(tokens)
        found: list[Token] = []
        skip = False
        foreign: dict[int, bool] = {}
        for index, token in enumerate(tokens):
            if skip:
                skip = False
                continue
            word = token.word
            following = tokens[index + 1] if index + 1 < len(tokens) else None
            joined = "" if following is None else word + following.word
            if following is not None and joined in self.wanted and _cut(token, following):
                readings = (joined, *token.readings)
                found.append(token._replace(word=joined, end=following.end, readings=readings))
                skip = True
            elif self._as_written(word):
                found.append(token)
            elif parts := self.parts(word):
                found += _torn(token, parts)
            elif len(token.readings) > 1 and any(
                reading in vocabulary() for reading in token.readings[1:]
            ):
                found.append(token)  # as what is drawn to it is: *l'aide*
            elif (meant := self.meant(word)) and not _foreign(tokens, token.clause, foreign):
                found.append(token._replace(word=meant, readings=(meant, *token.readings)))
            else:
                found.append(token)
        return found


def _cut(first: Token, second: Token) -> bool:
    """Whether two tokens that make a wanted word may be one, cut in two."""
    if len(first.word) + len(second.word) < _SHORTEST:
        return False
    if second.start - first.end > 1 or first.clause != second.clause:
        return False
    known = vocabulary()
    return min(known.commonness(first.word), known.commonness(second.word)) < _COMMON


def _foreign(tokens: Sequence[Token], clause: int, known: dict[int, bool]) -> bool:
    """Whether a clause is of another language; asked of few, and of each once."""
    if clause not in known:
        known[clause] = is_foreign([token for token in tokens if token.clause == clause])
    return known[clause]


def _torn(token: Token, parts: tuple[str, ...]) -> list[Token]:
    """One token for each of ``parts``, in their own places if every letter has one."""
    if token.end - token.start != sum(map(len, parts)):
        return [token._replace(word=part, readings=(part,)) for part in parts]
    found, start = [], token.start
    for part in parts:
        end = start + len(part)
        found.append(token._replace(word=part, readings=(part,), start=start, end=end))
        start = end
    return found
