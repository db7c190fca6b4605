"""The WebUI's parser against ours, on prompts at random: ``python parsing.py WEBUI COUNT SEED``.

Run by the WebUI's own interpreter. What its parser makes of brackets without a partner goes by the
seed of Python's hashes, so ``PYTHONHASHSEED`` is to be another one each time. A text must be read
as it is where the brackets balance, and else in all its words and pairs of words. Prints the
prompts of which a text was not, as JSON, and how many there were of each kind.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import random
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from safegen.text.emphasis import plain
from safegen.text.switches import Reading, TooMany

ATOMS = (
    *("a", "b", "cd", "bl", "oo", "x", " ", " ", " ", ", ", "1", "\u00e9", "\n", "&#111;", "BREAK"),
    *("(", ")", "[", "]", "[", "]", "((", "))", "|", ":", "\\", "\\[", "\\(", "\\:", "\\|"),
    *(":2]", ":0.3]", ":1e1]", ":.5]", ":1.5]", ":-1]", ": 7 ]", ":0]", ":1.2)", ":1)"),
    *("[a:b:2]", "[c|d|e]", "[:f:0.5]", "[g::9]", "[h:i:1e1]", "[j:k:1.5]", "[(l:1.1):m:3]"),
    *("[a:[b:c:4]:0.5]", "[[d:e:0.2]|f]", "[|g]", "[h|i", "[j:k", "([l:m:1])"),
)
"""Of which prompts are put together."""


def parser_of(webui: Path) -> Any:
    """The WebUI's module, whose slow part is done once for a prompt."""
    spec = importlib.util.spec_from_file_location("parser", webui / "modules/prompt_parser.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    real, errors = module.schedule_parser, module.lark.exceptions.LarkError

    class Once:
        def __init__(self) -> None:
            self.known: tuple[str, Any] = "", None

        def parse(self, prompt: str) -> Any:
            if self.known[0] != prompt:
                try:
                    self.known = prompt, real.parse(prompt)
                except errors as error:
                    self.known = prompt, error
            if isinstance(self.known[1], errors):
                raise self.known[1]
            return copy.deepcopy(self.known[1])

    module.schedule_parser = Once()
    return module


def encoded(parser: Any, prompt: str) -> set[str]:
    """Every text of every run: of few steps and many, first and second pass, and as of old."""
    runs = [(4, None, False), (20, None, False), (60, None, False), (20, 4, False), (4, 20, False)]
    runs += [(4, None, True), (20, None, True)]
    schedules = parser.get_learned_conditioning_prompt_schedules
    return {text for run in runs for _, text in schedules([prompt], *run)[0]}


def pairs_of(text: str) -> set[tuple[str, str]]:
    """Words that follow each other, blanks and commas apart."""
    return set(pairwise(("", *re.split(r"[\s,]+", text), "")))


def letters(pieces: list[Any]) -> str:
    """What is encoded of a text, without blanks."""
    return "".join("".join(text.split()) for text, _ in pieces).replace("BREAK", "")


def main(webui: Path, count: int, seed: int) -> None:
    parser, rng = parser_of(webui), random.Random(seed)
    found: dict[str, Any] = {"read": 0, "refused": 0, "unread": []}
    for _ in range(count):
        prompt = "".join(rng.choice(ATOMS) for _ in range(rng.randint(1, 12)))
        reading = Reading.of(prompt)
        try:
            ours = {*reading.phases(), *(() if reading.certain else reading.others())}
        except TooMany:
            found["refused"] += 1
            continue
        shown = {"".join(prompt[place] for place in one) for one in ours}
        pairs = {pair for text in shown for pair in pairs_of(text)}
        for text in encoded(parser, prompt):
            known = text in shown if reading.certain else pairs_of(text) <= pairs
            same = letters(parser.parse_prompt_attention(text)) == letters(
                [(plain(text, range(len(text))).text, 1.0)]
            )
            if not known or not same:
                found["unread"].append((prompt, text))
        found["read"] += 1
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
