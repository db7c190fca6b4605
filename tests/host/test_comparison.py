"""Comparing weights: what is made, what is not, and what the page gets of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import standin
from driver import BARE, HAZARD, STEPS, Host, same

from safegen.plan import SafetyPlan

Compare = Callable[..., Any]


@pytest.fixture
def compare(host: Host) -> Compare:
    """``compare("0, 1", context="violence")``: with these values in the accordion."""
    from safegen.webui import comparison

    def run(weights: str, own: str = "", *, steps: int = STEPS, seed: int = 7, **named: Any) -> Any:
        values = {"prompt": HAZARD, "width": 64, "height": 64, "steps": steps, "seed": seed}
        form = {**standin.page.FORM, **values}
        host.shared.state.begin("comparison")
        args = host.args(named or None)
        return comparison.compare(None, own, weights, "task(1)", *form.values(), *args)

    return run


def test_each_weight_is_what_generate_makes_of_it(host: Host, compare: Compare) -> None:
    result = compare("1 0.5, 0")
    assert [shot.weight for shot in result.shots] == [0, 0.5, 1]
    for shot in result.shots:
        named = {"weight": shot.weight} if shot.weight else BARE
        assert same(np.asarray(shot.image), host.make(HAZARD, named))
        written = f"SafeGen weight: {shot.weight:g}" in shot.infotext
        assert written is (shot.weight != SafetyPlan().weight)
    plain, half, _ = result.shots
    assert plain.disagreement is None
    assert half.disagreement.shape == (8, 8)
    assert half.context == "violence"


def test_a_random_seed_is_drawn_once(compare: Compare) -> None:
    result = compare("0.5, 1", seed=-1)
    seeds = {re.search(r"Seed: (\d+)", shot.infotext)[1] for shot in result.shots}  # type: ignore[index]
    assert len(seeds) == 1


def test_a_prompt_of_its_own(compare: Compare) -> None:
    result = compare("0.5 1", "a burning house")
    assert all(shot.infotext.startswith("a burning house\n") for shot in result.shots)


def test_nothing_is_saved(compare: Compare, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    saved: list[Any] = []
    monkeypatch.setattr(Image.Image, "save", lambda *a, **k: saved.append(a))
    assert len(compare("0, 1").pictures) == 2
    assert saved == []


@pytest.mark.parametrize(("level", "allowed"), [("basic", [0.9, 1]), ("strict", [1])])
def test_enforced_nothing_under_the_floor_is_sampled(
    host: Host,
    compare: Compare,
    level: str,
    allowed: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from safegen.webui import making

    host.shared.cmd_opts.safegen_enforce = level
    sampled: list[Any] = []
    original = making.process
    monkeypatch.setattr(making, "process", lambda p: (sampled.append(p), original(p))[1])
    result = compare("0, 0.3, 0.9, 1")
    assert result.refused == [weight for weight in (0, 0.3, 0.9) if weight not in allowed]
    assert [shot.weight for shot in result.pictures] == allowed
    assert len(sampled) == len(allowed)
    from safegen.webui import comparison_markup

    assert "not made: weight 0, 0.3" in comparison_markup.summary(result)
    assert "safegen-veiled" not in comparison_markup.comparison(result, lambda image: "x.png")


def test_a_policy_that_cannot_be_read_makes_nothing(host: Host, compare: Compare) -> None:
    from safegen.webui.enforcement import PolicyError

    host.shared.cmd_opts.safegen_enforce = "nonsense"
    with pytest.raises(PolicyError):
        compare("0.5, 1")


@pytest.mark.parametrize("black", [False, True])
def test_a_failing_weight_leaves_the_others(host: Host, compare: Compare, black: bool) -> None:
    from safegen.webui import comparison_markup, settings

    with host.options(**({settings.ON_FAILURE: settings.BLACK} if black else {})):
        result = compare("0, 1", tau=0.9)
    plain, guarded = result.shots
    assert plain.image is not None
    assert guarded.image is None
    assert "steps nothing would be guarded" in guarded.message
    assert "Weight 1:" in comparison_markup.summary(result)


def test_nothing_is_compared_with_itself(host: Host, compare: Compare) -> None:
    """The chosen picture is never the first one, whatever weight stands in the accordion."""
    from safegen.webui import comparison_markup

    host.shared.cmd_opts.safegen_enforce = "basic"
    result = compare("0, 0.7, 1", weight=0.7)
    assert [shot.weight for shot in result.pictures] == [0.7, 1]
    assert result.chosen is result.pictures[1]
    one = compare("0, 0.7")
    assert "safegen-single" in comparison_markup.comparison(one, lambda image: "x.png")


def test_equal_pictures_are_said_to_be(host: Host, compare: Compare) -> None:
    assert any("All pictures are the same" in note for note in compare("0.5, 1", "a cat").notes)
    assert not any("the same" in note for note in compare("0.5, 1").notes)


def test_an_earlier_failure_is_not_the_original_s(host: Host, compare: Compare) -> None:
    from safegen.webui import settings

    with host.options(**{settings.ON_FAILURE: settings.BLACK}):
        assert compare("0.5, 1", tau=0.9).pictures == []
        assert [shot.weight for shot in compare("0, 1", tau=0.9).pictures] == [0]


def test_an_interrupt_names_what_is_missing(host: Host, compare: Compare) -> None:
    from safegen.webui import comparison_markup

    with host.stopping(STEPS + 1, "denoiser"):  # in the midst of the second picture
        result = compare("0.5, 0.7, 1")
    assert [shot.weight for shot in result.pictures] == [0.5]
    assert result.missing == [0.7, 1]
    assert "nothing at weight 0.7, 1" in comparison_markup.summary(result)


@pytest.mark.parametrize("text", ["", "0.5", "0, 2", "0, half", "0 0.0", "-0.1 1", "nan 1"])
def test_weights_that_are_not_allowed(host: Host, text: str) -> None:
    from safegen.errors import InvalidValue
    from safegen.webui import comparison

    with pytest.raises(InvalidValue, match="weight"):
        comparison.parse_weights(text)


def test_what_stands_in_the_page_is_escaped_and_the_original_veiled(compare: Compare) -> None:
    from safegen.webui import comparison_markup

    shown = comparison_markup.comparison(
        compare("0, 1", "<b>a 'bloody' \"ball\"</b>"), lambda image: "x'y.png"
    )
    assert "<b>" not in shown
    assert "src='x'y" not in shown
    assert len(re.findall(r"class='safegen-stage safegen-veiled'", shown)) == 1
    assert len(re.findall(r"class='safegen-thumb safegen-veiled'", shown)) == 1
    assert re.search(r"class='safegen-after'", shown)  # the guarded one is not


def test_the_defaults_keep_to_the_policy(host: Host) -> None:
    from safegen.webui import comparison
    from safegen.webui import enforcement as policy

    assert comparison.default_weights(None) == [0, 0.25, 0.5, 0.7, 1]
    assert comparison.default_weights(policy.LEVELS["basic"]) == [0.7, 1]
    assert comparison.default_weights(policy.LEVELS["strict"]) == [0, 1]


def test_the_browser_sends_one_value_for_each_input(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradio 4 takes any other number for one without the session's states, and moves them all."""
    import gradio as gr

    from safegen.webui.tab import compare

    monkeypatch.setattr(compare, "_built", [])
    with gr.Blocks(analytics_enabled=False) as page:
        generates = [gr.Textbox(), gr.Textbox(), gr.State(1), gr.State(2), gr.Slider()]
        monkeypatch.setattr(compare, "generate_inputs", lambda: generates)
        compare.build()
    (asking,) = (one for one in page.dependencies if "safegenCompares" in str(one["js"]))
    assert f"slice(3, {len(asking['inputs'])})" in asking["js"]
    assert len(asking["inputs"]) == len(generates) + 2
