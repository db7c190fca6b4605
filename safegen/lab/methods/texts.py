"""What each method writes into a host's prompt boxes."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safegen.errors import InvalidValue
from safegen.lab.sweep.cells import AND_NOT, AND_SAFE, ANYWHERE, NEGATIVE, PLAIN, SAFEGEN, SWAP
from safegen.plan import AUTO, SafetyPlan

if TYPE_CHECKING:
    from safegen.choice import Choice, Chooser
    from safegen.lab.sweep.cells import Cell

_AND = re.compile(r"\bAND\b")


@dataclass(frozen=True)
class Texts:
    """A cell in words.

    Args:
        prompt: The prompt, without anything that a method adds to it.
        negative: The negative prompt.
        also: A second prompt composed with the first, ``""`` for none.
        weights: Weights of the first and the second prompt.
        context: Name of the context whose words were used, ``""`` for none.
    """

    prompt: str
    negative: str = ""
    also: str = ""
    weights: tuple[float, float] = (1.0, 1.0)
    context: str = ""

    @property
    def webui_prompt(self) -> str:
        """The prompt box's text in the WebUI's syntax for compositions (``a :1 AND b :-1``).

        A user's own AND would compose where this method means words, so it is lowered.
        """
        if not self.also:
            return self.prompt
        first, second = (_AND.sub("and", text) for text in (self.prompt, self.also))
        return f"{first} :{self.weights[0]:g} AND {second} :{self.weights[1]:g}"


@functools.cache
def _chooser() -> Chooser:
    from safegen.choice import Chooser

    return Chooser.default()


def counterpart(prompt: str, context: str, chooser: Chooser | None = None) -> Choice:
    """What SafeGen's ``counterpart`` makes of ``prompt`` in ``context`` (Auto included)."""
    plan = SafetyPlan(context=context, strategy="counterpart")
    return (chooser or _chooser()).choose(prompt, plan)


def texts_for(cell: Cell, chooser: Chooser | None = None) -> Texts:
    """The words of a cell whose method lives in the prompt boxes.

    - negative prompt: the concept is the negative prompt.
    - prompt swap: the prompt with its risky words replaced, as SafeGen's safe stream sees it.
    - AND composition: the prompt and the context's safe text, half each (Composable Diffusion,
      Liu et al., arXiv 2206.01714).
    - AND NOT composition: the prompt, and the concept with weight -1 (the same paper's negation).

    Args:
        cell: What is to be made.
        chooser: Whose contexts and detectors give the words; the shipped ones by default.

    Raises:
        InvalidValue: The method does not live in the prompt boxes.
    """
    arm, text = cell.arm, cell.prompt.text
    if arm.method in (PLAIN, SAFEGEN):
        return Texts(text)
    if arm.method == NEGATIVE:
        return Texts(text, negative=arm.concept)
    if arm.method == AND_NOT:
        return Texts(text, also=arm.concept, weights=(1.0, -1.0))
    choice = counterpart(text, arm.context or AUTO, chooser)
    if arm.method == SWAP:
        if choice.conditioning is None or choice.context is None:
            return Texts(text)
        return Texts(choice.conditioning.text, context=choice.context.name)
    if arm.method == AND_SAFE:
        if choice.context is None:
            return Texts(text)
        return Texts(
            text, also=choice.context.safe_text, weights=(0.5, 0.5), context=choice.context.name
        )
    raise InvalidValue("method", arm.method, f"on a WebUI: {', '.join((SAFEGEN, *ANYWHERE))}")


def default_concept(context: str) -> str:
    """What peers are told to avoid if the user does not say: the context's unsafe text."""
    return _chooser().library.get(context).unsafe_text
