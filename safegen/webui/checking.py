"""Checking prompts without making a picture: for ``POST /safegen/check`` and for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from safegen.choice import Choice
from safegen.conditioning.strategies import SafeConditioning
from safegen.errors import InvalidValue
from safegen.plan import SafetyPlan
from safegen.webui import deciding, host

LONGEST_PROMPT = 20_000
"""Characters that one prompt may have."""
MOST_PROMPTS = 500
"""Prompts that are checked at once."""


def check_prompt(prompt: Any) -> str:
    """``prompt`` itself.

    Raises:
        InvalidValue: It is no text, or too long a one.
    """
    if not isinstance(prompt, str) or len(prompt) > LONGEST_PROMPT:
        shown = prompt if not isinstance(prompt, str) else f"{len(prompt)} characters"
        raise InvalidValue("prompt", shown, f"a text of up to {LONGEST_PROMPT} characters")
    return prompt


def examine(
    prompts: Sequence[str],
    plan: SafetyPlan,
    progress: Callable[[int, int], None] | None = None,
) -> list[Choice]:
    """What ``plan`` would do for each of ``prompts``.

    The probe and what watches ask the loaded checkpoint: with them, this waits for a generation
    that is under way.

    Args:
        progress: Told how many are done, of how many.

    Raises:
        InvalidValue: A prompt, a detector or a strategy is not to be had.
        ContextError: The plan names a context that does not exist.
    """
    for prompt in prompts:
        check_prompt(prompt)
    choices = []
    with host.exclusively() if deciding.asks_the_model(plan) else nullcontext():
        chooser = deciding.chooser_for(plan)
        for done, prompt in enumerate(prompts):
            if progress is not None:
                progress(done, len(prompts))
            choices.append(chooser.choose_parts(prompt, plan))
    return choices


def _part(conditioning: SafeConditioning | None) -> dict[str, Any] | None:
    if conditioning is None:
        return None
    return {
        "strategy": conditioning.strategy,
        "text": conditioning.text,
        "note": conditioning.note,
    }


def to_data(choice: Choice, plan: SafetyPlan) -> dict[str, Any]:
    """What is known about one prompt, in plain JSON types; the page shows the same."""
    verdict = choice.verdict
    return {
        "prompt": verdict.prompt,
        "unsafe": verdict.unsafe,
        "threshold": plan.threshold,
        "categories": dict(verdict.categories),
        "context": choice.context.name if choice.context else None,
        "why": choice.why,
        "spans": [
            {
                "start": span.start,
                "end": span.end,
                "text": verdict.prompt[span.start : span.end],
                "category": span.category,
                "detector": span.detector,
            }
            for span in verdict.spans
        ],
        "safe_stream": [_part(part) for part in choice.parts] if choice.context else [],
        "errors": list(verdict.errors),
    }
