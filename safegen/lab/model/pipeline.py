"""Where the embedded model lies, how it is written, loaded and installed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safegen.errors import InvalidValue
from safegen.files import write_atomically
from safegen.lab.model.architecture import NOISE_CONFIG, TOKENS
from safegen.lab.model.layout import sd1_yaml, to_sd1

MODEL_FOLDER = Path(__file__).with_name("weights")
MODEL_NAME = "safegen-world"


def export(tokenizer: Path, target: Path, vae: Any, unet: Any, text: Any, scale: float) -> None:
    """Write one SD1-layout checkpoint in fp16, the configurations and the tokenizer."""
    from safetensors.torch import save_file

    (target / "tokenizer").mkdir(parents=True, exist_ok=True)
    weights = to_sd1(vae.state_dict(), unet.state_dict(), text.state_dict())
    save_file(weights, target / f"{MODEL_NAME}.safetensors", {"format": "pt"})
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, target / "tokenizer" / name)
    text.config.save_pretrained(target / "text_encoder")
    unet.save_config(target / "unet")
    vae.register_to_config(scaling_factor=scale)
    vae.save_config(target / "vae")


def load_pipeline(folder: Path = MODEL_FOLDER) -> Any:
    """The embedded model as a ``diffusers.StableDiffusionPipeline`` with a DDIM scheduler.

    The weights come from the very SD1-layout file that a WebUI loads.
    """
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from safetensors.torch import load_file
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    checkpoint = folder / f"{MODEL_NAME}.safetensors"
    if not checkpoint.exists():
        raise InvalidValue("model folder", str(folder), f"a folder with {checkpoint.name}")
    unet = UNet2DConditionModel.from_single_file(
        str(checkpoint), config=str(folder), subfolder="unet", local_files_only=True
    )
    vae = AutoencoderKL.from_single_file(
        str(checkpoint), config=str(folder), subfolder="vae", local_files_only=True
    )
    text = CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder"))
    prefix = "cond_stage_model.transformer."
    text.load_state_dict(
        {k[len(prefix) :]: v for k, v in load_file(checkpoint).items() if k.startswith(prefix)}
    )
    return StableDiffusionPipeline(
        vae=vae,
        unet=unet,
        text_encoder=text.eval(),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer", model_max_length=TOKENS),
        scheduler=DDIMScheduler(
            **NOISE_CONFIG, clip_sample=False, set_alpha_to_one=False, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def install(webui: Path, folder: Path = MODEL_FOLDER) -> list[Path]:
    """Put the model where an installed WebUI finds it, ready to pick.

    Args:
        webui: The WebUI's folder, or its data folder: the one with ``models`` in it.

    Returns:
        What was written: checkpoint, configuration and tokenizer folder.

    Raises:
        InvalidValue: ``webui`` has no ``models`` folder.
    """
    models = webui / "models"
    if not models.is_dir():
        raise InvalidValue("DIR", str(webui), "a WebUI's folder, with 'models' in it")
    target = models / "Stable-diffusion"
    text_folder = models / "safegen-world-text"
    for source in (*(folder / "tokenizer").iterdir(), folder / "text_encoder" / "config.json"):
        write_atomically(text_folder / source.name, source.read_bytes())
    config = target / f"{MODEL_NAME}.yaml"
    scale = float(json.loads((folder / "vae" / "config.json").read_text())["scaling_factor"])
    write_atomically(config, sd1_yaml(scale, text_folder.resolve().as_posix()))
    checkpoint = target / f"{MODEL_NAME}.safetensors"
    write_atomically(checkpoint, (folder / checkpoint.name).read_bytes())
    return [checkpoint, config, text_folder]
