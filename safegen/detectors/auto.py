"""Auto: which one safety context a prompt calls for, if any.

Every text the model sees of the prompt is scored by every detector; the worst of a prompt's texts
counts. What detectors say is correlated, so it is stacked in log-odds (`combine`), with weights
fitted on prompts held out from training. One context is picked, the likeliest category's: mixing
several hurts. A detector that fails counts as a witness for harm: the context is triggered, and
the user told.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from safegen.contexts.context import SafetyContext
from safegen.contexts.grammar import forms
from safegen.contexts.library import presets
from safegen.contexts.replacements import hits
from safegen.detectors.lexicon import BUILT_IN, Lexicon, LexiconDetector
from safegen.detectors.ngram import NgramDetector
from safegen.detectors.protocol import MODEL, Detection, Detector, Span
from safegen.errors import GuardFailure, InvalidValue, SafeGenError
from safegen.text.encoded import encoded
from safegen.text.readings import affirmed, parted
from safegen.text.syntax import Passage, literal, misread, parts, prepare, without_tags

DEFAULT_THRESHOLD = 0.6
WEIGHTS: Mapping[str, float] = {"ngram": 1.0, "probe": 0.5, "sentences": 0.5}
"""What the log-odds of a detector count for beside others; of one not listed `UNLISTED`."""
UNLISTED = 0.5
LEXICON = "lexicon"
SILENT = -0.75
"""Log-odds that the lexicon adds where it knows no word of a category."""
SPEAKING = -1.15, 0.9
"""What it adds where it knows one: the first, and the second times its own log-odds; but never less
than where it knows none."""
CERTAIN, AT_LEAST = 0.95, 0.9
"""A term that is certain alone makes harm as likely as the second, whatever others say."""
CLIP = 4.6
"""Log-odds that no single detector can go beyond: one in a hundred."""
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
        threshold: Probability from which a category counts.
        no_context: Why there is no context, where there is none: a verdict that lacks both has
            not been reached.
        in_words: Whether the prompt's own words are unsafe, by those detectors that read words.
    """

    prompt: str
    unsafe: float
    categories: Mapping[str, float]
    context: SafetyContext | None
    spans: tuple[Span, ...]
    errors: tuple[str, ...] = ()
    threshold: float = DEFAULT_THRESHOLD
    no_context: str = ""
    in_words: bool = False

    @property
    def names_words(self) -> bool:
        """Whether there must be a word to replace: one that is no name, if any is named."""
        named = any(not _only_a_name(self.prompt, span) for span in self.spans)
        return self.in_words and (not self.spans or named)

    def risky_spans(self) -> tuple[Span, ...]:
        """The stretches to replace for the ``counterpart`` strategy; none without a context.

        Where the model itself says which words bring the harm, these are it: it was asked since
        the others held the words for harmless.
        """
        if self.context is None:
            return ()
        by_model = tuple(span for span in self.spans if span.detector == MODEL)
        found = [Detection(self.categories, by_model or self.spans)]
        return risky_spans(self.prompt, self.context, found, self.threshold)


def default_detectors(user_lexicon: Path | None = None) -> tuple[Detector, ...]:
    """The lexicon, with a user's own word list if there is one, and the n-gram model.

    Without such a list they are the same two for all: they keep nothing of what they read.

    Raises:
        SafeGenError: if the word list or the weights cannot be used.
    """
    if user_lexicon is None:
        return _built_in_detectors()
    lexicon = Lexicon.load(*BUILT_IN, user_lexicon)
    return LexiconDetector(lexicon), NgramDetector(harmless=lexicon.harmless)


@cache
def _built_in_detectors() -> tuple[Detector, ...]:
    return LexiconDetector(), NgramDetector()


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
            if not isinstance(found, Detection):
                raise InvalidValue(f"{detector.name} answer", found, "a Detection")
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
                    spans.add(Span(start, end, span.category, span.detector, whole, span.reading))
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


def _log_odds(probability: float) -> float:
    clipped = min(max(probability, 1e-9), 1 - 1e-9)
    return min(max(math.log(clipped / (1 - clipped)), -CLIP), CLIP)


def combine(detections: Mapping[str, Detection]) -> dict[str, float]:
    """Category to probability over the detections of several detectors, the likeliest first.

    Those that read words are stacked. What the model itself would draw is not a matter of words:
    it counts by itself, if it is more.

    One detector is believed as it is. Several are stacked: the weighted sum of their log-odds,
    where the lexicon, which only knows words, also counts by its silence. What it finds is
    weighed with how harmful the others hold the prompt to be at all, as a word's category is
    surer than a prompt's. A detector that does not know a category is not asked about it.
    """
    reading = {name: found for name, found in detections.items() if name != MODEL}
    names = {category for found in reading.values() for category in found.categories}
    combined = {category: _stacked(category, reading) for category in names}
    if MODEL in detections:
        for category, probability in detections[MODEL].categories.items():
            combined[category] = max(combined.get(category, 0.0), probability)
    return dict(sorted(combined.items(), key=lambda item: (-item[1], item[0])))


def _stacked(category: str, detections: Mapping[str, Detection]) -> float:
    words = detections.get(LEXICON)
    known = 0.0 if words is None else words.categories.get(category, 0.0)
    others = [
        (WEIGHTS.get(name, UNLISTED), found.unsafe if known else found.categories[category])
        for name, found in detections.items()
        if name != LEXICON and category in found.categories
    ]
    if not others:
        return known
    if words is None and len(others) == 1:
        return others[0][1]
    z = sum(weight * _log_odds(p) for weight, p in others)
    if words is not None:
        said = SPEAKING[0] + SPEAKING[1] * _log_odds(known) if known else SILENT
        z += max(said, SILENT)
    stacked = 1.0 / (1.0 + math.exp(-z))
    return max(stacked, AT_LEAST) if known >= CERTAIN else stacked


@dataclass
class AutoPolicy:
    """Picks one context per prompt, or none.

    Args:
        detectors: Who scores; the built-in ones by default. None at all is refused: it would
            let everything through.
        contexts: Where a context may come from. Of several for one category the one that knows
            a neutral word for most of the prompt's words is picked, and of equals the first.
        threshold: Probability from which a category counts, above 0 up to 1.
        watching: Asked where the others find nothing, as it takes rows of the model.

    Raises:
        InvalidValue: for a threshold out of range, no detectors or no contexts.
    """

    detectors: Sequence[Detector] = field(default_factory=default_detectors)
    contexts: Iterable[SafetyContext] = field(default_factory=lambda: presets().values())
    threshold: float = DEFAULT_THRESHOLD
    watching: Detector | None = None

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
        """Score ``prompt`` and pick its context. Never raises because of a detector.

        Raises:
            GuardFailure: Not every part of the prompt was read, which is a fault of this package.
        """
        passages = prepare(prompt)
        if len(passages) < sum(part.weight > 0 and _speaks(part.text) for part in parts(prompt)):
            raise GuardFailure("SafeGen stopped this picture: a part of its prompt was not read")
        whole = (*passages, *misread(prompt))
        shown = (*whole, *(one for passage in whole for one in parted(passage)))
        shown = (*shown, *encoded(shown, literal(prompt)))
        read = (*shown, *filter(None, map(affirmed, shown)))
        detections = {d.name: score_passages(d, read) for d in self.detectors}
        categories = combine(detections)
        in_words = not self._harmless(categories, detections)
        if self.watching is not None and not in_words:
            detections[self.watching.name] = score_passages(self.watching, shown)
            categories = combine(detections)
        errors = [d.error for d in detections.values() if d.error is not None]
        if not all(math.isfinite(p) for p in categories.values()):
            errors.append("combining what the detectors say gave no number")
            categories = {}
        unsafe = 1.0 if errors else max(categories.values(), default=0.0)
        # Said so that a threshold which is no number lets nothing through.
        counting = [name for name, p in categories.items() if not p < self.threshold]
        context = self._pick(counting, passages, failed=bool(errors))
        why = ""
        if context is None:
            if (counting or errors) and self._broad is not None:
                raise SafeGenError("Auto found something unsafe, and no context for it")
            why = f"no context for {counting[0]}" if counting else "harmless"
        return Verdict(
            prompt=prompt,
            unsafe=unsafe,
            categories=categories,
            context=context,
            spans=tuple(sorted(span for d in detections.values() for span in d.spans)),
            errors=tuple(errors),
            threshold=self.threshold,
            no_context=why,
            in_words=in_words,
        )

    def _harmless(
        self, categories: Mapping[str, float], detections: Mapping[str, Detection]
    ) -> bool:
        """Whether no detector failed and nothing counts so far."""
        counting = max(categories.values(), default=0.0) >= self.threshold
        return not counting and all(d.error is None for d in detections.values())

    def _pick(
        self, counting: Sequence[str], passages: Sequence[Passage], *, failed: bool
    ) -> SafetyContext | None:
        """The context of the likeliest category that has one, or else the broad one."""
        for name in counting:
            if name in self._by_category:
                return _fitting(self._by_category[name], passages)
        if failed:
            return self._on_error
        return self._broad if counting else None


def _speaks(text: str) -> bool:
    """Whether an ``AND`` part has a word, in no switch that may leave it out in every step."""
    return any(map(str.isalnum, without_tags(text).partition("[")[0]))


def _fitting(contexts: Sequence[SafetyContext], passages: Sequence[Passage]) -> SafetyContext:
    """Of contexts for one category, the first of those that know most of what is said; where none
    knows anything, one that has all that the first one has and more."""
    if len(contexts) == 1:
        return contexts[0]

    def known(context: SafetyContext) -> int:
        found = (hit for passage in passages for hit in hits(passage.text, context))
        return len({hit.term.name for hit in found})

    counts = [known(context) for context in contexts]
    if not any(counts):
        first = set(contexts[0].neutral)
        return next((c for c in contexts[1:] if first and first < set(c.neutral)), contexts[0])
    return contexts[counts.index(max(counts))]


# ------------------------------------------------------------------ counterpart


def risky_spans(
    prompt: str,
    context: SafetyContext,
    detections: Iterable[Detection],
    threshold: float = 0.5,
) -> tuple[Span, ...]:
    """The stretches of ``prompt`` that the ``counterpart`` strategy should replace.

    These are the words and phrases the context knows a neutral word for, however they are
    spelled, and what detectors found for the context's category and for every other that reaches
    ``threshold``, or for any if none of theirs has a word. Where two overlap the longer one counts,
    so no two spans of the result overlap. Names stay: a word in capitals that no dictionary has is
    no cause by itself.
    """
    found: set[Span] = set()
    for detection in detections:
        wanted = {name for name, p in detection.categories.items() if p >= threshold}
        if wanted:
            named = {span for span in detection.spans if not _only_a_name(prompt, span)}
            found |= {one for one in named if one.category in {*wanted, context.category}} or named

    def is_key(text: str) -> bool:
        return text.strip().lower() in context.neutral

    for passage in prepare(prompt):
        for hit in hits(passage.text, context):
            for start, end, whole in _pieces(passage, hit.start, hit.end, is_key):
                found.add(Span(start, end, context.category, "context", whole, hit.words))
    chosen: list[Span] = []
    for span in sorted(found, key=lambda s: (s.start - s.end, s.detector != "context", s)):
        if not any(other.meets(span.start, span.end) for other in chosen):
            chosen.append(span)
    return tuple(sorted(chosen))


def _only_a_name(prompt: str, span: Span) -> bool:
    """Whether a span is one word that starts with a capital within a clause, and is in no
    dictionary, nor in a word list, nor named by the model."""
    word = prompt[span.start : span.end]
    if span.detector in (LEXICON, MODEL):
        return False
    if not word[:1].isupper() or word.isupper() or not word.isascii() or not word.isalpha():
        return False
    within = prompt[: span.start].rstrip()[-1:]
    return within.isalnum() and not forms(word.lower())
