"""The WebUI's adapter where no host is needed: conds as dicts, and calls of the host's shape."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from safegen.conditioning.edits import MoveAlong
from safegen.conditioning.strategies import SafeConditioning
from safegen.errors import Unsupported
from safegen.hosts.a1111.guard import PassGuard, SafeConds, check_pass, join, rows_of, tokens
from safegen.plan import SafetyPlan

WIDTH = 4


class Dict(dict[str, Tensor]):
    """The host's own kind of dict has a shape."""

    @property
    def shape(self) -> torch.Size:
        return self["crossattn"].shape


def encoded(text: str, length: int = 77) -> Dict:
    """One row; every text has its own number."""
    number = float(sum(map(ord, text)))
    return Dict(crossattn=torch.full((1, length, WIDTH), number), vector=torch.full((1, 2), number))


class Host:
    """As much of `safegen.webui.host` as the adapter asks for."""

    def __init__(self, **options: Any) -> None:
        self.options, self.hooked, self.flow = options, True, False
        self.asked: list[str] = []

    def checkpoint(self) -> str:
        return "one"

    def encode(self, _p: Any, texts: list[str], _cache: Any, **_pass: bool) -> list[Any]:
        self.asked += texts
        return [encoded(text) for text in texts]

    def cond_at(self, schedule: Any, _step: int) -> Any:
        return schedule

    def option(self, name: str, default: Any) -> Any:
        return self.options.get(name, default)

    def unet_is_hooked(self) -> bool:
        return self.hooked

    def conditioning_key(self) -> str:
        return "crossattn"

    def is_edit_model(self) -> bool:
        return False

    def is_flow_model(self) -> bool:
        return self.flow

    def empty_prompt(self) -> Tensor:
        return torch.zeros(1, 77, WIDTH)


def test_an_edit_moves_the_tokens_and_takes_the_vector_of_the_safe_text() -> None:
    edit = MoveAlong(torch.ones(WIDTH), 2.0)
    conditioning = SafeConditioning("direction", "a bloody ball", edit, pooled="a clean ball")
    host = Host()
    (cond,) = SafeConds(host, None, [conditioning], hires=False, cache=[None, None]).at([0], 0)
    assert type(cond) is Dict
    assert torch.equal(cond["crossattn"], encoded("a bloody ball")["crossattn"] + 2)
    assert torch.equal(cond["vector"], encoded("a clean ball")["vector"])
    assert host.asked == ["a bloody ball", "a clean ball"]


def test_other_strategies_take_everything_from_their_own_text() -> None:
    conditioning = SafeConditioning("counterpart", "a clean ball")
    host = Host()
    (cond,) = SafeConds(host, None, [conditioning], hires=False, cache=[None, None]).at([0], 0)
    assert torch.equal(cond["vector"], encoded("a clean ball")["vector"])
    assert host.asked == ["a clean ball"]


class Denoiser:
    """Two images, the first of two AND parts, in one denoiser call."""

    step, total_steps, cond_scale_miltiplier = 0, 4, 1.0
    alphas = None

    def combine_denoised(self, x_out: Tensor, *_: Any) -> Tensor:
        return x_out

    def get_pred_x0(self, _x_in: Tensor, x_out: Tensor, _sigma: Tensor) -> Tensor:
        return x_out


class Params:
    def __init__(self, length: int, uncond_length: int) -> None:
        self.x = torch.arange(5.0).view(5, 1, 1, 1)
        self.sigma = torch.ones(5)
        self.image_cond = torch.arange(5.0).view(5, 1, 1, 1)
        self.text_cond = join([encoded(name, length) for name in "abc"])
        self.text_uncond = join([encoded(name, uncond_length) for name in "uv"])


@pytest.mark.parametrize(
    ("lengths", "options", "wanted"),
    [
        ((77, 77), {}, [5]),
        ((77, 77), {"batch_cond_uncond": False}, [2, 2, 1]),
        ((77, 154), {}, [3]),
        ((77, 154), {"batch_cond_uncond": False}, [2, 1]),
        ((77, 154), {"pad_cond_uncond": True}, [5]),
        ((154, 77), {}, [3]),
    ],
)
def test_beside_another_extension_s_hooks_calls_have_the_host_s_own_shape(
    lengths: tuple[int, int], options: dict[str, Any], wanted: list[int]
) -> None:
    """The safe conds stand in their rows' places; nothing is added to the host's own call."""
    host, params = Host(**options), Params(*lengths)
    safe = SafeConditioning("counterpart", "safe")
    plan = SafetyPlan(enabled=True, weight=1.0, tau=0.0)
    guard = PassGuard(
        host, None, Denoiser(), plan, [[safe, None], [safe]], hires=False, cache=[None, None]
    )
    guard.before(params)
    assert len(params.x) == 5
    calls: list[tuple[int, Tensor, Tensor]] = []

    def inner_model(x: Tensor, _sigma: Tensor, cond: dict[str, Any]) -> Tensor:
        assert torch.equal(cond["c_concat"][0], x)
        calls.append((len(x), x.flatten(), cond["crossattn"]))
        return cond["crossattn"][:, 0, :1].view(-1, 1, 1, 1)

    guard._without_uncond = False
    found = guard._evaluate(inner_model, params.x, [0, 2], guard._safe_conds, [0, 2])
    number = float(encoded("safe")["crossattn"][0, 0, 0])
    assert found.flatten().tolist() == [number, number]
    assert [rows for rows, _, _ in calls] == wanted
    if lengths == (77, 77):  # each of the others is what it was
        seen = torch.cat([text for _, _, text in calls])
        own = join([params.text_cond, params.text_uncond])
        for row in (1, 3, 4):
            assert torch.equal(seen[row], tokens(rows_of(own, torch.tensor([row])))[0])


def test_without_hooks_the_rows_travel_in_the_host_s_call() -> None:
    host, params = Host(), Params(77, 77)
    host.hooked = False
    safe = SafeConditioning("counterpart", "safe")
    plan = SafetyPlan(enabled=True, weight=1.0, tau=0.0)
    guard = PassGuard(
        host, None, Denoiser(), plan, [[safe, None], [safe]], hires=False, cache=[None, None]
    )
    guard.before(params)
    assert params.x.flatten().tolist() == [0, 1, 2, 0, 2, 3, 4]
    assert type(params.text_cond) is Dict
    assert len(params.text_cond["vector"]) == len(params.text_cond["crossattn"]) == 5


def test_independent_streams_are_refused_on_a_flow_model() -> None:
    host = Host()
    host.flow = True
    check_pass(host, None, None, SafetyPlan(enabled=True, streams="shared"))
    with pytest.raises(Unsupported, match="SD3"):
        check_pass(host, None, None, SafetyPlan(enabled=True, streams="independent"))
