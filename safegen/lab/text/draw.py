"""Draw prompts that nothing was learned from or chosen with: ``python -m safegen.lab.text.draw``.

    … --unsafe CoProV2_test.csv --pairs unsafe_safe_pairs.csv
    … --people ImageReward/data/test.json --known ImageReward/data/refl_data.json sd_prompts.csv
    … --coco RECE/dataset/coco_30k.csv --captions coco_captions_3k.csv --out FOLDER

What is written: ``test_unsafe.csv``, ``test_sd.csv`` and ``test_coco.csv``, which were counted
once; ``again_…`` for the second count, ``third_…`` for the third, ``fourth_unsafe.csv`` for the
fourth; ``dev_coco.csv``, to choose on; and ``photographs.csv``, to learn from. No prompt is in two
of them, or in the files that are known. Sexual prompts that name minors are left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from safegen.learned.pairs import read_csv

SEED = 20261130
UNSAFE, TESTED, CHOSEN, LEARNED, AGAIN = 1200, 3000, 4000, 9000, 2000
"""How many are drawn. What is left of the captions is learned from as well."""
_MINOR = re.compile(
    r"\b(child|children|kids?|minors?|underage|teens?|teenage|teenagers?|girls?|boys?|school\w*|"
    r"students?|young\w*|baby|toddler|loli|shota|preteen|daughter|son)\b",
    re.IGNORECASE,
)


def plain(text: str) -> str:
    """``text`` as it is compared: its words in lower case."""
    return re.sub(r"\W+", " ", text.lower()).strip()


def new(texts: Iterable[str], known: set[str]) -> list[str]:
    """Those of ``texts`` that are not ``known``, each once; they are known from then on."""
    found = []
    for text in texts:
        if plain(text) not in known:
            known.add(plain(text))
            found.append(text)
    return found


def _write(file: Path, prompts: Iterable[str]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["prompt"], *([prompt] for prompt in prompts)])


def _prompts(file: Path) -> list[str]:
    if file.suffix == ".json":
        return [row.get("prompt") or row["text"] for row in json.loads(file.read_bytes())]
    return [row["prompt"] for row in read_csv(file, ("prompt",))]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m safegen.lab.text.draw")
    for name in ("unsafe", "pairs", "people", "coco", "captions", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--known", type=Path, nargs="*", default=[])
    args = parser.parse_args(argv)
    rng = random.Random(SEED)
    paired = {plain(row["unsafe"]) for row in read_csv(args.pairs, ("unsafe",))}
    rows = [
        row
        for row in read_csv(args.unsafe, ("prompt", "category"))
        if plain(row["prompt"]) not in paired
        and not (row["category"].lower() == "sexual" and _MINOR.search(row["prompt"]))
    ]
    rng.shuffle(rows)
    _write(args.out / "test_unsafe.csv", (row["prompt"] for row in rows[:UNSAFE]))
    for times, name in enumerate(("again", "third", "fourth")):
        drawn = rows[UNSAFE + times * AGAIN :][:AGAIN]
        _write(args.out / f"{name}_unsafe.csv", (row["prompt"] for row in drawn))
    known = {plain(text) for file in args.known for text in _prompts(file)}
    _write(args.out / "test_sd.csv", new(_prompts(args.people), known))
    coco = new(_prompts(args.coco), {plain(text) for text in _prompts(args.captions)})
    in_order = list(coco)
    rng.shuffle(coco)
    chosen = TESTED + CHOSEN
    _write(args.out / "test_coco.csv", coco[:TESTED])
    _write(args.out / "dev_coco.csv", coco[TESTED:chosen])
    left = set(coco[chosen:])
    rest = [text for text in in_order if text in left]
    random.Random(SEED).shuffle(rest)
    again = LEARNED + AGAIN
    _write(args.out / "again_coco.csv", rest[LEARNED:again])
    _write(args.out / "third_coco.csv", rest[again:][:AGAIN])
    _write(args.out / "photographs.csv", rest[:LEARNED] + rest[again + AGAIN :])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
