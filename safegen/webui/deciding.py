"""Which context applies to a prompt, under a plan and a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from safegen.choice import PROBE, Choice, Chooser
from safegen.contexts.context import SafetyContext
from safegen.contexts.library import ContextError
from safegen.errors import InvalidValue
from safegen.learned.embedding import LearnedEmbedding
from safegen.plan import AUTO, CUSTOM, SafetyPlan
from safegen.webui import encoder, settings
from safegen.webui.enforcement import Policy

_chooser: Chooser | None = None


def chooser() -> Chooser:
    """The contexts, and the detectors that need no model; loaded once."""
    global _chooser
    if _chooser is None:
        _chooser = Chooser.default(settings.contexts_folder(), settings.lexicon_file())
    return _chooser


def chooser_for(plan: SafetyPlan) -> Chooser:
    """The same with the detectors that ``plan`` names.

    The probe reads in the loaded checkpoint: whoever names it must have the model to themselves.

    Raises:
        InvalidValue: The probe is not fitted for the loaded checkpoint.
    """
    shared = chooser()
    if PROBE not in plan.detectors:
        return shared
    return Chooser(shared.library, {**shared.detectors, PROBE: encoder.probe()})


def decide(prompts: Sequence[str], plan: SafetyPlan, policy: Policy | None) -> list[Choice]:
    """What is to be done about each of ``prompts``.

    Raises:
        InvalidValue: The plan names a context, a detector or a strategy that is not to be had.
    """
    choosing = chooser_for(plan)
    try:
        return [_decide(prompt, plan, policy, choosing) for prompt in prompts]
    except ContextError:
        names = [AUTO, *choosing.library.names(), CUSTOM]
        raise InvalidValue("context", plan.context, ", ".join(names)) from None


def _decide(prompt: str, plan: SafetyPlan, policy: Policy | None, choosing: Chooser) -> Choice:
    def learned(context: SafetyContext) -> LearnedEmbedding:
        return encoder.learned(context, plan.strategy)

    choice = choosing.choose_parts(prompt, plan, learned=learned)
    if policy is None or plan.context == AUTO:
        return choice
    auto = plan.replace(context=AUTO, strategy="context")
    found = choosing.choose_parts(prompt, auto).context
    if found is None or not policy.requires(found.name) or found.name == plan.context:
        return choice
    forced = choosing.choose_parts(prompt, plan.replace(context=found.name), learned=learned)
    why = f"{found.label} instead of {plan.context}: enforced ({policy.name})"
    return replace(forced, why=why)
