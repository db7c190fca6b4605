"""Pushed away from the unsafe text, in every path: û + s·(ĉ_safe - û) - r·(ĉ_unsafe - û)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from a1111_support import Denoiser, Host, Params, number_of
from plans import blending
from torch import Tensor

from safegen.conditioning.strategies import SafeConditioning
from safegen.errors import Unsupported
from safegen.hosts.a1111 import PassGuard, check_pass
from safegen.plan import SafetyPlan

R = 2.0
PLAN = blending(enabled=True, weight=1.0, tau=0.0, push=R)
SWAP = SafeConditioning("counterpart", "safe", unsafe="blood")
AWAY_A, AWAY_B = (SafeConditioning("away", text, unsafe="blood", own=True) for text in "ab")

Parts = list[list[SafeConditioning | None]]


def host_of(*, hooked: bool = False, **options: Any) -> Host:
    host = Host(**options)
    host.hooked = hooked
    return host


def guard_of(
    parts: Parts, denoiser: Denoiser, host: Host | None = None, plan: SafetyPlan = PLAN
) -> PassGuard:
    host, p = host or host_of(), SimpleNamespace(cfg_scale=4.0, sampler_name="Euler")
    return PassGuard(host, p, denoiser, plan, parts, hires=False, cache=[None, None])


def row(text: str, latent: float = 0.0) -> float:
    """What the model predicts."""
    return number_of(text) + latent


def values(result: Tensor) -> list[float]:
    return [float(value) for value in result.flatten()]


def plain(scale: float = 4.0) -> list[float]:
    """The guided results without a guard, of latents 0 and 1 for image 0, 2 for image 1."""
    u, v = row("u", 3), row("v", 4)
    return [u + scale * (row("a") + row("b", 1) - 2 * u), v + scale * (row("c", 2) - v)]


def test_where_the_safe_text_is_another_it_costs_two_rows_an_image() -> None:
    denoiser, params = Denoiser(), Params()
    guard = guard_of([[SWAP, None], [SWAP]], denoiser)
    result = values(denoiser.call(guard, params))
    u, v = row("u", 3), row("v", 4)
    pushes = R * (row("blood") - u), R * (row("blood", 2) - v)
    wanted = [
        u + 4 * (row("safe") + row("b", 1) - 2 * u) - pushes[0],
        v + 4 * (row("safe", 2) - v) - pushes[1],
    ]
    assert result == pytest.approx(wanted)
    assert params.calls == [5 + 4]
    assert guard.own_rows == 4


def test_where_the_safe_text_is_the_prompt_s_own_it_costs_one() -> None:
    denoiser, params = Denoiser(), Params()
    guard = guard_of([[AWAY_A, None], [AWAY_A]], denoiser)
    result = values(denoiser.call(guard, params))
    u, v = row("u", 3), row("v", 4)
    unsafe = row("blood"), row("blood", 2)
    wanted = [p - R * (n - b) for p, n, b in zip(plain(), unsafe, (u, v), strict=True)]
    assert result == pytest.approx(wanted)
    assert params.calls == [5 + 2]


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.3, 1.5, 0.5)])
def test_an_image_of_two_pushed_parts_is_pushed_once_by_one_row(weights: Any) -> None:
    denoiser, params = Denoiser(weights=weights), Params()
    params.x[:2] = 0.5  # the parts of an image have one latent
    guard = guard_of([[AWAY_A, AWAY_B], [AWAY_A]], denoiser)
    result = values(denoiser.call(guard, params))
    u, v = row("u", 3), row("v", 4)
    parts = zip(weights, (row("a", 0.5), row("b", 0.5)), strict=False)
    wanted = u + sum(4 * weight * (cond - u) for weight, cond in parts)
    assert result[0] == pytest.approx(wanted - R * (row("blood", 0.5) - u))
    wanted = v + 4 * weights[2] * (row("c", 2) - v) - R * (row("blood", 2) - v)
    assert result[1] == pytest.approx(wanted)
    assert params.calls == [5 + 2]


@pytest.mark.parametrize("scale", [0.5, 1.0, 7.0])
def test_the_push_does_not_depend_on_the_cfg_scale(scale: float) -> None:
    denoiser = Denoiser(scale)
    result = values(denoiser.call(guard_of([[AWAY_A, None], [AWAY_A]], denoiser), Params()))
    moved = [a - b for a, b in zip(result, plain(scale), strict=True)]
    wanted = [-R * (row("blood") - row("u", 3)), -R * (row("blood", 2) - row("v", 4))]
    assert moved == pytest.approx(wanted, abs=0.01)


def test_a_sampler_that_guides_less_is_pushed_less() -> None:
    denoiser = Denoiser(5.0)
    denoiser.cond_scale_miltiplier = 0.1
    result = values(denoiser.call(guard_of([[AWAY_A, None], [AWAY_A]], denoiser), Params()))
    assert result[1] - plain(0.5)[1] == pytest.approx(-0.1 * R * (row("blood", 2) - row("v", 4)))


def test_without_an_uncond_row_of_the_host_s_one_is_evaluated() -> None:
    """The host's result is then the cond row itself, and so is the safe stream's."""
    denoiser, params = Denoiser(weights=(1.0, 0.0, 1.0)), Params()
    guard = guard_of([[AWAY_A, None], [AWAY_A]], denoiser)
    result = values(denoiser.call(guard, params, without_uncond=True))
    u, v = row("u", 3), row("v", 4)
    wanted = [row("a") - R * (row("blood") - u), row("c", 2) - R * (row("blood", 2) - v)]
    assert result == pytest.approx(wanted)
    assert params.calls == [3 + 2, 2]


def test_a_prompt_that_is_its_negative_prompt_is_pushed_by_the_host_s_scale() -> None:
    """Its rows are alike although the host left nothing out."""
    denoiser, params = Denoiser(weights=(1.0, 0.0, 1.0)), Params()
    params.x = torch.zeros_like(params.x)
    params.image_cond = params.x
    params.text_uncond = type(params.text_cond)(
        {key: value[[0, 2]] for key, value in params.text_cond.items()}
    )
    guard = guard_of([[AWAY_A, None], [AWAY_A]], denoiser)
    result = values(denoiser.call(guard, params))
    wanted = [row(text) - R * (row("blood") - row(text)) for text in ("a", "c")]
    assert result == pytest.approx(wanted)
    assert params.calls == [7]


@pytest.mark.parametrize("case", ["longer", "hooks", "a benign image", "a longer prompt"])
def test_rows_that_can_t_travel_are_evaluated_apart(case: str) -> None:
    params = Params(154, 154) if case == "a longer prompt" else Params()
    host, denoiser = host_of(hooked=case == "hooks"), Denoiser()
    host.lengths = {"blood": 154} if case == "longer" else {}
    second = None if case == "a benign image" else SWAP
    guard = guard_of([[SWAP, None], [second]], denoiser, host)
    result = values(denoiser.call(guard, params))
    u, v = row("u", 3), row("v", 4)
    wanted = [
        u + 4 * (row("safe") + row("b", 1) - 2 * u) - R * (row("blood") - u),
        v + 4 * (row("safe", 2) - v) - R * (row("blood", 2) - v),
    ]
    if case == "a benign image":
        wanted[1] = plain()[1]
    assert result == pytest.approx(wanted)
    calls = {
        "longer": [5 + 2, 2],  # safe rows travel, unsafe rows don't
        "hooks": [5, 5, 5],  # twice in the places of the host's own rows
        "a benign image": [5, 2],
        "a longer prompt": [5, 4],
    }
    assert params.calls == calls[case]


def test_only_pushed_images_are_pushed() -> None:
    denoiser, params = Denoiser(), Params()
    unpushed = SafeConditioning("counterpart", "safe")
    result = values(denoiser.call(guard_of([[AWAY_A, None], [unpushed]], denoiser), params))
    v = row("v", 4)
    assert result[1] == pytest.approx(v + 4 * (row("safe", 2) - v))
    assert params.calls == [5 + 2]


def test_between_refreshes_no_row_is_added_and_the_push_stays() -> None:
    denoiser, params = Denoiser(), Params()
    guard = guard_of([[SWAP, None], [SWAP]], denoiser, plan=PLAN.replace(refresh=2))
    first = values(denoiser.call(guard, params))
    denoiser.step, params = 1, Params()
    assert values(denoiser.call(guard, params)) == pytest.approx(first)
    assert params.calls == [5]


@pytest.mark.parametrize("without_uncond", [False, True])
@pytest.mark.parametrize("parts", [[[SWAP, None], [SWAP]], [[AWAY_A, AWAY_B], [SWAP]]])
def test_independent_streams_start_like_shared_ones(parts: Parts, without_uncond: bool) -> None:
    """At their first call they share the latent, so both kinds must agree."""
    found = []
    for streams in ("shared", "independent"):
        denoiser, params = Denoiser(weights=(0.5, 0.8, 1.0)), Params()
        params.x = torch.tensor([0.0, 0, 1, 0, 1]).view(5, 1, 1, 1)  # one latent an image
        guard = guard_of(parts, denoiser, plan=PLAN.replace(streams=streams))
        found.append(values(denoiser.call(guard, params, without_uncond=without_uncond)))
    assert found[0] == pytest.approx(found[1], abs=0.01)


def test_half_precision_rows_are_pushed_in_float32() -> None:
    denoiser, params = Denoiser(), Params()
    for name in ("x", "sigma", "image_cond"):
        setattr(params, name, getattr(params, name).half())
    result = denoiser.call(guard_of([[AWAY_A, None], [AWAY_A]], denoiser), params)
    assert params.x.dtype == torch.float16
    v = row("v", 4)
    wanted = plain()[1] - R * (row("blood", 2) - v)
    assert values(result.float())[1] == pytest.approx(wanted, rel=0.01)


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_nothing_can_be_pushed_where_the_prompt_does_not_count(scale: float) -> None:
    p = SimpleNamespace(cfg_scale=scale)
    with pytest.raises(Unsupported, match="needs a CFG scale above 0"):
        check_pass(Host(), p, None, PLAN)
    check_pass(Host(), p, None, PLAN.replace(push=0.0))
