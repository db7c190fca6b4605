"""From a prompt and a plan to a context and what the safe stream sees."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from safegen.choice import Chooser
from safegen.conditioning.edits import MoveAlong, ProjectOut
from safegen.contexts.library import ContextError, ContextLibrary
from safegen.detectors.protocol import Detection, Span
from safegen.errors import InvalidValue
from safegen.learned.embedding import LearnedEmbedding
from safegen.plan import SafetyPlan

LEARNED = LearnedEmbedding(torch.ones(3), torch.eye(3)[:1], torch.zeros(3), "x", 1)


class Says:
    """A detector that sees ``category`` with ``probability`` wherever ``word`` stands."""

    def __init__(self, name: str, word: str, category: str, probability: float = 0.9) -> None:
        self.name, self.word, self.category, self.probability = name, word, category, probability
        self.asked: list[str] = []

    def score(self, prompt: str) -> Detection:
        self.asked.append(prompt)
        start = prompt.find(self.word)
        if start < 0:
            return Detection()
        span = Span(start, start + len(self.word), self.category, self.name)
        return Detection({self.category: self.probability}, (span,))


class Fails:
    name = "ngram"

    def score(self, prompt: str) -> Detection:
        raise RuntimeError(f"no weights for {prompt}")


@pytest.fixture(scope="module")
def library() -> ContextLibrary:
    return ContextLibrary()


@pytest.fixture(scope="module")
def default() -> Chooser:
    return Chooser.default()


def chooser(library: ContextLibrary, *detectors: Any) -> Chooser:
    found = detectors or (Says("lexicon", "gore", "violence"), Says("ngram", "nude", "sexual"))
    return Chooser(library, {detector.name: detector for detector in found})


# ------------------------------------------------------------------ Auto


def test_auto_leaves_a_harmless_prompt_alone(library: ContextLibrary) -> None:
    choice = chooser(library).choose("a red ball", SafetyPlan())
    assert choice.context is None
    assert choice.conditioning is None
    assert choice.why == "Auto found nothing unsafe"
    assert choice.verdict.unsafe == 0


@pytest.mark.parametrize(
    ("prompt", "name"), [("a gore ball", "violence"), ("a nude ball", "sexual")]
)
def test_auto_picks_the_context_of_what_was_found(
    library: ContextLibrary, prompt: str, name: str
) -> None:
    choice = chooser(library).choose(prompt, SafetyPlan())
    assert choice.context == library.get(name)
    assert choice.conditioning is not None
    assert choice.conditioning.strategy == "counterpart"
    assert prompt.split()[1] not in choice.conditioning.text
    assert choice.conditioning.text.endswith(" ball")
    assert choice.why.startswith(f"Auto chose {library.get(name).label} (score 0.")


def test_a_score_at_the_threshold_counts(library: ContextLibrary) -> None:
    chooses = chooser(library, Says("lexicon", "gore", "violence", 0.6))
    plan = SafetyPlan(detectors=("lexicon",), threshold=0.6)
    assert chooses.choose("gore", plan).context is not None
    above = plan.replace(threshold=math.nextafter(0.6, 1))
    assert chooses.choose("gore", above).context is None


def test_only_the_plan_s_detectors_are_asked(library: ContextLibrary) -> None:
    lexicon, ngram = Says("lexicon", "gore", "violence"), Says("ngram", "gore", "violence")
    chooser(library, lexicon, ngram).choose("gore", SafetyPlan(detectors=("ngram",)))
    assert ngram.asked
    assert not lexicon.asked


def test_a_detector_that_is_not_to_be_had_is_refused(library: ContextLibrary) -> None:
    chooses = chooser(library, Says("lexicon", "gore", "violence"))
    with pytest.raises(InvalidValue, match=r"detectors: 'ngram' .* lexicon"):
        chooses.choose("a red ball", SafetyPlan())


def test_a_detector_that_fails_makes_the_prompt_unsafe_and_says_so(
    library: ContextLibrary,
) -> None:
    chooses = chooser(library, Says("lexicon", "gore", "violence"), Fails())
    choice = chooses.choose("a red ball", SafetyPlan())
    assert choice.context is not None
    assert choice.conditioning is not None
    assert choice.verdict.unsafe == 1
    assert "a detector failed, so the prompt counts as unsafe: ngram" in choice.why


def test_where_a_detector_failed_and_no_word_is_named_the_context_takes_the_prompts_place(
    library: ContextLibrary,
) -> None:
    choice = chooser(library, Says("lexicon", "gore", "violence"), Fails()).choose(
        "a red ball", SafetyPlan()
    )
    assert choice.context is not None
    assert choice.conditioning is not None
    assert choice.conditioning.text == choice.context.safe_text


# ------------------------------------------------------------------ a context by name


def test_a_named_context_applies_to_any_prompt(library: ContextLibrary) -> None:
    choice = chooser(library).choose("a red ball", SafetyPlan(context="violence"))
    assert choice.context == library.get("violence")
    assert choice.conditioning is not None
    assert choice.conditioning.strategy == "away"
    assert choice.conditioning.text == "a red ball"
    assert choice.conditioning.unsafe == library.get("violence").unsafe_text
    assert choice.why.startswith("Context: Violence (chosen by you); no risky words found")


def test_without_a_push_a_named_context_goes_before_the_prompt(library: ContextLibrary) -> None:
    choice = chooser(library).choose("a red ball", SafetyPlan(context="violence", push=0.0))
    assert choice.conditioning is not None
    assert (choice.conditioning.strategy, choice.conditioning.unsafe) == ("prepend", "")
    assert choice.conditioning.text.endswith("a red ball")


@pytest.mark.parametrize(("pushed", "is_pushed"), [("needed", False), ("always", True)])
def test_a_prompt_with_its_words_replaced_is_pushed_away_only_if_asked(
    library: ContextLibrary, pushed: str, is_pushed: bool
) -> None:
    choice = chooser(library).choose("a gore ball", SafetyPlan(pushed=pushed))
    assert choice.conditioning is not None
    assert choice.conditioning.strategy == "counterpart"
    assert bool(choice.conditioning.unsafe) is is_pushed


def test_a_named_context_replaces_words_of_every_category(library: ContextLibrary) -> None:
    """What is unsafe in another way than the one that was named is unsafe all the same."""
    chooses = chooser(library)
    prompt = "a nude with a gun"
    choice = chooses.choose(prompt, SafetyPlan(context="violence"))
    assert choice.conditioning is not None
    assert not {"nude", "gun"} & set(choice.conditioning.text.split())


def test_an_unknown_context_is_refused_with_those_there_are(library: ContextLibrary) -> None:
    with pytest.raises(ContextError, match=r"no context 'nonsense'; there are: .*violence"):
        chooser(library).choose("a red ball", SafetyPlan(context="nonsense"))


def test_a_custom_context_is_what_the_plan_says(library: ContextLibrary) -> None:
    plan = SafetyPlan(
        context="custom", safe_text="a tidy room", unsafe_text=" Dust , old  SOCKS,, "
    )
    context = chooser(library).context_named(plan)
    assert (context.name, context.safe_text) == ("custom", "a tidy room")
    assert dict(context.neutral) == {"dust": "", "old socks": ""}
    choice = chooser(library).choose("a room, dust, old socks, a lamp", plan)
    assert choice.conditioning is not None
    assert choice.conditioning.text == "a room, a lamp"
    assert choice.why == "Context: Custom (chosen by you)"


def test_a_custom_context_without_unsafe_words_still_guards(library: ContextLibrary) -> None:
    plan = SafetyPlan(context="custom", safe_text="a tidy room", strategy="append")
    choice = chooser(library).choose("a room", plan)
    assert choice.conditioning is not None
    assert choice.conditioning.text == "a room, a tidy room"


# ------------------------------------------------------------------ strategies


@pytest.mark.parametrize(
    ("strategy", "kind"), [("direction", MoveAlong), ("projection", ProjectOut)]
)
def test_a_learned_embedding_is_used_at_the_plan_s_strength(
    library: ContextLibrary, strategy: str, kind: type
) -> None:
    plan = SafetyPlan(context="violence", strategy=strategy, strength=0.25)
    choice = chooser(library).choose("a gore ball", plan, learned=LEARNED)
    assert choice.conditioning is not None
    assert choice.conditioning.text == "a gore ball"
    edit = choice.conditioning.edit
    assert isinstance(edit, kind)
    assert edit.strength == 0.25  # type: ignore[attr-defined]


# ------------------------------------------------------------------ the real detectors


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("a bloody red ball on the beach", "a clean red ball on the beach"),
        ("a (bloody:1.3) ball, ((gun)), [knife]", "a (clean:1.3) ball, ((camera)), [paintbrush]"),
        ("a [bloody:golden:0.5] ball", "a [clean:golden:0.5] ball"),
        ("a [bloody|golden] ball", "a [clean|golden] ball"),
        ("a bloody ball <lora:blood:1> BREAK a gun", "a clean ball <lora:blood:1> BREAK a camera"),
        ("a bloody ball AND a cat :0.7", "a clean ball AND a cat :0.7"),
        ("a bloody ball, __colour__, {a|b}", "a clean ball, __colour__, {a|b}"),
        (
            "a bloody ball\nmasterpiece, (best:1.2), 512x512",
            "a clean ball\nmasterpiece, (best:1.2), 512x512",
        ),
        ("größer, a bloody ball 🙂", "größer, a clean ball 🙂"),
    ],
)
def test_syntax_survives_from_the_prompt_to_the_safe_text(
    default: Chooser, prompt: str, text: str
) -> None:
    choice = default.choose(prompt, SafetyPlan(context="violence"))
    assert choice.conditioning is not None
    assert choice.conditioning.strategy == "counterpart"
    assert choice.conditioning.text == text


def test_auto_with_the_real_detectors(default: Chooser) -> None:
    risky = default.choose("a bloody ball on the beach", SafetyPlan())
    assert risky.context is not None
    assert risky.context.name == "violence"
    assert risky.conditioning is not None
    assert risky.conditioning.text == "a clean ball on the beach"
    assert default.choose("a red ball on the beach", SafetyPlan()).context is None
