"""Phrases found in a text however they are spelled: the longest match wins."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from safegen.text.words import Token

_SHORTEST_STEM = 2
"""Letters that the last word of a phrase must have before its ending is left open."""
_BEGINNING = 4
"""Letters of a stem that are looked up first."""
_LONGEST_STEM_PHRASE = 4
_REMEMBERED = 1 << 16
"""Words of which it is kept how a phrase may begin with them."""
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
    _lengths: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)
    _seconds: dict[str, set[str]] = field(default_factory=dict, repr=False)
    _by_length: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list), repr=False)
    _ways: dict[str, tuple[_Way, ...]] = field(default_factory=dict, repr=False, compare=False)

    def add(self, phrase: tuple[str, ...], term: Term) -> None:
        """Add or replace one phrase."""
        self._ways.clear()
        if len(phrase) == 1 and phrase not in self.terms:
            self._by_length[len(phrase[0])].append(phrase[0])
        self.terms[phrase] = term
        self._seconds.setdefault(phrase[0], set()).update(phrase[1:2])
        lengths = self._lengths.get(phrase[0], ())
        self._lengths[phrase[0]] = tuple(sorted({*lengths, len(phrase)}, reverse=True))

    def add_stem(self, phrase: tuple[str, ...], term: Term) -> None:
        """Add or replace the phrases that are ``phrase``, or go on where it ends."""
        self._ways.clear()
        self.stems[phrase] = term
        head = phrase[:-1]
        self._heads[head] = max(self._heads.get(head, 0), len(phrase[-1]))
        self._begun |= {head[:size] for size in range(len(head) + 1)}
        self._beginnings.add(phrase[-1][:_BEGINNING])

    def remove(self, name: str) -> None:
        """Forget every phrase of the term called ``name``."""
        self._ways.clear()
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
        behind = 0
        for index, token in enumerate(tokens):
            if index < behind:
                continue
            ways = _WAYS
            if len(token.readings) == 1 and not token.spelled:
                known = self._ways.get(token.word)
                ways = self._ways_of(token.word) if known is None else known
            for way in ways:
                found = way(self, tokens, index)
                if found is not None:
                    break
            else:
                continue
            term, length = found
            behind = index + length
            words = " ".join(token.word for token in tokens[index:behind])
            yield Hit(term, token.start, tokens[behind - 1].end, words)

    def _ways_of(self, word: str) -> tuple[_Way, ...]:
        """How a phrase may begin with ``word``, read so only; kept, as most words begin none."""
        if len(self._ways) > _REMEMBERED:
            self._ways.clear()
        sizes = range(_SHORTEST_STEM, len(word) + 1)
        may_be = {
            Phrases._phrase: word in self._lengths,
            Phrases._stem: (word,) in self._begun
            or any((word[:size],) in self.stems for size in sizes),
            Phrases._masked: "*" in word,
        }
        self._ways[word] = tuple(way for way, may in may_be.items() if may)
        return self._ways[word]

    def _phrase(self, tokens: Sequence[Token], index: int) -> tuple[Term, int] | None:
        best: tuple[Term, int] | None = None
        following = tokens[index + 1].readings if index + 1 < len(tokens) else ()
        for reading in tokens[index].readings:
            lengths = self._lengths.get(reading, ())
            if lengths and self._seconds[reading].isdisjoint(following):
                lengths = (1,) if lengths[-1] == 1 else ()
            for length in lengths:
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

    def _spelled(self, tokens: Sequence[Token], index: int) -> tuple[Term, int] | None:
        """A term inside letters that were spelled out one by one."""
        token = tokens[index]
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

    def _masked(self, tokens: Sequence[Token], index: int) -> tuple[Term, int] | None:
        """A term with letters starred out: at least half its letters, and the first, must show."""
        word = next((reading for reading in tokens[index].readings if "*" in reading), None)
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


_Way = Callable[[Phrases, Sequence[Token], int], tuple[Term, int] | None]
_WAYS: tuple[_Way, ...] = (Phrases._phrase, Phrases._stem, Phrases._spelled, Phrases._masked)
"""Of a word that may be read in several ways, or was spelled out."""
