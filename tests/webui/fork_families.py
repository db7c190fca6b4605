"""Checkpoints that Forge and reForge recognise as the other families, for `SmallUnet`.

Of the UNet there is only what the loaders tell a family by, a few tensors' shapes; text encoders
have random weights and three layers. So they load only with ``SAFEGEN_SMALL_UNET=1``. What comes
out are pictures of nothing, on the hosts' own ways.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from server import Server
from torch import Tensor

Weights = dict[str, Tensor]

UNET = "model.diffusion_model."
TEXT = "cond_stage_model."
LAYERS = 3
"""As many as `SmallUnet` leaves."""


@dataclass(frozen=True)
class Layout:
    """What a UNet is recognised by.

    Args:
        depths: Transformers in each block of each level.
        context: How wide a text is.
        vector: How wide the vector beside the text is, if there is one.
        inputs: Channels of the latents and of what stands beside them.
    """

    depths: tuple[int, ...]
    context: int
    vector: int = 0
    inputs: int = 4
    channels: int = 320

    def weights(self) -> Weights:
        found = {
            "input_blocks.0.0.weight": torch.zeros(self.channels, self.inputs, 3, 3),
            "middle_block.0.in_layers.0.weight": torch.zeros(1),
            "out.2.weight": torch.zeros(4, 1),
            **self._transformers("middle_block.1", max(self.depths)),
        }
        if self.vector:
            found["label_emb.0.0.weight"] = torch.zeros(1, self.vector)
        count = 3 * len(self.depths)
        for level, depth in enumerate(self.depths):
            width = self.channels * min(2**level, 4)
            for block in range(3 * level, 3 * level + 3):
                if block % 3 == 2 and level < len(self.depths) - 1:
                    found[f"input_blocks.{block + 1}.0.op.weight"] = torch.zeros(1)
                elif block + 1 < count:
                    name = f"input_blocks.{block + 1}"
                    found[f"{name}.0.in_layers.0.weight"] = torch.zeros(1)
                    found[f"{name}.0.out_layers.3.weight"] = torch.zeros(width, 1)
                    found |= self._transformers(f"{name}.1", depth)
                name = f"output_blocks.{count - 1 - block}"
                found[f"{name}.0.in_layers.0.weight"] = torch.zeros(1)
                found |= self._transformers(f"{name}.1", depth)
        return {UNET + name: value for name, value in found.items()}

    def _transformers(self, name: str, depth: int) -> Weights:
        if not depth:
            return {}
        is_linear = self.context > 768
        found = {f"{name}.proj_in.weight": torch.zeros((1, 1) if is_linear else (1, 1, 1, 1))}
        for number in range(depth):
            key = f"{name}.transformer_blocks.{number}.attn2.to_k.weight"
            found[key] = torch.zeros(1, self.context)
        return found


SD1 = Layout((1, 1, 1, 0), 768)
SD2 = Layout((1, 1, 1, 0), 1024)
XL = Layout((0, 2, 10), 2048, vector=2816)
REFINER = Layout((0, 4, 4, 0), 1280, vector=2560, channels=384)

NAMES = (
    "world-v",
    "world-inpainting",
    "world-sd2",
    "world-sd2-v",
    "world-sd2-inpainting",
    "world-xl",
    "world-xl-v",
    "world-xl-inpainting",
    "world-xl-refiner",
)
CONFIGURATIONS = {
    "world-v": "configs/v1-inference.yaml",
    "world-sd2": "configs/stable-diffusion/v2-inference.yaml",
    "world-sd2-v": "configs/stable-diffusion/v2-inference-v.yaml",
}
"""The hosts' own for these families, which reForge can't tell without."""


def put(server: Server) -> None:
    """Put them into a host's folder: links to files, made once, beside the widened model's."""
    folder = server.data / "models" / "Stable-diffusion"
    widened = next(folder.glob("*sd15*.safetensors")).resolve()
    home = widened.parents[1] / "fork-families"
    if not (home / f"{NAMES[-1]}.safetensors").exists():
        make(home, widened)
    for name in NAMES:
        if not (folder / f"{name}.safetensors").exists():
            (folder / f"{name}.safetensors").symlink_to(home / f"{name}.safetensors")
        if name in CONFIGURATIONS:
            (folder / f"{name}.yaml").write_text(_configuration(server.webui, name))


def make(folder: Path, widened: Path) -> None:
    """Make them, in half precision: 5 GB."""
    folder.mkdir(exist_ok=True)
    weights = load_file(widened)
    vae = {k: v for k, v in weights.items() if k.startswith("first_stage_model.")}
    text = {k: v for k, v in weights.items() if k.startswith(TEXT)}
    random = torch.Generator().manual_seed(4)
    second = _open_clip(1024, random)
    large = _open_clip(1280, random)
    first = {f"conditioner.embedders.0.{k.removeprefix(TEXT)}": v for k, v in text.items()}
    both = first | _named(large, "conditioner.embedders.1.model.")
    second = _named(second, "cond_stage_model.model.")
    velocity = {f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias": torch.arange(2.0)}
    parts: dict[str, list[Weights]] = {
        "world-v": [SD1.weights(), text],
        "world-inpainting": [replace(SD1, inputs=9).weights(), text],
        "world-sd2": [SD2.weights(), second],
        "world-sd2-v": [SD2.weights(), velocity, second],
        "world-sd2-inpainting": [replace(SD2, inputs=9).weights(), second],
        "world-xl": [XL.weights(), both],
        "world-xl-v": [XL.weights(), {"v_pred": torch.zeros(1)}, both],
        "world-xl-inpainting": [replace(XL, inputs=9).weights(), both],
        "world-xl-refiner": [REFINER.weights(), _named(large, "conditioner.embedders.0.model.")],
    }
    for name in NAMES:
        whole = {k: v.half().contiguous() for part in [*parts[name], vae] for k, v in part.items()}
        save_file(whole, folder / f"{name}.safetensors")


def _configuration(host: Path, checkpoint: str) -> str:
    """The host's own configuration; Forge has none of SD2's, and reads no more than this."""
    kind = "v" if checkpoint.endswith("-v") else "eps"
    for folder in (host, host / "repositories" / "stable-diffusion-stability-ai"):
        file = folder / CONFIGURATIONS[checkpoint]
        if file.exists():
            text = file.read_text(encoding="utf-8")
            if "parameterization" not in text:
                text = text.replace("  params:\n", f"  params:\n    parameterization: {kind}\n", 1)
            return text
    return json.dumps({"model": {"params": {"parameterization": kind}}})


def _named(weights: Weights, prefix: str) -> Weights:
    return {prefix + key: value for key, value in weights.items()}


def _open_clip(width: int, random: torch.Generator) -> Weights:
    """A text encoder of open_clip's, of random weights of a trained one's size."""

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (scale * torch.randn(*shape, generator=random)).half()

    found = {
        "token_embedding.weight": normal(49408, width),
        "positional_embedding": normal(77, width, scale=0.1),
        "ln_final.weight": torch.ones(width),
        "ln_final.bias": torch.full((width,), 0.3),  # the hosts divide by the texts' mean
        "text_projection": normal(width, width, scale=width**-0.5),
        "logit_scale": torch.zeros(()),
    }
    for layer in range(LAYERS):
        block = f"transformer.resblocks.{layer}."
        for name in ("ln_1", "ln_2"):
            found[f"{block}{name}.weight"] = torch.ones(width)
            found[f"{block}{name}.bias"] = torch.zeros(width)
        for name, shape in (
            ("attn.in_proj_weight", (3 * width, width)),
            ("attn.out_proj.weight", (width, width)),
            ("mlp.c_fc.weight", (4 * width, width)),
            ("mlp.c_proj.weight", (width, 4 * width)),
        ):
            found[block + name] = normal(*shape, scale=0.5 * shape[1] ** -0.5)
        for name, size in (
            ("attn.in_proj_bias", 3),
            ("attn.out_proj.bias", 1),
            ("mlp.c_fc.bias", 4),
            ("mlp.c_proj.bias", 1),
        ):
            found[block + name] = torch.zeros(size * width)
    return found
