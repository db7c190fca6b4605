"""Prompt sets: what is drawn, read from the formats in which such sets are published.

Every prompt has a *kind*, which decides what is measured on it:

- ``hazard``: asks for what should not be drawn; the unsafe rate is measured on these.
- ``benign``: harmless; every change is over-censorship.
- ``proximal``: harmless, but near a hazard (a red ball, beside blood); the concept must stay.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safegen.errors import InvalidValue
from safegen.files import write_atomically

HAZARD, BENIGN, PROXIMAL = "hazard", "benign", "proximal"
KINDS = (HAZARD, BENIGN, PROXIMAL)
ATTRIBUTE_PREFIX = "scene."
"""Columns so named say what a prompt asks for: ``scene.colour`` is ``red``."""
LARGEST_SEED = 2**32 - 1

_COLUMNS: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "caption", "text"),
    "id": ("id", "case_number", "case"),
    "kind": ("kind",),
    "categories": ("categories", "category"),
    "seed": ("seed", "sd_seed", "evaluation_seed"),
    "guidance": ("guidance", "sd_guidance_scale", "evaluation_guidance"),
    "width": ("width", "sd_image_width"),
    "height": ("height", "sd_image_height"),
    "family": ("family",),
    "context": ("context",),
    "harmless": ("harmless",),
}
"""Our name of a column to those in use: I2P's own, its mirrors' and COCO's."""
_I2P = {"sd_seed", "inappropriate_percentage", "nudity_percentage", "inappropriate_pct"}
_COCO = {"coco_id", "image_id"}


@dataclass(frozen=True)
class Prompt:
    """One prompt of a set.

    Args:
        id: Unique in its set; the set's own number where it has one.
        text: The prompt itself.
        kind: One of `KINDS`.
        categories: Kinds of harm it asks for, as the set names them.
        seed: The set's own seed, 0 to 2³² - 1, or ``None``.
        guidance: The set's own classifier-free guidance scale, or ``None``.
        width, height: The set's own size in pixels, or ``None``.
        scene: What it asks for, attribute to value, where the set says so.
        family: Which of the set's families it belongs to, such as ``short``.
        context: The safety context that fits it; peers are told this context's words.
        harmless: The prompt with its hazard left unsaid, of which the twin is made.
    """

    id: str
    text: str
    kind: str
    categories: tuple[str, ...] = ()
    seed: int | None = None
    guidance: float | None = None
    width: int | None = None
    height: int | None = None
    scene: Mapping[str, str] = field(default_factory=dict)
    family: str = ""
    context: str = ""
    harmless: str = ""

    def to_data(self) -> dict[str, Any]:
        """The prompt in JSON types, without what is not known of it."""
        known = {k: v for k, v in vars(self).items() if v not in (None, "", (), {})}
        if self.categories:
            known["categories"] = list(self.categories)
        if self.scene:
            known["scene"] = dict(self.scene)
        return known

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Prompt:
        """Read what `to_data` wrote."""
        return cls(**{**data, "categories": tuple(data.get("categories", ()))})


@dataclass(frozen=True)
class PromptSet:
    """The prompts of one file: its name, the sha256 of its bytes, and how many rows it has."""

    name: str
    sha256: str
    prompts: tuple[Prompt, ...]
    rows: int

    def to_data(self) -> dict[str, Any]:
        """What a manifest keeps of a set: enough to tell whether it is the same one."""
        kinds = {kind: sum(p.kind == kind for p in self.prompts) for kind in KINDS}
        return {
            "name": self.name,
            "sha256": self.sha256,
            "rows": self.rows,
            "used": {k: n for k, n in kinds.items() if n},
        }


def parse_argument(text: str) -> tuple[str | None, Path]:
    """Split ``hazard:i2p.csv`` into kind and file; without a kind the format decides."""
    kind, colon, rest = text.partition(":")
    if colon and kind in KINDS:
        return kind, Path(rest)
    return None, Path(text)


def load(file: Path, kind: str | None = None, limit: int | None = None) -> PromptSet:
    """Read a prompt set.

    Formats, by the file's ending: ``.csv`` and ``.tsv`` with a column ``prompt`` or ``caption``
    (I2P's own columns with seed, guidance and size, COCO captions), ``.jsonl`` with the same
    names, COCO's own captions ``.json``, and ``.txt`` with a prompt a line.

    Args:
        file: The set.
        kind: The kind of prompts that don't name their own; I2P counts as hazard and COCO as
            benign without being told.
        limit: Take the first so many of each kind.

    Raises:
        InvalidValue: An unknown format, a missing column, a value that is not allowed, or a set
            of unknown kind. Names file and row.
        OSError: The file can't be read.
    """
    raw = file.read_bytes()
    try:
        rows = list(_rows(file, raw.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise InvalidValue("prompts", file.name, "a file in UTF-8") from error
    prompts: list[Prompt] = []
    taken = dict.fromkeys(KINDS, 0)
    ids: set[str] = set()
    for number, row in enumerate(rows, 1):
        prompt = _prompt(row, number, file.name, kind)
        if prompt is None:
            continue
        if prompt.id in ids:
            raise InvalidValue(f"{file.name}, row {number}: id", prompt.id, "an id not used before")
        ids.add(prompt.id)
        if limit is None or taken[prompt.kind] < limit:
            taken[prompt.kind] += 1
            prompts.append(prompt)
    if not prompts:
        raise InvalidValue("prompts", file.name, "a file with at least one prompt")
    return PromptSet(file.name, hashlib.sha256(raw).hexdigest(), tuple(prompts), len(rows))


def _rows(file: Path, text: str) -> Iterator[dict[str, Any]]:
    kind = file.suffix.lower()
    if kind in (".csv", ".tsv"):
        delimiter = "," if kind == ".csv" else "\t"
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        if not any(name in (reader.fieldnames or ()) for name in _COLUMNS["prompt"]):
            raise InvalidValue(
                "prompts", file.name, f"a table with a column {' or '.join(_COLUMNS['prompt'])}"
            )
        yield from reader
    elif kind == ".txt":
        yield from ({"prompt": line} for line in io.StringIO(text) if line.strip())
    elif kind == ".jsonl":
        for number, line in enumerate(io.StringIO(text), 1):
            if line.strip():
                yield _object(line, f"{file.name}, line {number}")
    elif kind == ".json":
        data = _object(text, file.name)
        if not isinstance(data.get("annotations"), list):
            raise InvalidValue("prompts", file.name, "COCO captions, with a list 'annotations'")
        yield from data["annotations"]
    else:
        raise InvalidValue("prompts", file.name, "a .csv, .tsv, .txt, .jsonl or .json file")


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise InvalidValue(where, text.strip()[:40], "a JSON object") from error
    if not isinstance(data, dict):
        raise InvalidValue(where, text.strip()[:40], "a JSON object")
    return data


def _prompt(row: Mapping[str, Any], number: int, name: str, kind: str | None) -> Prompt | None:
    where = f"{name}, row {number}"

    def value(column: str) -> str:
        for alias in _COLUMNS[column]:
            found = row.get(alias)
            if found is not None and str(found).strip():
                return str(found).strip()
        return ""

    def numeric(column: str, low: float, high: float) -> float | None:
        text = value(column)
        if not text:
            return None
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not low <= number <= high:
            raise InvalidValue(f"{where}: {column}", text, f"a number from {low:g} to {high:g}")
        return number

    def whole(column: str, low: int, high: int) -> int | None:
        number = numeric(column, low, high)
        return None if number is None else int(number)

    text = value("prompt")
    if not text:
        return None
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidValue(f"{where}: prompt", text, "a text without halves of characters")
    own = value("kind") or kind or _kind_of(row)
    if own not in KINDS:
        raise InvalidValue(
            f"{where}: kind",
            own or None,
            f"{', '.join(KINDS)}; write --prompts hazard:{name} if the file does not say",
        )
    seed = value("seed")
    if seed and not (seed.isdecimal() and int(seed) <= LARGEST_SEED):
        whole("seed", 0, LARGEST_SEED)  # pandas writes 12345.0
    size = (64, 4096)
    return Prompt(
        id=value("id") or str(number),
        text=text,
        kind=own,
        categories=tuple(c.strip() for c in value("categories").split(",") if c.strip()),
        seed=int(float(seed)) if seed else None,
        guidance=numeric("guidance", 1, 1000),
        width=whole("width", *size),
        height=whole("height", *size),
        scene={
            key.removeprefix(ATTRIBUTE_PREFIX): str(found)
            for key, found in row.items()
            if isinstance(key, str) and key.startswith(ATTRIBUTE_PREFIX) and found
        },
        family=value("family"),
        context=value("context"),
        harmless=value("harmless"),
    )


def _kind_of(row: Mapping[str, Any]) -> str:
    if _I2P & row.keys():
        return HAZARD
    return BENIGN if _COCO & row.keys() else ""


def write_csv(file: Path, prompts: Sequence[Prompt]) -> None:
    """Write prompts so that `load` reads the same ones."""
    attributes = sorted({name for prompt in prompts for name in prompt.scene})
    columns = [*_COLUMNS, *(ATTRIBUTE_PREFIX + name for name in attributes)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)  # CRLF: else a lone CR goes unquoted
    writer.writeheader()
    for prompt in prompts:
        data = prompt.to_data()
        scene = {ATTRIBUTE_PREFIX + k: v for k, v in data.pop("scene", {}).items()}
        data["categories"] = ", ".join(data.get("categories", ()))
        data["prompt"] = data.pop("text")
        writer.writerow({**data, **scene})
    write_atomically(file, text.getvalue())
