"""The host's guidance over AND parts, and rows that it turns into a wanted result."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from safegen.hosts.a1111.guidance import Guidance
from safegen.hosts.a1111.independent import row_for
from safegen.hosts.a1111.rows import RowLayout

LAYOUT = RowLayout((2, 1))


def denoiser(scale: float = 4.0, multiplier: float = 0.5) -> Any:
    parts = [[SimpleNamespace(weight=w) for w in of] for of in ([1.0, 0.5], [2.0])]
    arguments = {"cond_scale": scale, "cond": SimpleNamespace(batch=parts)}
    sampler = SimpleNamespace(sampler_extra_args=arguments)
    return SimpleNamespace(sampler=sampler, cond_scale_miltiplier=multiplier)


def test_it_is_the_host_s_own() -> None:
    guidance = Guidance.of(denoiser(), LAYOUT, without_uncond=False)
    assert (guidance.scale, guidance.weights) == (2.0, (1.0, 0.5, 2.0))
    cond, uncond = torch.randn(3, 1, 2, 2), torch.randn(2, 1, 2, 2)
    wanted = torch.stack(
        [
            uncond[0] + 2 * (cond[0] - uncond[0]) + (cond[1] - uncond[0]),
            uncond[1] + 4 * (cond[2] - uncond[1]),
        ]
    )
    assert torch.allclose(guidance.guided(cond, uncond), wanted, atol=1e-6)
    assert [guidance.total(0), guidance.total(1)] == [3.0, 4.0]
    assert torch.allclose(guidance.summed(cond)[0], cond[0] + 0.5 * cond[1])


def test_without_uncond_rows_the_host_guides_with_1_from_the_first_part_s_row() -> None:
    guidance = Guidance.of(denoiser(), LAYOUT, without_uncond=True)
    assert (guidance.cfg, guidance.scale) == (1.0, 1.0)
    cond = torch.randn(3, 1, 2, 2)
    guided = guidance.guided(cond, cond[LAYOUT.first])
    assert torch.allclose(guided, guidance.summed(cond), atol=1e-6)
    assert torch.allclose(guided[0], cond[0] + 0.5 * (cond[1] - cond[0]), atol=1e-6)


@pytest.mark.parametrize("pushed", [(True, True, True), (True, False, True), (False, True, False)])
@pytest.mark.parametrize("without_uncond", [False, True])
def test_an_image_is_pushed_once_whatever_its_parts(
    pushed: tuple[bool, ...], without_uncond: bool
) -> None:
    """An edit of -1 / scale in each pushed part moves the result by -1, before the factor."""
    guidance = Guidance.of(denoiser(multiplier=1.0), LAYOUT, without_uncond=without_uncond)
    cond = torch.zeros(3, 1, 1, 1)
    for row, scale in enumerate(guidance.push_scales(pushed).tolist()):
        cond[row] = -pushed[row] / scale
    uncond = cond[LAYOUT.first] if without_uncond else torch.zeros(2, 1, 1, 1)
    moved = guidance.guided(cond, uncond).flatten().tolist()
    assert moved == pytest.approx([-1.0, -1.0 if pushed[2] else 0.0])


def test_a_row_is_found_that_is_guided_to_the_wanted_result() -> None:
    guidance = Guidance.of(denoiser(), LAYOUT, without_uncond=False)
    wanted, uncond = torch.randn(2, 1, 2, 2), torch.randn(2, 1, 2, 2)
    rows = [row_for(wanted[i], uncond[i], guidance.total(i)) for i in LAYOUT.image_of]
    assert torch.allclose(guidance.guided(torch.stack(rows), uncond), wanted, atol=1e-5)
    with pytest.raises(ValueError, match="must not be 0"):
        row_for(wanted[0], uncond[0], 0.0)
