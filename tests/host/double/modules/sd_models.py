"""The toy model, and swapping one checkpoint for another."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

WIDTH = 8


class CheckpointInfo:
    def __init__(self, name: str) -> None:
        self.name = self.title = self.short_title = self.name_for_extra = name


def _noise(text: str, *shape: int) -> Tensor:
    """Numbers that depend on a text alone."""
    seed = int.from_bytes(text.encode(), "big") % (2**63 - 25)
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class CLIPTextModel(torch.nn.Module):
    """What tells one checkpoint's text encoder from another's: its weights."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(weights, requires_grad=False)


class ToyModel:
    """Predicts eps; what it takes for the clean latent depends on the sum of the tokens.

    Every row is computed by itself, so that a row's answer can't depend on its neighbours.
    """

    def __init__(self, info: CheckpointInfo, *, sdxl: bool = False) -> None:
        self.sd_checkpoint_info, self.sd_model_hash = info, ""
        self.is_sd1 = not sdxl
        self.is_sdxl, self.parameterization, self.latent_channels = sdxl, "eps", 4
        self.cond_stage_key = "txt"
        self.model = SimpleNamespace(conditioning_key="crossattn")
        betas = torch.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000, dtype=torch.float64) ** 2
        self.alphas_cumprod = torch.cumprod(1 - betas, 0).float()
        self._mix = _noise(f"{info.name} mix", WIDTH, 4)
        self.cond_stage_model_empty_prompt = self.encode([""])["crossattn"]
        self.cond_stage_model = CLIPTextModel(self._mix)
        self.rows_seen: list[int] = []
        """Rows of each call, for tests that count work."""

    def encode(self, texts: list[str]) -> dict[str, Tensor]:
        """Tokens ``[B, 77k, WIDTH]`` (75 words for each 77) and a vector ``[B, WIDTH]``."""
        words = [text.split() for text in texts]
        chunks = max(max(math.ceil(len(w) / 75) for w in words), 1)
        name = self.sd_checkpoint_info.name
        rows = []
        for own in words:
            padded = own + [""] * (75 * chunks - len(own))
            # Padding says next to nothing, or every text would mean the same.
            tokens = [_noise(f"{name} {word}", WIDTH) * (1.0 if word else 0.01) for word in padded]
            edge = _noise(f"{name} edge", WIDTH) * 0.01
            parts = [[edge, *tokens[75 * i : 75 * i + 75], edge] for i in range(chunks)]
            rows.append(torch.stack([t for part in parts for t in part]))
        crossattn = torch.stack(rows)
        return {"crossattn": crossattn, "vector": crossattn.mean(dim=1)}

    def get_learned_conditioning(self, texts: list[str]) -> Any:
        encoded = self.encode(list(texts))
        return encoded if self.is_sdxl else encoded["crossattn"]

    def apply_model(self, x: Tensor, timesteps: Tensor, cond: dict[str, Any]) -> Tensor:
        """eps of the variance-preserving latent ``x`` at ``timesteps``."""
        text = cond["crossattn"] if "crossattn" in cond else torch.cat(cond["c_crossattn"], 1)
        if len(text) != len(x) or len(cond["c_concat"][0]) != len(x):
            raise RuntimeError(f"{len(x)} latents, {len(text)} texts")
        self.rows_seen.append(len(x))
        out = [self._row(x[i], timesteps[i], text[i]) for i in range(len(x))]
        return torch.stack(out)

    def _row(self, x: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        low = int(timestep)
        a = self.alphas_cumprod[min(low, 999)]
        ramp = torch.linspace(-1, 1, x.shape[-1])
        pattern = 0.7 * torch.tanh(text.sum(0) @ self._mix / 8)[:, None, None] * (1 + 0.3 * ramp)
        clean = pattern + 0.1 * torch.tanh(x)
        return (x - a.sqrt() * clean) / (1 - a).sqrt()


checkpoints: dict[str, CheckpointInfo] = {
    name: CheckpointInfo(name) for name in ("toy-world", "toy-other")
}


def get_closet_checkpoint_match(name: str) -> CheckpointInfo | None:
    return checkpoints.get(name)


def reload_model_weights(sd_model: Any = None, info: CheckpointInfo | None = None) -> None:
    """Load ``info``; without it, what the settings ask for."""
    from modules import shared

    info = info or checkpoints[shared.opts.sd_model_checkpoint]
    if shared.sd_model.sd_checkpoint_info is not info:
        shared.sd_model = ToyModel(info, sdxl=shared.sd_model.is_sdxl)


class SdModelData:
    """What is loaded, without loading it."""

    @property
    def sd_model(self) -> Any:
        from modules import shared

        return shared.sd_model


model_data = SdModelData()
