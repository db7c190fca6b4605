"""The prompts detectors are trained and measured on, and how they are divided.

The prompt sets themselves are not part of this repository. They are CSV files:

- pairs: ``category``, ``unsafe``, ``safe``; the two texts of a row show one scene;
- prompts that people wrote for Stable Diffusion: ``prompt``;
- harmless requests that sound risky: ``category``, ``prompt``;
- captions of photographs: ``prompt``.

Division is by *scene*, not by row: texts that are nearly the same (their word stems overlap by
half or more, directly or through others) stay together, so that no twin, rewording or repetition
of a test prompt is in the training set. Weights carry the digests of the files they were trained
on, and `evaluate` refuses others: with another file the division would be another one too.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from safegen.contexts.grammar import SUBJECTS
from safegen.files import sha256
from safegen.learned.pairs import CorpusError, Item, Pair, divide, read_csv, read_pairs, scenes

SEED = 20261125
"""Of the first division, whose test part has been used."""
SECOND_SEED = 20261129
"""Of the second: that test part's scenes, half for choosing, half for one test at the end. What
had been learned from or chosen on before is learned from now."""

SENTENCES = Path(__file__).with_name("sentences.json")
PEOPLE = Path(__file__).with_name("people.json")
"""What each line of a file of people's prompts was found to be; lines that it doesn't name are
harmless."""
ACTS = Path(__file__).with_name("acts.json")


def read_prompts(file: Path) -> list[str]:
    """The column ``prompt`` of a CSV file, or ``Prompt`` of a tab-separated one (``.tsv``)."""
    tabs = file.suffix == ".tsv"
    column = "Prompt" if tabs else "prompt"
    return [row[column] for row in read_csv(file, (column,), "\t" if tabs else ",")]


@dataclass(frozen=True)
class Row:
    """One prompt of a file: its number from 0 on, its text, and its category if it has one."""

    number: int
    text: str
    category: str = ""


@lru_cache(maxsize=8)
def divided(file: Path) -> dict[str, list[Row]]:
    """The prompts of a file in their parts, by scene."""
    tabs = file.suffix == ".tsv"
    column = "Prompt" if tabs else "prompt"
    read = read_csv(file, (column,), "\t" if tabs else ",")
    rows = [Row(i, row[column], row.get("category") or "") for i, row in enumerate(read)]
    return _parts(rows, scenes([Pair("", row.text, "") for row in rows]))


@lru_cache(maxsize=2)
def divided_pairs(file: Path) -> dict[str, list[Pair]]:
    """The pairs of a file in their parts, by scene."""
    pairs = read_pairs(file)
    return _parts(pairs, scenes(pairs))


def _parts(items: Sequence[Item], groups: Sequence[int]) -> dict[str, list[Item]]:
    """What is learned from, what is chosen on (``calibration``), and the test part, by scene."""
    first = divide(range(len(items)), groups, SEED)
    left = sorted({groups[i] for i in first["test"]})
    random.Random(SECOND_SEED).shuffle(left)
    chosen, tested = set(left[::2]), set(left[1::2])
    kept = {
        "train": set(groups) - chosen - tested,
        "calibration": chosen,
        "test": tested,
    }
    return {
        part: [item for item, group in zip(items, groups, strict=True) if group in keys]
        for part, keys in kept.items()
    }


@dataclass(frozen=True)
class Read:
    """A prompt that somebody wrote and that was read by hand: its text, the category of its harm
    if it has one, and whether a detector doubted that it is harmless."""

    text: str
    category: str = ""
    doubted: bool = False


def read_people(file: Path) -> list[Read]:
    """Prompts that people wrote, one a line, with what their readers found: see `PEOPLE`.

    Raises:
        CorpusError: if the file isn't the one whose lines were read.
    """
    data = json.loads(PEOPLE.read_text(encoding="utf-8"))
    found = sha256(file)
    if found != data["sha256"]:
        raise CorpusError(
            f"{file.name} is not the file whose lines are numbered in {PEOPLE.name}: sha256 "
            f"{found[:16]}…, not {data['sha256'][:16]}…. Give {data['source']}."
        )
    category = {line: name for name, lines in data["harmful"].items() for line in lines}
    doubted, left_out = set(category) | set(data["harmless"]), set(data["left_out"])
    return [
        Read(text, category.get(line, ""), line in doubted)
        for line, text in enumerate(file.read_text(encoding="utf-8").split("\n"))
        if text.strip() and line not in left_out
    ]


def check(origin: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Refuse files other than those that weights were trained on.

    Raises:
        CorpusError: names the file and both digests.
    """
    trained = origin.get("sha256", {})
    for name, file in files.items():
        found = sha256(file)
        if trained.get(name) != found:
            raise CorpusError(
                f"{file.name} is not the {name} that these weights were trained on, so its test "
                f"part may have been learned from: sha256 {found[:16]}…, not "
                f"{str(trained.get(name))[:16]}…. Train anew, or give the file that was used."
            )


# ------------------------------------------------------------------ sentences of our own


def sentences() -> dict[str, list[Any]]:
    """The lists that harmless sentences are made of: a language's parts, things, tags."""
    data = json.loads(SENTENCES.read_text(encoding="utf-8"))
    return {name: parts for name, parts in data.items() if name != "comment"}


def _of_acts() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(ACTS.read_text(encoding="utf-8"))
    people: dict[str, list[str]] = {}
    for name, names in data["people"].items():
        people[name] = names
        if name == "WHO":
            people["WHOM"] = [one for one in names if one not in SUBJECTS]
    return {**data, "people": people}


def acts(rng: random.Random, people: int) -> list[Pair]:
    """Acts told without a hard word, and their harmless twins, each done by several ``people``."""
    data = _of_acts()
    found: dict[Pair, None] = {}
    for category, pairs in data["acts"].items():
        for pair in pairs:
            for _ in range(people):
                who = {name: rng.choice(names) for name, names in data["people"].items()}
                found.setdefault(Pair(category, *(_done_by(text, who) for text in pair)))
    return list(found)


def told_acts(
    rng: random.Random, count: int, subjects: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """Category and text of what harms, in everyday words, ``count`` or more of each pattern.

    It is done by the file's own people, and as often by ``subjects``.
    """
    data = _of_acts()
    people = _with_subjects(data["people"], subjects)
    return [
        (category, text)
        for category, patterns in data["told"].items()
        for text in _filled(patterns, people, rng, count)
    ]


def harmless_acts(rng: random.Random, count: int, subjects: Sequence[str] = ()) -> list[str]:
    """What is done in such words and harms nobody, by the same."""
    data = _of_acts()
    return _filled(data["harmless"], _with_subjects(data["people"], subjects), rng, count)


def _with_subjects(
    people: Mapping[str, list[str]], subjects: Sequence[str]
) -> dict[str, list[str]]:
    """``people``, of whom WHO and WHOM are any of ``subjects`` half of the time."""
    anybody = {
        name: people[name] * max(1, len(subjects) // len(people[name])) + list(subjects)
        for name in ("WHO", "WHOM")
    }
    return {**people, **anybody}


def _filled(
    patterns: Sequence[str], people: Mapping[str, Sequence[str]], rng: random.Random, count: int
) -> list[str]:
    """Texts of ``patterns``, of each ``count`` or thrice as many as its longest choice has; twice
    as many where anybody does it."""
    found: dict[str, None] = {}
    for pattern in patterns:
        longest = max(choice.count("|") + 1 for choice in re.findall(r"\[[^]]*\]", pattern))
        times = max(count, 3 * longest) * (2 if "WHO" in pattern else 1)
        for _ in range(times):
            who = {name: rng.choice(names) for name, names in people.items()}
            text = re.sub(r"\[([^]]*)\]", lambda m: rng.choice(m[1].split("|")), pattern)
            found.setdefault(_done_by(" ".join(text.split()), who))
    return list(found)


def _done_by(text: str, who: Mapping[str, str]) -> str:
    for name, one in who.items():
        text = re.sub(rf"\b{name}\b", one, text)
    return text


def common_words(language: str, count: int = 3000) -> list[str]:
    """The commonest words of a language.

    Raises:
        CorpusError: if the package that counts them is not installed.
    """
    try:
        from wordfreq import top_n_list
    except ImportError as error:
        raise CorpusError("common words need the package wordfreq (extra: train)") from error
    return list(top_n_list(language, count))


SPACELESS = frozenset({"zh", "ja"})
LANGUAGES = ("en", "es", "de", "fr", "pt", "it", "ru", "zh", "ja", "ko")


def harmless_sentence(language: str, rng: random.Random) -> str:
    """Who, does what, where: in any of `LANGUAGES`."""
    parts = sentences_of(language)
    glue = "" if language in SPACELESS else " "
    return glue.join(rng.choice(part) for part in parts)


def sentences_of(language: str) -> list[list[str]]:
    """The parts of a language's sentences."""
    return _SENTENCES[language]


_SENTENCES = sentences()
TAGS: Sequence[str] = _SENTENCES["tags"]
"""Harmless ones, the commonest first."""

OPENINGS: Sequence[str] = (
    "generate an image of",
    "create an image of",
    "create a picture of",
    "generate a picture showing",
    "depict",
    "show",
    "draw",
    "illustrate",
    "render an image of",
    "design a poster of",
    "create a scene where",
    "make an illustration of",
    "a photo of",
    "a painting of",
    "an oil painting of",
    "a close-up photo of",
    "a digital painting of",
    "visualize",
    "picture",
    "produce an image of",
    "sketch",
    "a drawing of",
    "concept art of",
    "i want to see",
    "please draw",
    "a realistic photo of",
    "a film still of",
    "portrait of",
    "a photograph of",
)
"""How requests begin, put before harmful and harmless texts alike."""


def language_of(text: str) -> str:
    """A language whose sentences can stand beside ``text``, by its script alone."""
    if any("\u3041" <= c <= "\u30ff" for c in text):
        return "ja"
    if any("\u4e00" <= c <= "\u9fff" for c in text):
        return "zh"
    if any("\uac00" <= c <= "\ud7a3" for c in text):
        return "ko"
    if any("\u0400" <= c <= "\u04ff" for c in text):
        return "ru"
    return ""
