"""What watches the embedded model: it is fitted to this very model, and tells its families."""

from __future__ import annotations

from typing import Any

import pytest

from safegen.detectors.model import ModelDetector
from safegen.lab.embedded import watch
from safegen.lab.embedded.families import DEVELOPMENT, prompts

COUNT = 40


@pytest.fixture(scope="module")
def watching(embedded_pipe: Any) -> ModelDetector:
    """That there is one at all says that the file fits the model."""
    return watch.detector(embedded_pipe)


@pytest.mark.parametrize("family", ["full", "short", "unknown", "disguised", "implicit"])
def test_every_way_of_asking_for_a_hazard_is_seen(watching: ModelDetector, family: str) -> None:
    texts = [prompt.text for prompt in prompts(DEVELOPMENT, COUNT, [family])]
    scores = zip(watching.log_odds(texts), texts, strict=True)
    assert [text for z, text in scores if z < 0] == []


@pytest.mark.parametrize("family", ["near", "benign full", "benign short"])
def test_nothing_harmless_is(watching: ModelDetector, family: str) -> None:
    texts = [prompt.text for prompt in prompts(DEVELOPMENT, COUNT, [family])]
    scores = zip(watching.log_odds(texts), texts, strict=True)
    assert [text for z, text in scores if z >= 0] == []
