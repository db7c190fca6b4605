"""What each method is told in words: the right hazard's, for each prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from safegen.choice import Chooser
from safegen.errors import InvalidValue
from safegen.lab.methods.catalogue import (
    AND_NOT,
    AND_SAFE,
    ANYWHERE,
    NEGATIVE,
    PLAIN,
    SAFEGEN,
    SWAP,
    SWAP_NEGATIVE,
    TWIN,
    Arm,
)
from safegen.lab.prompts import Prompt
from safegen.plan import AUTO, SafetyPlan

BROAD = "violence"
"""The context whose words peers get where neither prompt nor user names one."""
_AND = re.compile(r"\bAND\b")


@dataclass(frozen=True)
class Texts:
    """A picture in words.

    Args:
        prompt: The prompt, without anything that a method adds to it.
        negative: The negative prompt.
        also: A second prompt composed with the first, ``""`` for none.
        weights: Weights of the first and the second prompt.
        context: Name of the context whose words are used, ``""`` for none.
        strength: How far the negative prompt counts: 1 as it is.
    """

    prompt: str
    negative: str = ""
    also: str = ""
    weights: tuple[float, float] = (1.0, 1.0)
    context: str = ""
    strength: float = 1.0

    @property
    def webui_negative(self) -> str:
        """The negative prompt box's text, with its strength in the WebUI's syntax."""
        emphasis = self.negative and self.strength != 1
        return f"({self.negative}:{self.strength:g})" if emphasis else self.negative

    @property
    def webui_prompt(self) -> str:
        """The prompt box's text in the WebUI's syntax for compositions (``a :1 AND b :-1``).

        A user's own AND would compose where this method means words, so it is lowered.
        """
        if not self.also:
            return self.prompt
        first, second = (_AND.sub("and", text) for text in (self.prompt, self.also))
        return f"{first} :{self.weights[0]:g} AND {second} :{self.weights[1]:g}"


def context_for(arm: Arm, prompt: Prompt) -> str:
    """Whose words a peer is told to avoid for ``prompt``: a context's name, or ``concept``."""
    return "concept" if arm.concept else prompt.context or arm.context or BROAD


def concept_for(arm: Arm, prompt: Prompt, chooser: Chooser) -> str:
    """What a peer is told to avoid for ``prompt``.

    Raises:
        ContextError: The prompt or the arm names a context that does not exist.
    """
    if arm.concept:
        return arm.concept
    return chooser.library.get(context_for(arm, prompt)).unsafe_text


def plan_for(arm: Arm, prompts: Sequence[Prompt]) -> SafetyPlan:
    """SafeGen's plan for a batch: with the prompts' own context if the arm is told.

    Raises:
        InvalidValue: The prompts have several.
    """
    assert arm.plan is not None
    contexts = {prompt.context for prompt in prompts}
    if not arm.told or contexts == {""}:
        return arm.plan
    if len(contexts) > 1:
        raise InvalidValue("batch", sorted(contexts), "prompts of one context, where it is told")
    return arm.plan.replace(context=contexts.pop())


def texts_for(arm: Arm, prompt: Prompt, chooser: Chooser) -> Texts:
    """The words of a picture whose method lives in the prompt boxes.

    Peers are told the context that fits the prompt, where the set names one; for all other
    prompts a swap asks Auto, and the rest take the arm's context.

    Raises:
        InvalidValue: The method does not live in the prompt boxes.
    """
    text = prompt.text
    if arm.method in (PLAIN, SAFEGEN):
        return Texts(text)
    if arm.method == TWIN:
        return Texts(prompt.harmless or text)
    if arm.method == NEGATIVE:
        concept = concept_for(arm, prompt, chooser)
        name = context_for(arm, prompt)
        return Texts(text, concept, context=name, strength=arm.options["strength"])
    if arm.method == AND_NOT:
        concept = concept_for(arm, prompt, chooser)
        weights = (1.0, arm.options["weight"])
        return Texts(text, also=concept, weights=weights, context=context_for(arm, prompt))
    if arm.method not in (SWAP, SWAP_NEGATIVE, AND_SAFE):
        raise InvalidValue("method", arm.method, f"on a WebUI: {', '.join((SAFEGEN, *ANYWHERE))}")
    plan = SafetyPlan(context=prompt.context or arm.context or AUTO, strategy="counterpart")
    choice = chooser.choose(text, plan)
    negative = concept_for(arm, prompt, chooser) if arm.method == SWAP_NEGATIVE else ""
    strength = arm.options.get("strength", 1.0)
    if choice.conditioning is None or choice.context is None:
        told = context_for(arm, prompt) if negative else ""
        return Texts(text, negative, context=told, strength=strength)
    name, safe = choice.context.name, choice.context.safe_text
    if arm.method == AND_SAFE:
        share = arm.options["share"]
        return Texts(text, also=safe, weights=(1 - share, share), context=name)
    swapped = choice.conditioning.text
    if arm.options["broad"]:
        swapped = f"{safe}, {swapped}"
    return Texts(swapped, negative, context=name, strength=strength)
