"""A detector that knows words: a list per category, found however they are spelled.

The list is data (`lexicon.json`, and a user's own file of the same form)::

    {"schema": 1,
     "categories": {"violence": {"certain": ["beheading"], "likely": ["stab+", "on fire"],
                                 "hint": ["knife"]}},
     "harmless": ["fire hydrant"],
     "forget": ["a built-in term that should no longer count"]}

A term is one or more words; its last word may stand in the plural; ``+`` after a word makes it a
verb with all its endings. ``harmless`` phrases shield the words in them. Each term found counts
with the probability of its list, and several count as independent signs.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from safegen.detectors.protocol import Detection, Span
from safegen.detectors.tokens import NEGATORS, Token, negated, tokenize, word_set
from safegen.errors import SafeGenError

SCHEMA_VERSION = 1
PROBABILITY: Mapping[str, float] = {"certain": 0.97, "likely": 0.8, "hint": 0.15}
"""How much one term of each list says."""

BUILT_IN = Path(__file__).with_name("lexicon.json")

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


class LexiconError(SafeGenError):
    """A lexicon file that cannot be used; says which and why."""


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


def _conjugated(verb: str) -> Iterator[str]:
    """A regular verb's forms, with the doubled consonant where English has one."""
    yield verb
    yield plural(verb)
    if re.search(r"[^aeiou]y$", verb):
        stem, past = verb, verb[:-1] + "ied"
    elif verb.endswith("e"):
        stem, past = (verb if verb.endswith("ee") else verb[:-1]), verb + "d"
    elif re.fullmatch(r"(?:[^aeiou]*)[aeiou][bdgklmnprt]|\w*[^aeiou][aeiou][bdgmpt]", verb):
        stem, past = verb + verb[-1], verb + verb[-1] + "ed"
    else:
        stem, past = verb, verb + "ed"
    yield stem + "ing"
    yield past
    doer = verb + "r" if verb.endswith("e") else stem + "er"
    yield doer
    yield doer + "s"


def _spellings(term: str) -> Iterator[tuple[str, ...]]:
    """Every form of ``term`` as a sequence of words, the form that is written out first."""
    words = [(token.word, term[token.end : token.end + 1] == "+") for token in tokenize(term)]
    if not words:
        return
    forms: list[tuple[str, ...]] = [()]
    for index, (word, is_verb) in enumerate(words):
        options = [word]
        if is_verb:
            options = list(_conjugated(word))
        elif index == len(words) - 1:
            options = [word, plural(word)]
        forms = [(*form, option) for form in forms for option in options]
    yield from forms


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


@dataclass(frozen=True)
class Lexicon:
    """The terms of one or more lexicon files; a later file adds to and overrides an earlier.

    Args:
        phrases: Every term, risky or harmless.
        harmless: The harmless ones alone, for detectors that have no list of their own.
    """

    phrases: Phrases = field(default_factory=Phrases)
    harmless: Phrases = field(default_factory=Phrases)

    @classmethod
    def load(cls, *files: Path) -> Lexicon:
        """Read ``files``, the built-in list first by convention.

        Raises:
            LexiconError: if a file cannot be read or has another form.
        """
        lexicon = cls()
        for file in files:
            try:
                data = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise LexiconError(f"The word list {file.name} cannot be read: {error}") from error
            lexicon.extend(data, file.name)
        return lexicon

    def extend(self, data: Any, source: str = "word list") -> None:
        """Add the terms of one file's data; ``source`` names it in errors.

        Raises:
            LexiconError: if ``data`` is not a lexicon.
        """
        if not isinstance(data, dict) or data.get("schema") != SCHEMA_VERSION:
            raise LexiconError(f"{source}: a word list has an entry schema of {SCHEMA_VERSION}")
        unknown = set(data) - {"schema", "comment", "categories", "harmless", "forget"}
        if unknown:
            raise LexiconError(f"{source}: unknown entries: {', '.join(sorted(unknown))}")
        for term in _strings(data.get("forget", []), f"{source}, forget"):
            self.phrases.remove(term)
            self.harmless.remove(term)
        categories = data.get("categories", {})
        if not isinstance(categories, dict):
            raise LexiconError(f"{source}: categories has to be a table of categories")
        terms: list[Term] = []
        for category, lists in categories.items():
            if not isinstance(lists, dict) or not set(lists) <= set(PROBABILITY):
                allowed = ", ".join(PROBABILITY)
                raise LexiconError(f"{source}: {category} has to have lists among {allowed}")
            for strength, names in lists.items():
                for name in _strings(names, f"{source}, {category}, {strength}"):
                    terms.append(Term(name, category, PROBABILITY[strength]))
        # What is written out counts more than a plural or an ending of another term, and after
        # that the stronger term.
        terms.sort(key=lambda term: term.probability)
        terms += [
            Term(name, "", 0.0)
            for name in _strings(data.get("harmless", []), f"{source}, harmless")
        ]
        spellings = [(term, list(_spellings(term.name))) for term in terms]
        for written, phrases in spellings:
            self._add(written, phrases)
        for written, phrases in spellings:
            self._add(written, phrases[:1])

    def _add(self, term: Term, phrases: Iterable[tuple[str, ...]]) -> None:
        for phrase in phrases:
            self.phrases.add(phrase, term)
            if not term.category:
                self.harmless.add(phrase, term)

    def hits(self, tokens: Sequence[Token]) -> list[Hit]:
        """The risky terms among ``tokens``: neither harmless nor negated."""
        return [hit for hit in self.phrases.find(tokens) if hit.term.category and not hit.negated]


@lru_cache(maxsize=1)
def built_in() -> Lexicon:
    """The built-in terms; one object for all, not to be extended."""
    return Lexicon.load(BUILT_IN)


def _strings(value: Any, where: str) -> Iterable[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise LexiconError(f"{where}: has to be a list of texts")
    return value


class LexiconDetector:
    """Scores a prompt by the terms of a `Lexicon`.

    Args:
        lexicon: The terms; the built-in ones if nothing is given.
    """

    name = "lexicon"

    def __init__(self, lexicon: Lexicon | None = None) -> None:
        self.lexicon = lexicon or built_in()

    def score(self, prompt: str) -> Detection:
        """Score one prompt, as the model sees it."""
        signs: dict[str, dict[str, float]] = defaultdict(dict)
        spans: list[Span] = []
        for hit in self.lexicon.hits(tokenize(prompt)):
            signs[hit.term.category][hit.term.name] = hit.term.probability
            spans.append(Span(hit.start, hit.end, hit.term.category, self.name))
        categories = {name: _either(found.values()) for name, found in signs.items()}
        return Detection(categories, tuple(spans))


def _either(probabilities: Iterable[float]) -> float:
    """The probability that at least one of several independent signs is right."""
    miss = 1.0
    for probability in probabilities:
        miss *= 1.0 - probability
    return 1.0 - miss
