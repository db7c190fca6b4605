"""Auto: which one safety context a prompt calls for, if any.

Every text the model sees of the prompt is scored by every detector. Detectors are taken as
independent witnesses, P = 1 - Π (1 - Pᵢ) per category; the texts of one prompt as alternatives,
of which the worst counts. One context is picked, the likeliest category's: mixing several hurts.
A detector that fails counts as a witness for harm: the context is triggered, and the user told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safegen.contexts.context import SafetyContext
from safegen.contexts.library import presets
from safegen.contexts.replacements import hits
from safegen.detectors.lexicon import BUILT_IN, Lexicon, LexiconDetector
from safegen.detectors.ngram import NgramDetector
from safegen.detectors.protocol import Detection, Detector, Span
from safegen.errors import InvalidValue
from safegen.text.syntax import Passage, prepare

DEFAULT_THRESHOLD = 0.6
BROAD = "family-friendly"
"""The context for a category that has none, and when a detector failed and no other speaks."""


@dataclass(frozen=True)
class Verdict:
    """What Auto found in one prompt, and chose.

    Args:
        prompt: The prompt as it was given.
        unsafe: 0 to 1, over all categories; 1 if a detector failed.
        categories: Category to probability, the likeliest first.
        context: The one to use, or ``None`` for a prompt that needs none.
        spans: What caused it, in the prompt's own offsets.
        errors: What went wrong, for the user.
    """

    prompt: str
    unsafe: float
    categories: Mapping[str, float]
    context: SafetyContext | None
    spans: tuple[Span, ...]
    errors: tuple[str, ...] = ()

    def risky_spans(self) -> tuple[Span, ...]:
        """The stretches to replace for the ``counterpart`` strategy; none without a context."""
        if self.context is None:
            return ()
        return risky_spans(self.prompt, self.context, [Detection(self.categories, self.spans)])


def default_detectors(user_lexicon: Path | None = None) -> tuple[Detector, ...]:
    """The lexicon, with a user's own word list if there is one, and the n-gram model.

    Raises:
        SafeGenError: if the word list or the weights cannot be used.
    """
    files = [BUILT_IN] if user_lexicon is None else [BUILT_IN, user_lexicon]
    lexicon = Lexicon.load(*files)
    return LexiconDetector(lexicon), NgramDetector(harmless=lexicon.harmless)


def score_passages(detector: Detector, passages: Sequence[Passage]) -> Detection:
    """One detector's view of all passages of a prompt, in the prompt's own offsets.

    Never raises: whatever goes wrong in the detector becomes the detection's ``error``.
    """
    categories: dict[str, float] = {}
    spans: set[Span] = set()
    scored: dict[str, Detection] = {}
    try:
        for passage in passages:
            found = scored.get(passage.text) or detector.score(passage.text)
            scored[passage.text] = found
            if found.error is not None:
                return Detection(categories, tuple(sorted(spans)), found.error)
            for category, probability in found.categories.items():
                if not 0.0 <= probability <= 1.0:  # also refuses NaN
                    raise InvalidValue(f"{detector.name} score", probability, "0 to 1")
                categories[category] = max(categories.get(category, 0.0), float(probability))
            for span in found.spans:

                def speaks(text: str, category: str = span.category) -> bool:
                    return detector.score(text).categories.get(category, 0.0) >= 0.5

                for start, end, whole in _pieces(passage, span.start, span.end, speaks):
                    spans.add(Span(start, end, span.category, span.detector, whole))
    except Exception as error:  # fail closed, whatever it was
        message = f"{detector.name}: {type(error).__name__}: {error}"
        return Detection(categories, tuple(sorted(spans)), message)
    return Detection(categories, tuple(sorted(spans)))


def _pieces(
    passage: Passage, start: int, end: int, speaks: Callable[[str], bool]
) -> list[tuple[int, int, str]]:
    """Where ``passage.text[start:end]`` stands in the prompt, and `Span.whole`.

    If syntax cuts it, as in ``(naked:1.3) woman``, only the pieces that speak for themselves
    count; if none does, as in ``(na:1.3)ked``, all of them, and together they are one word.
    """
    pieces = list(passage.stretches(start, end))
    if len(pieces) == 1:
        return [(*pieces[0], "")]
    texts = {passage.places[i]: passage.text[i] for i in range(start, end)}
    speaking = [
        (first, last)
        for first, last in pieces
        if speaks("".join(texts[place] for place in range(first, last)))
    ]
    if speaking:
        return [(first, last, "") for first, last in speaking]
    return [(first, last, passage.text[start:end]) for first, last in pieces]


def combine(detections: Iterable[Detection]) -> dict[str, float]:
    """Category to probability over all detections, the likeliest first."""
    misses: dict[str, float] = defaultdict(lambda: 1.0)
    for detection in detections:
        for category, probability in detection.categories.items():
            misses[category] *= 1.0 - probability
    combined = {category: 1.0 - miss for category, miss in misses.items()}
    return dict(sorted(combined.items(), key=lambda item: (-item[1], item[0])))


@dataclass
class AutoPolicy:
    """Picks one context per prompt, or none.

    Args:
        detectors: Who scores; the built-in ones by default. None at all is refused: it would
            let everything through.
        contexts: Where a context may come from. Of several for one category the one that knows
            a neutral word for most of the prompt's words is picked, and of equals the first.
        threshold: Probability from which a category counts, above 0 up to 1.

    Raises:
        InvalidValue: for a threshold out of range, no detectors or no contexts.
    """

    detectors: Sequence[Detector] = field(default_factory=default_detectors)
    contexts: Iterable[SafetyContext] = field(default_factory=lambda: presets().values())
    threshold: float = DEFAULT_THRESHOLD

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold <= 1.0:
            raise InvalidValue("threshold", self.threshold, "above 0, up to 1")
        if not self.detectors:
            raise InvalidValue("detectors", self.detectors, "at least one")
        contexts = tuple(self.contexts)
        if not contexts:
            raise InvalidValue("contexts", contexts, "at least one")
        self._by_category: dict[str, list[SafetyContext]] = defaultdict(list)
        for context in contexts:
            if context.category:
                self._by_category[context.category].append(context)
        self._broad = next((c for c in contexts if c.name == BROAD), None)
        self._on_error = self._broad or contexts[0]

    def judge(self, prompt: str) -> Verdict:
        """Score ``prompt`` and pick its context. Never raises because of a detector."""
        passages = prepare(prompt)
        detections = [score_passages(detector, passages) for detector in self.detectors]
        categories = combine(detections)
        errors = tuple(d.error for d in detections if d.error is not None)
        unsafe = 1.0 if errors else max(categories.values(), default=0.0)
        return Verdict(
            prompt=prompt,
            unsafe=unsafe,
            categories=categories,
            context=self._pick(categories, passages, failed=bool(errors)),
            spans=tuple(sorted(span for d in detections for span in d.spans)),
            errors=errors,
        )

    def _pick(
        self, categories: Mapping[str, float], passages: Sequence[Passage], *, failed: bool
    ) -> SafetyContext | None:
        """The context of the likeliest category that has one, or else the broad one."""
        counting = [name for name, p in categories.items() if p >= self.threshold]
        for name in counting:
            if name in self._by_category:
                return _fitting(self._by_category[name], passages)
        if failed:
            return self._on_error
        return self._broad if counting else None


def _fitting(contexts: Sequence[SafetyContext], passages: Sequence[Passage]) -> SafetyContext:
    """Of contexts for one category, the first of those that know most of what is said."""
    if len(contexts) == 1:
        return contexts[0]

    def known(context: SafetyContext) -> int:
        found = (hit for passage in passages for hit in hits(passage.text, context))
        return len({hit.term.name for hit in found if not hit.negated})

    return max(contexts, key=known)


# ------------------------------------------------------------------ counterpart


def risky_spans(
    prompt: str, context: SafetyContext, detections: Iterable[Detection]
) -> tuple[Span, ...]:
    """The stretches of ``prompt`` that the ``counterpart`` strategy should replace.

    These are the words and phrases the context knows a neutral word for, however they are
    spelled, and what detectors found for the context's category (for a context without a
    category: for any category that is likelier than not). Where two overlap the longer one
    counts, so no two spans of the result overlap; what is said not to be there is left alone.
    """
    found: set[Span] = set()
    for detection in detections:
        wanted = {context.category} if context.category else _likely(detection)
        found |= {span for span in detection.spans if span.category in wanted}

    def is_key(text: str) -> bool:
        return text.strip().lower() in context.neutral

    for passage in prepare(prompt):
        for hit in hits(passage.text, context):
            if not hit.negated:
                for start, end, whole in _pieces(passage, hit.start, hit.end, is_key):
                    found.add(Span(start, end, context.category, "context", whole))
    chosen: list[Span] = []
    for span in sorted(found, key=lambda s: (s.start - s.end, s.detector != "context", s)):
        if all(span.end <= other.start or other.end <= span.start for other in chosen):
            chosen.append(span)
    return tuple(sorted(chosen))


def _likely(detection: Detection) -> set[str]:
    return {name for name, probability in detection.categories.items() if probability >= 0.5}
