"""Prompt families: of their kind, apart from one another, and the same every time."""

from __future__ import annotations

import pytest

from safegen.errors import InvalidValue
from safegen.lab.embedded import CONTEXTS, WORDS, families
from safegen.lab.embedded.families import (
    DEVELOPMENT,
    NAMES,
    SPLITS,
    TEST,
    caption_pairs,
    digest,
    prompts,
    without_hazard,
    wording,
)
from safegen.lab.prompts import Prompt
from safegen.lab.world.captions import suggested_hazards
from safegen.lab.world.scene import HAZARDS, Scene
from safegen.lab.world.words import DISGUISES, HELD_OUT, IMPLICIT, UNKNOWN_WORDS

MANY = 200
FOUND = {split: {name: prompts(split, MANY, [name]) for name in NAMES} for split in SPLITS}


def blank(prompt: Prompt) -> str:
    scene = prompt.scene
    colour = scene.get("colour", "red")
    return wording(prompt.text, Scene("beach", scene["object"], colour, "left"))


@pytest.mark.parametrize("name", NAMES)
def test_there_are_enough_and_no_text_twice(name: str) -> None:
    for split in SPLITS:
        found = FOUND[split][name]
        assert len({p.text for p in found}) == MANY
        assert len({p.id for p in found}) == MANY
        assert all(p.family == name for p in found)
        if found[0].kind == "hazard":
            counts = [sum(p.context == h for p in found) for h in HAZARDS]
            assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_the_splits_share_no_wording_and_no_seed(name: str) -> None:
    one, other = FOUND[DEVELOPMENT][name], FOUND[TEST][name]
    assert not {p.text for p in one} & {p.text for p in other}
    assert not {blank(p) for p in one} & {blank(p) for p in other}
    seeds = [p.seed for split in SPLITS for found in FOUND[split].values() for p in found]
    assert len(set(seeds)) == len(seeds)


def test_they_are_the_same_every_time_and_fewer_are_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert prompts(TEST, 7, ["short"]) == FOUND[TEST]["short"][:7]
    assert digest(FOUND[TEST]["short"]) != digest(FOUND[DEVELOPMENT]["short"])
    with pytest.raises(InvalidValue, match="family"):
        prompts(TEST, 1, ["long"])
    with pytest.raises(InvalidValue, match="split"):
        prompts("training", 1)
    monkeypatch.setattr(families, "PATIENCE", 300)
    with pytest.raises(InvalidValue, match="at most"):
        prompts(TEST, 100_000, ["short"])


@pytest.mark.parametrize("name", ["full", "short", "unknown", "disguised"])
def test_hazards_are_named_and_can_be_left_unsaid(name: str) -> None:
    for split in SPLITS:
        for prompt in FOUND[split][name]:
            assert suggested_hazards(prompt.text) == {prompt.context}
            assert not suggested_hazards(prompt.harmless)
            assert prompt.scene["object"] in prompt.harmless
            assert "  " not in prompt.harmless
            assert without_hazard(prompt.harmless) == prompt.harmless
            assert all(
                word not in f" {prompt.harmless} "
                for word in (" an ball", " a an ", " beside an ", " with in ", " ,")
            ), prompt.harmless


def test_implicit_prompts_name_no_hazard_and_harmless_ones_bring_none() -> None:
    phrases = [phrase.text for phrase in IMPLICIT]
    for split in SPLITS:
        for prompt in FOUND[split]["implicit"]:
            assert not suggested_hazards(prompt.text)
            assert any(phrase in prompt.text for phrase in phrases)
            assert not any(phrase in prompt.harmless for phrase in phrases)
        for name in ("near", "benign full", "benign short"):
            for prompt in FOUND[split][name]:
                assert not suggested_hazards(prompt.text)
                assert not any(phrase in prompt.text for phrase in phrases)
                assert prompt.harmless == ""


def test_what_is_held_out_is_in_the_test_split_alone_and_in_no_list() -> None:
    held = [w.text for w in (*IMPLICIT, *UNKNOWN_WORDS, *DISGUISES) if w.split == HELD_OUT]
    for found in FOUND[DEVELOPMENT].values():
        for prompt in found:
            assert not any(f" {word} " in f" {prompt.text.replace(',', '')} " for word in held)
    lists = "".join(file.read_text() for file in (*CONTEXTS.glob("*.json"), WORDS))
    for words in (UNKNOWN_WORDS, DISGUISES, IMPLICIT):
        assert not any(f'"{word.text}"' in lists for word in words)


def test_pairs_differ_in_nothing_but_the_hazard() -> None:
    for hazard in (*HAZARDS, "violence"):
        pairs = caption_pairs(60, hazard)
        assert pairs == caption_pairs(60, hazard)
        for unsafe, safe in pairs:
            assert safe == without_hazard(unsafe) != unsafe
            if hazard in HAZARDS:
                assert suggested_hazards(unsafe) == {hazard}
