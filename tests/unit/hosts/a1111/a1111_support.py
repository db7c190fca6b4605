"""As much of the WebUI as its adapter needs in these tests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from fake_host import FakeHost
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


class Host(FakeHost):
    """The WebUI."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.hooked = True
        self.asked: list[str] = []
        self.lengths: dict[str, int] = {}

    def encode(self, _p: Any, texts: list[str], _cache: Any, **_pass: bool) -> list[Any]:
        self.asked += texts
        return [encoded(text, self.lengths.get(text, 77)) for text in texts]

    def unet_is_hooked(self, _model: Any) -> bool:
        return self.hooked

    def conditioning_key(self) -> str:
        return "crossattn"

    def is_forge(self) -> bool:
        return False

    def empty_prompt(self) -> Tensor:
        return torch.zeros(1, 77, WIDTH)


class Denoiser:
    """Two images, the first of two AND parts, in one denoiser call.

    Args:
        scale: The CFG scale.
        weights: Of the parts.
    """

    step, total_steps, cond_scale_miltiplier = 0, 4, 1.0
    alphas: Any = None
    inner_model: Any = None

    def __init__(self, scale: float = 4.0, weights: tuple[float, ...] = (1.0, 1.0, 1.0)) -> None:
        parts = [SimpleNamespace(weight=weight) for weight in weights]
        self.parts = [parts[:2], parts[2:]]
        arguments = {"cond_scale": scale, "cond": SimpleNamespace(batch=self.parts)}
        self.sampler = SimpleNamespace(sampler_extra_args=arguments)

    def combine_denoised(
        self, x_out: Tensor, conds_list: list[list[tuple[int, float]]], _uncond: Any, scale: float
    ) -> Tensor:
        """The guided result of each image."""
        uncond = x_out[-len(conds_list) :]
        pulls = [
            sum(weight * (x_out[row] - base) for row, weight in of_image)
            for of_image, base in zip(conds_list, uncond, strict=True)
        ]
        guided: Tensor = uncond + scale * torch.stack(pulls)
        return guided

    def get_pred_x0(self, _x_in: Tensor, x_out: Tensor, _sigma: Tensor) -> Tensor:
        return x_out

    def forward(self, x: Tensor) -> Tensor:
        return x

    def call(self, guard: Any, params: Any, *, without_uncond: bool = False) -> Tensor:
        """One call of the host's: its callbacks, the model, and guidance. The guided result.

        Each row is predicted to be its text's number, plus its latent.
        """

        def model(x: Tensor, _sigma: Tensor, cond: dict[str, Any]) -> Tensor:
            params.calls.append(len(x))
            number: Tensor = cond["crossattn"][:, -1, 0].view(-1, 1, 1, 1)
            return x + number.to(x)

        guard.before(params)
        texts = join([params.text_cond, params.text_uncond])
        x, images = params.x, len(self.parts)
        if without_uncond:
            texts, x = params.text_cond, x[:-images]
        found = model(x, params.sigma, texts)
        if without_uncond:
            found = torch.cat([found, found[[0, len(self.parts[0])]]])
        guard.after(SimpleNamespace(x=found, inner_model=model))
        params.x = found
        rows = iter(range(len(found)))
        conds_list = [[(next(rows), part.weight) for part in of_image] for of_image in self.parts]
        scale = self.sampler.sampler_extra_args["cond_scale"] * self.cond_scale_miltiplier
        return self.combine_denoised(
            params.x, conds_list, params.text_uncond, 1.0 if without_uncond else scale
        )


class Params:
    """What the first callback gets: texts a, b and c, without u and v; latents 0 to 4."""

    def __init__(self, length: int = 77, uncond_length: int = 77) -> None:
        self.x = torch.arange(5.0).view(5, 1, 1, 1)
        self.sigma = torch.ones(5)
        self.image_cond = torch.arange(5.0).view(5, 1, 1, 1)
        self.text_cond = join([encoded(name, length) for name in "abc"])
        self.text_uncond = join([encoded(name, uncond_length) for name in "uv"])
        self.inner_model: Any = None
        self.calls: list[int] = []
