"""Phrases found in a text however they are spelled: the longest match wins."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from safegen.text.words import NEGATORS, Token, negated, word_set

_FUNCTION_WORDS = word_set(
    "a an and are as at be but by do for from had has have he her him his i if in is it its me my "
    "no not of off on or our out she so that the their them then there they this to up us was we "
    "were who will with you your"
)
_SHORTEST_JOINED = 5
"""Letters a term must have to be found in two words written apart (*blo ody*)."""
_SHORTEST_INSIDE = 4
"""Letters a term must have to be found inside words run together (*b l o o d y k n i f e*)."""
_MASKED = re.compile(r"[*]+")


@dataclass(frozen=True)
class Term:
    """What a phrase stands for. ``category`` is ``""`` for a harmless phrase."""

    name: str
    category: str
    probability: float


@dataclass(frozen=True)
class Hit:
    """A term found: which, where in the text, and whether it is said not to be there."""

    term: Term
    start: int
    end: int
    negated: bool = False


def plural(word: str) -> str:
    """The regular English plural of ``word``."""
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    return word + "s"


@dataclass
class Phrases:
    """Phrases to look for, and the search: the longest match wins.

    Args:
        terms: Phrase, as a sequence of normalised words, to the term it stands for.
    """

    terms: dict[tuple[str, ...], Term] = field(default_factory=dict)
    _longest: dict[str, int] = field(default_factory=lambda: defaultdict(int), repr=False)
    _by_length: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list), repr=False)

    def add(self, phrase: tuple[str, ...], term: Term) -> None:
        """Add or replace one phrase."""
        if len(phrase) == 1 and phrase not in self.terms:
            self._by_length[len(phrase[0])].append(phrase[0])
        self.terms[phrase] = term
        self._longest[phrase[0]] = max(self._longest[phrase[0]], len(phrase))

    def remove(self, name: str) -> None:
        """Forget every phrase of the term called ``name``."""
        self.terms = {phrase: term for phrase, term in self.terms.items() if term.name != name}

    def find(self, tokens: Sequence[Token]) -> Iterator[Hit]:
        """The phrases among ``tokens`` from left to right, none overlapping another."""
        absent = negated(tokens)
        index = 0
        while index < len(tokens):
            found = (
                self._phrase(tokens, index)
                or self._spelled(tokens[index])
                or self._masked(tokens[index])
                or self._joined(tokens, index)
            )
            if found is None:
                index += 1
                continue
            term, length = found
            start, end = tokens[index].start, tokens[index + length - 1].end
            # "no clothes on" is a term of its own, not the absence of one.
            negates = tokens[index].word in NEGATORS
            touched = not absent.isdisjoint(range(index, index + length))
            yield Hit(term, start, end, touched and not negates)
            index += length

    def _phrase(self, tokens: Sequence[Token], index: int) -> tuple[Term, int] | None:
        best: tuple[Term, int] | None = None
        for reading in tokens[index].readings:
            longest = self._longest.get(reading, 0)
            if longest and (longest > 1 or best is None):
                limit = min(longest, len(tokens) - index)
                for length in range(limit, best[1] if best else 0, -1):
                    if tokens[index + length - 1].clause != tokens[index].clause:
                        continue
                    term = self._exact(reading, tokens[index + 1 : index + length])
                    if term is not None:
                        best = term, length
                        break
        return best

    def _exact(self, first: str, rest: Sequence[Token]) -> Term | None:
        phrases: list[tuple[str, ...]] = [(first,)]
        for token in rest:
            phrases = [(*phrase, reading) for phrase in phrases for reading in token.readings]
            if len(phrases) > 64:  # only a prompt made to be slow has that many readings
                phrases = phrases[:64]
        return next((self.terms[phrase] for phrase in phrases if phrase in self.terms), None)

    def _spelled(self, token: Token) -> tuple[Term, int] | None:
        """A term inside letters that were spelled out one by one."""
        if not token.spelled:
            return None
        inside: list[Term] = []
        longest = max(self._by_length, default=0)  # else a long row of letters takes for ever
        for reading in token.readings:
            for size in range(min(len(reading), longest), _SHORTEST_INSIDE - 1, -1):
                for begin in range(len(reading) - size + 1):
                    term = self.terms.get((reading[begin : begin + size],))
                    if term is not None and term.category:
                        inside.append(term)
        strongest = max(inside, key=lambda term: term.probability, default=None)
        return (strongest, 1) if strongest else None

    def _masked(self, token: Token) -> tuple[Term, int] | None:
        """A term with letters starred out: at least half its letters, and the first, must show."""
        word = next((reading for reading in token.readings if "*" in reading), None)
        if word is None or 2 * word.count("*") > len(word):
            return None
        pattern = re.compile(_MASKED.sub(lambda m: rf"\w{{{len(m.group())}}}", word))
        for candidate in self._by_length.get(len(word), ()):
            term = self.terms.get((candidate,))
            if term is not None and term.category and pattern.fullmatch(candidate):
                return term, 1
        return None

    def _joined(self, tokens: Sequence[Token], index: int) -> tuple[Term, int] | None:
        """A term written in two pieces that are no words of their own."""
        if index + 1 == len(tokens):
            return None
        first, second = tokens[index], tokens[index + 1]
        if second.start - first.end > 1 or {first.word, second.word} & _FUNCTION_WORDS:
            return None
        if not (first.word.isalpha() and second.word.isalpha()):
            return None
        joined = first.word + second.word
        term = self.terms.get((joined,)) if len(joined) >= _SHORTEST_JOINED else None
        return (term, 2) if term is not None and term.category else None
