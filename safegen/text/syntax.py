"""A prompt as the model sees it: what is written in WebUI syntax, taken apart.

The WebUI's prompt language mixes words with instructions: ``<lora:name:1>``, ``(word:1.2)``,
``[word]``, ``[before:after:0.5]``, ``[one|other]``, ``part AND part``, ``BREAK``. `prepare` gives
the plain text of every part and every phase, each with the way back to the original prompt.

Numbers of steps are not known here, so phases are taken over a long imagined run (two passes of
100 steps). Where switches stand within each other, what a run shows depends on its length; there
every word is also read in the text in which it is shown, whether or not some run gets there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from safegen.text.passage import Passage as Passage

_STEPS = 100
"""Steps of the imagined run, per pass; `[a:b:30]` counts steps, `[a:b:0.3]` parts of a pass."""

_NETWORK_TAG = re.compile(r"<\w+:[^>]+>")
_AND = re.compile(r"\bAND\b")
_PART_WEIGHT = re.compile(r"\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+))\s*$")
_PART_END = re.compile(r"\s*(?::\s*(?P<weight>[-+]?(?:\d+\.?|\d*\.\d+))\s*)?(?:<\w+:[^>]+>\s*)*$")
_BREAK = re.compile(r"\bBREAK\b")
_NUMBER = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)\s*")
_PIECE = re.compile(r"\\.|[()\[\]:|]|[^\\()\[\]:|]+|\\", re.DOTALL)


@dataclass(frozen=True)
class _Text:
    """Plain characters, and the place of each in the prompt (a tag may have stood between)."""

    text: str
    places: tuple[int, ...]


@dataclass(frozen=True)
class _Cut(_Text):
    """Syntax that may part words."""

    text: str = ""
    places: tuple[int, ...] = ()


_CUT = _Cut()


@dataclass(frozen=True)
class _Switch:
    """``[before:after:when]``: ``after`` from step ``when`` on."""

    before: _Sequence
    after: _Sequence
    when: int


@dataclass(frozen=True)
class _Turns:
    """``[one|other|…]``: one after the other, a step each."""

    options: tuple[_Sequence, ...]


_Node = _Text | _Switch | _Turns
_Sequence = tuple[_Node, ...]


class _Parser:
    """Reads one AND part. Brackets that don't match are read as brackets, as the WebUI does."""

    def __init__(self, text: str, places: Sequence[int]) -> None:
        self.places = places
        self.pieces = [(m.group(), m.start()) for m in _PIECE.finditer(text)]
        self.index = 0
        self.known: dict[int, tuple[list[_Node], int]] = {}

    def parse(self) -> _Sequence:
        nodes: list[_Node] = []
        while self.index < len(self.pieces):
            nodes += self._sequence(frozenset())
            if self.index < len(self.pieces):  # a closing bracket that was never opened
                self.index += 1
                nodes.append(_CUT)
        return tuple(nodes)

    def _text(self, text: str, start: int) -> _Text:
        return _Text(text, tuple(self.places[start : start + len(text)]))

    def _sequence(self, until: frozenset[str]) -> list[_Node]:
        nodes: list[_Node] = []
        while self.index < len(self.pieces):
            piece, start = self.pieces[self.index]
            if piece in until or piece in ")]":
                break
            self.index += 1
            if piece == "(":
                nodes += self._round()
            elif piece == "[":
                nodes += self._square()
            elif len(piece) == 2 and piece[0] == "\\":
                nodes.append(self._text(piece[1], start + 1))
            else:
                nodes.append(self._text(piece, start))
        return nodes

    def _round(self) -> list[_Node]:
        nodes = self._sequence(frozenset())
        if self.index < len(self.pieces) and self.pieces[self.index][0] == ")":
            self.index += 1
            colon = nodes[-2] if len(nodes) >= 2 else None
            weighted = isinstance(colon, _Text) and colon.text == ":"
            last = nodes[-1] if nodes else None
            if weighted and isinstance(last, _Text) and _NUMBER.fullmatch(last.text):
                del nodes[-2:]
        return [_CUT, *nodes, _CUT]

    def _square(self) -> list[_Node]:
        """After ``[``: emphasis, a switch or turns.

        What stands at a place is read once: a bracket that is never closed has what follows it
        read again, and so has each one within.
        """
        opened = self.index
        if opened not in self.known:
            nodes = self._read_square(opened)
            self.known[opened] = nodes, self.index
        nodes, self.index = self.known[opened]
        return nodes

    def _read_square(self, opened: int) -> list[_Node]:
        parts: list[list[_Node]] = []
        marks: list[str] = []
        while True:
            parts.append(self._sequence(frozenset(":|")))
            if self.index == len(self.pieces) or self.pieces[self.index][0] == ")":
                self.index = opened  # never closed: a plain bracket
                return [_CUT, *self._sequence(frozenset())]
            mark = self.pieces[self.index][0]
            self.index += 1
            if mark == "]":
                break
            marks.append(mark)
        when = _when(parts[-1]) if marks and set(marks) == {":"} else None
        if when is not None and len(parts) in (2, 3):
            before = parts[0] if len(parts) == 3 else []
            return [_Switch(tuple(before), tuple(parts[-2]), when)]
        if "|" in marks:
            return [_Turns(tuple(tuple(option) for option in _options(parts, marks)))]
        return [_CUT, *(node for part in parts for node in (*part, _CUT))]


def _when(part: list[_Node]) -> int | None:
    """The step a switch happens at, or nothing if ``part`` is no number."""
    if len(part) != 1 or not isinstance(part[0], _Text) or not _NUMBER.fullmatch(part[0].text):
        return None
    number = float(part[0].text)
    return int(number * _STEPS if "." in part[0].text else number)


def _options(parts: list[list[_Node]], marks: list[str]) -> list[list[_Node]]:
    """The options of turns; a colon between them is a letter like any other."""
    options = [parts[0]]
    for mark, part in zip(marks, parts[1:], strict=True):
        if mark == "|":
            options.append(part)
        else:
            options[-1] = [*options[-1], _CUT, *part]
    return options


_Way = dict[int, _Sequence]
"""Of some switches and turns (by their ``id``) what they show, whatever the step."""


def _render(nodes: _Sequence, step: int, out: list[_Text], way: _Way) -> None:
    for node in nodes:
        if isinstance(node, _Text):
            out.append(node)
            continue
        if id(node) in way:
            shown = way[id(node)]
        elif isinstance(node, _Switch):
            shown = node.before if step <= node.when else node.after
        else:
            shown = node.options[(step - 1) % len(node.options)]
        out.append(_CUT)
        _render(shown, step, out, way)
        out.append(_CUT)


def _inner(node: _Switch | _Turns) -> tuple[_Sequence, ...]:
    """What a node shows at one time or another."""
    return (node.before, node.after) if isinstance(node, _Switch) else node.options


def _nested(nodes: _Sequence) -> bool:
    """Whether any switch or turns stand within another one."""
    phases = [shown for node in nodes if not isinstance(node, _Text) for shown in _inner(node)]
    return any(not isinstance(node, _Text) for shown in phases for node in shown)


def _ways(nodes: _Sequence) -> list[_Way]:
    """Ways that together show every phase, those that stand within others too.

    Nodes beside each other are shown at once, so there are as many ways as one of them has.
    """
    together: list[_Way] = []
    for node in nodes:
        if isinstance(node, _Text):
            continue
        own: list[_Way] = []
        for shown in _inner(node):
            own += [{id(node): shown, **way} for way in _ways(shown) or [{}]]
        for number, way in enumerate(own):
            if number == len(together):
                together.append({})
            together[number].update(way)
    return together


def _moving(nodes: _Sequence) -> tuple[set[int], int]:
    """The steps at which something switches, and the most options that take turns."""
    switches: set[int] = set()
    most = 1
    for node in nodes:
        if isinstance(node, _Switch):
            switches.add(node.when)
            inner = [_moving(node.before), _moving(node.after)]
        elif isinstance(node, _Turns):
            most = max(most, len(node.options))
            inner = [_moving(option) for option in node.options]
        else:
            continue
        for steps, options in inner:
            switches |= steps
            most = max(most, options)
    return switches, most


def _steps(nodes: _Sequence) -> Iterator[int]:
    """Steps that together show every phase."""
    switches, most = _moving(nodes)
    if most > 1:
        yield from range(1, 2 * _STEPS + 1)
    else:
        yield from sorted({1, *(min(max(when, 0), 2 * _STEPS) + 1 for when in switches)})


def _part_passages(text: str, places: Sequence[int]) -> Iterator[Passage]:
    if not any(mark in text for mark in "()[]\\"):
        yield Passage(text, tuple(places))
        return
    try:
        nodes = _Parser(text, places).parse()
        ways = _ways(nodes) if _nested(nodes) else []
        too_many = max(len(ways), _moving(nodes)[1]) > 2 * _STEPS
        phases = list(_phases(nodes, ways[: 2 * _STEPS]))
    except RecursionError:
        phases, too_many = [], True
    yield from phases
    if too_many:  # more, or deeper, than anybody writes: all of the words in one text as well
        yield _as_it_stands(text, places)


def _as_it_stands(text: str, places: Sequence[int]) -> Passage:
    """All of the words in one text, with a cut at each bracket."""
    kept = [i for i, character in enumerate(text) if character not in "()[]\\"]
    cuts = [n for n in range(1, len(kept)) if text[kept[n - 1] + 1 : kept[n]].strip("\\")]
    words = "".join(text[i] for i in kept)
    return Passage(words, tuple(places[i] for i in kept), tuple(cuts))


def _phases(nodes: _Sequence, ways: Sequence[_Way]) -> Iterator[Passage]:
    """The texts that ``nodes`` show from step to step, and on each of the ``ways``."""
    for step, way in [*((step, {}) for step in _steps(nodes)), *((1, way) for way in ways)]:
        pieces: list[_Text] = []
        _render(nodes, step, pieces, way)
        ends = accumulate(len(piece.text) for piece in pieces)
        cuts = (end for piece, end in zip(pieces, ends, strict=True) if isinstance(piece, _Cut))
        text = "".join(piece.text for piece in pieces)
        found = tuple(place for piece in pieces for place in piece.places)
        yield Passage(text, found, tuple(dict.fromkeys(cuts)))


def _without_tags(prompt: str) -> tuple[str, list[int]]:
    """The prompt without network tags, and the place of each character and of the end."""
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
        text = prompt[begin:stop]
        end = _PART_END.search(text)
        assert end is not None  # it also matches nothing at all
        kept = text[: end.start()] if end["weight"] else text.rstrip()
        start = begin + len(kept) - len(kept.lstrip())
        stripped = kept.strip()
        weight = float(end["weight"]) if end["weight"] else 1.0
        found.append(Part(stripped, start, start + len(stripped), weight))
        begin = following
    return tuple(found)


def unweighted(text: str) -> str:
    """``text`` as a prompt that is read whole, also where it ends like a part's weight."""
    return f"{text},"


def as_negative(text: str) -> str:
    """A negative prompt as a prompt that says the same.

    In a negative prompt the host encodes an AND, a weight behind it and a network tag as the words
    that they are.
    """
    return unweighted(_AND.sub("and", text).replace("<", " "))


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
    """What the model sees of parts with switches or turns that the host can't make out."""
    return tuple(
        _as_it_stands(part, places)
        for part, places in _counting(prompt)
        if "[" in part and ("|" in part or ":" in part)
    )


def _counting(prompt: str) -> Iterator[tuple[str, Sequence[int]]]:
    """The ``AND`` parts with a weight above 0, and the places of their letters."""
    clean, places = _without_tags(prompt)
    clean = _BREAK.sub("\n" * len("BREAK"), clean)
    begin = 0
    for end, following in [*(m.span() for m in _AND.finditer(clean)), (len(clean),) * 2]:
        part = clean[begin:end]
        weight = _PART_WEIGHT.search(part)
        if weight:
            part = part[: weight.start()]
        if not weight or float(weight[1]) > 0:
            yield part, places[begin : begin + len(part)]
        begin = following
