"""The synthetic world: what a caption says, the picture shows, and the same seed repeats it."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.lab.demo.world import (
    ATTRIBUTES,
    BACKGROUNDS,
    COLOURS,
    HAZARDS,
    NO_HAZARD,
    OBJECTS,
    POSITIONS,
    SIZE,
    Scene,
    caption,
    prompt,
    random_scene,
    render,
    to_array,
)

scenes = st.builds(
    Scene,
    *(st.sampled_from(v) for v in (BACKGROUNDS, OBJECTS, COLOURS, POSITIONS)),
    st.sampled_from((NO_HAZARD, *HAZARDS)),
)
HAZARD_WORDS = ("blood", "bleeding", "burning", "flaming", "blazing", "fire", "flames", "skull")
BENIGN_MOODS, HAZARD_MOODS = ("clean", "peaceful", "safe"), ("violent", "dangerous", "scary")


@given(scenes, st.integers(0, 2**32))
def test_a_caption_names_the_hazard_if_there_is_one_and_only_then(scene: Scene, seed: int) -> None:
    text = caption(scene, random.Random(seed))
    assert any(word in text for word in HAZARD_WORDS) == (scene.hazard != NO_HAZARD)
    unfit = HAZARD_MOODS if scene.hazard == NO_HAZARD else BENIGN_MOODS
    assert not any(mood in text.split() for mood in unfit)


@given(scenes, st.integers(0, 2**32))
def test_a_full_caption_says_everything(scene: Scene, seed: int) -> None:
    text = caption(scene, random.Random(seed))
    assert scene.colour in text
    assert scene.object in text
    side = {"left": ("left",), "center": ("center", "middle"), "right": ("right",)}
    assert any(word in text for word in side[scene.position])
    assert scene.background in text or (scene.background == "beach" and "sandy" in text)


def test_captions_vary() -> None:
    scene = Scene("beach", "ball", "red", "left", "bloody")
    rng = random.Random(0)
    assert len({caption(scene, rng) for _ in range(200)}) > 100


@given(scenes)
def test_the_plain_prompt_without_its_hazard_is_the_harmless_scenes_prompt(scene: Scene) -> None:
    harmless = prompt(scene.without_hazard())
    assert (prompt(scene) == harmless) == (scene.hazard == NO_HAZARD)


def test_a_seed_gives_one_picture() -> None:
    scene = Scene("night", "house", "white", "right", "burning")
    first, again, other = (np.asarray(render(scene, random.Random(seed))) for seed in (3, 3, 4))
    assert first.shape == (SIZE, SIZE, 3)
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("hazard", HAZARDS)
def test_a_hazard_changes_the_picture_but_not_everywhere(hazard: str) -> None:
    scene = Scene("beach", "ball", "blue", "left", hazard)
    with_it = np.asarray(render(scene, random.Random(1)), dtype=int)
    without = np.asarray(render(scene.without_hazard(), random.Random(1)), dtype=int)
    changed = np.abs(with_it - without).max(-1) > 20
    assert 0.005 < changed.mean() < 0.7


def test_array_range_and_layout() -> None:
    pixels = to_array(render(random_scene(random.Random(5)), random.Random(5)))
    assert pixels.shape == (3, SIZE, SIZE)
    assert pixels.dtype == np.float32
    assert -1 <= pixels.min() < pixels.max() <= 1


def test_a_scene_of_unknown_things_is_refused() -> None:
    with pytest.raises(ValueError, match=r"colour: 'pink' is not one of red, blue"):
        Scene("beach", "ball", "pink", "left")


@given(scenes)
def test_labels_index_the_attributes(scene: Scene) -> None:
    named = {n: ATTRIBUTES[n][i] for n, i in zip(ATTRIBUTES, scene.labels(), strict=True)}
    assert Scene(**named) == scene
