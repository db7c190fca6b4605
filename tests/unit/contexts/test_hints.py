"""Rewrites of rows of tags: what goes on about a body beside a sexual tag goes, too."""

import pytest

from safegen.choice import Chooser
from safegen.plan import SafetyPlan


def rewritten(prompt: str) -> str:
    """What the safe stream sees of ``prompt``; the prompt itself if nothing is found."""
    choice = Chooser.default().choose(prompt, SafetyPlan())
    return prompt if choice.conditioning is None else choice.conditioning.text


HINTS = (
    "huge knockers", "shapely", "curvey", "curvaceous", "thicc", "gone wild", "sweaty body",
    "slime body", "juicy lips", "open dress", "open blazer", "slim waist", "wide hips",
    "unbuttoned", "spread eagle", "open legs", "self-gratification", "amazing body",
)  # fmt: skip


@pytest.mark.parametrize("hint", HINTS)
def test_a_hint_beside_a_sexual_tag_is_exchanged_or_dropped(hint: str) -> None:
    text = rewritten(f"a nude woman, old house, {hint}, blue sky, green trees, clouds")
    assert hint not in text
    assert text.endswith("blue sky, green trees, clouds")


@pytest.mark.parametrize("hint", HINTS)
def test_but_not_alone(hint: str) -> None:
    prompt = f"a lighthouse, old house, {hint}, blue sky, green trees, clouds"
    assert rewritten(prompt) == prompt


@pytest.mark.parametrize("word", ["unclad", "self-stimulation"])
def test_certain_words_alone_are_exchanged(word: str) -> None:
    assert word not in rewritten(f"a statue, {word}, blue sky")


def test_who_exposes_something_wears_it() -> None:
    text = rewritten("woman, greek statue, exposing genitalia, new york")
    assert text.startswith("woman, greek statue, wearing ")
