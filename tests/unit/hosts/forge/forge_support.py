"""As much of Forge as its adapter needs in these tests; written from its described behaviour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import torch
from fake_host import FakeHost
from torch import Tensor

WIDTH = 4


def encoded(text: str, tokens: int = 3) -> Tensor:
    """One row ``[1, tokens, WIDTH]``; every text has its own number."""
    return torch.full((1, tokens, WIDTH), float(sum(map(ord, text)) % 97) / 97)


class Text:
    """How the host holds a text of an entry."""

    def __init__(self, cond: Tensor) -> None:
        self.cond = cond


def entry(texts: Sequence[str], weight: float = 1.0, tokens: int = 3) -> dict[str, Any]:
    """One ``AND`` part of every image."""
    rows = torch.cat([encoded(text, tokens) for text in texts])
    return {"model_conds": {"c_crossattn": Text(rows)}, "strength": weight}


def model(x: Tensor, text: Tensor) -> Tensor:
    """x0 for a latent and its text: the text says more on the right."""
    number = text.mean(dim=(1, 2)).view(-1, 1, 1, 1)
    return 0.5 * torch.tanh(x) + number * torch.linspace(0, 1, x.shape[-1])


class Calc:
    """The host's function for texts at latents; counts rows.

    ``steered`` is what a ControlNet adds to the prompts' rows alone.
    """

    def __init__(self, steered: float = 0.0) -> None:
        self.rows: list[int] = []
        self.steered = steered

    def __call__(
        self, _model: Any, cond: Any, uncond: Any, x: Tensor, _sigma: Tensor, _options: Any
    ) -> tuple[Tensor, Tensor]:
        return self._sum(cond, x) + self.steered, self._sum(uncond, x)

    def _sum(self, entries: Any, x: Tensor) -> Tensor:
        total, weights = torch.zeros_like(x), 0.0
        for one in entries or ():
            text = one["model_conds"]["c_crossattn"].cond
            assert len(text) == len(x), "every row of the latents has a text"
            self.rows.append(len(x))
            total += one["strength"] * model(x, text)
            weights += one["strength"]
        return total / weights if entries else total


class Unet:
    """The patcher."""

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        self.model_options = {"transformer_options": {}} if options is None else options
        self.model = object()

    def clone(self) -> Unet:
        return Unet(deepcopy(self.model_options))

    def add_conditioning_modifier(self, modifier: Callable[..., Any]) -> None:
        self.model_options.setdefault("conditioning_modifiers", []).append(modifier)


class Previews:
    """Where latents go that are shown."""

    def __init__(self) -> None:
        self.shown: list[Tensor] = []

    def store_latent(self, decoded: Tensor) -> None:
        self.shown.append(decoded)


class Host(FakeHost):
    """Forge."""

    def __init__(self) -> None:
        super().__init__()
        self.module = Previews()
        self.tokens: dict[str, int] = {}

    def previews(self) -> Previews:
        return self.module

    def encode(self, _p: Any, texts: list[str], _cache: Any, **_pass: bool) -> list[Any]:
        return [encoded(text, self.tokens.get(text, 3)) for text in texts]


class Denoiser:
    """The CFG denoiser of a pass over images with these prompts.

    Args:
        calc: Evaluates the model.
        prompts: For each ``AND`` part the text of each image.
        negatives: Of each image; ``None`` where the host has none.
        weights: Of the parts.
        cfg: The CFG scale.
        callback: The ``cfg_denoiser`` callback.
        eps: Whether the sampler wants noise.
    """

    def __init__(
        self,
        calc: Calc,
        prompts: Sequence[Sequence[str]],
        *,
        negatives: Sequence[str] | None,
        weights: Sequence[float] = (1.0,),
        cfg: float = 4.0,
        eps: bool = False,
    ) -> None:
        self.calc, self.prompts, self.negatives = calc, prompts, negatives
        self.weights, self.cfg, self.classic_ddim_eps_estimation = weights, cfg, eps
        self.step, self.total_steps = 0, 4
        self.mask: Tensor | None = None
        self.nmask: Tensor | None = None
        self.init_latent: Tensor | None = None
        self.callback: Callable[[Any], None] = lambda _params: None
        self.after: Callable[[Tensor], Tensor] = lambda denoised: denoised
        self.p = SimpleNamespace(scripts=None)
        self.previews: Any = None
        objects = SimpleNamespace(unet=Unet())
        engine = SimpleNamespace(forge_objects=objects)
        self.inner_model = SimpleNamespace(inner_model=engine)

    @property
    def objects(self) -> Any:
        return self.inner_model.inner_model.forge_objects

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """One call, in the host's order."""
        self.callback(SimpleNamespace(denoiser=self))
        unet, scale = self.objects.unet, self.cfg
        options, reconstructing = unet.model_options, unet.model
        cond = [entry(of, weight) for of, weight in zip(self.prompts, self.weights, strict=True)]
        uncond = None if self.negatives is None else [entry(self.negatives)]
        for change in options.get("conditioning_modifiers", []):
            reconstructing, x, sigma, uncond, cond, scale, options, _ = change(
                reconstructing, x, sigma, uncond, cond, scale, options, 7
            )
        seen = None if scale == 1.0 else uncond
        own, base = self.calc(reconstructing, cond, seen, x, sigma, options)
        args = {
            "input": x,
            "sigma": sigma,
            "cond": cond,
            "uncond": uncond,
            "cond_denoised": own,
            "uncond_denoised": base,
            "cond_scale": scale,
        }
        total = sum(one["strength"] for one in cond)
        if "sampler_cfg_function" in options:
            denoised = x - options["sampler_cfg_function"](
                {**args, "cond": x - own, "uncond": x - base}
            )
        elif total != 1.0:
            denoised = base + (own - base) * scale * total
        else:
            denoised = base + (own - base) * scale
        for change in options.get("sampler_post_cfg_function", []):
            denoised = change({**args, "denoised": denoised})
        if self.mask is not None:
            denoised = denoised * self.nmask + self.init_latent * self.mask
        self.previews.store_latent(denoised)
        denoised = self.after(denoised)
        self.step += 1
        if self.classic_ddim_eps_estimation:
            return (x - denoised) / sigma[:, None, None, None]
        return denoised
