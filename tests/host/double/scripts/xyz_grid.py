"""The X/Y/Z plot, as far as extensions add axes to it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from modules import processing, scripts


def boolean_choice(reverse: bool = False) -> Callable[[], list[str]]:
    return lambda: ["False", "True"] if reverse else ["True", "False"]


class AxisOption:
    def __init__(
        self,
        label: str,
        type: Callable[[str], Any],
        apply: Callable[[Any, Any, Any], None],
        format_value: Any = None,
        confirm: Callable[[Any, list[Any]], None] | None = None,
        cost: float = 0.0,
        choices: Callable[[], list[str]] | None = None,
        prepare: Any = None,
    ) -> None:
        self.label, self.type, self.apply = label, type, apply
        self.confirm, self.choices = confirm, choices


axis_options: list[AxisOption] = []


class Script(scripts.Script):
    def title(self) -> str:
        return "X/Y/Z plot"

    def plot(self, p: Any, label: str, texts: list[str]) -> list[Any]:
        """One axis; each cell is a shallow copy of ``p``. A cell that fails is ``None``."""
        axis = next(option for option in axis_options if option.label == label)
        values = [axis.type(text) for text in texts]
        if axis.confirm is not None:
            axis.confirm(p, values)
        cells: list[Any] = []
        for value in values:
            cell = copy.copy(p)
            axis.apply(cell, value, values)
            try:
                cells.append(processing.process_images(cell))
            except Exception:
                cells.append(None)
        return cells
