"""What the safe stream sees, strategy by strategy, and what a rewrite leaves alone."""

from __future__ import annotations

import re

import pytest
import torch

from safegen.conditioning.edits import MoveAlong, ProjectOut
from safegen.conditioning.rewriting import merge_spans, rewrite
from safegen.conditioning.strategies import (
    NEVER,
    SafeConditioning,
    condition,
    condition_parts,
)
from safegen.contexts.context import SafetyContext
from safegen.detectors.protocol import Span
from safegen.errors import InvalidValue
from safegen.learned.embedding import LearnedEmbedding
from safegen.plan import NEEDED, PUSH_ALL, STRATEGIES

NEUTRAL = {
    "bloody": "clean",
    "blood": "water",
    "knife": "spoon",
    "axe": "umbrella",
    "gun": "hour",
    "horn": "unicorn",
    "angry mob": "cheerful crowd",
    "pool of blood": "pool, blue and clear",
    "gore": "",
}
RISKY = re.compile(
    r"(?<![:_\w])(?:angry\s+mob|pool of blood|bloody|blood|knife|axe|gun|horn|gore|zzz)\b", re.I
)
"""Not after ``:`` or ``_``, so that names of LoRAs and wildcards are no words."""


def context(**changes: object) -> SafetyContext:
    texts = {
        "name": "violence",
        "label": "Violence",
        "category": "violence",
        "description": "",
        "safe_text": "a calm scene",
        "unsafe_text": "blood",
        "neutral": NEUTRAL,
    }
    return SafetyContext(**{**texts, **changes})  # type: ignore[arg-type]


def spans_in(prompt: str) -> list[Span]:
    return [Span(*match.span(), "violence", "test") for match in RISKY.finditer(prompt)]


def counterpart(prompt: str, **changes: object) -> SafeConditioning:
    return condition(prompt, context(**changes), "counterpart", spans=spans_in(prompt))


LEARNED = LearnedEmbedding(
    direction=torch.tensor([1.0, 0.0, -2.0]),
    basis=torch.tensor([[0.0, 1.0, 0.0]]),
    center=torch.tensor([0.0, 0.5, 0.0]),
    encoder="x",
    pairs=3,
)


# ------------------------------------------------------------------ strategies


@pytest.mark.parametrize(
    ("strategy", "text"),
    [
        ("counterpart", "a clean ball"),
        ("prepend", "a calm scene, a bloody ball"),
        ("append", "a bloody ball, a calm scene"),
        ("context", "a calm scene"),
        ("direction", "a bloody ball"),
        ("projection", "a bloody ball"),
        ("away", "a bloody ball"),
    ],
)
@pytest.mark.parametrize("push", [NEVER, NEEDED, PUSH_ALL])
def test_each_strategy_has_its_text(strategy: str, text: str, push: str) -> None:
    if strategy == "away" and push == NEVER:
        return
    prompt = "a bloody ball"
    spans = spans_in(prompt)
    found = condition(prompt, context(), strategy, spans=spans, learned=LEARNED, push=push)
    assert (found.strategy, found.text, found.note) == (strategy, text, "")
    assert (found.edit is not None) is (strategy in ("direction", "projection"))
    is_pushed = push == PUSH_ALL or (push == NEEDED and strategy == "away")
    assert found.unsafe == (context().unsafe_text if is_pushed else "")


def test_every_strategy_of_the_plan_is_known() -> None:
    for strategy in STRATEGIES:
        assert condition("a ball", context(), strategy, learned=LEARNED, push=NEEDED).text


def test_where_no_word_is_risky_the_prompt_itself_is_pushed_away() -> None:
    found = condition("a ball", context(), "counterpart", push=NEEDED)
    assert (found.strategy, found.text) == ("away", "a ball")
    assert found.unsafe == context().unsafe_text
    assert "no risky words found" in found.note


def test_away_without_a_push_or_an_unsafe_text_is_refused() -> None:
    with pytest.raises(InvalidValue, match="strategy: 'away' is not allowed"):
        condition("a ball", context(), "away")
    with pytest.raises(InvalidValue, match="unsafe text"):
        condition("a ball", context(unsafe_text=" "), "away", push=NEEDED)


def test_each_part_is_pushed_that_the_model_moves_towards() -> None:
    found = condition_parts("a ball AND a cup AND gore:-1", context(), "away", push=NEEDED)
    assert [bool(part.unsafe) for part in found] == [True, True, False]


@pytest.mark.parametrize("strategy", ["", "Counterpart", "swap"])
def test_an_unknown_strategy_is_refused(strategy: str) -> None:
    with pytest.raises(InvalidValue, match=r"strategy: .* counterpart, prepend, append") as caught:
        condition("a ball", context(), strategy)
    assert caught.value.value == strategy


def test_direction_moves_by_the_strength() -> None:
    found = condition("a ball", context(), "direction", learned=LEARNED, strength=1.5)
    assert isinstance(found.edit, MoveAlong)
    assert found.apply(torch.zeros(1, 2, 3)).tolist() == [[[1.5, 0.0, -3.0]] * 2]


def test_projection_takes_away_the_strength_s_share() -> None:
    found = condition("a ball", context(), "projection", learned=LEARNED, strength=0.5)
    assert isinstance(found.edit, ProjectOut)
    assert found.apply(torch.ones(1, 1, 3)).tolist() == [[[1.0, 0.75, 1.0]]]


@pytest.mark.parametrize("strategy", ["direction", "projection"])
def test_without_a_learned_embedding_they_are_refused_with_a_way_out(strategy: str) -> None:
    with pytest.raises(InvalidValue, match="learned for context 'violence'") as caught:
        condition("a ball", context(), strategy)
    assert (caught.value.field, caught.value.value) == ("strategy", strategy)
    assert "learn one, or choose counterpart" in caught.value.allowed


def test_without_an_edit_an_embedding_is_the_very_same() -> None:
    embedding = torch.zeros(1, 2, 3)
    assert SafeConditioning("context", "calm").apply(embedding) is embedding


@pytest.mark.parametrize(
    ("prompt", "prepended", "appended"),
    [
        ("", "a calm scene", "a calm scene"),
        (" \n", "a calm scene", "a calm scene"),
        (", ", "a calm scene", "a calm scene"),
        ("a ball, ", "a calm scene, a ball", "a ball, a calm scene"),
        ("  a ball", "a calm scene, a ball", "a ball, a calm scene"),
        ("a ball <lora:x:1>", "a calm scene, a ball <lora:x:1>", "a ball <lora:x:1>, a calm scene"),
    ],
)
def test_texts_are_joined_by_one_comma(prompt: str, prepended: str, appended: str) -> None:
    assert condition(prompt, context(), "prepend").text.strip() == prepended
    assert condition(prompt, context(), "append").text.strip() == appended


def test_a_counterpart_without_risky_words_says_that_the_context_goes_first() -> None:
    found = condition("a ball", context(), "counterpart")
    assert (found.strategy, found.text) == ("prepend", "a calm scene, a ball")
    assert "no risky words found" in found.note


@pytest.mark.parametrize(
    "prompt",
    [
        "gore",
        " gore, gore",
        "(gore:1.3)",
        "[gore|gore]",
        "gore!",
        "gore <lora:x:1>",
        "gore BREAK gore",
    ],
)
def test_a_counterpart_of_nothing_but_dropped_words_says_that_the_context_speaks(
    prompt: str,
) -> None:
    found = counterpart(prompt)
    assert (found.strategy, found.text.strip()) == ("context", "a calm scene")
    assert "every word of the prompt is risky" in found.note


# ------------------------------------------------------------------ syntax survives


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("(bloody:1.3) ball", "(clean:1.3) ball"),
        ("((bloody)) [knife], a ((ball))", "((clean)) [spoon], a ((ball))"),
        ("(a bloody ball:0.8), (b:1.1)", "(a clean ball:0.8), (b:1.1)"),
        ("the [bloody:golden:0.5] ball", "the [clean:golden:0.5] ball"),
        ("the [ball: bloody knife:12]", "the [ball: clean spoon:12]"),
        ("[knife|fork] on a table", "[spoon|fork] on a table"),
        ("{knife|fork}, __blood__, bloody", "{spoon|fork}, __blood__, clean"),
        (
            "<lora:blood:1> bloody ball <hypernet:gore:0.5>",
            "<lora:blood:1> clean ball <hypernet:gore:0.5>",
        ),
        ("a bloody ball BREAK one knife", "a clean ball BREAK one spoon"),
        ("a bloody ball AND one knife :1.2", "a clean ball AND one spoon :1.2"),
        ("bloody AND blood", "clean AND water"),
        (r"bloody \(knife\), \\", r"clean \(spoon\), \\"),
        ("a  bloody   ball ,,  b\n\tc ", "a  clean   ball ,,  b\n\tc "),
        (
            "bloody, masterpiece, (best:1.2), style of X, 8k",
            "clean, masterpiece, (best:1.2), style of X, 8k",
        ),
        ("größer 日本 bloody 🙂 blood", "größer 日本 clean 🙂 water"),
        ("((bloody ball", "((clean ball"),
        ("bloody:1.3) ]", "clean:1.3) ]"),
        ("BLOODY Knife", "clean spoon"),
        ("bloodcolour, blood", "bloodcolour, water"),
    ],
)
def test_a_counterpart_changes_risky_words_alone(prompt: str, text: str) -> None:
    found = counterpart(prompt)
    assert found.strategy == "counterpart"
    assert found.text == text
    assert found.note == ""


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("an angry  mob outside", "a cheerful crowd outside"),
        ("Angry\nMob", "Cheerful crowd"),
        ("in a pool of blood, at noon", "in a pool, blue and clear, at noon"),
        ("(pool of blood:1.2)", "(pool, blue and clear:1.2)"),
    ],
)
def test_phrases_are_replaced_as_a_whole(prompt: str, text: str) -> None:
    assert counterpart(prompt).text == text


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("a knife", "a spoon"),
        ("an axe", "an umbrella"),
        ("a bloody axe", "a clean umbrella"),
        ("a horn", "a unicorn"),
        ("a gun", "an hour"),
        ("A gun", "An hour"),
        ("a (gun:1.2)", "an (hour:1.2)"),
        ("a [gun|knife]", "an [hour|spoon]"),
        ("banana gun, via gun", "banana hour, via hour"),
        ("a gore orange", "an orange"),
        ("an gore ball", "a ball"),
        ("a, gun", "a, hour"),
        ("plan a:\n gun", "plan a:\n hour"),
    ],
)
def test_the_article_before_a_span_fits(prompt: str, text: str) -> None:
    assert counterpart(prompt).text == text


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("a room, gore, a chair", "a room, a chair"),
        ("gore, a chair", "a chair"),
        ("a room, gore", "a room"),
        ("a gore room", "a room"),
        ("a room gore, a chair", "a room, a chair"),
        ("a room of gore.", "a room of."),
        ("gore\nroom", "\nroom"),
        ("a room\ngore\na chair", "a room\n\na chair"),
        ("a room, (gore), a chair", "a room, a chair"),
        ("a room, (gore:1.2), a chair", "a room, a chair"),
        ("(gore, a chair)", "(a chair)"),
        ("(a room, gore)", "(a room)"),
        ("[gore|fork]", "[|fork]"),
        ("[gore, x:y:0.5] z", "[x:y:0.5] z"),
        ("a room, gore gore, a chair", "a room, a chair"),
        ("gore <lora:x:1>, a chair", "<lora:x:1>, a chair"),
    ],
)
def test_a_dropped_word_takes_its_own_blank_and_comma_along_and_no_more(
    prompt: str, text: str
) -> None:
    assert counterpart(prompt).text == text


def test_what_a_context_does_not_know_has_its_fallback() -> None:
    assert counterpart("a zzz ball", fallback="plain").text == "a plain ball"
    assert counterpart("a zzz ball").text == "a ball"


# ------------------------------------------------------------------ spans


def test_overlapping_spans_are_one_and_touching_ones_two() -> None:
    spans = [Span(*pair, "c", "d") for pair in ((5, 9), (0, 3), (3, 5), (6, 12), (7, 8), (20, 21))]
    assert merge_spans(spans) == [(0, 3), (3, 5), (5, 12), (20, 21)]
    assert merge_spans([]) == []


def test_two_detectors_on_one_word_replace_it_once() -> None:
    spans = [Span(2, 8, "violence", "lexicon"), Span(2, 8, "violence", "ngram")]
    assert rewrite("a bloody ball", spans, context()) == "a clean ball"


def test_the_order_of_spans_does_not_matter() -> None:
    prompt = "bloody knife, blood"
    spans = spans_in(prompt)
    assert rewrite(prompt, spans[::-1], context()) == "clean spoon, water"


@pytest.mark.parametrize("pair", [(-1, 3), (0, 99), (5, 5), (6, 2), (13, 14)])
def test_a_span_outside_the_prompt_is_refused(pair: tuple[int, int]) -> None:
    spans = [Span(*pair, "violence", "test")]
    for call in (
        lambda: rewrite("a bloody ball", spans, context()),
        lambda: condition("a bloody ball", context(), "counterpart", spans=spans),
    ):
        with pytest.raises(InvalidValue, match="a stretch within 0 to 13") as caught:
            call()
        assert caught.value.value == pair


@pytest.mark.parametrize("strategy", ["direction", "projection"])
def test_an_edit_names_a_text_for_the_pooled_vector(strategy: str) -> None:
    prompt = "a bloody ball AND a gun"
    found = condition_parts(
        prompt, context(), strategy, spans=spans_in(prompt), learned=LEARNED, strength=1.0
    )
    assert [one.text for one in found] == ["a bloody ball", "a gun"]
    assert [one.pooled for one in found] == ["a clean ball", "an hour"]
    silent = condition_parts("a ball", context(), strategy, learned=LEARNED)
    assert silent[0].pooled == "a calm scene, a ball"
    assert condition("a ball", context(), "prepend").pooled == ""
