"""Which context applies to a prompt, under a plan and a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from safegen.choice import PROBE, Choice, Chooser
from safegen.contexts.context import SafetyContext
from safegen.contexts.library import ContextError, ContextLibrary
from safegen.detectors.auto import default_detectors
from safegen.detectors.protocol import MODEL, Detector
from safegen.errors import InvalidValue
from safegen.hosts.a1111.towards import Guiding, towards
from safegen.learned.embedding import LearnedEmbedding
from safegen.plan import AUTO, CUSTOM, LEARNED_STRATEGIES, SETTINGS, WATCH, WORDS, SafetyPlan
from safegen.sentence import joined, told
from safegen.text.syntax import as_encoded, as_negative, parts, unweighted
from safegen.webui import encoder, settings, watching
from safegen.webui.enforcement import Policy

_UNFITTED = joined(
    " ",
    (
        told("{what} must first be fitted for this model.", what=SETTINGS["mode"].named(WATCH)),
        told("Ask the operator of this server, or choose another."),
    ),
)
"""What is said where nobody but the operator may fit it."""

_library: ContextLibrary | None = None
_chooser: Chooser | None = None


def library() -> ContextLibrary:
    """Every context, built in and of the user's own; read once."""
    global _library
    if _library is None:
        _library = ContextLibrary(settings.contexts_folder())
    return _library


def chooser() -> Chooser:
    """The contexts, and the detectors that need no model; loaded once, for the first prompt.

    Raises:
        SafeGenError: The user's word list can't be read.
    """
    global _chooser
    if _chooser is None:
        found = default_detectors(settings.lexicon_file())
        _chooser = Chooser(library(), {detector.name: detector for detector in found})
    return _chooser


def chooser_for(plan: SafetyPlan) -> Chooser:
    """The same with the detectors that ``plan`` names, and what watches the model if it is wanted.

    Both ask the loaded checkpoint: whoever wants them must have the model to themselves.

    Raises:
        InvalidValue: The probe is not fitted for the loaded checkpoint.
    """
    shared = chooser()
    more: dict[str, Detector] = {}
    if PROBE in plan.detectors:
        more[PROBE] = encoder.probe()
    watching_it = watching.detector() if plan.mode != WORDS else None
    if watching_it is not None:
        more[MODEL] = watching_it
    return Chooser(shared.library, {**shared.detectors, **more}) if more else shared


def asks_the_model(plan: SafetyPlan) -> bool:
    """Whether `decide` needs the model to itself."""
    return PROBE in plan.detectors or plan.mode != WORDS or plan.strategy in LEARNED_STRATEGIES


@dataclass(frozen=True)
class Asked:
    """What is asked for in one pass.

    Args:
        prompts: One for each picture.
        negatives: The negative prompts, as many.
        guiding: How the host guides.
    """

    prompts: Sequence[str]
    negatives: Sequence[str]
    guiding: Guiding


def decide(asked: Asked, plan: SafetyPlan, policy: Policy | None) -> list[Choice]:
    """What is to be done about each of the prompts.

    Raises:
        InvalidValue: The plan names a context, a detector or a strategy that is not to be had; or
            a picture is moved towards a text that can't be guarded, and that is not harmless.
    """
    choosing = chooser_for(plan)
    if policy is not None and plan.mode == WATCH and MODEL not in choosing.detectors:
        raise InvalidValue(
            "mode", WATCH, f"a checkpoint that {WATCH} is fitted to", plain=_UNFITTED
        )
    pairs = list(zip(map(as_encoded, asked.prompts), asked.negatives, strict=True))
    try:
        for prompt, negative in dict.fromkeys(pairs):
            _refuse_others(prompt, negative, asked.guiding, plan, choosing)
        if asked.guiding.scale <= 0:
            return [_not_counting(prompt, asked.guiding, plan, choosing) for prompt, _ in pairs]
        return [_decide(prompt, plan, policy, choosing) for prompt, _ in pairs]
    except ContextError:
        names = [AUTO, *choosing.library.names(), CUSTOM]
        raise InvalidValue("context", plan.context, ", ".join(names)) from None


def _refuse_others(
    prompt: str, negative: str, guiding: Guiding, plan: SafetyPlan, choosing: Chooser
) -> None:
    """Refuse an unsafe text that the picture is moved towards and that has no safe stream.

    Those are the negative prompt where the scale times the weights is below 1, and with a scale
    below 0 the parts of negative weight: there the roles change.
    """
    own = parts(prompt)
    ways = towards([part.weight for part in own], guiding)
    for part, counts in zip(own, ways.parts, strict=True):
        guarded = guiding.scale > 0 and part.weight > 0
        text = unweighted(part.text)
        found = _found(text, plan, choosing) if counts and not guarded else ""
        if found:
            raise InvalidValue(
                "prompt",
                f"{part.text} :{part.weight:g}",
                "in a part of this weight, a harmless text: with CFG scale "
                f"{guiding.cfg:g} the picture is moved towards it ({found})",
                plain=told(
                    "A part of the prompt counts here in a way that can't be guarded ({found}). "
                    "Leave it out, or give it a weight above 0.",
                    found=found,
                ),
            )
    found = _found(as_negative(negative), plan, choosing) if ways.negative else ""
    if found:
        total = guiding.scale * sum(part.weight for part in own)
        raise InvalidValue(
            "negative_prompt",
            negative,
            f"a harmless text, or a higher CFG scale: it is {guiding.cfg:g}, which with the "
            f"prompt's weights and the sampler's own factor makes {total:.3g}, and below 1 the "
            f"picture is moved towards the negative prompt ({found})",
            plain=told(
                "With these settings the picture is moved towards the negative prompt, which is "
                "not harmless ({found}). Raise the CFG scale, or change the negative prompt.",
                found=found,
            ),
        )


def found_in(text: str, plan: SafetyPlan) -> str:
    """Why ``text``, which can't be guarded, is not harmless; ``""`` if it is."""
    return _found(text, plan, chooser_for(plan))


def _found(text: str, plan: SafetyPlan, choosing: Chooser) -> str:
    """Why ``text`` is not harmless; ``""`` if it is."""
    verdict = choosing.judge(text, plan)
    if verdict.context is not None:
        return told("Auto found {context} in it", context=told(verdict.context.label))
    if plan.context == AUTO:
        return ""
    chosen = choosing.context_named(plan)
    hit = replace(verdict, context=chosen).risky_spans()
    return told("it has a word of {context}", context=told(chosen.label)) if hit else ""


def _not_counting(prompt: str, guiding: Guiding, plan: SafetyPlan, choosing: Chooser) -> Choice:
    """Nothing to guard, as the picture is not moved towards the prompt.

    Raises:
        InvalidValue: A context was asked for whatever the texts say.
    """
    if plan.context != AUTO:
        raise InvalidValue(
            "cfg_scale",
            guiding.cfg,
            f"above 0 with context {plan.context}: else the picture is not moved towards the "
            "prompt, and nothing in it could be guarded",
            plain=told(
                "At this CFG scale the prompt does not count, and nothing could be guarded. "
                "Raise the CFG scale above 0."
            ),
        )
    why = told("at this CFG scale the prompt doesn't count, and what does is harmless")
    return Choice(None, None, why, choosing.judge(prompt, plan), (None,) * len(parts(prompt)))


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
    why = told(
        "{context} instead of {asked}: enforced ({level})",
        context=told(found.label),
        asked=plan.context,
        level=policy.name,
    )
    return replace(forced, why=why)
