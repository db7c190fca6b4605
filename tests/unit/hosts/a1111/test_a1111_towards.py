"""What a picture is moved towards, by the effective weight of every text."""

from __future__ import annotations

import pytest
import torch

from safegen.hosts.a1111.towards import Guiding, first_step, towards


@pytest.mark.parametrize(
    ("weights", "scale", "parts", "negative"),
    [
        ([1.0], 7.0, [True], False),
        ([1.0], 1.0, [True], False),
        ([1.0], 0.9, [True], True),
        ([1.0], 0.0, [False], True),
        ([1.0], -3.0, [False], True),
        ([0.0], 4.0, [False], True),
        ([-0.5], 4.0, [False], True),
        ([0.05], 4.0, [True], True),
        ([0.25], 4.0, [True], False),
        ([-1.0], -4.0, [True], False),
        ([1.0, -1.0], 4.0, [True, False], True),
        ([0.1] * 10, 1.0, [True] * 10, False),
    ],
)
def test_a_text_counts_by_its_effective_weight(
    weights: list[float], scale: float, parts: list[bool], negative: bool
) -> None:
    found = towards(weights, Guiding(scale, scale))
    assert (list(found.parts), found.negative) == (parts, negative)


def test_the_weights_are_those_of_the_guided_sum() -> None:
    """û + Σ wᵢ·s·(ĉᵢ - û), taken apart numerically."""
    generator = torch.Generator().manual_seed(3)
    for _ in range(200):
        count = int(torch.randint(1, 4, (1,), generator=generator))
        weights = (torch.rand(count, generator=generator) * 3 - 1.5).tolist()
        scale = float(torch.rand(1, generator=generator) * 12 - 4)
        rows = torch.eye(count + 1, dtype=torch.float64)  # the uncond row is the last
        result = rows[-1].clone()
        for row, weight in zip(rows, weights, strict=False):
            result += weight * scale * (row - rows[-1])
        found = towards(weights, Guiding(scale, scale))
        assert [*found.parts, found.negative] == (result > 1e-6).tolist()


def test_without_uncond_rows_the_first_part_stands_in() -> None:
    guiding = Guiding(4.0, 4.0, may_skip=True)
    assert towards([0.0, 0.5], guiding).parts == (True, True)
    assert towards([-1.0, 2.0], guiding).parts == (False, True)
    assert towards([1.0], Guiding(-4.0, -4.0, may_skip=True)).parts == (True,)


def test_the_first_step_of_cfg_plus_plus_is_a_plain_one_of_a_higher_scale() -> None:
    alphas = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0).double()
    cond, uncond, x, scale = 0.3, -0.2, 1.7, 0.4
    for steps, last, following in ((20, 951, 901), (4, 751, 501), (2, 501, 1)):
        here, there = float(alphas[last]), float(alphas[following])

        def step(guided: float, along: float, here: float = here, there: float = there) -> float:
            clean = (x - (1 - here) ** 0.5 * guided) / here**0.5
            return float(there**0.5 * clean + (1 - there) ** 0.5 * along)

        plain = uncond + scale * first_step(alphas, steps) * (cond - uncond)
        wanted = step(uncond + scale * (cond - uncond), uncond)
        assert step(plain, plain) == pytest.approx(wanted)
    assert first_step(alphas, 1) == 1.0
    assert first_step(None, 20) == 1.0
