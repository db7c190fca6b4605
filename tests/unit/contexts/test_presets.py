import json

import pytest

from safegen.contexts.library import PRESETS, from_data, presets, to_data

CATEGORIES = (
    "harassment", "hate", "illegal-activity", "self-harm", "sexual", "shocking", "violence",
)  # fmt: skip
COMBINATIONS = ("classroom", "family-friendly", "news-safe", "workplace")


def test_the_categories_come_first_and_trigger_by_their_own_name() -> None:
    found = presets()
    assert tuple(found) == CATEGORIES + COMBINATIONS
    assert all(found[name].category == name for name in CATEGORIES)
    assert all(found[name].category == "" for name in COMBINATIONS)


@pytest.mark.parametrize("name", CATEGORIES + COMBINATIONS)
def test_texts_are_complete_and_say_what_is_there_rather_than_what_is_not(name: str) -> None:
    context = presets()[name]
    assert context.description.endswith(".")
    assert context.unsafe_text
    assert context.fallback
    assert len(context.neutral) >= 30
    words = context.safe_text.lower().replace(",", " ").split()
    assert not {"no", "not", "without", "never", "nothing"} & set(words)


@pytest.mark.parametrize("name", CATEGORIES + COMBINATIONS)
def test_no_replacement_brings_another_risky_word(name: str) -> None:
    neutral = presets()[name].neutral
    for replacement in neutral.values():
        assert replacement not in neutral or not replacement
        assert not set(replacement.split()) & set(neutral)


@pytest.mark.parametrize("name", CATEGORIES + COMBINATIONS)
def test_files_are_named_after_their_context_and_survive_a_round_trip(name: str) -> None:
    data = json.loads((PRESETS / f"{name}.json").read_text(encoding="utf-8"))
    assert data["name"] == name
    assert to_data(from_data(data)) == data


def test_combinations_know_every_word_of_the_categories_they_are_made_of() -> None:
    found = presets()
    parts = {
        "family-friendly": CATEGORIES,
        "classroom": CATEGORIES,
        "workplace": CATEGORIES,
        "news-safe": ("violence", "shocking", "self-harm", "sexual", "hate"),
    }
    for name, categories in parts.items():
        for category in categories:
            assert set(found[category].neutral) <= set(found[name].neutral)
