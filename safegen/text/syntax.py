"""A prompt as the model sees it: what is written in WebUI syntax, taken apart.

The WebUI's prompt language mixes words with instructions: ``<lora:name:1>``, ``(word:1.2)``,
``[word]``, ``[before:after:0.5]``, ``[one|other]``, ``part AND part``, ``BREAK``. `prepare` gives
the plain text of every part and every phase, each with the way back to the original prompt.

How that is done, `switches` (what is shown when) and `emphasis` (brackets around words) say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from safegen.errors import GuardFailure
from safegen.text.emphasis import plain
from safegen.text.passage import Passage as Passage
from safegen.text.switches import Reading, TooMany

_NETWORK_TAG = re.compile(r"<\w+:[^>]+>")
_AND = re.compile(r"\bAND\b")
_PART_WEIGHT = re.compile(r"\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+))\s*$")
_PART_END = re.compile(r"\s*(?::\s*(?P<weight>[-+]?(?:\d+\.?|\d*\.\d+))\s*)?(?:<\w+:[^>]+>\s*)*$")


def _without_tags(prompt: str) -> tuple[str, Sequence[int]]:
    """The prompt without network tags, and the place of each character."""
    if "<" not in prompt:
        return prompt, range(len(prompt))
    kept: list[str] = []
    places: list[int] = []
    begin = 0
    for start, end in [*(m.span() for m in _NETWORK_TAG.finditer(prompt)), (len(prompt),) * 2]:
        kept.append(prompt[begin:start])
        places.extend(range(begin, start))
        begin = end
    return "".join(kept), places


def without_tags(prompt: str) -> str:
    """``prompt`` without the tags of networks such as LoRAs."""
    return _without_tags(prompt)[0]


@dataclass(frozen=True)
class Part:
    """One ``AND`` part of a prompt: ``prompt[start:end]``, its weight and outer blanks left out.

    Args:
        text: What the host encodes for it; emphasis and other syntax are still in it.
        start: Where it starts in the prompt.
        end: Where it ends.
        weight: What the host multiplies it with; 1 if nothing is said.
    """

    text: str
    start: int
    end: int
    weight: float


def parts(prompt: str) -> tuple[Part, ...]:
    """The ``AND`` parts of ``prompt`` in order, the empty ones too, as the host splits them.

    An AND inside a network tag splits nothing. Tags behind a part's weight belong to no part.
    """
    tags = [tag.span() for tag in _NETWORK_TAG.finditer(prompt)]
    splits = [
        match.span()
        for match in _AND.finditer(prompt)
        if not any(start < match.start() < end for start, end in tags)
    ]
    found = []
    begin = 0
    for stop, following in [*splits, (len(prompt),) * 2]:
        text, weight = prompt[begin:stop].rstrip(), 1.0
        if ":" in text and (end := _PART_END.search(text)) and end["weight"]:
            text, weight = text[: end.start()], float(end["weight"])
        start = begin + len(text) - len(text.lstrip())
        stripped = text.strip()
        found.append(Part(stripped, start, start + len(stripped), weight))
        begin = following
    return tuple(found)


def unweighted(text: str) -> str:
    """``text`` as a prompt that is read whole, also where it ends like a part's weight."""
    return f"{text},"


def as_encoded(prompt: str) -> str:
    """A prompt that the host has taken the network tags out of, as one that says the same.

    What looks like a tag even then is words to it: of ``<lo<a:b>ra:x:1>`` it leaves
    ``<lora:x:1>``, and encodes that.
    """
    return prompt.replace("<", " ")


def as_negative(text: str) -> str:
    """A negative prompt as a prompt that says the same.

    In a negative prompt the host encodes an AND, a weight behind it and a network tag as the words
    that they are.
    """
    return unweighted(as_encoded(_AND.sub("and", text)))


TOO_MANY = (
    "SafeGen stopped this picture: its prompt has more switches such as [a:b:0.5] or [a|b], or "
    "deeper ones, than can be read. Use fewer, put blanks between them, and close every bracket"
)


def prepare(prompt: str) -> tuple[Passage, ...]:
    """Every text the model sees of ``prompt``, without empty ones.

    A text that stands in several places, as in ``[cat|cat]`` or ``cat AND cat``, comes once for
    each of them: what is found in it has to be found everywhere.

    An ``AND`` part whose weight is not above 0 is left out: the model moves away from it.
    """
    passages: dict[tuple[str, tuple[int, ...]], Passage] = {}
    for part, places in _counting(prompt):
        for passage in _part_passages(part, places):
            if passage.text.strip():
                passages.setdefault((passage.text, passage.places), passage)
    return tuple(passages.values())


def misread(prompt: str) -> tuple[Passage, ...]:
    """What the model may see instead, of parts with switches: they may be words to the host.

    Raises:
        GuardFailure: There is more than can be read.
    """
    found = []
    for part, places in _counting(prompt):
        reading = Reading.of(part)
        if not reading.moves:
            continue
        try:
            for _ in reading.phases():
                pass
            found += [_passage(part, places, letters) for letters in reading.others()]
        except (TooMany, RecursionError):
            raise GuardFailure(TOO_MANY) from None
    return tuple(dict.fromkeys(found))


def literal(prompt: str) -> tuple[Passage, ...]:
    """The parts that count, with every bracket in them."""
    return tuple(Passage(part, tuple(places)) for part, places in _counting(prompt))


def _part_passages(text: str, places: Sequence[int]) -> Iterator[Passage]:
    try:
        reading = Reading.of(text)
        if not reading.moves:
            yield plain(text, places)
            return
        for letters in reading.phases():
            yield _passage(text, places, letters)
    except (TooMany, RecursionError):  # more, or deeper, than anybody writes
        yield plain(text, places)


def _passage(text: str, places: Sequence[int], letters: Sequence[int]) -> Passage:
    return plain("".join(text[i] for i in letters), [places[i] for i in letters])


@lru_cache(maxsize=8)  # a prompt is asked for several times in a row
def _counting(prompt: str) -> tuple[tuple[str, Sequence[int]], ...]:
    """The ``AND`` parts with a weight above 0, and the places of their letters."""
    clean, places = _without_tags(prompt)
    found = []
    begin = 0
    for end, following in [*(m.span() for m in _AND.finditer(clean)), (len(clean),) * 2]:
        part = clean[begin:end]
        weight = _PART_WEIGHT.search(part) if ":" in part else None
        if weight:
            part = part[: weight.start()]
        if not weight or float(weight[1]) > 0:
            found.append((part, places[begin : begin + len(part)]))
        begin = following
    return tuple(found)
