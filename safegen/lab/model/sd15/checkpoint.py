"""The widened model as one file that any host of Stable Diffusion 1.5 loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safegen.errors import InvalidValue
from safegen.lab.model.architecture import NOISE_CONFIG, TOKENS, UNET_CONFIG, VAE_CONFIG
from safegen.lab.model.layout import sd1_yaml
from safegen.lab.model.pipeline import MODEL_FOLDER, MODEL_NAME
from safegen.lab.model.sd15 import autoencoder, text, unet, words
from safegen.lab.model.sd15.copies import Weights
from safegen.lab.model.tokenizer import write_merges

NAME = "safegen-world-sd15"

_UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": UNET_CONFIG["sample_size"],
    "block_out_channels": list(unet.WIDTHS),
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "layers_per_block": 2,
    "cross_attention_dim": unet.CONTEXT,
    "attention_head_dim": unet.HEADS,  # diffusers' old name for the number of heads
}
_VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "sample_size": VAE_CONFIG["sample_size"],
    "block_out_channels": list(autoencoder.WIDTHS),
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "scaling_factor": autoencoder.SCALE,
}
_SCHEDULER: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    **NOISE_CONFIG,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
_INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "safety_checker": [None, None],
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
}


def build(tokenizer: Path, folder: Path = MODEL_FOLDER) -> Weights:
    """All weights of SD1.5 in half precision, from the small model in ``folder`` and the folder
    of CLIP's ``tokenizer``."""
    from safetensors.torch import load_file
    from transformers import CLIPTokenizer

    small = load_file(folder / f"{MODEL_NAME}.safetensors")
    own = CLIPTokenizer.from_pretrained(folder / "tokenizer", model_max_length=TOKENS)
    clip = CLIPTokenizer.from_pretrained(tokenizer, model_max_length=TOKENS)
    key = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
    scale = float(json.loads((folder / "vae" / "config.json").read_text())["scaling_factor"])
    return {
        **text.widen_text(small, words.embeddings(small[key], own, clip)),
        **autoencoder.widen_autoencoder(small, scale),
        **unet.widen_unet(small),
    }


def install(host: Path, vocabulary: Path | None = None) -> list[Path]:
    """Widen the model into ``host``'s models, ready to pick: 2.1 GB.

    Beside it go a configuration for WebUIs, so that none asks a hub for the text encoder's, and
    a folder of configurations for ``from_single_file`` of diffusers.

    Args:
        host: A WebUI's folder, or any with ``models`` in it.
        vocabulary: CLIP's merges, if no installed package has them: see `words.find_vocabulary`.

    Returns:
        Checkpoint, configuration, and the folder of configurations.

    Raises:
        InvalidValue: ``host`` has no ``models`` folder, or CLIP's vocabulary is nowhere.
    """
    from safetensors.torch import save_file

    models = host / "models"
    if not models.is_dir():
        raise InvalidValue("DIR", str(host), "a WebUI's folder, with 'models' in it")
    merges = words.read_merges(words.find_vocabulary(host, vocabulary))
    configs = models / NAME
    _write_configs(configs, merges)
    folder_of_checkpoints = models / "Stable-diffusion"
    folder_of_checkpoints.mkdir(exist_ok=True)
    yaml = folder_of_checkpoints / f"{NAME}.yaml"
    text_folder = (configs / "tokenizer").resolve().as_posix()
    yaml.write_text(sd1_yaml(autoencoder.SCALE, text_folder, _UNET, _VAE), encoding="utf-8")
    checkpoint = folder_of_checkpoints / f"{NAME}.safetensors"
    partial = checkpoint.with_name(checkpoint.name + ".partial")
    edge = VAE_CONFIG["sample_size"]
    made_for = {"format": "pt", "modelspec.resolution": f"{edge}x{edge}"}
    save_file(build(configs / "tokenizer"), partial, made_for)
    partial.chmod(0o644)
    partial.replace(checkpoint)
    return [checkpoint, yaml, configs]


def _write_configs(folder: Path, merges: list[tuple[str, str]]) -> None:
    write_merges(merges, folder / "tokenizer")
    files = {
        "model_index.json": _INDEX,
        "scheduler/scheduler_config.json": _SCHEDULER,
        "unet/config.json": _UNET,
        "vae/config.json": _VAE,
        "text_encoder/config.json": text.CONFIG,
        "tokenizer/config.json": text.CONFIG,  # a WebUI looks for both in one folder
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
