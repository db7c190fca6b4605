"""One text of a prompt, and the way back to the prompt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Passage:
    """One text the model sees at some time, and the way back.

    Args:
        text: Plain text, without any syntax.
        places: For every character of ``text`` its index in the original prompt.
        cuts: Where syntax stood in ``text`` that may part words, in order.
    """

    text: str
    places: tuple[int, ...]
    cuts: tuple[int, ...] = field(default=(), compare=False, repr=False)

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
