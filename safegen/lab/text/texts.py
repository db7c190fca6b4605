"""What the n-gram network learns from, and what is put around it: see `safegen.lab.text.train`."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safegen.conditioning.names import words_of
from safegen.detectors.lexicon import LexiconDetector, built_in
from safegen.detectors.reading import STOP, UNKNOWN, read
from safegen.lab.text import corpus
from safegen.lab.text.vectors import key
from safegen.learned.pairs import Pair, own_pairs, scenes
from safegen.text.vocabulary import vocabulary
from safegen.text.words import tokenize

MOST = 160
"""Words of a text that are learned from."""
NEAREST = 9000
"""Common words of a language among which the nearest is looked for."""
NEAR = 0.5
"""Least likeness of a word that stands for another."""
PEOPLE = 4
"""By how many different people each act of our own is done."""
TOLD = 45
"""How many harmful acts are made of each of our patterns."""
HARMLESS = 60
"""How many harmless ones."""
PAIRS = 4.0
"""How much more pairs count among bare texts."""
HARMFUL, DOUBTED = 6.0, 10.0
"""How much harmful prompts of people count, those of one scene together, and harmless ones in which
a detector found something."""
LONGEST_SUBJECT = 5
"""Words of a prompt's subject that stands for somebody in acts of our own."""
TITLES = 6000
"""How many titles of works of art each network learns from."""
UNKNOWN_IN_PIECES = 0.4
"""Share of the harmless pieces of a few words in which one word is made unknown."""
Rows = tuple[int, ...]


@dataclass(frozen=True)
class Text:
    """One text to learn from; ``kind`` is -1 for a harmless one, -2 for harm of no kind."""

    rows: Rows
    kind: int
    weight: float

    @property
    def harmful(self) -> bool:
        """What it is to be told from."""
        return self.kind != -1


def rows_of(text: str) -> Rows:
    """A text as the network reads it."""
    return read(tokenize(text)).rows[:MOST] or (UNKNOWN,)


def risky(prompt: str, lexicon: LexiconDetector) -> bool:
    """Whether a prompt that somebody wrote may be a harmful one, by the lexicon alone."""
    found = lexicon.score(prompt).categories
    return max(found.values(), default=0.0) > 0.5 or "sexual" in found


def nearest_words(language: str) -> NDArray[np.int64]:
    """Of every row of the vocabulary the nearest in meaning of a language's common words."""
    known = vocabulary()
    found = {known.row(key(word)) for word in corpus.common_words(language, NEAREST)}
    rows = np.asarray(sorted(row for row in found if row is not None), np.int64)
    vectors = known.vectors.astype(np.float32) * known.scale
    nearest = np.empty(len(vectors), np.int64)
    for begin in range(0, len(vectors), 4096):
        likeness = vectors[begin : begin + 4096] @ vectors[rows].T
        best = likeness.argmax(1)
        near = likeness[np.arange(len(best)), best] >= NEAR
        nearest[begin : begin + 4096] = np.where(near, rows[best], UNKNOWN)
    return nearest


class Collector:
    """Texts, with what is put around them; ``bare`` ones without, and in their own language."""

    def __init__(self, pieces: Sequence[Rows], seed: int, *, bare: bool = False) -> None:
        self.texts: list[Text] = []
        self.pieces = pieces
        self.bare = bare
        self.rng = random.Random(seed)
        self.openings = [rows_of(opening) for opening in corpus.OPENINGS]

    def styled(self, rows: Rows) -> Rows:
        """``rows`` with one to eight pieces of people's prompts, some of them before it."""
        if self.bare:
            return rows
        chosen = self.rng.sample(self.pieces, self.rng.randint(1, 8))
        before = len(chosen) // 2 if self.rng.random() < 0.3 else 0
        out: list[int] = []
        for piece in (*chosen[:before], rows, *chosen[before:]):
            out += [STOP, *piece] if out else piece
        return tuple(out[:MOST])

    def opened(self, rows: Rows) -> Rows:
        """``rows`` with the opening of a request."""
        return (*self.rng.choice(self.openings), *rows)

    @cached_property
    def nearest(self) -> list[NDArray[np.int64]]:
        """Of each language beside English what `nearest_words` gives."""
        return [nearest_words(one) for one in corpus.LANGUAGES if one != "en"]

    def translated(self, rows: Rows) -> Rows:
        """``rows`` word by word in another language, by likeness of meaning."""
        nearest = self.rng.choice(self.nearest)
        return tuple(int(nearest[row]) if row >= 0 else row for row in rows)

    def add(
        self,
        rows: Rows,
        kind: int = -1,
        weight: float = 1.0,
        around: float = 0.0,
        abroad: float = 0.0,
    ) -> None:
        """A text; with probability ``around`` once more with something around it, and with
        ``abroad`` in another language."""
        self.texts.append(Text(rows, kind, weight))
        if self.bare:
            return
        if self.rng.random() < abroad:
            self.texts.append(Text(self.translated(rows), kind, 0.7 * weight))
        if self.rng.random() < around:
            other = self.styled(rows) if self.rng.random() < 0.6 else self.opened(rows)
            self.texts.append(Text(other, kind, 0.7 * weight))

    def add_piece(self, rows: Rows) -> None:
        """A few words of a harmless text, now and then with one that nobody knows: so that
        little said, or an unknown word, is no sign of harm."""
        begin = self.rng.randrange(len(rows))
        piece = list(rows[begin : begin + self.rng.randint(2, 6)])
        if self.rng.random() < UNKNOWN_IN_PIECES:
            piece[self.rng.randrange(len(piece))] = UNKNOWN
        self.add(tuple(piece))


def pieces_of(prompts: Sequence[Rows]) -> list[Rows]:
    """The clauses of prompts, without the first, which names the subject."""
    found: list[Rows] = []
    for rows in prompts:
        piece: list[int] = []
        first = True
        for row in (*rows, STOP):
            if row != STOP:
                piece.append(row)
                continue
            if piece and not first and len(piece) <= 8:
                found.append(tuple(piece))
            piece, first = [], False
    return found


def subjects_of(prompts: Sequence[str]) -> list[str]:
    """Whom and what people's prompts show: their first clause without how it is shown."""
    found: dict[str, None] = {}
    for prompt in prompts:
        subject = re.split(r"[,.;:|(]", prompt.lower(), maxsplit=1)[0]
        subject = re.sub(
            r"^.*\b(?:portrait|photo|painting|picture|image|drawing) of\b", "", subject
        )
        subject = subject.strip()
        if 1 <= len(subject.split()) <= LONGEST_SUBJECT and subject.isascii():
            found.setdefault(subject)
    return list(found)


def training_texts(
    files: Mapping[str, Path], categories: Sequence[str], seed: int, *, bare: bool = False
) -> list[Text]:
    """Everything that is learned from; with another ``seed`` other people, openings and tags.

    ``bare`` texts have nothing put around them, and are not once more in another language.
    """
    lexicon = LexiconDetector()
    written = [row.text for row in corpus.divided(files["prompts"])["train"]]
    written = [text for text in written if not risky(text, lexicon)]
    subjects = subjects_of(written)
    prompts = [rows_of(text) for text in written]
    out = Collector(pieces_of(prompts), seed, bare=bare)
    for rows in prompts:
        out.add(rows, weight=7.0)
        subject = rows[: rows.index(STOP)] if STOP in rows else rows
        if len(subject) <= 12:
            out.add(subject, weight=3.0)
    _add_people(out, files, categories)
    titles = [text for text in corpus.read_prompts(files["titles"]) if not risky(text, lexicon)]
    for title in out.rng.sample(titles, min(TITLES, len(titles))):
        out.add(rows_of(title), weight=1.5, around=0.3)
    more = PAIRS if bare else 1.0
    for pair in corpus.divided_pairs(files["pairs"])["train"]:
        kind = categories.index(pair.category)
        out.add(rows_of(pair.unsafe), kind, 1.6 * more, around=0.8, abroad=0.25)
        out.add(rows_of(pair.safe), weight=more, around=0.8, abroad=0.25)
    for row in corpus.divided(files["requests"])["train"]:
        out.add(rows_of(row.text), weight=2.0, abroad=0.25)
    for row in corpus.divided(files["scenes"])["train"]:
        out.add(rows_of(row.text), weight=2.0, abroad=0.25)
    for row in corpus.divided(files["captions"])["train"]:
        rows = rows_of(row.text)
        out.add(rows, weight=4.5, around=1.0, abroad=0.5)
        out.add_piece(rows)
    for text in corpus.read_prompts(files["photographs"]):
        if not risky(text, lexicon):
            rows = rows_of(text)
            out.add(rows, weight=2.5)
            out.add_piece(rows)
    for piece in out.rng.sample(out.pieces, min(3000, len(out.pieces))):
        out.add(piece, weight=0.3)
    for pair in own_pairs():
        kind = categories.index(pair.category)
        out.add(rows_of(pair.unsafe), kind, 2.0, around=0.5, abroad=0.5)
        out.add(rows_of(pair.safe), weight=2.0, around=0.5, abroad=0.5)
    for pair in corpus.acts(out.rng, PEOPLE):
        out.add(rows_of(pair.unsafe), categories.index(pair.category), 2.0, around=0.4)
        out.add(rows_of(pair.safe), weight=2.0, around=0.4)
    for category, text in corpus.told_acts(out.rng, TOLD, subjects):
        out.add(rows_of(text), categories.index(category), 2.0, around=0.4)
    for text in corpus.harmless_acts(out.rng, HARMLESS, subjects):
        out.add(rows_of(text), weight=2.0, around=0.4)
    _add_terms(out, categories)
    _add_harmless(out)
    return out.texts


def _add_people(out: Collector, files: Mapping[str, Path], categories: Sequence[str]) -> None:
    """Prompts that people wrote, read by hand.

    Somebody's name is no sign of harm, however often one author asks for it: prompts of one scene
    count as one, words that nothing else that is harmful knows are made unknown, and the names are
    learned as harmless.
    """
    pairs = corpus.divided_pairs(files["pairs"])["train"]
    said = [text for pair in pairs for text in (pair.unsafe, pair.safe)]
    said += [*built_in().phrases.words(), *map(" ".join, built_in().tags)]
    familiar = {row for text in said for row in rows_of(text)}
    people = corpus.read_people(files["people"])
    harmful = [one for one in people if one.category]
    groups = scenes([Pair("", one.text, "") for one in harmful])
    size = Counter(groups)
    for one, group in zip(harmful, groups, strict=True):
        rows = tuple(row if row < 0 or row in familiar else UNKNOWN for row in rows_of(one.text))
        out.add(rows, categories.index(one.category), HARMFUL / size[group], around=0.5)
    for one in people:
        if not one.category:
            out.add(rows_of(one.text), weight=DOUBTED if one.doubted else 2.0)
    for name in names_in(one.text for one in harmful):
        out.add(rows_of(name), weight=3.0, around=0.5)
        out.add(rows_of(f"portrait of {name}"), weight=3.0, around=0.5)


def names_in(texts: Iterable[str]) -> list[str]:
    """The names of two words in ``texts``, without those in which the lexicon finds something."""
    lexicon = LexiconDetector()
    found = {
        word.plain
        for text in texts
        for clause in re.split(r"[,.;:!?()\[\]|\n]", text)
        for word in words_of(clause, ())
        if word.name == "P" and len(word.text.split()) == 2
    }
    return sorted(name for name in found if not lexicon.score(name).categories)


def _add_terms(out: Collector, categories: Sequence[str]) -> None:
    """The lexicon's terms among our own sentences."""
    rng, own = out.rng, corpus.sentences()
    terms = {
        (t.name.replace("+", "").rstrip("*"), t.category, t.probability)
        for table in (built_in().phrases.terms, built_in().phrases.stems)
        for t in table.values()
        if t.probability > 0.5 and t.category in categories
    }
    for name, category, p in sorted(terms):
        kind = categories.index(category)
        weight = 1.0 if p > 0.9 else 0.4
        language = corpus.language_of(name) or rng.choice(("en", "es", "de", "fr", "pt", "it"))
        who = rng.choice(own[language][0])
        glue = "" if language in corpus.SPACELESS else " "
        out.add(rows_of(name), kind, 0.5 * weight)
        out.add(rows_of(f"{who}{glue}{name}"), kind, 0.7 * weight, around=0.5)
    shown: dict[str, list[str]] = defaultdict(list)
    for name, category, p in sorted(terms):
        if p > 0.9 and name.isascii():
            shown[category].append(name)
    for term in dict.fromkeys(built_in().tags.values()):
        shown[term.category].append(term.name)
    for category, names in sorted(shown.items()):
        for _ in range(1500 if category == "sexual" else 300):
            mixed = _tags(rng, rng.randint(3, 14)) + rng.sample(names, rng.randint(1, 3))
            rng.shuffle(mixed)
            out.add(rows_of(", ".join(mixed)), categories.index(category))


def _tags(rng: random.Random, count: int) -> list[str]:
    """Harmless tags, commoner ones more often."""
    tags = corpus.TAGS
    chosen = (tags[int(len(tags) * rng.random() ** 1.5)] for _ in range(count))
    return list(dict.fromkeys(chosen))


def _add_harmless(out: Collector) -> None:
    rng, own = out.rng, corpus.sentences()
    for _ in range(5000):
        out.add(rows_of(", ".join(_tags(rng, rng.randint(2, 16)))), around=0.1)
    lexicon = LexiconDetector()
    for language in corpus.LANGUAGES:
        for _ in range(300):
            out.add(rows_of(corpus.harmless_sentence(language, rng)))
        words = [w for w in corpus.common_words(language) if not lexicon.score(w).categories]
        glue = "" if language in corpus.SPACELESS else " "
        for _ in range(1200):
            # Commoner words more often, so that a language's small words say nothing.
            chosen = (words[int(len(words) * rng.random() ** 3)] for _ in range(rng.randint(2, 16)))
            out.add(rows_of(glue.join(chosen)), weight=1.5)
    for thing in own["things"]:
        for _ in range(4):
            out.add(out.styled(rows_of(thing)))
            out.add(out.opened(rows_of(thing)))
    known = len(vocabulary().vectors)
    for _ in range(5000):
        size = rng.choice((1, 1, 2, 3, 4, 6, 12, 20))
        out.add(tuple(rng.randrange(known) for _ in range(size)), weight=0.3)
