"""Pairs of prompts, unsafe and safe, that show one scene: read, grouped by scene, divided."""

from __future__ import annotations

import csv
import io
import json
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from safegen.errors import SafeGenError
from safegen.text.words import word_set

PARTS: Mapping[str, float] = {"train": 0.65, "calibration": 0.1, "test": 0.25}
SEED = 41113
SAME_SCENE = 0.5
"""Share of common word stems, from which two texts show one scene."""

Item = TypeVar("Item")

_STOP = word_set(
    "a an the of in on at to and his her their its with is are as by for from s it he she they "
    "that this into while who"
)
_ENDING = re.compile(r"(?:ing|ed|es|s|ly)$")


class CorpusError(SafeGenError):
    """A prompt set that cannot be read."""


@dataclass(frozen=True)
class Pair:
    """Two texts for one scene."""

    category: str
    unsafe: str
    safe: str


LARGEST_FILE = 20_000_000
"""Bytes a file of pairs may have."""
OWN = Path(__file__).with_name("pairs.json")


def read_csv(file: Path, columns: Sequence[str], delimiter: str = ",") -> list[dict[str, str]]:
    """The rows of a CSV file that has at least ``columns``; what a short row lacks is empty.

    Raises:
        CorpusError: if it cannot be read, or a column is missing.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, delimiter=delimiter)
            if missing := set(columns) - set(reader.fieldnames or ()):
                raise CorpusError(f"{file.name}: no column {', '.join(sorted(missing))}")
            return [{name: row[name] or "" for name in row if name is not None} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{file.name}: {error}") from error


def read_pairs(file: Path, *, categories: bool = True) -> list[Pair]:
    """The pairs of a CSV file with columns ``unsafe`` and ``safe``; rows that lack one are left
    out.

    Args:
        file: To be read.
        categories: Whether a column ``category`` is needed; if not, it may be missing.

    Raises:
        CorpusError: if it cannot be read, is too large, lacks a column, or has no pairs; names the
            file.
    """
    if file.is_file() and file.stat().st_size > LARGEST_FILE:
        raise CorpusError(f"{file.name}: larger than {LARGEST_FILE:,} bytes")
    rows = read_csv(file, ("category", "unsafe", "safe") if categories else ("unsafe", "safe"))
    pairs = [
        Pair(row.get("category", ""), row["unsafe"].strip(), row["safe"].strip()) for row in rows
    ]
    pairs = [pair for pair in pairs if pair.unsafe and pair.safe]
    if not pairs:
        raise CorpusError(f"{file.name}: no pairs of an unsafe and a safe prompt in it")
    return pairs


def pairs_text(pairs: Sequence[Pair]) -> str:
    """Pairs as the text of a CSV file that `read_pairs` reads."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("category", "unsafe", "safe"))
    writer.writerows((pair.category, pair.unsafe, pair.safe) for pair in pairs)
    return text.getvalue()


def own_pairs(category: str | None = None) -> tuple[Pair, ...]:
    """The built-in pairs, of our own writing: of one category, or of all.

    Who does what where, the two halves of a pair alike but for the harm. Enough to learn from
    where nobody has pairs of their own.
    """
    data = json.loads(OWN.read_text(encoding="utf-8"))
    who, where, frames = data["who"], data["where"], data["frames"]
    pairs: list[Pair] = []
    for name, shown in data["categories"].items():
        if category not in (None, name):
            continue
        for number, (unsafe, safe) in enumerate(shown):
            for turn in range(len(frames)):
                # Every act meets other people and places, and none of them one act only.
                person = who[(number + 2 * turn) % len(who)]
                place = where[(3 * number + turn) % len(where)]
                halves = (frames[turn].format(f"{person} {act} {place}") for act in (unsafe, safe))
                pairs.append(Pair(name, *halves))
    return tuple(pairs)


# ------------------------------------------------------------------ scenes


def stems(text: str) -> frozenset[str]:
    """The content words of a text, without their endings."""
    words = (w for w in re.findall(r"[a-z]+", text.lower()) if w not in _STOP)
    return frozenset(_ENDING.sub("", word) if len(word) > 4 else word for word in words)


def _similar(texts: Sequence[frozenset[str]], share: float) -> Iterator[tuple[int, int]]:
    """Index pairs of sets whose intersection is at least ``share`` of their union.

    Two such sets have a word in common among each one's rarest words (prefix filtering), so only
    those are looked up.
    """
    common = Counter(word for text in texts for word in text)
    holders: dict[str, list[int]] = defaultdict(list)
    for index, text in enumerate(texts):
        rarest = sorted(text, key=lambda word: (common[word], word))
        candidates: set[int] = set()
        for word in rarest[: len(rarest) - math.ceil(share * len(rarest)) + 1]:
            candidates.update(holders[word])
            holders[word].append(index)
        for other in candidates:
            if len(text & texts[other]) >= share * len(text | texts[other]):
                yield index, other


def scenes(pairs: Sequence[Pair], share: float = SAME_SCENE) -> list[int]:
    """The scene of each pair, as the index of one of its pairs."""
    parent = list(range(len(pairs)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for side in ([p.unsafe for p in pairs], [p.safe for p in pairs]):
        for one, other in _similar([stems(text) for text in side], share):
            parent[root(one)] = root(other)
    return [root(index) for index in range(len(pairs))]


def divide(
    items: Sequence[Item], groups: Sequence[int] | None = None, seed: int = SEED
) -> dict[str, list[Item]]:
    """``items`` in the three `PARTS`; items of one group are never separated."""
    keys = list(range(len(items))) if groups is None else list(groups)
    order = sorted(set(keys))
    random.Random(seed).shuffle(order)
    part_of: dict[int, str] = {}
    begin = 0.0
    for part, share in PARTS.items():
        end = begin + share
        for key in order[round(begin * len(order)) : round(end * len(order))]:
            part_of[key] = part
        begin = end
    parts: dict[str, list[Item]] = {part: [] for part in PARTS}
    for item, key in zip(items, keys, strict=True):
        parts[part_of[key]].append(item)
    return parts
