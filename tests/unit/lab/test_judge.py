"""The judges: what they are trained on, what they answer, and how a threshold is set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from safegen.lab.judge.calibrate import share, threshold_of
from safegen.lab.judge.networks import READ
from safegen.lab.judge.pairs import make_pairs, opacities, roughen
from safegen.lab.judge.place import place
from safegen.lab.judge.reading import (
    NETWORKS,
    WEIGHTS,
    Judge,
    Reading,
    digests,
    load_judge,
    save_network,
)
from safegen.lab.model.data import FIRST, to_tensor
from safegen.lab.world.picture import hazard_pixels, pixels, render
from safegen.lab.world.scene import HAZARDS, NONE, Scene

_HELD_OUT = FIRST["held out"] + 500_000


def test_a_blend_goes_from_no_hazard_to_all_of_it() -> None:
    pairs = make_pairs(_HELD_OUT, 12)
    rows = torch.arange(12)
    none = pairs.blend(rows, torch.zeros(12))
    full = pairs.blend(rows, torch.ones(12))
    half = pairs.blend(rows, torch.full((12,), 0.5))
    assert torch.allclose(half, (none + full) / 2, atol=1e-6)
    differs = (none != full).flatten(1).any(1)
    assert torch.equal(differs, pairs.kind >= 0)


def test_the_truth_grows_with_opacity_and_with_what_is_covered() -> None:
    pairs = make_pairs(_HELD_OUT, 30)
    rows = torch.arange(30)
    present, strength = pairs.truth(rows, torch.full((30,), 0.5))
    faint_present, faint_strength = pairs.truth(rows, torch.full((30,), 0.05))
    hazardous = pairs.kind >= 0
    assert torch.equal(present.amax(1) == 1, hazardous)
    assert (present[~hazardous] == 0).all()
    assert (faint_present.amax(1)[hazardous] < 1).all()
    assert torch.allclose(strength, 10 * faint_strength)
    order = strength.amax(1)[hazardous].argsort()
    assert torch.equal(order, pairs.area[hazardous].argsort())


def test_some_of_what_is_learned_from_is_faint_some_full_some_harmless() -> None:
    drawn = opacities(4000, torch.Generator().manual_seed(0))
    assert drawn.min() == 0
    assert drawn.max() <= 1
    assert 0.1 < (drawn == 0).float().mean() < 0.25
    assert ((drawn > 0) & (drawn < 0.3)).float().mean() > 0.1


def test_roughening_keeps_the_range_and_the_seed() -> None:
    pictures = torch.rand(4, 3, 96, 96) * 2 - 1
    a, b = (roughen(pictures, torch.Generator().manual_seed(s)) for s in (1, 1))
    assert torch.equal(a, b)
    assert a.abs().max() <= 1
    assert not torch.equal(a, pictures)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_judge_written_and_read_back_says_the_same(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    save_network(network, tmp_path / f"{name}.safetensors")
    (tmp_path / "calibration.json").write_text('{"thresholds": {"main": 0.7, "second": 0.7}}')
    judge = load_judge(name, tmp_path)
    assert judge.threshold == 0.7
    pictures = torch.rand(3, 3, 96, 96) * 2 - 1
    for ours, theirs in zip(Judge(network).read(pictures), judge.read(pictures), strict=True):
        assert set(ours.attributes) == set(READ)
        assert ours.score == pytest.approx(theirs.score, abs=0.01)


def test_a_judges_version_is_that_of_its_weights_and_threshold(tmp_path: Path) -> None:
    for name in ("main", "second"):
        save_network(NETWORKS[name](), tmp_path / f"{name}.safetensors")
    before = digests(tmp_path)
    assert set(before) == {"main", "second"}
    assert before["main"] == load_judge("main", tmp_path).version != before["second"]
    (tmp_path / "calibration.json").write_text('{"thresholds": {"main": 0.7, "second": 0.5}}')
    assert digests(tmp_path)["main"] != before["main"]
    assert digests(tmp_path)["second"] == before["second"]
    (tmp_path / "main.safetensors").unlink()
    assert set(digests(tmp_path)) == {"second"}


def test_an_unknown_judge_is_refused() -> None:
    with pytest.raises(ValueError, match="'third'"):
        load_judge("third")


def test_a_reading_counts_the_likeliest_hazard_above_the_threshold() -> None:
    probability = {"bloody": 0.2, "burning": 0.6, "skull": 0.1}
    strict = Reading({}, probability, probability, threshold=0.7)
    lenient = Reading({}, probability, probability, threshold=0.5)
    assert (strict.hazardous, strict.hazard) == (False, NONE)
    assert (lenient.hazardous, lenient.hazard) == (True, "burning")


def test_a_threshold_lets_at_most_its_share_of_harmless_pictures_through() -> None:
    scores = [i / 1000 for i in range(1000)]
    threshold = threshold_of(scores)
    assert sum(score > threshold for score in scores) == 10
    assert threshold_of([0.01] * 600) == 0.5


def test_a_share_has_its_exact_interval() -> None:
    found = share([True] * 5 + [False] * 45)
    assert (found["share"], found["n"]) == (0.1, 50)
    assert found["interval"][0] < 0.1 < found["interval"][1]
    assert share([False] * 600)["interval"] == [0, round(1 - 0.025 ** (1 / 600), 4)]
    assert share([True] * 600)["interval"][1] == 1


committed = pytest.mark.skipif(
    not (WEIGHTS / "main.safetensors").exists(), reason="the judges are not trained yet"
)


@committed
@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_committed_judges_tell_a_faint_hazard_from_none(name: str) -> None:
    pairs = make_pairs(_HELD_OUT, 100)
    rows = torch.nonzero(pairs.kind >= 0).flatten()
    judge = load_judge(name)
    faint = judge.read(pairs.blend(rows, torch.full((len(rows),), 0.3)))
    none = judge.read(pairs.blend(torch.arange(len(pairs)), torch.zeros(len(pairs))))
    assert sum(r.hazardous for r in faint) >= 0.9 * len(rows)
    assert sum(r.hazardous for r in none) <= 0.03 * len(pairs)


@committed
def test_the_committed_judge_grades_what_it_sees() -> None:
    pairs = make_pairs(_HELD_OUT, 60)
    rows = torch.nonzero(pairs.kind >= 0).flatten()
    judge = load_judge()
    means = []
    for opacity in (0.2, 0.5, 1.0):
        readings = judge.read(pairs.blend(rows, torch.full((len(rows),), opacity)))
        kinds = [HAZARDS[k] for k in pairs.kind[rows].tolist()]
        means.append(
            sum(r.strength[k] for r, k in zip(readings, kinds, strict=True)) / len(readings)
        )
    assert means[0] < means[1] < means[2]


@committed
def test_the_place_of_a_hazard_is_where_it_was_drawn() -> None:
    """Against a skull's own pixels: it covers them, and leaves most of the picture alone."""
    scene = Scene("beach", "ball", "blue", "left", hazard="skull", amount=1.0)
    found = place(load_judge(), to_tensor(np.stack([pixels(render(s, 3)) for s in
                                                    (scene, scene.without_hazard())])))  # fmt: skip
    drawn = hazard_pixels(scene, 3)
    assert found[0][drawn].mean() > 0.8
    assert found[0].mean() < 0.4
    assert not found[1].any()
