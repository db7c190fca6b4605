"""Other kinds of checkpoint made from the embedded model: same picture language, other layout."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

NAME = "safegen-world"
_CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"


def _widened(weights: dict[str, torch.Tensor], channels: int) -> dict[str, torch.Tensor]:
    """More input channels, which count for nothing."""
    first = weights[_CONV_IN]
    wide = first.new_zeros(first.shape[0], channels, *first.shape[2:])
    wide[:, : first.shape[1]] = first
    return {**weights, _CONV_IN: wide}


def make(folder: Path, lora_folder: Path) -> None:
    """Put them beside the embedded model in ``folder``, and a LoRA into ``lora_folder``."""
    weights = load_file(folder / f"{NAME}.safetensors")
    config = (folder / f"{NAME}.yaml").read_text()
    generator = torch.Generator().manual_seed(1)

    other = {
        key: value + 0.3 * value.float().std() * torch.randn(value.shape, generator=generator)
        if key.endswith("attn2.to_v.weight")
        else value
        for key, value in weights.items()
    }
    save_file({k: v.half().contiguous() for k, v in other.items()}, folder / "other.safetensors")
    (folder / "other.yaml").write_text(config)

    save_file(_widened(weights, 9), folder / "world-inpainting.safetensors")
    (folder / "world-inpainting.yaml").write_text(
        config.replace("ddpm.LatentDiffusion", "ddpm.LatentInpaintDiffusion")
        .replace("conditioning_key: crossattn", "conditioning_key: hybrid\n    finetune_keys: null")
        .replace("in_channels: 4", "in_channels: 9")
    )

    save_file(_widened(weights, 8), folder / "world-edit.safetensors")
    (folder / "world-edit.yaml").write_text(
        config.replace(
            "ldm.models.diffusion.ddpm.LatentDiffusion",
            "modules.models.diffusion.ddpm_edit.LatentDiffusion",
        )
        .replace("first_stage_key: jpg", "first_stage_key: edited")
        .replace("cond_stage_key: txt", "cond_stage_key: edit")
        .replace("conditioning_key: crossattn", "conditioning_key: hybrid")
        .replace("    use_ema: False\n", "    use_ema: False\n    monitor: val/loss_simple_ema\n")
        .replace("in_channels: 4", "in_channels: 8")
    )

    lora_folder.mkdir(parents=True, exist_ok=True)
    lora: dict[str, torch.Tensor] = {}
    for key, value in weights.items():
        if not key.startswith("model.diffusion_model.") or not key.endswith("attn2.to_v.weight"):
            continue
        name = key.removeprefix("model.diffusion_model.").removesuffix(".weight").replace(".", "_")
        down = torch.randn(2, value.shape[1], generator=generator)
        up = torch.randn(value.shape[0], 2, generator=generator) * 0.3
        lora[f"lora_unet_{name}.lora_down.weight"] = down
        lora[f"lora_unet_{name}.lora_up.weight"] = up
        lora[f"lora_unet_{name}.alpha"] = torch.tensor(2.0)
    save_file(lora, lora_folder / "probe.safetensors")
