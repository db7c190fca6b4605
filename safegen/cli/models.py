"""Text encoders of models on disk, for what is learned without a WebUI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safegen.errors import SafeGenError, Unsupported
from safegen.learned.encoder import Encoder, TextEncoder

EMBEDDED = "embedded"
_NEEDS = "this needs diffusers and transformers: pip install 'safegen[demo]'"


def load_encoder(model: str, clip_skip: int | None = None) -> TextEncoder:
    """The text encoder of a model.

    Args:
        model: ``embedded``, the folder of a diffusers pipeline, or one ``.safetensors`` file.
            Nothing is ever downloaded.
        clip_skip: Which layer's output counts; see ``diffusers``.

    Raises:
        Unsupported: if it cannot be loaded; says why.
    """
    try:
        from safegen.hosts.diffusers import PipelineEncoder

        pipe = _load(model)
    except ImportError as error:
        raise Unsupported(f"{_NEEDS} ({error})") from error
    except SafeGenError:
        raise
    except Exception as error:  # whatever diffusers and transformers raise for a bad model
        raise Unsupported(f"model {model}: cannot be loaded: {error}") from error
    return PipelineEncoder(pipe, clip_skip)


def load_denoiser(model: str, clip_skip: int | None = None) -> Encoder:
    """The denoiser of a model; see `load_encoder`.

    Raises:
        Unsupported: it has no UNet that can be asked.
        InvalidValue: if it cannot be loaded; says why.
    """
    try:
        from safegen.hosts.diffusers.denoiser import PipelineDenoiser
        from safegen.lab.sweep.local import load
    except ImportError as error:
        raise Unsupported(f"{_NEEDS} ({error})") from error
    return PipelineDenoiser(load(model, "cpu", False), clip_skip)


def _load(model: str) -> Any:
    if model == EMBEDDED:
        from safegen.lab.embedded import load_pipeline

        return load_pipeline()
    path = Path(model)
    if path.is_dir():
        return _from_folder(path)
    if not path.is_file():
        raise Unsupported(f"model {model}: there is no such file or folder")
    if path.suffix != ".safetensors":
        raise Unsupported(
            f"model {model}: only .safetensors files are opened, since others can hold programs"
        )
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
    from safetensors import safe_open

    with safe_open(path, framework="pt") as opened:
        double = any(name.startswith("conditioner.embedders.1.") for name in opened.keys())  # noqa: SIM118
    kind = StableDiffusionXLPipeline if double else StableDiffusionPipeline
    try:
        return kind.from_single_file(str(path), local_files_only=True)
    except Exception as error:
        raise Unsupported(
            f"model {model}: its configuration and tokenizer are not on this machine; give the "
            f"folder of a diffusers pipeline instead ({error})"
        ) from error


def _from_folder(folder: Path) -> Any:
    """A pipeline with nothing but the text encoders and tokenizers in it."""
    import diffusers

    index = folder / "model_index.json"
    if not index.is_file():
        raise Unsupported(f"model {folder}: no model_index.json, so not a diffusers pipeline")
    found = json.loads(index.read_text(encoding="utf-8"))
    unused = ("unet", "vae", "scheduler", "safety_checker", "feature_extractor", "image_encoder")
    left_out = {name: None for name in unused if name in found}
    kind = getattr(diffusers, str(found.get("_class_name")), None)
    if kind is None:
        raise Unsupported(f"model {folder}: pipelines of {found.get('_class_name')!r} are unknown")
    return kind.from_pretrained(
        str(folder), local_files_only=True, use_safetensors=True, **left_out
    )
