"""A detector that knows words: a list per category, found however they are spelled.

The lists are data (`lexicon.json`, `languages.json`, and a user's own file of the same form)::

    {"schema": 1,
     "categories": {"violence": {"certain": ["beheading"], "tag": ["blood"],
                                 "likely": ["stab+", "blutig*"], "hint": ["knife"]}},
     "classes": {"fruit": ["apple", "orange"]},
     "harmless": ["fire hydrant", "blood {fruit}"],
     "minors": {"words": ["schoolgirl"], "innocent": ["bikini"]},
     "forget": ["a built-in term that should no longer count"]}

A term is one or more words; its last word may stand in the plural; ``+`` after a word makes it a
verb with all its endings; ``*`` after the last leaves its ending open. ``harmless`` phrases
shield the words in them; ``{fruit}`` is any word of that class. Each term found counts with the
probability of its list: certain alone speaks for harm, likely does where nothing speaks against
it, a hint never does. A tag is certain where it is a whole clause, as in ``1girl, blood, night``,
and says nothing elsewhere. Any sexual term but the ``innocent`` ones is certain near a word that
names a minor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import Any

from safegen.detectors.protocol import Detection, Span
from safegen.errors import GuardFailure, SafeGenError
from safegen.text.phrases import Hit, Phrases, Term, plural
from safegen.text.spelling import Spelling
from safegen.text.words import Token, tokenize

SCHEMA_VERSION = 1
TAG = "tag"
PROBABILITY: Mapping[str, float] = {"certain": 0.97, TAG: 0.97, "likely": 0.8, "hint": 0.15}
"""How much one term of each list says."""

SEXUAL, MINOR = "sexual", "minor"
NEAR_MINOR = 8
"""How many words may stand between a sexual term and a word for a minor."""

BUILT_IN = (
    Path(__file__).with_name("lexicon.json"),
    Path(__file__).with_name("languages.json"),
)


class LexiconError(SafeGenError):
    """A lexicon file that cannot be used; says which and why."""


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
        elif index == len(words) - 1 and word.isascii():
            options = [word, plural(word)]
        forms = [(*form, option) for form in forms for option in options]
    yield from forms


def _classes(value: Any, source: str) -> dict[str, list[str]]:
    if not isinstance(value, dict):
        raise LexiconError(f"{source}: classes has to be a table of lists")
    return {name: list(_strings(words, f"{source}, {name}")) for name, words in value.items()}


def _filled(pattern: str, classes: Mapping[str, Sequence[str]], source: str) -> Iterator[str]:
    """Every phrase that ``pattern`` stands for."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if found is None:
        yield pattern
        return
    if found[1] not in classes:
        raise LexiconError(
            f"{source}: {pattern!r} names an unknown class; has: {', '.join(classes)}"
        )
    for word in classes[found[1]]:
        yield from _filled(
            pattern[: found.start()] + word + pattern[found.end() :], classes, source
        )


@dataclass(frozen=True)
class Lexicon:
    """The terms of one or more lexicon files; a later file adds to and overrides an earlier.

    Args:
        phrases: Every term, risky or harmless.
        harmless: The harmless ones alone, for detectors that have no list of their own.
        tags: The terms that count where they are a whole clause.
        minors: Words that name somebody under age.
        innocent: Sexual terms that say nothing of a minor.
    """

    phrases: Phrases = field(default_factory=Phrases)
    harmless: Phrases = field(default_factory=Phrases)
    tags: dict[tuple[str, ...], Term] = field(default_factory=dict)
    minors: Phrases = field(default_factory=Phrases)
    innocent: set[str] = field(default_factory=set)

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
                # Not where it lies: the message is for every user's eyes.
                why = getattr(error, "strerror", None) or error
                raise LexiconError(f"The word list {file.name} cannot be read: {why}") from error
            lexicon.extend(data, file.name)
        return lexicon

    def extend(self, data: Any, source: str = "word list") -> None:
        """Add the terms of one file's data; ``source`` names it in errors.

        Raises:
            LexiconError: if ``data`` is not a lexicon.
        """
        self.__dict__.pop("spelling", None)
        if not isinstance(data, dict) or data.get("schema") != SCHEMA_VERSION:
            raise LexiconError(f"{source}: a word list has an entry schema of {SCHEMA_VERSION}")
        unknown = set(data) - {
            "schema", "comment", "categories", "classes", "harmless", "minors", "forget",
        }  # fmt: skip
        if unknown:
            raise LexiconError(f"{source}: unknown entries: {', '.join(sorted(unknown))}")
        for term in _strings(data.get("forget", []), f"{source}, forget"):
            self.phrases.remove(term)
            self.harmless.remove(term)
            for phrase in [phrase for phrase, one in self.tags.items() if one.name == term]:
                del self.tags[phrase]
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
                    one = Term(name, category, PROBABILITY[strength])
                    if strength == TAG:
                        self.tags.update(dict.fromkeys(_spellings(name), one))
                    else:
                        terms.append(one)
        # What is written out counts more than a plural or an ending of another term, and after
        # that the stronger term.
        terms.sort(key=lambda term: term.probability)
        classes = _classes(data.get("classes", {}), source)
        self._extend_minors(data.get("minors", {}), classes, source)
        terms += [
            Term(name, "", 0.0)
            for pattern in _strings(data.get("harmless", []), f"{source}, harmless")
            for name in _filled(pattern, classes, source)
        ]
        spellings = [(term, list(_spellings(term.name))) for term in terms]
        for written, phrases in spellings:
            self._add(written, phrases)
        for written, phrases in spellings:
            self._add(written, phrases[:1])

    def _extend_minors(self, data: Any, classes: Mapping[str, Sequence[str]], source: str) -> None:
        if not isinstance(data, dict) or not set(data) <= {"words", "innocent"}:
            raise LexiconError(f"{source}: minors has to have lists among words, innocent")
        for pattern in _strings(data.get("words", []), f"{source}, minors, words"):
            for name in _filled(pattern, classes, source):
                for phrase in _spellings(name):
                    self.minors.add(phrase, Term(name, MINOR, 1.0))
        self.innocent.update(_strings(data.get("innocent", []), f"{source}, minors, innocent"))

    def _add(self, term: Term, phrases: Iterable[tuple[str, ...]]) -> None:
        for phrase in phrases:
            for table in (self.phrases,) if term.category else (self.phrases, self.harmless):
                if term.name.endswith("*"):
                    table.add_stem(phrase, term)
                else:
                    table.add(phrase, term)

    @cached_property
    def spelling(self) -> Spelling:
        """Reads mistyped words as one of the risky terms that are more than a hint."""
        risky = (
            phrase[0]
            for phrase, term in self.phrases.terms.items()
            if len(phrase) == 1 and term.probability > PROBABILITY["hint"]
        )
        return Spelling(risky, self.harmless.words(harmless=True))

    def hits(self, tokens: Sequence[Token]) -> list[Hit]:
        """The risky terms among ``tokens``, those in harmless phrases left out."""
        found = [hit for hit in self.phrases.find(tokens) if hit.term.category]
        return [*found, *self._tags(tokens)]

    def with_minors(self, hits: list[Hit], tokens: Sequence[Token]) -> list[Hit]:
        """``hits`` among ``tokens``, of which the sexual ones near a minor are certain."""
        sexual = [
            hit
            for hit in hits
            if hit.term.category == SEXUAL and hit.term.name not in self.innocent
        ]
        minors = list(self.minors.find(tokens)) if sexual else []
        near = [hit for hit in sexual if any(_near(hit, one, tokens) for one in minors)]
        certain = PROBABILITY["certain"]
        return [
            replace(hit, term=replace(hit.term, probability=certain)) if hit in near else hit
            for hit in hits
        ]

    def _tags(self, tokens: Sequence[Token]) -> Iterator[Hit]:
        for _, clause in groupby(tokens, attrgetter("clause")):
            of = list(clause)
            words = tuple(token.word for token in of)
            term = self.tags.get(words)
            if term is not None:
                yield Hit(term, of[0].start, of[-1].end, " ".join(words))


def _near(hit: Hit, minor: Hit, tokens: Sequence[Token]) -> bool:
    first, last = sorted((hit, minor), key=lambda one: one.start)
    between = sum(first.end <= token.start and token.end <= last.start for token in tokens)
    return between <= NEAR_MINOR


@lru_cache(maxsize=1)
def built_in() -> Lexicon:
    """The built-in terms; one object for all, not to be extended."""
    return Lexicon.load(*BUILT_IN)


def _strings(value: Any, where: str) -> Iterable[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise LexiconError(f"{where}: has to be a list of texts")
    return value


class LexiconDetector:
    """Scores a prompt by the terms of a `Lexicon`.

    A search that has failed finds nothing, as in a harmless prompt. So a few terms are put behind
    every prompt, and have to be found.

    Args:
        lexicon: The terms; the built-in ones if nothing is given.
    """

    name = "lexicon"

    def __init__(self, lexicon: Lexicon | None = None) -> None:
        self.lexicon = lexicon or built_in()
        self._known = tokenize(", ".join(_examples(self.lexicon)))
        self._known_names = [hit.term.name for hit in self.lexicon.hits(self._known)]

    def score(self, prompt: str) -> Detection:
        """Score one prompt, as the model sees it.

        Raises:
            GuardFailure: if a term that is there is not found.
        """
        tokens, behind = tokenize(prompt), len(prompt) + 1
        clauses = tokens[-1].clause + 1 if tokens else 0
        known = [
            Token(t.word, t.start + behind, t.end + behind, t.clause + clauses, *t[4:])
            for t in self._known
        ]
        words = self.lexicon.spelling.read([*tokens, *known])
        hits = self.lexicon.with_minors(self.lexicon.hits(words), words)
        found = [hit.term.name for hit in hits if hit.start >= behind and hit.term.probability > 0]
        if found != self._known_names:
            raise GuardFailure("the word lists do not find words that they have")
        scores: dict[str, float] = {}
        spans: list[Span] = []
        for hit in hits:
            if hit.start >= behind:
                continue
            category, probability = hit.term.category, hit.term.probability
            scores[category] = max(scores.get(category, 0.0), probability)
            spans.append(Span(hit.start, hit.end, category, self.name, reading=hit.words))
        spans += self._held(prompt, tokens, scores, spans)
        return Detection(scores, tuple(spans))

    def _held(
        self,
        prompt: str,
        tokens: Sequence[Token],
        scores: Mapping[str, float],
        spans: Sequence[Span],
    ) -> Iterator[Span]:
        """Words that nobody knows with a risky one in them, beside a sure one of its category."""
        sure = {category for category, p in scores.items() if p > 0.5}
        for token in tokens if sure else ():
            if prompt[token.start].isupper() and prompt[token.start + 1 : token.end].islower():
                continue  # a name
            held = self.lexicon.spelling.inside(token.word)
            term = self.lexicon.phrases.terms.get((held,))
            if term is None or term.category not in sure:
                continue
            if not any(span.meets(token.start, token.end) for span in spans):
                yield Span(token.start, token.end, term.category, self.name, reading=held)


def _examples(lexicon: Lexicon) -> Iterator[str]:
    """A word, a phrase and a tag of ``lexicon``, as far as it has any."""
    terms = [phrase for phrase, term in lexicon.phrases.terms.items() if term.category]
    words, longer = (t for t in terms if len(t) == 1), (t for t in terms if len(t) > 1)
    for some in (words, longer, iter(lexicon.tags)):
        yield from (" ".join(phrase) for phrase in islice(some, 1))
