"""Reconstructions and the sampler's own rows: there and back, and on devices without float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from a1111_support import Denoiser
from torch import Tensor

from safegen.hosts.a1111.noise import NoiseLevels

ALPHAS = torch.linspace(0.999, 0.01, 1000)


class Elsewhere:
    """A tensor on a device that knows no float64."""

    def __init__(self, value: Tensor) -> None:
        self.value = value

    def detach(self) -> Elsewhere:
        return self

    def cpu(self) -> Tensor:
        return self.value

    def double(self) -> Tensor:
        raise TypeError("this device has no float64")


def levels(alphas: Any) -> NoiseLevels:
    denoiser = Denoiser()
    denoiser.alphas = alphas
    return NoiseLevels(denoiser)


def test_a_k_diffusion_sampler_s_rows_are_reconstructions_already() -> None:
    noise = levels(None).at(torch.tensor([7.5, 7.5]))
    x, row = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    assert (noise.sigma, noise.scale, noise.eps) == (7.5, 1.0, False)
    assert noise.exploded(x) is x
    assert noise.to_x0(x, row) is row


@pytest.mark.parametrize("alphas", [ALPHAS, Elsewhere(ALPHAS)])
@pytest.mark.parametrize("step", [0.0, 500.0, 500.4, 999.0])
def test_a_timestep_sampler_s_rows_are_noise(alphas: Any, step: float) -> None:
    noise = levels(alphas).at(torch.tensor([step]))
    low = int(step)
    low_log, high_log = (math.log(float(ALPHAS[min(i, 999)])) for i in (low, low + 1))
    a = math.exp(0.5 * (low_log + (step - low) * (high_log - low_log)))
    assert noise.scale == pytest.approx(a, rel=1e-6)
    x0, eps = torch.randn(2, 4, 3, 3).double(), torch.randn(2, 4, 3, 3).double()
    x = a * x0 + math.sqrt(1 - a**2) * eps
    assert torch.allclose(noise.to_x0(x, eps).double(), x0, atol=1e-4)
    assert torch.allclose(noise.from_x0(x, x0).double(), eps, atol=1e-4)
    assert torch.allclose(noise.exploded(x).double(), x0 + noise.sigma * eps, atol=1e-4)
    assert torch.allclose(noise.imploded(noise.exploded(x)).double(), x, atol=1e-5)
    difference = noise.to_x0(x, eps) - noise.to_x0(x, 2 * eps)
    assert torch.allclose(noise.x0_difference(eps), difference, atol=1e-4)
