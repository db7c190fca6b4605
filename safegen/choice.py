"""From a prompt and a plan to the context that applies and what the safe stream sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safegen.conditioning import SafeConditioning, condition
from safegen.contexts.context import SafetyContext
from safegen.contexts.embedding import LearnedEmbedding
from safegen.contexts.library import ContextLibrary
from safegen.detectors.policy import AutoPolicy, Verdict, default_detectors
from safegen.detectors.protocol import Detector
from safegen.errors import InvalidValue
from safegen.plan import AUTO, CUSTOM, SafetyPlan


@dataclass(frozen=True)
class Choice:
    """What was decided for one prompt.

    Args:
        context: The context that applies, or ``None`` for a prompt judged harmless.
        conditioning: What the safe stream sees, or ``None`` with the context.
        why: One line for the user.
        verdict: What the detectors found.
    """

    context: SafetyContext | None
    conditioning: SafeConditioning | None
    why: str
    verdict: Verdict


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
