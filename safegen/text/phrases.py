"""Phrases found in a text however they are spelled: the longest match wins."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from safegen.text.words import Token

_SHORTEST_STEM = 2
"""Letters that the last word of a phrase must have before its ending is left open."""
_BEGINNING = 4
"""Letters of a stem that are looked up first."""
_LONGEST_STEM_PHRASE = 4
_REMEMBERED = 1 << 16
"""Words of which it is kept whether a phrase begins with them."""
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
    """A term found: which, where in the text, and as which words it was read."""

    term: Term
    start: int
    end: int
    words: str = ""


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
        stems: The same for phrases whose last word may go on in any way.
    """

    terms: dict[tuple[str, ...], Term] = field(default_factory=dict)
    stems: dict[tuple[str, ...], Term] = field(default_factory=dict)
    _heads: dict[tuple[str, ...], int] = field(default_factory=dict, repr=False)
    _begun: set[tuple[str, ...]] = field(default_factory=set, repr=False)
    _beginnings: set[str] = field(default_factory=set, repr=False)
    _lengths: dict[str, list[int]] = field(default_factory=dict, repr=False)
    _by_length: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list), repr=False)
    _may_begin: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    def add(self, phrase: tuple[str, ...], term: Term) -> None:
        """Add or replace one phrase."""
        self._may_begin.clear()
        if len(phrase) == 1 and phrase not in self.terms:
            self._by_length[len(phrase[0])].append(phrase[0])
        self.terms[phrase] = term
        lengths = self._lengths.setdefault(phrase[0], [])
        if len(phrase) not in lengths:
            lengths.append(len(phrase))
            lengths.sort(reverse=True)

    def add_stem(self, phrase: tuple[str, ...], term: Term) -> None:
        """Add or replace the phrases that are ``phrase``, or go on where it ends."""
        self._may_begin.clear()
        self.stems[phrase] = term
        head = phrase[:-1]
        self._heads[head] = max(self._heads.get(head, 0), len(phrase[-1]))
        self._begun |= {head[:size] for size in range(len(head) + 1)}
        self._beginnings.add(phrase[-1][:_BEGINNING])

    def remove(self, name: str) -> None:
        """Forget every phrase of the term called ``name``."""
        self._may_begin.clear()
        self.terms = {phrase: term for phrase, term in self.terms.items() if term.name != name}
        self.stems = {stem: term for stem, term in self.stems.items() if term.name != name}

    def words(self, *, harmless: bool = False) -> frozenset[str]:
        """Every risky term that is one word, or every harmless one."""
        return frozenset(
            p[0]
            for p, term in self.terms.items()
            if len(p) == 1 and harmless != bool(term.category)
        )

    def find(self, tokens: Sequence[Token]) -> Iterator[Hit]:
        """The phrases among ``tokens`` from left to right, none overlapping another."""
        index = 0
        while index < len(tokens):
            token = tokens[index]
            may_begin = self._may_begin.get(token.word)
            if may_begin is None:
                may_begin = self._begins(token.word)
            if not may_begin and len(token.readings) == 1 and not token.spelled:
                index += 1
                continue
            found = (
                self._phrase(tokens, index)
                or self._stem(tokens, index)
                or self._spelled(token)
                or self._masked(token)
            )
            if found is None:
                index += 1
                continue
            term, length = found
            start, end = tokens[index].start, tokens[index + length - 1].end
            words = " ".join(token.word for token in tokens[index : index + length])
            yield Hit(term, start, end, words)
            index += length

    def _begins(self, word: str) -> bool:
        """Whether a phrase may begin with ``word``; kept, as most words begin none."""
        if len(self._may_begin) > _REMEMBERED:
            self._may_begin.clear()
        begins = "*" in word or word in self._lengths or (word,) in self._begun
        begins = begins or any(
            (word[:size],) in self.stems for size in range(_SHORTEST_STEM, len(word) + 1)
        )
        self._may_begin[word] = begins
        return begins

    def _phrase(self, tokens: Sequence[Token], index: int) -> tuple[Term, int] | None:
        best: tuple[Term, int] | None = None
        for reading in tokens[index].readings:
            for length in self._lengths.get(reading, ()):
                last = index + length - 1
                if length <= (best[1] if best else 0):
                    break
                if last >= len(tokens) or tokens[last].clause != tokens[index].clause:
                    continue
                term = self._exact(reading, tokens[index + 1 : last + 1])
                if term is not None:
                    best = term, length
                    break
        return best

    def _exact(self, first: str, rest: Sequence[Token]) -> Term | None:
        if not rest:
            return self.terms.get((first,))
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
        if len(token.readings) == 1 and "*" not in token.word:
            return None
        word = next((reading for reading in token.readings if "*" in reading), None)
        if word is None or 2 * word.count("*") > len(word):
            return None
        pattern = re.compile(_MASKED.sub(lambda m: rf"\w{{{len(m.group())}}}", word))
        for candidate in self._by_length.get(len(word), ()):
            term = self.terms.get((candidate,))
            if term is not None and term.category and pattern.fullmatch(candidate):
                return term, 1
        return None

    def _stem(self, tokens: Sequence[Token], index: int) -> tuple[Term, int] | None:
        """A phrase whose last word goes on, the longest first."""
        if not self.stems:
            return None
        head: tuple[str, ...] = ()
        best: tuple[Term, int] | None = None
        for token in tokens[index : index + _LONGEST_STEM_PHRASE]:
            if head not in self._begun or token.clause != tokens[index].clause:
                break
            longest = self._heads.get(head)
            if longest:
                for reading in token.readings:
                    known = reading[:_BEGINNING] in self._beginnings
                    most = min(len(reading), longest if known else _BEGINNING - 1)
                    for size in range(most, _SHORTEST_STEM - 1, -1):
                        term = self.stems.get((*head, reading[:size]))
                        if term is not None:
                            best = term, len(head) + 1
                            break
            head = (*head, token.word)
        return best
