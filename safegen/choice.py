"""From a prompt and a plan to the context that applies and what the safe stream sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from safegen.conditioning.clauses import is_style
from safegen.conditioning.strategies import NEVER, SafeConditioning, condition, condition_parts
from safegen.contexts.context import SafetyContext
from safegen.contexts.grammar import forms
from safegen.contexts.library import ContextLibrary
from safegen.detectors.auto import AutoPolicy, Verdict, default_detectors
from safegen.detectors.coverage import nothing_found
from safegen.detectors.protocol import LEFT, MODEL, Detector, Span
from safegen.detectors.sentences import NAME as SENTENCES
from safegen.detectors.sentences import SentenceDetector
from safegen.errors import GuardFailure, InvalidValue, SafeGenError
from safegen.learned.embedding import LearnedEmbedding
from safegen.plan import (
    ALWAYS,
    AUTO,
    CUSTOM,
    LEARNED_STRATEGIES,
    PUSH_ALL,
    SETTINGS,
    WATCH,
    WORDS,
    SafetyPlan,
)
from safegen.sentence import Told, joined, told
from safegen.text.syntax import parts

PROBE = "probe"
REWRITTEN_TWICE = told("rewritten twice, as one rewrite still read as unsafe")
REWRITTEN_IN_VAIN = told(
    "rewritten twice and still read as unsafe: the context's text takes the prompt's place"
)
BY_MODEL = told("the model itself named what to replace, as a first rewrite still showed it")
PUSHED_TOO = told("as the model would still draw it, the safe version is pushed away from it too")
SEEN_BY_NOBODY = told("Nothing unsafe, neither in the words nor in what the model would draw")
SHOWS_NOTHING = told("the model would draw nothing of it")
ALWAYS_FROM = 0.3
"""What the model's own detector must score for a picture to be guarded where every picture is:
half of what counts elsewhere."""
DOUBTFUL = 0.3
"""How unsafe a rewrite's words may be, with and without those that were put in, if the threshold is
higher: they were unsafe before, so what is left of them is not given the benefit of the doubt.
Where only the model found something the threshold counts: what it named is gone, and the other
words were harmless before."""
_KEPT = ("P", "L")
"""Kinds of nouns that are no harm by themselves: people and places."""
Learned = Callable[[SafetyContext], LearnedEmbedding]
"""Finds a context's embedding for the host's own encoder; raises an error for the user if there
is none. Auto's context is only known once the prompt has been read."""


@dataclass(frozen=True)
class Choice:
    """What was decided for one prompt.

    Args:
        context: The context that applies, or ``None`` for a prompt judged harmless.
        conditioning: What the safe stream sees, or ``None`` with the context. For a prompt of
            several ``AND`` parts its text has them all.
        parts: The same for each ``AND`` part, for hosts that encode parts by themselves;
            ``None`` for a part that stays as it is.
        why: One line for the user.
        verdict: What the detectors found.
    """

    context: SafetyContext | None
    conditioning: SafeConditioning | None
    why: str
    verdict: Verdict
    parts: tuple[SafeConditioning | None, ...] = ()


def _safe_now(
    judge: Callable[[str, SafetyPlan], Verdict], doubtful: float, text: str, plan: SafetyPlan
) -> bool:
    """Whether a rewrite no longer counts as unsafe, and its words are less than ``doubtful``."""
    if not judge(text, plan.replace(mode=WORDS)).unsafe < min(plan.threshold, doubtful):
        return False  # said so that a score which is no number is no permission
    return plan.mode == WORDS or judge(text, plan).unsafe < plan.threshold


def _by_hand(context: SafetyContext) -> Told:
    return told("Context: {context} (chosen by you)", context=told(context.label))


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
        detectors = {detector.name: detector for detector in default_detectors(lexicon)}
        return cls(ContextLibrary(contexts), detectors)

    def _policy(
        self, plan: SafetyPlan, contexts: Iterable[SafetyContext] | None = None
    ) -> AutoPolicy:
        if SENTENCES in plan.detectors and SENTENCES not in self.detectors:
            self.detectors[SENTENCES] = SentenceDetector()
        missing = [name for name in plan.detectors if name not in self.detectors]
        if PROBE in missing:
            raise InvalidValue(
                "detectors",
                PROBE,
                f"{', '.join(self.detectors)}; the probe reads prompts in this model's own text "
                "encoder and has to be fitted there first: safegen probe fit --model MODEL",
            )
        if missing:
            raise InvalidValue("detectors", missing[0], ", ".join(self.detectors))
        detectors = [self.detectors[name] for name in plan.detectors]
        watching = self.detectors.get(MODEL) if plan.mode != WORDS else None
        if plan.mode == WATCH and watching is None:
            raise InvalidValue(
                "mode",
                WATCH,
                f"{WORDS}; {WATCH} only after fitting what watches to this model: safegen probe "
                "fit --watch --model MODEL",
                plain=joined(
                    " ",
                    (
                        told(
                            "{what} must first be fitted for this model.",
                            what=SETTINGS["mode"].named(WATCH),
                        ),
                        told("Choose it where SafeGen is ticked: a button there does it."),
                    ),
                ),
            )
        found = tuple(self.library if contexts is None else contexts)
        return AutoPolicy(detectors, found, plan.threshold, watching)

    def judge(
        self, prompt: str, plan: SafetyPlan, contexts: Iterable[SafetyContext] | None = None
    ) -> Verdict:
        """What Auto finds in ``prompt`` and would pick, of ``contexts`` or else of the library.

        Raises:
            InvalidValue: The plan names a detector that is not to be had; says what it needs.
        """
        return self._policy(plan, contexts).judge(prompt)

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
        self,
        prompt: str,
        plan: SafetyPlan,
        *,
        learned: LearnedEmbedding | Learned | None = None,
    ) -> Choice:
        """Decide for ``prompt``.

        Args:
            prompt: The user's prompt, styles and wildcards already in it.
            plan: The settings.
            learned: For ``direction`` and ``projection``: an embedding, or a function from the
                context that applies to its embedding, asked only if it is needed.

        Raises:
            InvalidValue: The plan names a detector, or a strategy, that is not to be had.
            ContextError: The plan names a context that does not exist.
        """
        verdict = self.judge(prompt, plan)
        if plan.mode != ALWAYS:
            context = verdict.context
            if context is None and not verdict.no_context:
                raise SafeGenError("Auto came to no verdict: neither a context nor why not")
            if context is None:
                return Choice(
                    None,
                    None,
                    SEEN_BY_NOBODY if plan.mode == WATCH else nothing_found(prompt),
                    verdict,
                    (None,) * len(parts(prompt)),
                )
            if plan.context != AUTO:
                context = self.context_named(plan)
            found = {"context": told(context.label), "score": f"{verdict.unsafe:.2f}"}
            why = told("Auto chose {context} (score {score})", **found)
            if plan.mode == WATCH and not verdict.in_words and not verdict.errors:
                why = told("The model itself would draw {context} (score {score})", **found)
        else:
            context = self.context_named(plan)
            why = _by_hand(context)
            if self._shows_nothing(verdict, context):
                why = joined("; ", (why, SHOWS_NOTHING))
                return Choice(None, None, why, verdict, (None,) * len(parts(prompt)))
        return self._conditioned(prompt, context, verdict, plan, why, learned)

    def _shows_nothing(self, verdict: Verdict, context: SafetyContext) -> bool:
        """Whether neither the words nor the model, asked about ``context``, see anything in it."""
        watching = self.detectors.get(MODEL)
        if watching is None or verdict.errors:
            return False
        known = context.category in getattr(watching, "about", ())
        seen = max(verdict.categories.values(), default=0.0) >= ALWAYS_FROM
        words = replace(verdict, context=context).risky_spans()
        return known and not seen and not words

    def choose_for(self, prompt: str, context: SafetyContext, plan: SafetyPlan) -> Choice:
        """What `choose` would decide if ``plan`` named ``context``, which need not be saved."""
        verdict = self.judge(prompt, plan)
        return self._conditioned(prompt, context, verdict, plan, _by_hand(context), None)

    def _conditioned(
        self,
        prompt: str,
        context: SafetyContext,
        verdict: Verdict,
        plan: SafetyPlan,
        why: str,
        learned: LearnedEmbedding | Learned | None,
    ) -> Choice:
        """The choice of ``context`` with what the safe stream sees."""
        if verdict.errors:
            failed = told(
                "a detector failed, so the prompt counts as unsafe: {error}",
                error=verdict.errors[0],
            )
            why = joined("; ", (why, failed))
        spans = replace(verdict, context=context).risky_spans()
        how: dict[str, Any] = {"spans": spans, "strength": plan.strength}
        if plan.strategy in LEARNED_STRATEGIES:
            if callable(learned):
                how["find"] = partial(learned, context)
                learned = learned(context)
            how["learned"] = learned
        how["push"] = plan.pushed if plan.push > 0 else NEVER
        text, strategy, note = prompt, plan.strategy, ""
        if strategy == "counterpart":
            text, strategy, how["spans"], note = self._until_safe(verdict, context, spans, plan)
            if note == PUSHED_TOO:
                how["push"] = PUSH_ALL
        conditioning = condition(text, context, strategy, **how)
        each = zip(parts(prompt), condition_parts(text, context, strategy, **how), strict=True)
        if note:
            notes = (conditioning.note, note) if conditioning.note else (note,)
            conditioning = replace(conditioning, note=joined("; ", notes))
        if conditioning.note:
            why = joined("; ", (why, conditioning.note))
        changed = tuple(
            None if (one.edit, one.unsafe, one.text) == (None, "", part.text) else one
            for part, one in each
        )
        return Choice(context, conditioning, why, verdict, changed)

    def _until_safe(
        self, found: Verdict, context: SafetyContext, spans: tuple[Span, ...], plan: SafetyPlan
    ) -> tuple[str, str, tuple[Span, ...], str]:
        """The text to rewrite, by which strategy, its risky stretches, and what to tell the user.

        What was rewritten is read again by the same detectors, and its words have to be safer than
        those of a prompt that is left alone. If it still counts as unsafe, the model, where it
        watches, names the words of the prompt itself; then the rewrite is rewritten once more, and
        then the context's own text takes over; unless its words are harmless, and only the model
        would still draw something: then it is pushed away from that. The context's own text takes
        over, too, where words were named and none was replaced, or a detector failed and none was
        named.
        """
        prompt, judge = found.prompt, cache(self.judge)
        by_model = bool(spans) and all(span.detector == MODEL for span in spans)
        safe_now = partial(_safe_now, judge, plan.threshold if by_model else DOUBTFUL)
        spans = self._with_what_is_left(prompt, context, spans, plan) if found.in_words else spans
        once = condition(prompt, context, "counterpart", spans=spans)
        if once.strategy != "counterpart":
            if found.names_words or found.errors:
                return prompt, "context", spans, REWRITTEN_IN_VAIN if found.names_words else ""
            return prompt, "counterpart", spans, ""
        if safe_now(once.text, plan):
            return prompt, "counterpart", spans, ""
        seen = self._seen_by_model(prompt, context, plan)
        if seen and seen != spans:
            anew = condition(prompt, context, "counterpart", spans=seen)
            fits = anew.strategy == "counterpart"
            if fits and safe_now(anew.text, plan):
                return prompt, "counterpart", seen, BY_MODEL
        verdict = judge(once.text, plan)
        doubtful = min(plan.threshold, DOUBTFUL)
        more = replace(verdict, context=context, threshold=doubtful).risky_spans()
        twice = condition(once.text, context, "counterpart", spans=more)
        changed = twice.strategy == "counterpart" and twice.text != once.text
        if changed and safe_now(twice.text, plan):
            return once.text, "counterpart", more, REWRITTEN_TWICE
        able = MODEL in self.detectors and plan.push > 0 and context.unsafe_text
        if able and safe_now(once.text, plan.replace(mode=WORDS)):
            return prompt, "counterpart", spans, PUSHED_TOO
        return prompt, "context", spans, REWRITTEN_IN_VAIN

    def _with_what_is_left(
        self, prompt: str, context: SafetyContext, spans: tuple[Span, ...], plan: SafetyPlan
    ) -> tuple[Span, ...]:
        """``spans``, and what speaks for harm without them: neutral words would outweigh it.

        Who is there and where stays, and how it is made. Where nothing else is named, it is what
        stands around ``spans``.
        """
        if not spans:
            return spans
        letters = list(prompt)
        for span in spans:
            letters[span.start : span.end] = " " * (span.end - span.start)
        try:
            left = self.judge("".join(letters), plan.replace(mode=WORDS))
        except GuardFailure:
            return spans  # of some part no word is left, which is not read then
        doubtful = min(plan.threshold, DOUBTFUL)
        if left.errors or left.unsafe < doubtful:
            return spans
        more = [
            replace(one, detector=LEFT)
            for one in replace(left, context=context, threshold=doubtful).risky_spans()
            if not any(span.meets(one.start, one.end) for span in spans)
            and not is_style(prompt[one.start : one.end])
            and not any(f.kind in _KEPT for f in forms(prompt[one.start : one.end].lower()))
        ]
        if not more:
            return tuple(replace(span, detector=LEFT) for span in spans)
        return tuple(sorted((*spans, *more)))

    def _seen_by_model(
        self, prompt: str, context: SafetyContext, plan: SafetyPlan
    ) -> tuple[Span, ...]:
        """The stretches of ``prompt`` that the model names, or else the context, if one watches."""
        watching = self.detectors.get(MODEL) if plan.mode != WORDS else None
        if watching is None:
            return ()
        verdict = AutoPolicy([watching], (context,), plan.threshold).judge(prompt)
        return replace(verdict, context=context).risky_spans()

    def choose_parts(
        self,
        prompt: str,
        plan: SafetyPlan,
        *,
        learned: LearnedEmbedding | Learned | None = None,
    ) -> Choice:
        """Like `choose`, for a host that evaluates each ``AND`` part in a row of its own.

        If no part is to be conditioned (all that speak have a weight of 0 or less, so the model
        moves away from what they say) there is nothing to guard, and no context.
        """
        choice = self.choose(prompt, plan, learned=learned)
        if choice.context is None or any(choice.parts):
            return choice
        return replace(choice, context=None, conditioning=None)
