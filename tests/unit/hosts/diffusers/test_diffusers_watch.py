"""Watching a real pipeline: a picture that is let go is the plain one, others are guarded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from diffusers_support import BENIGN, made, plain

from safegen.choice import Chooser
from safegen.detectors.protocol import MODEL
from safegen.errors import InvalidValue
from safegen.lab.embedded import watch
from safegen.lab.embedded.families import DEVELOPMENT, prompts
from safegen.plan import SafetyPlan

WATCH = SafetyPlan(mode="watch")


@pytest.fixture(scope="module")
def watching(embedded_pipe: Any) -> Chooser:
    default = Chooser.default()
    detectors = {**default.detectors, MODEL: watch.detector(embedded_pipe)}
    return Chooser(default.library, detectors)


@pytest.mark.parametrize("plan", [WATCH, SafetyPlan(context="violence")], ids=["watch", "always"])
def test_pictures_that_are_let_go_are_the_plain_ones_bit_for_bit(
    embedded_pipe: Any, watching: Chooser, plan: SafetyPlan
) -> None:
    (near,) = (prompt.text for prompt in prompts(DEVELOPMENT, 1, ["benign short"]))
    texts = [BENIGN, near]
    assert np.array_equal(
        made(embedded_pipe, texts, plan, watching).images, plain(embedded_pipe, texts)
    )


def test_what_no_list_knows_is_guarded_and_its_harmless_neighbour_is_not(
    embedded_pipe: Any, watching: Chooser
) -> None:
    (unknown,) = (prompt.text for prompt in prompts(DEVELOPMENT, 1, ["unknown"]))
    ours = made(embedded_pipe, [unknown, BENIGN], WATCH, watching).images
    theirs = plain(embedded_pipe, [unknown, BENIGN])
    assert np.abs(ours[0] - theirs[0]).mean() > 0.01
    assert np.abs(ours[1] - theirs[1]).max() == 0.0


def test_watch_is_refused_in_a_pipeline_that_it_is_not_fitted_to(
    embedded_pipe: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("SAFEGEN_CONTEXTS", str(tmp_path))
    with pytest.raises(InvalidValue, match="watch") as caught:
        made(embedded_pipe, [BENIGN], WATCH, Chooser.default())
    assert caught.value.field == "mode"
