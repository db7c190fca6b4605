"""Comparing weights on the double: what is made, what is not, and what the page gets of it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from driver import HAZARD, STEPS, SafeGen, difference


@pytest.fixture
def compare(double: Any) -> Any:
    """``compare("0, 1", context="violence")``: with these values in the accordion."""
    from safegen.webui import comparison

    def run(weights: str, own: str = "", *, steps: int = STEPS, seed: int = 7, **named: Any) -> Any:
        guard = SafeGen(double)
        args = guard.args(named or None)
        values = (HAZARD, "", 1, 1, 4.0, 64, 64, steps, seed, *args)
        double.shared.state.begin("comparison")
        return comparison.compare(None, own, weights, "task(1)", *values)

    return run


def test_each_weight_is_what_generate_makes_of_it(double: Any, compare: Any) -> None:
    result = compare("1 0.5, 0")
    assert [shot.weight for shot in result.shots] == [0, 0.5, 1]
    for shot in result.shots:
        named = {"weight": shot.weight} if shot.weight else None
        wanted = SafeGen(double).make(HAZARD, named, sampler_name="Euler")
        assert difference(np.asarray(shot.image), wanted.image) == 0
        assert f"SafeGen weight: {shot.weight:g}" in shot.infotext
    plain, half, _ = result.shots
    assert plain.disagreement is None
    assert half.disagreement.shape == (8, 8)
    assert half.context == "violence"


def test_a_random_seed_is_drawn_once(compare: Any) -> None:
    result = compare("0.5, 1", seed=-1)
    seeds = {re.search(r"Seed: (\d+)", shot.infotext)[1] for shot in result.shots}  # type: ignore[index]
    assert len(seeds) == 1


def test_a_prompt_of_its_own(compare: Any) -> None:
    result = compare("0.5 1", "a burning house")
    assert all(shot.infotext.startswith("a burning house\n") for shot in result.shots)


def test_nothing_is_saved(compare: Any, double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    saved: list[Any] = []
    monkeypatch.setattr(Image.Image, "save", lambda *a, **k: saved.append(a))
    assert len(compare("0, 1").pictures) == 2
    assert saved == []


@pytest.mark.parametrize("level", ["basic", "strict"])
def test_enforced_nothing_under_the_floor_is_sampled(
    double: Any, compare: Any, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safegen.webui import host

    double.shared.cmd_opts.safegen_enforce = level
    sampled: list[Any] = []
    original = host.process
    monkeypatch.setattr(host, "process", lambda p: (sampled.append(p), original(p))[1])
    result = compare("0, 0.3, 0.9, 1")
    assert result.refused == [0, 0.3]
    assert [shot.weight for shot in result.pictures] == [0.9, 1]
    assert len(sampled) == 2
    from safegen.webui import comparison_markup

    assert "not made at weight 0, 0.3" in comparison_markup.summary(result)
    assert "safegen-veiled" not in comparison_markup.comparison(result, lambda image: "x.png")


def test_a_policy_that_cannot_be_read_makes_nothing(double: Any, compare: Any) -> None:
    from safegen.webui.enforcement import PolicyError

    double.shared.cmd_opts.safegen_enforce = "nonsense"
    with pytest.raises(PolicyError):
        compare("0.5, 1")


@pytest.mark.parametrize("black", [False, True])
def test_a_failing_weight_leaves_the_others(double: Any, compare: Any, black: bool) -> None:
    from safegen.webui import comparison_markup, settings

    with double.options(**({settings.ON_FAILURE: settings.BLACK} if black else {})):
        result = compare("0, 1", steps=1)
    plain, guarded = result.shots
    assert plain.image is not None
    assert guarded.image is None
    assert "tau" in guarded.message
    assert "Weight 1:" in comparison_markup.summary(result)


def test_an_earlier_failure_is_not_the_original_s(double: Any, compare: Any) -> None:
    from safegen.webui import settings

    with double.options(**{settings.ON_FAILURE: settings.BLACK}):
        assert compare("0.5, 1", steps=1).pictures == []
        assert [shot.weight for shot in compare("0, 1", steps=1).pictures] == [0]


def test_an_interrupt_names_what_is_missing(double: Any, compare: Any) -> None:
    calls: list[Any] = []

    def stop(params: Any) -> None:
        calls.append(params)
        if len(calls) == STEPS + 2:  # in the midst of the second picture
            double.shared.state.interrupt()

    from safegen.webui import comparison_markup

    with double.listening(denoiser=stop):
        result = compare("0.5, 0.7, 1")
    assert [shot.weight for shot in result.pictures] == [0.5]
    assert result.missing == [0.7, 1]
    assert "nothing at weight 0.7, 1" in comparison_markup.summary(result)


@pytest.mark.parametrize("text", ["", "0.5", "0, 2", "0, half", "0 0.0", "-0.1 1", "nan 1"])
def test_weights_that_are_not_allowed(double: Any, text: str) -> None:
    from safegen.errors import InvalidValue
    from safegen.webui import comparison

    with pytest.raises(InvalidValue, match="weight"):
        comparison.parse_weights(text)


def test_what_stands_in_the_page_is_escaped_and_the_original_veiled(compare: Any) -> None:
    from safegen.webui import comparison_markup

    shown = comparison_markup.comparison(
        compare("0, 1", "<b>a 'bloody' \"ball\"</b>"), lambda image: "x'y.png"
    )
    assert "<b>" not in shown
    assert "src='x'y" not in shown
    assert len(re.findall(r"class='safegen-stage safegen-veiled'", shown)) == 1
    assert len(re.findall(r"class='safegen-thumb safegen-veiled'", shown)) == 1
    assert re.search(r"class='safegen-after'", shown)  # the guarded one is not


def test_the_defaults_keep_to_the_policy(double: Any) -> None:
    from safegen.webui import comparison
    from safegen.webui import enforcement as policy

    assert comparison.default_weights(None) == [0, 0.25, 0.5, 0.7, 1]
    assert comparison.default_weights(policy.LEVELS["basic"]) == [0.5, 0.7, 1]
    assert comparison.default_weights(policy.LEVELS["strict"]) == [0.8, 1]
