"""The detector in the model itself, on a denoiser of which it is known what it draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from safegen.choice import BY_MODEL, PUSHED_TOO, SHOWS_NOTHING, Chooser
from safegen.contexts.library import ContextLibrary, presets
from safegen.detectors.auto import AutoPolicy
from safegen.detectors.model import SUSPICIOUS, ModelDetector
from safegen.detectors.protocol import MODEL, Detection, Span
from safegen.errors import InvalidValue
from safegen.learned import denoiser
from safegen.learned.probe import Probe, ProbeError, _alarm, read_probe, to_bytes
from safegen.plan import SafetyPlan

ALARM = 2.0
HARM = {"zorb": 5.0, "quax": 5.0, "hint": 1.5}
"""What single words bring; "red rain" brings it only in a row."""


THINGS = ("ball", "cup", "box", "star")


def harm(text: str) -> float:
    words = text.replace(",", " ").split()
    in_a_row = 5.0 if " red rain " in f" {text.replace(',', ' ')} " else 0.0
    return in_a_row + sum(HARM.get(word, 0.0) for word in words)


class Draws:
    """A denoiser: the first number of a text's row is ``harm``."""

    width = 3

    def __init__(self, seen: Callable[[str], float] = harm, identity: str = "this") -> None:
        self.seen, self.identity = seen, identity
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        self.asked += texts
        rows = torch.zeros(len(texts), 1, self.width)
        rows[:, 0, 0] = torch.tensor([self.seen(text) for text in texts])
        return rows, torch.ones(len(texts), 1, dtype=torch.bool)


def probe(alarm: float = ALARM, categories: tuple[str, ...] = ("violence",)) -> Probe:
    weight = torch.zeros(1 + len(categories), 3, dtype=torch.float64)
    weight[1, 0] = 1.0
    weight[2:, 0] = -1.0
    bias = torch.zeros(1 + len(categories), dtype=torch.float64)
    bias[2:] = -1.0
    one = torch.ones(3, dtype=torch.float64)
    return Probe("this", categories, weight, bias, 0 * one, one, 1.0, 0.0, {}, alarm)


def detector(seen: Callable[[str], float] = harm) -> ModelDetector:
    return ModelDetector(probe(), Draws(seen))


def found_in(text: str) -> list[str]:
    spans = detector().score(text).spans
    assert all((span.category, span.detector) == ("violence", MODEL) for span in spans)
    return [text[span.start : span.end] for span in spans]


class Says:
    """Finds ``word``, and nothing else."""

    def __init__(self, word: str, name: str = "lexicon", probability: float = 0.9) -> None:
        self.word, self.name, self.probability = word, name, probability

    def score(self, prompt: str) -> Detection:
        start = prompt.find(self.word)
        if start < 0:
            return Detection()
        span = Span(start, start + len(self.word), "violence", self.name)
        return Detection({"violence": self.probability}, (span,))


class Fails(Says):
    def score(self, prompt: str) -> Detection:
        raise RuntimeError(prompt)


# ------------------------------------------------------------------ scores


@pytest.mark.parametrize("alarm", [-3.0, 0.0, 2.0])
def test_a_text_at_the_alarm_is_suspicious_and_one_below_is_not(alarm: float) -> None:
    at = ModelDetector(probe(alarm), Draws(lambda _: alarm)).score("a ball")
    below = ModelDetector(probe(alarm), Draws(lambda _: alarm - 0.01)).score("a ball")
    assert at.unsafe == pytest.approx(SUSPICIOUS)
    assert below.unsafe < SUSPICIOUS


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=2).map(sorted))
def test_more_harm_never_scores_less(harms: list[float]) -> None:
    low, high = (ModelDetector(probe(), Draws(lambda _, h=h: h)).score("x").unsafe for h in harms)
    assert 0.0 <= low <= high <= 1.0


def test_the_likeliest_category_has_the_whole_score_and_others_their_share() -> None:
    scores = ModelDetector(probe(categories=("hate", "violence")), Draws()).score("zorb").categories
    assert scores["hate"] > SUSPICIOUS
    assert 0.0 < scores["violence"] < 0.01


# ------------------------------------------------------------------ which words


@pytest.mark.parametrize(
    ("text", "stretches"),
    [
        ("a zorb ball", ["zorb"]),
        ("a ball, red rain, a tree", ["red"]),
        ("a zorb cat on a green lawn, a quax dog", ["a zorb", "quax"]),
        ("a zorb quax ball", ["zorb quax"]),
        ("a ball of zorb", ["of zorb"]),
        ("a ball in the zorb", ["in the zorb"]),
        ("a ball with the zorb cat", ["zorb"]),
        ("a ball, with zorb, on a lawn", ["with zorb"]),
        ("a red ball", []),
        ("zorb", []),
    ],
)
def test_the_words_that_bring_it_are_found(text: str, stretches: list[str]) -> None:
    assert found_in(text) == stretches


def test_words_that_only_together_take_it_away_are_found_in_a_row() -> None:
    """Each of them alone is enough to bring it."""

    def seen(text: str) -> float:
        return 5.0 if {"burn", "blaze", "glow"} & set(text.split()) else 0.0

    text = "a cat burn blaze glow here"
    (span,) = detector(seen).score(text).spans
    assert text[span.start : span.end] == "burn blaze glow"


def test_a_part_of_the_words_is_not_enough_where_all_of_them_do_better() -> None:
    """Without *fell* it is just below the alarm, without *when it fell* it is harmless."""

    def seen(text: str) -> float:
        return 0.5 * sum(word in text.split() for word in ("when", "it")) + (
            1.2 if "fell" in text.split() else ALARM - 1.1
        )

    text = "a cup when it fell here"
    (span,) = detector(seen).score(text).spans
    assert text[span.start : span.end] == "when it fell"


def test_phrases_are_left_out_before_words_where_that_asks_for_fewer_rows() -> None:
    words = [f"big {colour} {thing}" for colour in ("red", "green", "blue") for thing in THINGS]
    text = ", ".join([*words, "a zorb cat on a lawn"])
    watching = detector()
    (span,) = watching.score(text).spans
    assert text[span.start : span.end] == "zorb"
    asked = watching.denoiser.asked  # type: ignore[attr-defined]
    assert len(asked) == len(set(asked)) <= len(words) + 6


def test_a_phrase_of_which_no_part_is_enough_goes_as_a_whole() -> None:
    """Each of its words brings it."""

    def seen(text: str) -> float:
        return 5.0 if {"burn", "blaze", "glow"} & set(text.replace(",", " ").split()) else 0.0

    text = "a cat on a lawn, burn blaze glow, a tree"
    (span,) = detector(seen).score(text).spans
    assert text[span.start : span.end] == "burn blaze glow"


def test_where_nothing_is_quite_harmless_what_is_least_harmful_is_left() -> None:
    text = "a cup when it fell here"
    seen = {text: 3.0}
    (span,) = detector(lambda one: seen.get(one, ALARM - 0.2)).score(text).spans
    assert text[span.start : span.end]


def test_where_leaving_words_out_does_not_help_there_are_no_stretches() -> None:
    found = detector(lambda _: 9.0).score("a ball on a lawn")
    assert found.unsafe > SUSPICIOUS
    assert found.spans == ()


def test_a_text_that_shows_nothing_takes_one_row_and_is_remembered() -> None:
    watching = detector()
    assert watching.score("a red ball") is watching.score("a red ball")
    assert watching.denoiser.asked == ["a red ball"]  # type: ignore[attr-defined]


def test_words_that_others_only_suspect_stay_where_the_model_says_which_it_is() -> None:
    auto = AutoPolicy((Says("house", "ngram", 0.4),), watching=detector())
    verdict = auto.judge("a zorb house")
    assert [span.detector for span in verdict.spans] == [MODEL, "ngram"]
    (span,) = verdict.risky_spans()
    assert verdict.prompt[span.start : span.end] == "zorb"


# ------------------------------------------------------------------ refusals


def test_the_probe_of_another_model_is_refused() -> None:
    with pytest.raises(ProbeError, match=r"another model, this; this one is other\. Fit it here"):
        ModelDetector(probe(), Draws(identity="other"))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_model_that_answers_no_number_makes_the_prompt_unsafe(value: float) -> None:
    auto = AutoPolicy((Says("gore"),), watching=detector(lambda _: value))
    verdict = auto.judge("a red ball")
    assert verdict.unsafe == 1.0
    assert verdict.context is not None
    assert MODEL in verdict.errors[0]


# ------------------------------------------------------------------ words first


def test_the_model_is_asked_only_where_words_find_nothing() -> None:
    watching = detector()
    auto = AutoPolicy((Says("gore"),), presets().values(), watching=watching)
    assert auto.judge("a gore ball").context is not None
    assert watching.denoiser.asked == []  # type: ignore[attr-defined]
    assert auto.judge("a zorb ball").context is not None
    assert auto.judge("a red ball").context is None
    assert watching.denoiser.asked[0] == "a zorb ball"  # type: ignore[attr-defined]
    assert watching.denoiser.asked[-1] == "a red ball"  # type: ignore[attr-defined]


def test_nor_where_a_detector_failed() -> None:
    watching = detector()
    assert AutoPolicy((Fails("gore"),), watching=watching).judge("a red ball").unsafe == 1.0
    assert watching.denoiser.asked == []  # type: ignore[attr-defined]


# ------------------------------------------------------------------ modes


def chooser(watching: ModelDetector | None = None, word: str = "gore") -> Chooser:
    known: dict[str, Any] = {"lexicon": Says(word)}
    return Chooser(ContextLibrary(), known if watching is None else {**known, MODEL: watching})


WATCH = SafetyPlan(mode="watch", detectors=("lexicon",))
ALWAYS = SafetyPlan(context="violence", detectors=("lexicon",))


def test_watching_replaces_what_only_the_model_knows() -> None:
    choice = chooser(detector()).choose("a zorb ball", WATCH)
    assert choice.context is not None
    assert choice.context.category == "violence"
    assert choice.conditioning is not None
    assert (choice.conditioning.strategy, choice.conditioning.text) == ("counterpart", "a ball")
    assert choice.why.startswith("The model itself would draw Violence (score 0.")


def test_words_that_were_harmless_before_need_not_be_beyond_doubt_after() -> None:
    """What the model named is gone: the scene stays, and the context's text doesn't take over."""
    known = {"lexicon": Says("ball", probability=0.45), MODEL: detector()}
    choice = Chooser(ContextLibrary(), known).choose("a zorb ball", WATCH)
    assert choice.conditioning is not None
    assert (choice.conditioning.strategy, choice.conditioning.text) == ("counterpart", "a ball")


def test_watching_says_who_found_it_or_that_nobody_did() -> None:
    watching = chooser(detector())
    assert watching.choose("a gore ball", WATCH).why.startswith("Auto chose Violence (score ")
    assert watching.choose("a red ball", WATCH).why == (
        "Nothing unsafe, neither in the words nor in what the model would draw"
    )
    broken = chooser(detector(lambda _: math.nan)).choose("a red ball", WATCH)
    assert broken.why.startswith("Auto chose ")
    assert "a detector failed" in broken.why


def test_auto_does_not_ask_the_model() -> None:
    watching = detector()
    assert chooser(watching).choose("a zorb ball", WATCH.replace(mode="auto")).context is None
    assert watching.denoiser.asked == []  # type: ignore[attr-defined]


def test_watch_is_refused_before_it_is_fitted() -> None:
    with pytest.raises(InvalidValue, match="after fitting what watches to this model") as caught:
        chooser().choose("a red ball", WATCH)
    assert (caught.value.field, caught.value.value) == ("mode", "watch")
    assert "safegen probe fit --watch" in str(caught.value)
    assert caught.value.plain == (
        "When it acts: watch must first be fitted for this model. Choose it where SafeGen is "
        "ticked: a button there does it."
    )


def test_always_lets_a_picture_go_that_shows_nothing_and_guards_it_if_nobody_watches() -> None:
    let_go = chooser(detector()).choose("a red ball", ALWAYS)
    assert (let_go.context, let_go.conditioning, let_go.parts) == (None, None, (None,))
    assert SHOWS_NOTHING in let_go.why
    assert chooser().choose("a red ball", ALWAYS).conditioning is not None


@pytest.mark.parametrize("text", ["a hint ball", "a gun", "a gore ball", "a zorb ball"])
def test_always_guards_whatever_words_or_the_model_say_something_about(text: str) -> None:
    """Also what scores less than what counts elsewhere."""
    assert chooser(detector()).choose(text, ALWAYS).conditioning is not None


def test_always_guards_what_the_model_was_not_fitted_to_tell() -> None:
    plan = ALWAYS.replace(context="sexual")
    assert chooser(detector()).choose("a red ball", plan).conditioning is not None


def test_always_guards_where_the_model_fails() -> None:
    assert chooser(detector(lambda _: math.nan)).choose("a red ball", ALWAYS).context is not None


def test_what_the_model_would_still_draw_is_pushed_away_too() -> None:
    choice = chooser(detector(lambda _: 9.0)).choose("a gore ball", WATCH)
    assert choice.context is not None
    assert choice.conditioning is not None
    assert choice.conditioning.strategy == "counterpart"
    assert "gore" not in choice.conditioning.text
    assert choice.conditioning.unsafe == choice.context.unsafe_text
    assert PUSHED_TOO in choice.why


def test_where_a_rewrite_still_shows_it_the_model_names_the_prompt_s_own_words() -> None:
    """The rewrite by what was found in words loses what tells this model that all is well."""

    def seen(text: str) -> float:
        return -9.0 if "zorb" in text and "gore" not in text else 9.0

    prompt, found = "a zorb lies in gore on a table", "zorb lies in gore"
    choice = chooser(detector(seen), found).choose(prompt, WATCH)
    assert choice.conditioning is not None
    assert choice.conditioning.text == "a zorb lies on a table"
    assert BY_MODEL in choice.why
    auto = chooser(detector(seen), found).choose(prompt, WATCH.replace(mode="auto"))
    assert auto.conditioning is not None
    assert "zorb" not in auto.conditioning.text


def test_without_a_push_the_context_s_text_takes_its_place() -> None:
    choice = chooser(detector(lambda _: 9.0)).choose("a gore ball", WATCH.replace(push=0.0))
    assert choice.context is not None
    assert choice.conditioning is not None
    assert choice.conditioning.text == choice.context.safe_text


# ------------------------------------------------------------------ the alarm

halves = st.lists(st.floats(-50, 50), min_size=1, max_size=30)


@given(halves, halves)
def test_the_alarm_lies_between_the_halves_or_is_0_where_they_overlap(
    safe: list[float], unsafe: list[float]
) -> None:
    z = torch.tensor(unsafe + safe, dtype=torch.float64)
    bad = torch.tensor([True] * len(unsafe) + [False] * len(safe))
    alarm = _alarm(z, bad)
    if max(safe) < min(unsafe):
        # One or two of a half may lie beyond it, of so few.
        assert [min(safe), *sorted(safe)][-2] <= alarm <= [*sorted(unsafe), max(unsafe)][1]
    if min(safe) > max(unsafe):
        assert alarm == 0.0


def test_the_alarm_is_nearer_to_the_harmless_half() -> None:
    z, bad = torch.tensor([8.0, 8.0, -4.0, -4.0]), torch.tensor([True, True, False, False])
    assert -4.0 < _alarm(z, bad) < 2.0


def test_the_alarm_survives_the_file(tmp_path: Path) -> None:
    file = tmp_path / "probe.safetensors"
    file.write_bytes(to_bytes(probe(alarm=1.25)))
    assert read_probe(file).alarm == 1.25


def test_an_alarm_that_is_no_number_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "probe.safetensors"
    file.write_bytes(to_bytes(probe(alarm=math.nan)))
    with pytest.raises(ProbeError):
        read_probe(file)


# ------------------------------------------------------------------ the denoiser


class Middle(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


def test_rows_of_one_call_or_of_several_are_read_in_order() -> None:
    middle, x = Middle(), torch.randn(3, 4, 2, 5)
    whole, mask = denoiser.read(middle, lambda: middle(x), 3)
    assert whole.shape == (3, 1, 4)
    assert mask.all()
    torch.testing.assert_close(whole[:, 0], 2 * x.mean((2, 3)))
    several, _ = denoiser.read(middle, lambda: [middle(row) for row in x.split(1)], 3)
    torch.testing.assert_close(several, whole)


@pytest.mark.parametrize("rows", [0, 2, 4])
def test_another_number_of_rows_is_refused_and_the_middle_left_as_it_was(rows: int) -> None:
    middle = Middle()
    with pytest.raises(ValueError, match=f"{rows} rows for 3 texts"):
        denoiser.read(middle, lambda: rows and middle(torch.zeros(rows, 4, 2, 2)), 3)
    assert not middle._forward_hooks


def test_the_middle_is_left_as_it_was_after_an_error() -> None:
    middle = Middle()
    with pytest.raises(ZeroDivisionError):
        denoiser.read(middle, lambda: 1 // 0, 1)
    assert not middle._forward_hooks


def test_a_model_that_was_changed_is_asked_anew() -> None:
    brings = {"ball": 0.0}
    watching = detector(lambda text: sum(brings.get(word, 0.0) for word in text.split()))
    assert max(watching.score("a ball").categories.values()) < SUSPICIOUS
    brings["ball"] = 5.0
    watching.forget()
    assert max(watching.score("a ball").categories.values()) > SUSPICIOUS


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), None])
def test_a_model_that_gives_no_number_counts_as_harm(broken: Any) -> None:
    def seen(_text: str) -> float:
        if broken is None:
            raise RuntimeError("broken on purpose")
        return float(broken)

    verdict = AutoPolicy(watching=detector(seen)).judge("a blue star in the forest")
    assert verdict.context is not None
    assert verdict.unsafe > SUSPICIOUS
