"""A prompt as the model sees it: what is written in WebUI syntax, taken apart.

The WebUI's prompt language mixes words with instructions: ``<lora:name:1>``, ``(word:1.2)``,
``[word]``, ``[before:after:0.5]``, ``[one|other]``, ``part AND part``, ``BREAK``. `prepare` gives
the plain text of every part and every phase, each with the way back to the original prompt.

Numbers of steps are not known here, so phases are taken over a long imagined run (two passes of
100 steps): every text the real run shows is among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
class Passage:
    """One text the model sees at some time, and the way back.

    Args:
        text: Plain text, without any syntax.
        places: For every character of ``text`` its index in the original prompt.
    """

    text: str
    places: tuple[int, ...]

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The stretch of the original prompt that ``text[start:end]`` came from.

        Raises:
            IndexError: if the stretch is empty or reaches beyond the text.
        """
        if not 0 <= start < end <= len(self.text):
            raise IndexError(
                f"no stretch {start} to {end} in a text of {len(self.text)} characters"
            )
        return self.places[start], self.places[end - 1] + 1

    def stretches(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Like `original`, cut where syntax stands between the letters (``(blo)od`` is two).

        Blanks at either end of a piece are left out.
        """
        self.original(start, end)
        begin = start
        for index in range(start + 1, end + 1):
            if index == end or self.places[index] != self.places[index - 1] + 1:
                piece = self.text[begin:index]
                first = begin + len(piece) - len(piece.lstrip())
                last = begin + len(piece.rstrip())
                if first < last:
                    yield self.original(first, last)
                begin = index


@dataclass(frozen=True)
class _Text:
    """Plain characters ``text``, from index ``start`` of the prompt on."""

    text: str
    start: int


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

    def parse(self) -> _Sequence:
        nodes: list[_Node] = []
        while self.index < len(self.pieces):
            nodes += self._sequence(frozenset())
            if self.index < len(self.pieces):  # a closing bracket that was never opened
                self.index += 1
        return tuple(nodes)

    def _text(self, text: str, start: int) -> _Text:
        return _Text(text, self.places[start])

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
            weighted = len(nodes) >= 2 and nodes[-2] == _Text(":", getattr(nodes[-2], "start", -1))
            last = nodes[-1] if nodes else None
            if weighted and isinstance(last, _Text) and _NUMBER.fullmatch(last.text):
                del nodes[-2:]
        return nodes

    def _square(self) -> list[_Node]:
        """After ``[``: emphasis, a switch or turns."""
        opened = self.index
        parts: list[list[_Node]] = []
        marks: list[str] = []
        while True:
            parts.append(self._sequence(frozenset(":|")))
            if self.index == len(self.pieces) or self.pieces[self.index][0] == ")":
                self.index = opened  # never closed: a plain bracket
                return self._sequence(frozenset())
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
        return [node for part in parts for node in part]


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
            options[-1] = [*options[-1], *part]
    return options


def _render(nodes: _Sequence, step: int, out: list[_Text]) -> None:
    for node in nodes:
        if isinstance(node, _Text):
            out.append(node)
        elif isinstance(node, _Switch):
            _render(node.before if step <= node.when else node.after, step, out)
        else:
            _render(node.options[(step - 1) % len(node.options)], step, out)


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
        yield from range(1, 2 * max(_STEPS, most) + 1)
    else:
        yield from sorted({1, *(min(max(when, 0), 2 * _STEPS) + 1 for when in switches)})


def _part_passages(text: str, places: Sequence[int]) -> Iterator[Passage]:
    if not any(mark in text for mark in "()[]\\"):
        yield Passage(text, tuple(places))
        return
    nodes = _Parser(text, places).parse()
    for step in _steps(nodes):
        pieces: list[_Text] = []
        _render(nodes, step, pieces)
        yield Passage(
            "".join(piece.text for piece in pieces),
            tuple(piece.start + i for piece in pieces for i in range(len(piece.text))),
        )


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


def prepare(prompt: str) -> tuple[Passage, ...]:
    """Every text the model sees of ``prompt``, without repetitions and without empty ones.

    An ``AND`` part whose weight is not above 0 is left out: the model moves away from it.
    """
    clean, places = _without_tags(prompt)
    clean = _BREAK.sub("\n" * len("BREAK"), clean)
    passages: dict[str, Passage] = {}
    begin = 0
    for end, following in [*(m.span() for m in _AND.finditer(clean)), (len(clean),) * 2]:
        part = clean[begin:end]
        weight = _PART_WEIGHT.search(part)
        if weight:
            part = part[: weight.start()]
        if not weight or float(weight[1]) > 0:
            for passage in _part_passages(part, places[begin : begin + len(part)]):
                if passage.text.strip():
                    passages.setdefault(passage.text, passage)
        begin = following
    return tuple(passages.values())
