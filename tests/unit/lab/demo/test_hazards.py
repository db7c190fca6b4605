"""The world's own contexts: complete, picked rightly by the shipped detectors, and learnable."""

from __future__ import annotations

from typing import Any

import torch

from safegen.conditioning.strategies import condition
from safegen.lab.demo import world
from safegen.lab.demo.hazards import CONTEXTS, world_chooser, world_library
from safegen.lab.demo.pairs import without_hazard, world_pairs
from safegen.lab.demo.world import HAZARDS

LIBRARY = world_library()
CHOOSER = world_chooser()


def test_each_hazard_has_a_context_that_knows_all_its_words() -> None:
    assert {file.stem for file in CONTEXTS.glob("*.json")} == {*HAZARDS, "violence"}
    # In the demo, "violence" is the world's own: its model cannot read the preset's English.
    assert LIBRARY.get("violence").label == "Violence (demo)"
    for hazard in HAZARDS:
        context = LIBRARY.get(hazard)
        assert LIBRARY.is_built_in(hazard)
        words = {*world._HAZARD_MOODS, *world._HAZARD_PHRASES[hazard]}
        words |= set(world._HAZARD_ADJECTIVES.get(hazard, ()))
        assert words <= set(context.neutral)
        assert set(context.neutral.values()) <= {"", *world._BENIGN_MOODS}
        known = set(" ".join(world.vocabulary()).split())
        assert set(context.safe_text.split()) <= known  # the demo's model knows no other


def test_presets_are_there_beside_them() -> None:
    assert {"violence", "family-friendly", *HAZARDS} <= set(LIBRARY.names())


def test_pairs_differ_in_nothing_but_the_hazard() -> None:
    for hazard in (*HAZARDS, None):
        pairs = world_pairs(90, hazard)
        assert pairs == world_pairs(90, hazard)
        assert len(set(pairs)) > 60
        for unsafe, safe in pairs:
            assert safe == without_hazard(safe) != unsafe
            left = iter(unsafe.replace(",", " ,").split())
            assert all(word in left for word in safe.replace(",", " ,").split()), (unsafe, safe)
            assert not world._with_article("x").startswith("an")
    assert all("skull" in unsafe for unsafe, _ in world_pairs(30, "skull"))


def test_learning_from_them_moves_unsafe_captions_towards_safe_ones(embedded_pipe: Any) -> None:
    """Of captions that were not learned from, in the model's own text encoder."""
    from safegen.hosts.diffusers import PipelineEncoder
    from safegen.lab.demo.pairs import learn_world_embedding

    encoder = PipelineEncoder(embedded_pipe)
    for hazard in HAZARDS:
        learned = learn_world_embedding(embedded_pipe, hazard, pairs=96)
        assert learned.encoder == encoder.identity
        held = world_pairs(40, hazard, seed=1)
        unsafe, mask = encoder.encode([u for u, _ in held])
        safe, safe_mask = encoder.encode([s for _, s in held])
        goal = safe[safe_mask].mean(0)
        before = (unsafe[mask].mean(0) - goal).norm()
        for strategy in ("direction", "projection"):
            edit = condition("x", LIBRARY.get(hazard), strategy, learned=learned)
            moved = torch.stack([edit.apply(row) for row in unsafe])
            assert torch.equal(moved[:, 0], unsafe[:, 0])
            assert (moved[mask].mean(0) - goal).norm() < 0.75 * before, (hazard, strategy)
