"""Asking the loaded checkpoint's UNet: what it is, and one evaluation that nothing notices."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import torch

from safegen.hosts.forge import engine
from safegen.webui.host import (
    checkpoint,
    conditioning_key,
    devices,
    is_forge,
    model_family,
    prediction,
    processing,
    prompt_parser,
    shared,
)


def checkpoint_digest() -> str:
    """Tells the loaded checkpoint's file from any other: its sha256, or else its name and size."""
    info = checkpoint()
    found = getattr(info, "sha256", None) or getattr(info, "shorthash", None)
    if found:
        return str(found)
    file = Path(str(getattr(info, "filename", info)))
    stat = file.stat() if file.is_file() else None
    return f"{file.name}:{stat.st_size}:{int(stat.st_mtime)}" if stat else file.name


def _load_models(patchers: list[Any]) -> None:
    """Let Forge's memory management bring models to where they compute."""
    for name in ("backend.memory_management", "ldm_patched.modules.model_management"):
        if importlib.util.find_spec(name.split(".")[0]) is not None:
            importlib.import_module(name).load_models_gpu(patchers)
            return


def latent_shape() -> tuple[int, int, int]:
    """Channels of the loaded model's latents, and the height and width that it was made for.

    The checkpoint's own metadata say which these are, or else its kind does.
    """
    model = shared.sd_model
    channels = int(getattr(getattr(model, "latent_format", None), "latent_channels", 4))
    said = (getattr(checkpoint(), "metadata", None) or {}).get("modelspec.resolution", "")
    found = re.fullmatch(r"(\d+)x(\d+)", str(said))
    width, height = (int(side) // 8 for side in found.groups()) if found else (0, 0)
    if min(width, height) >= 8 and max(width, height) <= 256:
        return channels, height, width
    known = {"sd1": 64, "sd2": 96 if prediction() == "v" else 64}
    size = int(getattr(model, "image_size", None) or known.get(model_family(), 128))
    return channels, size, size


def middle() -> Any:
    """The module in the middle of the loaded UNet; ``None`` if there is none."""
    if is_forge():
        return engine.middle(shared.sd_model)
    unet = getattr(getattr(shared.sd_model, "model", None), "diffusion_model", None)
    return getattr(unet, "middle_block", None)


def draw(x: Any, timestep: int, texts: list[str]) -> None:
    """Let the loaded model's UNet see ``texts`` at latents ``x``, one row each, at ``timestep``.

    Nothing else notices: no callback is called, and no random number is drawn.
    """
    model = shared.sd_model
    height, width = (8 * size for size in x.shape[2:])
    with devices.autocast(), torch.no_grad(), torch.random.fork_rng():
        text = model.get_learned_conditioning(
            prompt_parser.SdConditioning(texts, width=width, height=height)
        )
        if is_forge():
            engine.draw(model, x, timestep, text, _load_models)
            return
        x = x.to(devices.device, devices.dtype_unet)
        more = getattr(model.model.diffusion_model, "in_channels", x.shape[1]) - x.shape[1]
        image = (
            x.new_zeros(len(x), more, *x.shape[2:]) if more > 0 else x.new_zeros(len(x), 5, 1, 1)
        )
        if conditioning_key() == "crossattn-adm":
            image = processing.txt2img_image_conditioning(model, x, width, height)
        when = torch.full((len(x),), timestep, device=x.device)
        if isinstance(text, dict):
            cond: dict[str, Any] = {**text, "c_concat": [image]}
        elif conditioning_key() == "crossattn-adm":
            cond = {"c_crossattn": [text], "c_adm": image}
        else:
            cond = {"c_crossattn": [text], "c_concat": [image]}
        model.apply_model(x, when, cond)
