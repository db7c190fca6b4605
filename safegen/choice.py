"""From a prompt and a plan to the context that applies and what the safe stream sees."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from safegen.conditioning import SafeConditioning, condition
from safegen.contexts.context import SafetyContext
from safegen.contexts.embedding import LearnedEmbedding
from safegen.contexts.library import ContextLibrary
from safegen.detectors.policy import AutoPolicy, Verdict, default_detectors
from safegen.detectors.protocol import Detector, Span
from safegen.errors import InvalidValue
from safegen.plan import AUTO, CUSTOM, SafetyPlan

_AND = re.compile(r"\bAND\b")
_PART_WEIGHT = re.compile(r"\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+))\s*\Z")


@dataclass(frozen=True)
class Part:
    """One ``AND`` part of a prompt: its text, without its weight, and where it begins."""

    text: str
    start: int
    weight: float = 1.0


def parts_of(prompt: str) -> tuple[Part, ...]:
    """The parts of a composable prompt, ``one :1.2 AND another``, in the WebUI's syntax."""
    parts: list[Part] = []
    begin = 0
    for end, following in [*(m.span() for m in _AND.finditer(prompt)), (len(prompt),) * 2]:
        text = prompt[begin:end]
        match = _PART_WEIGHT.search(text)
        weight = float(match[1]) if match else 1.0
        parts.append(Part(text[: match.start()] if match else text, begin, weight))
        begin = following
    return tuple(parts)


@dataclass(frozen=True)
class Choice:
    """What was decided for one prompt.

    Args:
        context: The context that applies, or ``None`` for a prompt judged harmless.
        conditioning: What the safe stream sees, or ``None`` with the context.
        why: One line for the user.
        verdict: What the detectors found.
        parts: From `Chooser.choose_parts`, for each ``AND`` part what its safe stream sees;
            ``None`` for a part that stays as it is.
    """

    context: SafetyContext | None
    conditioning: SafeConditioning | None
    why: str
    verdict: Verdict
    parts: tuple[SafeConditioning | None, ...] = ()


class Chooser:
    """Chooses contexts from a library with a set of named detectors.

    Args:
        library: Where contexts come from.
        detectors: Name to detector; a plan picks among them.
    """

    def __init__(self, library: ContextLibrary, detectors: Mapping[str, Detector]) -> None:
        self.library = library
        self.detectors = dict(detectors)

    @classmethod
    def default(cls, contexts: Path | None = None, lexicon: Path | None = None) -> Chooser:
        """The built-in contexts and detectors, with the user's own folder and word list."""
        found = {detector.name: detector for detector in default_detectors(lexicon)}
        return cls(ContextLibrary(contexts), found)

    def _policy(self, plan: SafetyPlan) -> AutoPolicy:
        missing = [name for name in plan.detectors if name not in self.detectors]
        if missing:
            raise InvalidValue("detectors", missing[0], ", ".join(self.detectors))
        detectors = [self.detectors[name] for name in plan.detectors]
        return AutoPolicy(detectors, tuple(self.library), plan.threshold)

    def context_named(self, plan: SafetyPlan) -> SafetyContext:
        """The context that a plan names, the custom one included (not for Auto)."""
        if plan.context != CUSTOM:
            return self.library.get(plan.context)
        words = [word.strip().lower() for word in plan.unsafe_text.split(",")]
        return SafetyContext(
            name=CUSTOM,
            label="Custom",
            category="",
            description="Written by the user.",
            safe_text=plan.safe_text,
            unsafe_text=plan.unsafe_text,
            neutral={word: "" for word in words if word},
        )

    def choose(
        self, prompt: str, plan: SafetyPlan, *, learned: LearnedEmbedding | None = None
    ) -> Choice:
        """Decide for ``prompt``.

        Raises:
            InvalidValue: The plan names a detector, or a strategy, that is not to be had.
            ContextError: The plan names a context that does not exist.
        """
        verdict = self._policy(plan).judge(prompt)
        if plan.context == AUTO:
            context = verdict.context
            if context is None:
                return Choice(None, None, "Auto judged the prompt harmless", verdict)
            why = f"Auto chose {context.label} (score {verdict.unsafe:.2f})"
        else:
            context = self.context_named(plan)
            why = f"{context.label}, as asked for"
        if verdict.errors:
            why += f"; a detector failed, so the prompt counts as unsafe: {verdict.errors[0]}"
        spans = Verdict(
            verdict.prompt, verdict.unsafe, verdict.categories, context, verdict.spans
        ).risky_spans()
        conditioning = condition(
            prompt, context, plan.strategy, spans=spans, learned=learned, strength=plan.strength
        )
        if conditioning.note:
            why += f"; {conditioning.note}"
        return Choice(context, conditioning, why, verdict)

    def choose_parts(
        self, prompt: str, plan: SafetyPlan, *, learned: LearnedEmbedding | None = None
    ) -> Choice:
        """Like `choose`, for a host that evaluates each ``AND`` part in a row of its own.

        A part whose weight is not above 0 stays as it is, since the model moves away from it.
        With ``counterpart`` so does a part without risky words, if another part has some.
        Raises as `choose` does.
        """
        choice = self.choose(prompt, plan, learned=learned)
        parts = parts_of(prompt)
        if choice.context is None or len(parts) == 1:
            return replace(choice, parts=(choice.conditioning,))
        spans = replace(choice.verdict, context=choice.context).risky_spans()
        seen: list[SafeConditioning | None] = []
        for part in parts:
            own = [
                Span(s.start - part.start, s.end - part.start, s.category, s.detector)
                for s in spans
                if part.start <= s.start and s.end <= part.start + len(part.text)
            ]
            untouched = plan.strategy == "counterpart" and spans and not own
            if part.weight <= 0 or untouched:
                seen.append(None)
                continue
            seen.append(
                condition(
                    part.text,
                    choice.context,
                    plan.strategy,
                    spans=own,
                    learned=learned,
                    strength=plan.strength,
                )
            )
        if not any(seen):  # every part that speaks has a weight of 0 or less
            return replace(choice, context=None, conditioning=None, parts=tuple(seen))
        return replace(choice, parts=tuple(seen))
