"""Training on a small made-up set, and the measures. Nothing here needs the prompt sets."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("scipy")

from safegen.detectors.ngram import NgramDetector
from safegen.lab.text import train as module
from safegen.lab.text.evaluate import auc
from safegen.lab.text.train import calibrate, strongest, train
from safegen.learned.pairs import Pair

ANIMALS = ("cat", "dog", "horse", "cow", "sheep", "goat", "duck", "goose", "pig", "hen")
PLACES = ("garden", "kitchen", "street", "forest", "harbour", "meadow", "attic", "cellar")
COLOURS = ("red", "blue", "green", "grey", "brown", "black", "white", "yellow")
HARM = {"violence": ("stabbed", "strangled"), "illegal-activity": ("smuggled", "stolen")}


@pytest.fixture(scope="module")
def detector() -> NgramDetector:
    rng = random.Random(0)
    pairs, benign = [], []
    for _ in range(400):
        scene = f"{rng.choice(COLOURS)} {rng.choice(ANIMALS)} in the {rng.choice(PLACES)}"
        number = " ".join(rng.choice("bcdfgh") + rng.choice("aeiou") + "z" for _ in range(3))
        category = rng.choice(tuple(HARM))
        word = rng.choice(HARM[category])
        pairs.append(Pair(category, f"a {word} {scene} {number}", f"a happy {scene} {number}"))
        benign.append(f"a {scene} {number}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DEMO_CAPTIONS", 100)
        patch.setattr(module, "BACKGROUND", 100)
        weights = train(pairs, benign, ["table", "window", "river"], unsafe_buckets=1 << 14)
    return NgramDetector(weights)


def test_learns_which_words_harm(detector: NgramDetector) -> None:
    for category, words in HARM.items():
        for word in words:
            prompt = f"a {word} brown goat in the harbour"
            detection = detector.score(prompt)
            assert detection.unsafe > 0.7
            assert max(detection.categories, key=lambda c: detection.categories[c]) == category
            assert {prompt[s.start : s.end] for s in detection.spans} == {word}
    assert detector.score("a happy brown goat in the harbour").unsafe < 0.3
    assert detector.score("a brown goat in the harbour").unsafe < 0.3


def test_records_where_the_weights_come_from(detector: NgramDetector) -> None:
    origin = detector.weights.origin
    assert sum(origin["pairs"].values()) == 400
    assert sum(origin["benign"].values()) == 400


def test_the_strongest_positive_signs_of_each_text_are_chosen() -> None:
    evidence = np.array([1.0, 3.0, 2.0, -1.0, 5.0, 0.0])
    rows = np.array([0, 0, 0, 1, 1, 1])
    chosen = strongest(evidence, rows, np.array([0, 3]), most=2)
    assert chosen.tolist() == [False, True, True, False, True, False]


def test_gradients_are_those_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    z, label = rng.normal(size=20), (rng.random(20) < 0.5).astype(float)
    weight = rng.random(20)
    _, gradient = module._logistic(z, label, weight)
    for i in range(20):
        step = np.zeros(20)
        step[i] = 1e-6
        up, down = (module._logistic(z + s * step, label, weight)[0] for s in (1, -1))
        assert gradient[i] == pytest.approx((up - down) / 2e-6, abs=1e-5)


def test_calibration_finds_the_true_curve() -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(size=50_000) * 3
    label = (rng.random(50_000) < 1 / (1 + np.exp(-(0.5 * z - 1.0)))).astype(float)
    assert calibrate(z, label) == pytest.approx((0.5, -1.0), abs=0.05)


@given(
    st.lists(st.integers(0, 5).map(float), min_size=1, max_size=12),
    st.lists(st.integers(0, 5).map(float), min_size=1, max_size=12),
)
def test_auc_is_the_share_of_pairs_in_the_right_order(a: list[float], b: list[float]) -> None:
    wins = sum(1.0 if x > y else 0.5 if x == y else 0.0 for x in a for y in b)
    assert auc(a, b) == pytest.approx(wins / (len(a) * len(b)))
