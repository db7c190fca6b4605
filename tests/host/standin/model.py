"""A checkpoint that is one short function: words have vectors, and vectors ask for a picture."""

from __future__ import annotations

import zlib
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

WIDTH, CHUNK, WORDS = 24, 77, 75
"""Numbers per token; tokens per chunk; how many of these are a text's own."""
CALLS = 1000
BARS = torch.linspace(0.00085**0.5, 0.012**0.5, CALLS, dtype=torch.float64).square()
BARS = (1 - BARS).cumprod(0).float()
"""Share of the signal's variance at each of the 1000 timesteps, as Stable Diffusion has it."""


class DictWithShape(dict[str, Any]):
    """SDXL's cond: its ``shape`` is that of the token embeddings."""

    @property
    def shape(self) -> torch.Size:
        return self["crossattn"].shape


class CLIPTextModel(nn.Module):
    """A vector for each word. The product knows text encoders by this class's name."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.vectors = nn.Parameter(torch.randn(4096, WIDTH, generator=draw), requires_grad=False)

    def forward(self, words: list[tuple[str, float]]) -> Tensor:
        """``[77k, width]``: per chunk a start mark, 75 places, the closing mark."""
        chunks = max(1, -(-len(words) // WORDS))
        out = torch.zeros(chunks, CHUNK, WIDTH)
        out[:, 0], out[:, -1] = self.vectors[0], self.vectors[1]
        for place, (word, weight) in enumerate(words):
            row = 2 + zlib.crc32(word.encode()) % (len(self.vectors) - 2)
            out[place // WORDS, 1 + place % WORDS] = weight * self.vectors[row]
        return out.flatten(0, 1)


@dataclass(frozen=True)
class CheckpointInfo:
    """How the host names a checkpoint."""

    name: str

    @property
    def title(self) -> str:
        return f"{self.name}.safetensors"

    filename = short_title = title


class Model:
    """A loaded checkpoint.

    Args:
        name: Another name has other vectors and other pictures.
        sdxl: Whether conds are dicts that hold a pooled vector too.
    """

    parameterization, cond_stage_key = "eps", "txt"
    alphas_cumprod = BARS

    def __init__(self, name: str = "toy-world", *, sdxl: bool = False) -> None:
        seed = zlib.crc32(name.encode())
        self.sd_checkpoint_info = CheckpointInfo(name)
        self.cond_stage_model = CLIPTextModel(seed)
        self.is_sdxl, self.is_sd1 = sdxl, not sdxl
        self.model = SimpleNamespace(conditioning_key="crossattn", diffusion_model=None)
        self.rows_seen: list[int] = []
        draw = torch.Generator().manual_seed(seed + 1)
        self.strokes = torch.randn(WIDTH, 4, 8, 8, generator=draw)
        self.cond_stage_model_empty_prompt = self.cond_stage_model([])[None]

    def read(self, words: list[tuple[str, float]]) -> Any:
        """The cond of one text, without a batch dimension."""
        found = self.cond_stage_model(words)
        return {"crossattn": found, "vector": found.mean(0)} if self.is_sdxl else found

    def asked_for(self, cond: dict[str, Any], size: torch.Size) -> Tensor:
        """The latents ``[rows, 4, h, w]`` that conds ask for, each row for itself."""
        text = cond["crossattn"] if "crossattn" in cond else cond["c_crossattn"][0]
        if text.ndim != 3 or text.shape[0] != size[0] or text.shape[2] != WIDTH:
            raise ValueError(f"conds of shape {tuple(text.shape)} for {size[0]} latents")
        place = torch.linspace(0.9, 1.1, CHUNK)[:, None]  # so that the order of words counts
        wish = (text.unflatten(1, (-1, CHUNK)) * place).sum((1, 2)) / 6
        if "vector" in cond:
            wish = wish + cond["vector"]
        picture = torch.tanh(0.5 * (wish[:, :, None, None, None] * self.strokes).sum(1))
        return nn.functional.interpolate(picture, size=size[2:], mode="bilinear")

    def clean(self, x: Tensor, sigma: Tensor, cond: dict[str, Any]) -> Tensor:
        """The reconstruction of ``x`` = clean + sigma · noise, ``[rows, 4, h, w]``."""
        self.rows_seen.append(len(x))
        noise = sigma.view(-1, 1, 1, 1)
        seen = x / (1 + noise.square()).sqrt()
        near = (seen + seen.roll(1, -1) + seen.roll(1, -2)) / 3
        return 0.8 * self.asked_for(cond, x.shape) + 0.25 * torch.tanh(near)


class SigmaSpace:
    """k-diffusion's: levels are sigmas, and the model's rows are reconstructions."""

    alphas = None

    def __init__(self, model: Model) -> None:
        self.model = model

    def scale(self, level: Tensor) -> Tensor:
        return torch.ones_like(level)

    def sigma(self, level: Tensor) -> Tensor:
        return level

    def clean(self, x: Tensor, row: Tensor, level: Tensor) -> Tensor:
        return row

    def row(self, x: Tensor, clean: Tensor, level: Tensor) -> Tensor:
        return clean

    def __call__(self, x: Tensor, level: Tensor, cond: dict[str, Any]) -> Tensor:
        """The model's rows at ``x``."""
        scale, sigma = self.scale(level).view(-1, 1, 1, 1), self.sigma(level)
        return self.row(x, self.model.clean(x / scale, sigma, cond), level)


class TimestepSpace(SigmaSpace):
    """DDIM's: levels are timesteps, fractions too, and rows are the noise, eps."""

    alphas = BARS

    def bar(self, level: Tensor) -> Tensor:
        low = level.floor().long().clamp(0, CALLS - 1)
        logs = BARS.log()
        return torch.lerp(logs[low], logs[(low + 1).clamp(max=CALLS - 1)], level - low).exp()

    def scale(self, level: Tensor) -> Tensor:
        return self.bar(level).sqrt()

    def sigma(self, level: Tensor) -> Tensor:
        bar = self.bar(level)
        return ((1 - bar) / bar).sqrt()

    def clean(self, x: Tensor, row: Tensor, level: Tensor) -> Tensor:
        scale, sigma = (f(level).view(-1, 1, 1, 1) for f in (self.scale, self.sigma))
        return x / scale - sigma * row

    def row(self, x: Tensor, clean: Tensor, level: Tensor) -> Tensor:
        scale, sigma = (f(level).view(-1, 1, 1, 1) for f in (self.scale, self.sigma))
        return (x / scale - clean) / sigma


def decoded(latent: Tensor) -> Tensor:
    """A latent ``[4, h, w]`` as a picture ``[3, 8h, 8w]``, values -1 to 1."""
    picture = (latent[:3] + 0.3 * latent[3:]).clamp(-1, 1)
    return picture.repeat_interleave(8, 1).repeat_interleave(8, 2)


def encoded(picture: Tensor) -> Tensor:
    """A latent ``[4, h, w]`` for a picture ``[3, 8h, 8w]``."""
    small = nn.functional.avg_pool2d(picture[None], 8)[0]
    return torch.cat([small, torch.zeros_like(small[:1])])


def number(text: str) -> float | None:
    """``text`` as a number, if it is one."""
    with suppress(ValueError):
        return float(text)
    return None
