"""The embedded world's own contexts: they know its words, and can be learned from its pairs."""

from __future__ import annotations

from typing import Any

import torch

from safegen.conditioning.strategies import condition
from safegen.lab import embedded
from safegen.lab.embedded.families import caption_pairs
from safegen.lab.world.captions import vocabulary
from safegen.lab.world.scene import HAZARDS
from safegen.lab.world.words import BENIGN_MOODS, HAZARD_ADJECTIVES, HAZARD_MOODS, HAZARD_PHRASES

LIBRARY = embedded.library()


def test_each_hazard_has_a_context_that_knows_all_its_usual_words() -> None:
    assert {file.stem for file in embedded.CONTEXTS.glob("*.json")} == {*HAZARDS, "violence"}
    # This model cannot read the preset's English, so "violence" is written in its own words.
    assert LIBRARY.get("violence").label == "Violence (demo)"
    known = set(" ".join(vocabulary()).split())
    for hazard in HAZARDS:
        context = LIBRARY.get(hazard)
        assert LIBRARY.is_built_in(hazard)
        usual = {*HAZARD_PHRASES[hazard], *HAZARD_ADJECTIVES.get(hazard, ())}
        assert usual | set(HAZARD_MOODS) <= set(context.neutral)
        assert set(context.neutral.values()) <= {"", *BENIGN_MOODS}
        assert set(context.safe_text.split()) <= known
    assert "family-friendly" in LIBRARY.names()


def test_what_is_learned_from_pairs_moves_other_captions_towards_their_safe_halves(
    embedded_pipe: Any,
) -> None:
    from safegen.hosts.diffusers import PipelineEncoder

    encoder = PipelineEncoder(embedded_pipe)
    for hazard in HAZARDS:
        learned = embedded.learned(embedded_pipe, LIBRARY.get(hazard))
        assert learned.encoder == encoder.identity
        held = caption_pairs(40, hazard, seed=1)
        unsafe, mask = encoder.encode([u for u, _ in held])
        safe, safe_mask = encoder.encode([s for _, s in held])
        goal = safe[safe_mask].mean(0)
        before = (unsafe[mask].mean(0) - goal).norm()
        for strategy in ("direction", "projection"):
            edit = condition("x", LIBRARY.get(hazard), strategy, learned=learned)
            moved = torch.stack([edit.apply(row) for row in unsafe])
            assert torch.equal(moved[:, 0], unsafe[:, 0])
            assert (moved[mask].mean(0) - goal).norm() < 0.75 * before, (hazard, strategy)
