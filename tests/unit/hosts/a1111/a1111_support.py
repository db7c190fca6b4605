"""As much of the WebUI as its adapter needs in these tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from safegen.hosts.a1111.conds import join

WIDTH = 4


class Dict(dict[str, Tensor]):
    """The host's own kind of dict has a shape."""

    @property
    def shape(self) -> torch.Size:
        return self["crossattn"].shape


def encoded(text: str, length: int = 77) -> Dict:
    """One row; every text has its own number."""
    number = number_of(text)
    return Dict(crossattn=torch.full((1, length, WIDTH), number), vector=torch.full((1, 2), number))


def number_of(text: str) -> float:
    """The number that `encoded` writes for a text."""
    return float(sum(map(ord, text)))


class Host:
    """As much of `safegen.webui.host` as the adapter asks for."""

    def __init__(self, **options: Any) -> None:
        self.options, self.hooked, self.flow = options, True, False
        self.asked: list[str] = []
        self.lengths: dict[str, int] = {}
        self.loaded = "one"

    def checkpoint(self) -> str:
        return self.loaded

    def encode(self, _p: Any, texts: list[str], _cache: Any, **_pass: bool) -> list[Any]:
        self.asked += texts
        return [encoded(text, self.lengths.get(text, 77)) for text in texts]

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

    def stopping(self) -> bool:
        return False

    def empty_prompt(self) -> Tensor:
        return torch.zeros(1, 77, WIDTH)


class Denoiser:
    """Two images, the first of two AND parts, in one denoiser call."""

    step, total_steps, cond_scale_miltiplier = 0, 4, 1.0
    alphas: Any = None

    def combine_denoised(self, x_out: Tensor, *_: Any) -> Tensor:
        return x_out[-2:]

    def get_pred_x0(self, _x_in: Tensor, x_out: Tensor, _sigma: Tensor) -> Tensor:
        return x_out


class Params:
    """What the first callback gets: texts a, b and c, without u and v; latents 0 to 4."""

    def __init__(self, length: int = 77, uncond_length: int = 77) -> None:
        self.x = torch.arange(5.0).view(5, 1, 1, 1)
        self.sigma = torch.ones(5)
        self.image_cond = torch.arange(5.0).view(5, 1, 1, 1)
        self.text_cond = join([encoded(name, length) for name in "abc"])
        self.text_uncond = join([encoded(name, uncond_length) for name in "uv"])
        self.inner_model: Any = None
