"""The dial on the text: the safe stream sees a text between the prompt and the safe one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from a1111_support import Denoiser, Host, Params, number_of
from plans import blending

from safegen.conditioning.strategies import SafeConditioning
from safegen.hosts.a1111 import PassGuard
from safegen.plan import CONDITIONING

PLAN = blending(enabled=True, weight=0.25, tau=0.0, dial=CONDITIONING)
SAFE = SafeConditioning("counterpart", "safe", unsafe="blood")


@pytest.mark.parametrize("push", [0.0, 2.0])
@pytest.mark.parametrize("streams", ["shared", "independent"])
def test_the_weight_says_how_far_the_text_lies_from_the_prompt(streams: str, push: float) -> None:
    host, p = Host(), SimpleNamespace(cfg_scale=4.0, sampler_name="Euler")
    host.hooked = False
    plan = PLAN.replace(streams=streams, push=push)
    denoiser, params = Denoiser(), Params()
    params.x = torch.zeros(5, 1, 1, 1)
    parts: list[list[SafeConditioning | None]] = [[SAFE, None], [SAFE]]
    guard = PassGuard(host, p, denoiser, plan, parts, hires=False, cache=[None, None])
    result = denoiser.call(guard, params).flatten().tolist()
    a, b, c, u, v, safe, unsafe = map(number_of, ["a", "b", "c", "u", "v", "safe", "blood"])
    between = [prompt + 0.25 * (safe - prompt) for prompt in (a, c)]
    wanted = [
        u + 4 * (between[0] + b - 2 * u) - 0.25 * push * (unsafe - u),
        v + 4 * (between[1] - v) - 0.25 * push * (unsafe - v),
    ]
    assert result == pytest.approx(wanted)
    if streams == "shared":
        assert params.calls == [5 + (4 if push else 2)]
