"""The guard of a pass: what the host's call gets, what is blended, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from a1111_support import Denoiser, Dict, Host, Params, number_of
from plans import blending
from torch import Tensor

from safegen.conditioning.strategies import SafeConditioning
from safegen.errors import GuardFailure, Unsupported
from safegen.hosts.a1111 import PassGuard, check_pass

SAFE = SafeConditioning("counterpart", "safe")
PLAN = blending(enabled=True, weight=1.0, tau=0.0)
UNHOOKED = Host()
UNHOOKED.hooked = False


def guard_of(host: Host, denoiser: Any, parts: list[list[SafeConditioning | None]]) -> PassGuard:
    return PassGuard(host, None, denoiser, PLAN, parts, hires=False, cache=[None, None])


def test_without_hooks_the_rows_travel_in_the_host_s_call() -> None:
    params = Params()
    guard_of(UNHOOKED, Denoiser(), [[SAFE, None], [SAFE]]).before(params)
    assert params.x.flatten().tolist() == [0, 1, 2, 0, 2, 3, 4]
    assert type(params.text_cond) is Dict
    assert len(params.text_cond["vector"]) == len(params.text_cond["crossattn"]) == 5


@pytest.mark.parametrize("why", ["hooks", "another length", "a benign image"])
def test_else_the_host_s_call_stays_as_it_is(why: str) -> None:
    host, params = Host(), Params()
    host.hooked = why == "hooks"
    host.lengths = {"safe": 154} if why == "another length" else {}
    last = None if why == "a benign image" else SAFE
    guard_of(host, Denoiser(), [[SAFE, None], [last]]).before(params)
    assert params.x.flatten().tolist() == [0, 1, 2, 3, 4]


def test_at_weight_1_the_safe_rows_take_the_places_of_guarded_parts_alone() -> None:
    params = Params()
    denoiser = Denoiser()
    guard = guard_of(UNHOOKED, denoiser, [[SAFE, None], [SAFE]])
    result = denoiser.call(guard, params)
    _, b, _, u, v = (i + number_of(text) for i, text in enumerate("abcuv"))
    safe = [row + number_of("safe") for row in (0, 2)]
    assert params.calls == [7]
    assert params.x.flatten().tolist() == [safe[0], b, safe[1], *safe, u, v]
    assert result.flatten().tolist() == [u + 4 * (safe[0] + b - 2 * u), v + 4 * (safe[1] - v)]
    assert guard.own_rows == 2
    denoiser.step = 1
    verdict = guard.finish()
    assert verdict is not None
    assert (verdict.needed, verdict.guarded) == (1, 1)


def test_a_call_that_was_not_blended_is_not_guided() -> None:
    params, denoiser = Params(), Denoiser()
    guard_of(UNHOOKED, denoiser, [[SAFE, None], [SAFE]]).before(params)
    with pytest.raises(GuardFailure, match="cfg_denoised"):
        denoiser.combine_denoised(params.x, [[(0, 1), (1, 1)], [(2, 1)]], None, 4.0)


def test_until_the_first_blend_guarded_images_are_blank() -> None:
    denoiser = Denoiser()
    guard = guard_of(UNHOOKED, denoiser, [[SAFE, None], [None]])
    shown = denoiser.get_pred_x0(torch.ones(2, 1, 1, 1), torch.ones(2, 1, 1, 1), torch.ones(2))
    assert shown.flatten().tolist() == [0, 1]
    guard.detach()
    assert "get_pred_x0" not in vars(denoiser)


@pytest.mark.parametrize("without_uncond", [False, True])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.0, 1.0, 1.0), (-0.5, 1.5, 1.0)])
def test_of_an_image_with_several_parts_the_guided_result_is_shown(
    without_uncond: bool, weights: tuple[float, ...]
) -> None:
    """The host shows the first part's row, whatever the parts weigh."""
    shown = []

    class Previewing(Denoiser):
        def get_pred_x0(self, _x_in: Tensor, x_out: Tensor, _sigma: Tensor) -> Tensor:
            shown.append(x_out)
            return x_out

    denoiser, params = Previewing(weights=weights), Params()
    guard = guard_of(UNHOOKED, denoiser, [[None, SAFE], [SAFE]])
    guided = denoiser.combine_denoised

    def first_shown(x_out: Tensor, *rest: Any) -> Tensor:
        denoiser.get_pred_x0(x_out[[0, 2]], x_out[[0, 2]], params.sigma[:2])
        return guided(x_out, *rest)

    denoiser.combine_denoised = first_shown  # type: ignore[method-assign]
    result = denoiser.call(guard, params, without_uncond=without_uncond)
    denoiser.get_pred_x0(params.x[[0, 2]], params.x[[0, 2]], params.sigma[:2])  # and after it
    for one in shown:
        assert one[0] == pytest.approx(result[0])
        assert torch.equal(one[1], params.x[2])
    assert len(shown) == 2


def test_independent_streams_are_refused_on_a_flow_model() -> None:
    host = Host()
    host.flow = True
    check_pass(host, None, None, blending(enabled=True, streams="shared"))
    with pytest.raises(Unsupported, match="SD3"):
        check_pass(host, None, None, blending(enabled=True, streams="independent"))
