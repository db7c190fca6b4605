"""Where Watch looks in the UNet of Forge and of reForge."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from safegen.hosts.forge import engine
from safegen.learned.denoiser import read


@pytest.mark.parametrize("whole", [True, False], ids=["Forge", "reForge"])
def test_the_middle_is_read_whether_or_not_the_host_calls_it_as_one(whole: bool) -> None:
    block = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.Conv2d(2, 3, 1))
    unet = SimpleNamespace(middle_block=block)
    model: Any = SimpleNamespace(
        forge_objects=SimpleNamespace(
            unet=SimpleNamespace(model=SimpleNamespace(diffusion_model=unet))
        )
    )
    x = torch.randn(4, 1, 2, 2)

    def evaluate() -> None:
        h = x
        for layer in [block] if whole else block:
            h = layer(h)

    states, _ = read(engine.middle(model), evaluate, 4)
    torch.testing.assert_close(states.flatten(1), block(x).flatten(2).mean(2))
