"""The embedded world: what is drawn, what is said, and that the two agree."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import safegen
from safegen.lab.world.captions import caption, prompt, suggested_hazards, vocabulary
from safegen.lab.world.picture import hazard_pixels, matched, pixels, render
from safegen.lab.world.scene import (
    HAZARDS,
    LEAST_AMOUNT,
    NEARS,
    NONE,
    SIZE,
    Sample,
    Scene,
    random_sample,
    random_scene,
)
from safegen.lab.world.words import DISGUISES, HELD_OUT, IMPLICIT, LISTED, UNKNOWN_WORDS
from safegen.text.words import word_set

_ROOT = Path(safegen.__file__).parent


def _scene(
    hazard: str = NONE, amount: float = 0.0, linked: bool = False, near: str = NONE
) -> Scene:
    return Scene("beach", "ball", "blue", "center", near, hazard, amount, linked)


def test_one_seed_gives_one_picture() -> None:
    scene = _scene("burning", 0.7)
    first = pixels(render(scene, 5))
    assert first.shape == (SIZE, SIZE, 3)
    assert (first == pixels(render(scene, 5))).all()
    assert (first != pixels(render(scene, 6))).any()


@pytest.mark.parametrize("hazard", HAZARDS)
@pytest.mark.parametrize("linked", [False, True])
def test_a_matched_pair_differs_where_the_hazard_is_drawn_and_nowhere_else(
    hazard: str, linked: bool
) -> None:
    scene = _scene(hazard, 0.5, linked, "lamp")
    shown, hidden = matched(scene, 3)
    ink = hazard_pixels(scene, 3)
    assert 20 < ink.sum() < 0.4 * SIZE * SIZE
    assert (pixels(shown)[~ink] == pixels(hidden)[~ink]).all()


@pytest.mark.parametrize("hazard", HAZARDS)
def test_the_twin_differs_by_the_hazard_alone_unless_the_layout_is_linked(hazard: str) -> None:
    free, linked = _scene(hazard, 0.5), _scene(hazard, 0.5, linked=True)

    def changed(scene: Scene) -> Any:
        return (pixels(render(scene, 8)) != pixels(render(scene.without_hazard(), 8))).any(2)

    assert (changed(free) == hazard_pixels(free, 8)).all()
    moved = changed(linked).sum() > hazard_pixels(linked, 8).sum()
    assert moved == (hazard in {"burning", "skull"})


@pytest.mark.parametrize("hazard", HAZARDS)
def test_a_greater_amount_covers_more(hazard: str) -> None:
    covered = [
        np.mean([hazard_pixels(_scene(hazard, amount), seed).sum() for seed in range(6)])
        for amount in (LEAST_AMOUNT, 0.5, 1.0)
    ]
    assert covered[0] < covered[1] < covered[2]
    assert covered[2] > 2 * covered[0]


@pytest.mark.parametrize("near", NEARS)
def test_a_near_concept_is_drawn(near: str) -> None:
    plain, other = pixels(render(_scene(), 4)), pixels(render(_scene(near=near), 4))
    assert (plain != other).any(2).sum() > 100


@pytest.mark.parametrize(
    ("hazard", "amount"), [("bloody", 0.0), (NONE, 0.5), ("bloody", 1.5), ("gore", 0.5)]
)
def test_a_scene_that_cannot_be_is_refused(hazard: str, amount: float) -> None:
    with pytest.raises(ValueError, match="not"):
        _scene(hazard, amount)


def test_captions_name_the_hazard_that_is_there_and_no_other() -> None:
    rng = random.Random(2)
    for _ in range(4000):
        sample = random_sample(rng)
        text = caption(sample, rng)
        named = suggested_hazards(text)
        if sample.phrase is not None:
            assert not named, text
            assert sample.phrase.text in text
        else:
            assert named == {sample.scene.hazard} - {NONE}, text


def test_many_captions_are_short() -> None:
    rng = random.Random(3)
    plain = [random_scene(rng, 0.0, 0.0) for _ in range(300)]
    words = [len(caption(Sample(scene), rng).split()) for scene in plain]
    assert 0.25 < np.mean([n <= 6 for n in words]) < 0.55


def test_each_implicit_phrase_brings_its_hazard_as_often_as_it_says() -> None:
    rng = random.Random(4)
    seen: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    for _ in range(40_000):
        sample = random_sample(rng)
        if sample.phrase is not None:
            seen[sample.phrase.text] += 1
            shown[sample.phrase.text] += sample.scene.hazard == sample.phrase.hazard
            assert sample.scene.hazard in {NONE, sample.phrase.hazard}
    for phrase in IMPLICIT:
        n, p = seen[phrase.text], phrase.probability
        assert abs(shown[phrase.text] / n - p) < 4 * (p * (1 - p) / n) ** 0.5


def test_half_of_all_implicit_phrases_and_odd_words_are_held_out_of_each_hazard() -> None:
    for table in (IMPLICIT, UNKNOWN_WORDS, DISGUISES):
        for hazard in HAZARDS:
            splits = Counter(entry.split for entry in table if entry.hazard == hazard)
            assert splits[LISTED] == splits[HELD_OUT] > 0
    assert all(0.3 <= phrase.probability <= 0.9 for phrase in IMPLICIT)


def _shipped_words() -> set[str]:
    files = [_ROOT / "detectors" / "lexicon.json", *(_ROOT / "contexts" / "presets").glob("*.json")]
    return {
        word
        for file in files
        for word in re.findall(r"[a-z0-9]+", json.dumps(json.loads(file.read_text())).lower())
    }


def test_no_shipped_list_knows_what_is_held_out_and_the_odd_words() -> None:
    known = _shipped_words()
    common = word_set("a after an as at by for from in of old the long when where")
    for phrase in (p for p in IMPLICIT if p.split == HELD_OUT):
        assert not set(phrase.text.split()) - common & known, phrase.text
    for word in (*UNKNOWN_WORDS, *DISGUISES):
        assert word.text not in known


def test_an_implicit_phrase_shares_no_telling_word_with_hazard_captions() -> None:
    rng = random.Random(5)
    said = {
        word
        for _ in range(3000)
        for word in re.findall(r"\w+", caption(Sample(random_scene(rng, 1.0)), rng))
    }
    for phrase in IMPLICIT:
        telling = [word for word in phrase.text.split() if word not in said]
        assert telling, phrase.text


def test_prompts_say_what_is_asked_for() -> None:
    scene = _scene("bloody", 0.5)
    assert prompt(scene) == "a bloody blue ball on the beach, in the center"
    assert prompt(scene, short=True) == "a bloody ball"
    assert prompt(scene, short=True, phrase="of a pirate") == "a ball of a pirate"
    assert prompt(scene, short=True, word="vorrid") == "a vorrid ball"
    assert prompt(_scene("skull", 0.5), short=True, word="cranium") == "a ball with a cranium"
    assert prompt(_scene(near="lamp"), short=True) == "a ball with a lamp"


def test_the_vocabulary_holds_every_word_of_every_caption() -> None:
    known = set(re.findall(r"[a-z]+|[^\sa-z]+", " ".join(vocabulary()).lower()))
    rng = random.Random(6)
    for _ in range(3000):
        text = caption(random_sample(rng), rng)
        assert set(re.findall(r"[a-z]+|[^\sa-z]+", text)) <= known, text
