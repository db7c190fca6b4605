"""The push away from the unsafe text: what must hold for any rows, strengths and scales."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plans import blending
from torch import Tensor

from safegen.method.blend import blend
from safegen.method.push import pushed
from safegen.method.session import Session

IMAGES = 3
scales = st.floats(0.25, 20.0)
strengths = st.lists(st.floats(0.0, 4.0), min_size=IMAGES, max_size=IMAGES)
seeds = st.integers(0, 2**31)


def rows(seed: int, count: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn((count, IMAGES, 4, 6, 6), generator=generator, dtype=torch.float64)
    return list(drawn.to(dtype))


def guided(uncond: Tensor, cond: Tensor, scale: float) -> Tensor:
    return uncond + scale * (cond - uncond)


@given(seeds, strengths, scales)
def test_the_edited_cond_row_gives_the_guided_form(
    seed: int, strength: list[float], scale: float
) -> None:
    safe, unsafe, uncond = rows(seed, 3)
    r = torch.tensor(strength, dtype=torch.float64)
    by_row = guided(uncond, pushed(safe, unsafe, uncond, r, scale), scale)
    by_guidance = guided(uncond, safe, scale) - r.reshape(-1, 1, 1, 1) * (unsafe - uncond)
    torch.testing.assert_close(by_row, by_guidance)
    # Independent streams push the guided reconstruction itself.
    torch.testing.assert_close(pushed(guided(uncond, safe, scale), unsafe, uncond, r), by_guidance)


@given(seeds, strengths, scales)
def test_a_strength_of_zero_changes_no_bit_whatever_the_unsafe_row_holds(
    seed: int, strength: list[float], scale: float
) -> None:
    safe, unsafe, uncond = rows(seed, 3, torch.float32)
    strength[1] = 0.0
    unsafe[1] = float("nan")
    result = pushed(safe, unsafe, uncond, torch.tensor(strength), scale)
    assert torch.equal(result[1], safe[1])
    assert torch.isfinite(result).all()


@given(seeds, strengths, scales)
def test_an_image_does_not_depend_on_its_neighbours(
    seed: int, strength: list[float], scale: float
) -> None:
    safe, unsafe, uncond = rows(seed, 3, torch.float32)
    r = torch.tensor(strength)
    together = pushed(safe, unsafe, uncond, r, scale)
    for i in range(IMAGES):
        one = slice(i, i + 1)
        alone = pushed(safe[one], unsafe[one], uncond[one], r[one], scale)
        assert torch.equal(together[one], alone)


@given(seeds, st.floats(0.1, 4.0), scales)
def test_where_the_gate_is_shut_nothing_is_pushed(seed: int, r: float, scale: float) -> None:
    safe, unsafe, uncond = rows(seed, 3)
    gate = torch.zeros((IMAGES, 1, 6, 6))
    gate[..., :3] = 1
    strength = torch.full((IMAGES,), r)
    result = pushed(safe, unsafe, uncond, strength, scale, gate)
    assert torch.equal(result[..., 3:], safe[..., 3:])
    assert torch.equal(result[..., :3], pushed(safe, unsafe, uncond, strength, scale)[..., :3])


@given(seeds)
def test_a_reconstruction_and_an_eps_row_are_pushed_alike(seed: int) -> None:
    latent, safe, unsafe, uncond = rows(seed, 4)
    sigma, r = 3.0, torch.full((IMAGES,), 1.5)
    by_x0 = pushed(*(latent - sigma * row for row in (safe, unsafe, uncond)), r, 7.0)
    torch.testing.assert_close(latent - sigma * pushed(safe, unsafe, uncond, r, 7.0), by_x0)


@given(seeds, st.floats(0.05, 1.0), st.floats(0.25, 4.0), scales)
def test_a_session_blends_towards_the_pushed_row(
    seed: int, weight: float, push: float, scale: float
) -> None:
    original, safe, unsafe, uncond = rows(seed, 4)
    plan = blending(weight=weight, tau=0.0, push=push, region="everywhere")
    session = Session(plan, [True, False, True], [True, True, False])
    call = session.begin(0.0)
    assert call.push
    assert call.pushes == (push, 0.0, 0.0)
    result = session.combine(call, original, safe, unsafe=unsafe, uncond=uncond, scale=scale)
    weights = torch.tensor(call.weights, dtype=torch.float64)
    away = pushed(safe, unsafe, uncond, torch.tensor(call.pushes, dtype=torch.float64), scale)
    assert torch.equal(result, blend(original, away, weights))
    assert torch.equal(result[1], original[1])
    assert torch.equal(result[2], blend(original, safe, weights)[2])


@given(seeds, st.floats(0.05, 1.0))
def test_a_push_of_zero_is_the_blend_without_one(seed: int, weight: float) -> None:
    original, safe = rows(seed, 2)
    plan = blending(weight=weight, tau=0.0, push=0.0)
    plain, told = Session(plan, [True] * IMAGES), Session(plan, [True] * IMAGES, [True] * IMAGES)
    call = told.begin(0.0)
    assert not call.push
    assert torch.equal(
        told.combine(call, original, safe), plain.combine(plain.begin(0.0), original, safe)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strength": torch.tensor([1.0, -1.0, 0.0])}, "strength"),
        ({"strength": torch.tensor([1.0, float("nan"), 0.0])}, "strength"),
        ({"strength": torch.ones(2)}, "strength"),
        ({"scale": 0.0}, "scale"),
        ({"scale": float("inf")}, "scale"),
        ({"unsafe": torch.zeros(IMAGES, 4, 6, 5)}, "unsafe"),
        ({"uncond": torch.zeros(1, 4, 6, 6)}, "uncond"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(change: dict[str, object], message: str) -> None:
    safe, unsafe, uncond = rows(0, 3)
    given_values = {"unsafe": unsafe, "uncond": uncond, "strength": torch.ones(IMAGES), "scale": 7}
    with pytest.raises(ValueError, match=f"^{message}: .* is not allowed; allowed: "):
        pushed(safe, **{**given_values, **change})  # type: ignore[arg-type]
