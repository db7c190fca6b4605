"""Encoders of models on disk, for what is learned without a WebUI. Nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safegen.errors import Unsupported
from safegen.learned.encoder import Encoder, TextEncoder


def load_encoder(model: str, clip_skip: int | None = None) -> TextEncoder:
    """The text encoder of a model.

    Args:
        model: ``embedded``, the folder of a diffusers pipeline, or one ``.safetensors`` file.
        clip_skip: Which layer's output counts; see ``diffusers``.

    Raises:
        SafeGenError: It can't be loaded; says why.
    """
    from safegen.hosts.diffusers import PipelineEncoder

    return PipelineEncoder(_load(model, texts_alone=True), clip_skip)


def load_denoiser(model: str, clip_skip: int | None = None) -> Encoder:
    """The denoiser of a model; see `load_encoder`."""
    from safegen.hosts.diffusers.denoiser import PipelineDenoiser

    return PipelineDenoiser(_load(model), clip_skip)


def _load(model: str, *, texts_alone: bool = False) -> Any:
    from safegen.lab.sweep.local import load

    if Path(model).is_file() and Path(model).suffix != ".safetensors":
        raise Unsupported(
            f"model {model}: only .safetensors files are opened, since others can hold programs"
        )
    return load(model, "cpu", False, offline=True, texts_alone=texts_alone)
