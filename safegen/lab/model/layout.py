"""The SD1 layout: weights of diffusers' modules under the names that Stable Diffusion 1 uses.

One ``.safetensors`` with ``model.diffusion_model.*``, ``first_stage_model.*`` and
``cond_stage_model.*`` beside a ``.yaml`` is what a WebUI loads; diffusers reads the same file
with ``from_single_file``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml
from torch import Tensor

from safegen.lab.model.architecture import (
    LATENT_CHANNELS,
    NOISE_CONFIG,
    UNET_CONFIG,
    VAE_CONFIG,
)

_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_TOP = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def _unet_prefixes() -> dict[str, str]:
    """Where each block of diffusers' UNet stands among the SD1 UNet's numbered blocks."""
    prefixes = dict(_UNET_TOP)
    levels, depth = len(UNET_CONFIG["block_out_channels"]), UNET_CONFIG["layers_per_block"]
    block = 1
    for level in range(levels):
        for layer in range(depth):
            prefixes[f"down_blocks.{level}.resnets.{layer}"] = f"input_blocks.{block}.0"
            prefixes[f"down_blocks.{level}.attentions.{layer}"] = f"input_blocks.{block}.1"
            block += 1
        if level < levels - 1:
            prefixes[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{block}.0.op"
            block += 1
    block = 0
    for level in range(levels):
        for layer in range(depth + 1):
            prefixes[f"up_blocks.{level}.resnets.{layer}"] = f"output_blocks.{block}.0"
            prefixes[f"up_blocks.{level}.attentions.{layer}"] = f"output_blocks.{block}.1"
            block += 1
        place = 2 if "CrossAttn" in UNET_CONFIG["up_block_types"][level] else 1
        prefixes[f"up_blocks.{level}.upsamplers.0"] = f"output_blocks.{block - 1}.{place}"
    return prefixes


def _renamed(key: str, prefixes: Mapping[str, str]) -> tuple[str, str, str]:
    """The longest prefix of ``key`` that is in the table, its new name and what is left."""
    parts = key.split(".")
    for n in range(len(parts), 0, -1):
        prefix = ".".join(parts[:n])
        if prefix in prefixes:
            return prefix, prefixes[prefix], ".".join(parts[n:])
    raise KeyError(f"{key} has no place in the SD1 layout")


def _inner(rest: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        if rest.startswith(f"{old}."):
            return new + rest[len(old) :]
    return rest


def unet_to_sd1(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a diffusers UNet under SD1 names (without the leading prefix)."""
    prefixes, result = _unet_prefixes(), {}
    for key, value in weights.items():
        prefix, name, rest = _renamed(key, prefixes)
        if ".resnets." in prefix:
            rest = _inner(rest, _UNET_RESNET)
        result[f"{name}.{rest}"] = value
    return result


def vae_to_sd1(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a diffusers autoencoder under SD1 names (without the leading prefix)."""
    last = len(VAE_CONFIG["block_out_channels"]) - 1
    result = {}
    for key, value in weights.items():
        name = key
        name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
        name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(
            r"up_blocks\.(\d)\.resnets\.(\d)",
            lambda m: f"up.{last - int(m[1])}.block.{m[2]}",
            name,
        )
        name = re.sub(
            r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", name
        )
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        if "mid_block.attentions.0." in name:
            before, rest = name.split("mid_block.attentions.0.")
            name = f"{before}mid.attn_1.{_inner(rest, _VAE_ATTENTION)}"
            if value.ndim == 2:  # SD1 writes these linear layers as 1x1 convolutions
                value = value[:, :, None, None]
        result[name] = value
    return result


def to_sd1(
    vae: Mapping[str, Tensor], unet: Mapping[str, Tensor], text: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """All weights of the model in the SD1 layout, in fp16."""
    named = {f"model.diffusion_model.{k}": v for k, v in unet_to_sd1(unet).items()}
    named |= {f"first_stage_model.{k}": v for k, v in vae_to_sd1(vae).items()}
    named |= {
        f"cond_stage_model.transformer.{k}": v
        for k, v in text.items()
        if not k.endswith("position_ids")
    }
    return {k: v.detach().half().contiguous() for k, v in named.items()}


def sd1_yaml(
    scale_factor: float,
    text_folder: PurePosixPath | str,
    unet: Mapping[str, Any] = UNET_CONFIG,
    vae: Mapping[str, Any] = VAE_CONFIG,
) -> str:
    """The configuration that a WebUI reads beside the checkpoint.

    ``text_folder`` holds the tokenizer and the text model's ``config.json``; a host resolves
    a relative path against its own working directory, so an installed file has an absolute one.
    ``unet`` and ``vae`` are the arguments of diffusers' modules.
    """
    channels, widths = unet["block_out_channels"], vae["block_out_channels"]
    attention = [2**i for i, kind in enumerate(unet["down_block_types"]) if "CrossAttn" in kind]
    unet_config = {
        "image_size": unet["sample_size"],
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "model_channels": channels[0],
        "attention_resolutions": attention,
        "num_res_blocks": unet["layers_per_block"],
        "channel_mult": [c // channels[0] for c in channels],
        "num_heads": unet["attention_head_dim"],
        "use_spatial_transformer": True,
        "transformer_depth": 1,
        "context_dim": unet["cross_attention_dim"],
        "use_checkpoint": False,
        "legacy": False,
    }
    ddconfig = {
        "double_z": True,
        "z_channels": LATENT_CHANNELS,
        "resolution": vae["sample_size"],
        "in_channels": 3,
        "out_ch": 3,
        "ch": widths[0],
        "ch_mult": [w // widths[0] for w in widths],
        "num_res_blocks": vae["layers_per_block"],
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    params = {
        "linear_start": NOISE_CONFIG["beta_start"],
        "linear_end": NOISE_CONFIG["beta_end"],
        "num_timesteps_cond": 1,
        "timesteps": NOISE_CONFIG["num_train_timesteps"],
        "first_stage_key": "jpg",
        "cond_stage_key": "txt",
        "image_size": unet["sample_size"],
        "channels": LATENT_CHANNELS,
        "cond_stage_trainable": False,
        "conditioning_key": "crossattn",
        "scale_factor": scale_factor,
        "use_ema": False,
        "unet_config": _made_by("ldm.modules.diffusionmodules.openaimodel.UNetModel", unet_config),
        "first_stage_config": _made_by(
            "ldm.models.autoencoder.AutoencoderKL",
            {
                "embed_dim": LATENT_CHANNELS,
                "ddconfig": ddconfig,
                "lossconfig": _made_by("torch.nn.Identity"),
            },
        ),
        "cond_stage_config": _made_by(
            "ldm.modules.encoders.modules.FrozenCLIPEmbedder", {"version": str(text_folder)}
        ),
    }
    model = _made_by("ldm.models.diffusion.ddpm.LatentDiffusion", params)
    text: str = yaml.safe_dump({"model": model}, sort_keys=False)
    return text


def _made_by(target: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"target": target} if params is None else {"target": target, "params": dict(params)}
