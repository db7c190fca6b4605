"""The texts that a part of a prompt shows from step to step, as the WebUI's parser makes them.

``[before:after:when]`` switches, ``[one|other|…]`` takes turns. Which texts these show together
goes by numbers that are not known here: how many steps, in which pass, and whether a number counts
steps or parts of a pass. So every order that numbers of different kinds can have is read.

A bracket that has no partner is a letter to the WebUI, and so is one around what its grammar does
not know, such as three colons. Beside such letters its parser may as well take any switch for
letters, and does so in one start and not in the next. There each is read both ways.

A text is told as the places of its letters. Brackets of emphasis are still in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from math import lcm

MOST = 1024
"""Texts that are read of one part."""
_TOGETHER = 4
"""Words in a row whose switches are taken for letters or not in every combination."""

_PIECE = re.compile(r"\\.|[()\[\]:|]|[^\\()\[\]:|]+|\\")
_NUMBER = re.compile(r"\s*([-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*")
_BETWEEN_WORDS = re.compile(r"[\s,、。，]")

_Kind = tuple[bool, bool]
"""Of a number: whether it has a point, and whether it is below 1. Within a kind the order of
numbers is that of the steps; a setting of the WebUI's and the pass decide between kinds."""


@dataclass(frozen=True, eq=False)
class _Group:
    """A switch (with the time ``at`` which it does), or options that take turns.

    Args:
        letters: What stands in the prompt, brackets and all.
        options: What is shown of it, one at a time.
        at: The kind of a switch's number and the number; ``None`` for turns.
    """

    letters: tuple[_Node, ...]
    options: tuple[tuple[_Node, ...], ...]
    at: tuple[_Kind, float] | None


_Node = range | _Group
_Apart = frozenset[_Group]
"""Groups that are taken for letters."""


@dataclass
class _Open:
    """What stands behind a bracket that is open yet; the first one is none.

    Args:
        bracket: Where it stands.
        marks: The colons and bars, and how many nodes stand before each.
        broken: Whether something in it fits no grammar.
    """

    bracket: range
    nodes: list[_Node] = field(default_factory=list)
    marks: list[tuple[str, int]] = field(default_factory=list)
    broken: bool = False


class TooMany(Exception):
    """More texts than `MOST`."""


@dataclass(frozen=True)
class Reading:
    """A part of a prompt, taken apart.

    Args:
        text: All of it.
        nodes: Letters and groups in order.
        certain: Whether the WebUI's parser can read it in one way only.
    """

    text: str
    nodes: tuple[_Node, ...]
    certain: bool

    @classmethod
    def of(cls, text: str) -> Reading:
        if "[" not in text:  # so nothing switches, as in most prompts
            return cls(text, (range(len(text)),), True)
        outermost = _Open(range(0))
        opened = [outermost]
        for match in _PIECE.finditer(text):
            piece, place = match.group(), range(*match.span())
            inner = opened[-1]
            if piece in ("(", "["):
                opened.append(_Open(place))
                continue
            if piece in (")", "]"):
                if len(opened) > 1 and (text[inner.bracket.start] == "(") == (piece == ")"):
                    opened.pop()
                    _close(text, inner, place, opened[-1])
                    continue
                _give_up(opened)
                inner = outermost
                inner.broken = True
            elif piece in (":", "|"):
                inner.marks.append((piece, len(inner.nodes)))
            elif piece == "\\":
                inner.broken = True
            inner.nodes.append(place)
        _give_up(opened)
        return cls(text, tuple(outermost.nodes), not outermost.broken and not outermost.marks)

    @property
    def moves(self) -> bool:
        """Whether anything in it switches."""
        return any(isinstance(node, _Group) for node in self.nodes)

    def phases(self, apart: _Apart = frozenset()) -> Iterator[tuple[int, ...]]:
        """Every text that it shows at one time or another, the earliest first.

        Raises:
            TooMany: after as many as are read.
        """
        for count, (passed, turn) in enumerate(_times(self.nodes)):
            if count == MOST:
                raise TooMany
            out: list[range] = []
            _show(self.nodes, passed, turn, apart, out)
            yield tuple(chain.from_iterable(out))

    def others(self) -> Iterator[tuple[int, ...]]:
        """What else the WebUI, or a host that knows no switches, may make of it.

        Raises:
            TooMany: after as many as are read.
        """
        if not self.moves:
            return
        yield tuple(range(len(self.text)))
        if self.certain:
            return
        every = (one for apart in self._mixtures() for one in self.phases(apart))
        for count, one in enumerate(every):
            if count == MOST:
                raise TooMany
            yield one

    def _mixtures(self) -> Iterator[_Apart]:
        """Which groups may be letters: within a word every choice, and of two to `_TOGETHER` words
        in a row every combination."""
        ways = [_choices(word) for word in self._words()]
        most, times = max(map(len, ways)), sum(1 for _ in self.phases())
        together = min(_TOGETHER, len(ways))
        while together > 2 and most**together * times > MOST:
            together -= 1
        for chosen in product(range(most), repeat=together):
            picked = (way[chosen[i % together] % len(way)] for i, way in enumerate(ways))
            yield frozenset[_Group]().union(*picked)

    def _words(self) -> list[list[_Group]]:
        """The groups, apart where something between words stands between them."""
        words: list[list[_Group]] = [[]]
        for node in self.nodes:
            if isinstance(node, _Group):
                words[-1].append(node)
            elif words[-1] and _BETWEEN_WORDS.search(self.text, node.start, node.stop):
                words.append([])
        return [word for word in words if word]


def _choices(nodes: Iterable[_Node]) -> list[_Apart]:
    """Every way to take groups for letters; only within such a one others can be."""
    ways: list[_Apart] = [frozenset()]
    for group in nodes:
        if isinstance(group, _Group):
            own = [frozenset[_Group](), *(way | {group} for way in _choices(group.letters))]
            if len(ways) * len(own) > MOST:
                raise TooMany
            ways = [one | other for one in ways for other in own]
    return ways


def _give_up(opened: list[_Open]) -> None:
    """The brackets that are open are letters: a group holds nothing that has no partner."""
    outermost = opened[0]
    for inner in opened[1:]:
        outermost.nodes += [inner.bracket, *inner.nodes]
        outermost.broken = True
    del opened[1:]


def _close(text: str, inner: _Open, closing: range, outer: _Open) -> None:
    letters = (inner.bracket, *inner.nodes, closing)
    marks = [mark for mark, _ in inner.marks]
    square = text[inner.bracket.start] == "["
    if square and not inner.broken and marks:
        group = None
        if set(marks) == {"|"}:
            group = _Group(letters, _split(inner), None)
        elif set(marks) == {":"} and len(marks) <= 2:
            place = inner.nodes[inner.marks[-1][1]]
            assert isinstance(place, range)
            number = _NUMBER.fullmatch(text, place.stop, closing.start)
            if number:
                *before, after, _ = _split(inner)
                options = (before[0] if before else (), after)
                group = _Group(letters, options, _at(number[1]))
        if group is not None:
            outer.nodes.append(group)
            return
    elif not inner.broken and "|" not in marks and len(marks) <= (0 if square else 1):
        outer.nodes += letters  # emphasis: its brackets are read when nothing switches any more
        return
    outer.nodes += letters
    outer.broken = True


def _split(inner: _Open) -> tuple[tuple[_Node, ...], ...]:
    ends = [*(end for _, end in inner.marks), len(inner.nodes)]
    starts = [0, *(end + 1 for end in ends)]
    return tuple(tuple(inner.nodes[a:b]) for a, b in zip(starts, ends, strict=False))


def _at(number: str) -> tuple[_Kind, float]:
    return ("." in number, float(number) < 1), float(number)


def _groups(nodes: Iterable[_Node]) -> Iterator[_Group]:
    for node in nodes:
        if isinstance(node, _Group):
            yield node
            yield from _groups(node.letters)


def _times(nodes: Sequence[_Node]) -> Iterator[tuple[Mapping[_Kind, float], int]]:
    """Of each kind the last number that has passed, and whose turn it is."""
    kinds: dict[_Kind, set[float]] = {}
    turns = 1
    for group in _groups(nodes):
        if group.at is None:
            turns = lcm(turns, len(group.options))
        else:
            kinds.setdefault(group.at[0], {0.0}).add(max(group.at[1], 0.0))
    for passed in product(*map(sorted, kinds.values())):
        now = dict(zip(kinds, passed, strict=True))
        yield from ((now, turn) for turn in range(turns))


def _show(
    nodes: Iterable[_Node],
    passed: Mapping[_Kind, float],
    turn: int,
    apart: _Apart,
    out: list[range],
) -> None:
    for node in nodes:
        if isinstance(node, range):
            out.append(node)
        elif node in apart:
            _show(node.letters, passed, turn, apart, out)
        elif node.at is None:
            _show(node.options[turn % len(node.options)], passed, turn, apart, out)
        else:
            kind, when = node.at
            _show(node.options[when <= passed[kind]], passed, turn, apart, out)
