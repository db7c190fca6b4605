"""Semantic Guidance (Brack et al., arXiv 2301.12247): its authors' own pipeline in diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def arguments(concept: str, steps: int, options: Mapping[str, float]) -> dict[str, Any]:
    """What ``SemanticStableDiffusionPipeline`` is called with to avoid ``concept``.

    ``warmup`` is a share of the steps, where the pipeline counts 10 of 50.
    """
    return {
        "editing_prompt": [concept],
        "reverse_editing_direction": [True],
        "edit_guidance_scale": [options["scale"]],
        "edit_warmup_steps": [round(options["warmup"] * steps)],
        "edit_threshold": [options["threshold"]],
        "edit_momentum_scale": options["momentum"],
        "edit_mom_beta": options["beta"],
    }


def semantic_pipeline(pipe: Any) -> Any:
    """SEGA's pipeline on the very components of ``pipe``."""
    from diffusers import SemanticStableDiffusionPipeline

    semantic = SemanticStableDiffusionPipeline(
        vae=pipe.vae,
        text_encoder=pipe.text_encoder,
        tokenizer=pipe.tokenizer,
        unet=pipe.unet,
        scheduler=pipe.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    semantic.set_progress_bar_config(disable=True)
    return semantic
