"""Other extensions that keep something of the texts of the host's own call.

ControlNet's *reference only* lets the model see its picture, with noise of the call's level and
with the prompt's texts, before each call; all rows then attend to what the model made of it, in
which the prompt's words are at work. So it is shown our own texts before they are evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

from safegen.hosts.forge.entries import Entry


class Keepers:
    """Other extensions' conditioning modifiers in one denoiser call.

    Made before the host calls them: for our texts they draw the noise that they draw for the
    prompt's, and afterwards they go on as if they had not been asked.
    """

    def __init__(self, modifiers: Sequence[Callable[..., Any]]) -> None:
        self._modifiers = tuple(modifiers)
        found = [generator for one in modifiers for generator in _generators(one)]
        self._before = [(generator, generator.get_state()) for generator in found]

    def show(
        self,
        model: Any,
        x: Tensor,
        sigma: Tensor,
        uncond: Sequence[Entry] | None,
        cond: Sequence[Entry],
        *rest: Any,
    ) -> None:
        """Call them with these texts. What they return is left: they had part in them already."""
        with self._same_noise():
            for modifier in self._modifiers:
                modifier(model, x, sigma, _copies(uncond), _copies(cond), *rest)

    @contextmanager
    def _same_noise(self) -> Iterator[None]:
        after = [(generator, generator.get_state()) for generator, _ in self._before]
        try:
            for generator, state in self._before:
                generator.set_state(state)
            yield
        finally:
            for generator, state in after:
                generator.set_state(state)


def _copies(entries: Sequence[Entry] | None) -> list[Entry] | None:
    """They may write into what they are given."""
    if entries is None:
        return None
    return [{**entry, "model_conds": dict(entry["model_conds"])} for entry in entries]


def _generators(function: Callable[..., Any]) -> Iterator[torch.Generator]:
    """What ``function`` draws its noise from."""
    for cell in getattr(function, "__closure__", None) or ():
        with suppress(ValueError):  # an empty cell
            if isinstance(cell.cell_contents, torch.Generator):
                yield cell.cell_contents
