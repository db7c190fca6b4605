"""Rows of a UNet call, for methods that evaluate some of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from safegen.errors import Unsupported
from safegen.hosts.diffusers import Forward, sample_of


@dataclass(frozen=True)
class Encoded:
    """Texts for a UNet: ``states`` [n, tokens, width]; for SDXL also ``pooled`` [n, width]."""

    states: Tensor
    pooled: Tensor | None = None


@torch.no_grad()
def encode(pipe: Any, texts: Sequence[str]) -> Encoded:
    """``texts`` in the pipeline's own encoders."""
    found = pipe.encode_prompt(
        prompt=list(texts),
        device=pipe._execution_device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=False,
    )
    return Encoded(found[0], found[2] if len(found) > 2 else None)


def chunked(sample: Tensor, images: int, who: str) -> None:
    """Refuse a call that has not an uncond and a cond row for each of ``images``."""
    if len(sample) != 2 * images:
        raise Unsupported(f"{who} needs classifier-free guidance")


def evaluate(
    forward: Forward, sample: Tensor, timestep: Any, text: Encoded, index: Tensor, **kw: Any
) -> Tensor:
    """The prediction for ``text`` at the latents of the cond rows ``index``.

    Args:
        forward: The UNet's own forward.
        sample: The call's latents, uncond rows first.
        text: One for each of ``index``.
        index: Which pictures, counted from 0.
        **kw: The call's other arguments.
    """
    cond = len(sample) // 2 + index
    added = kw.get("added_cond_kwargs")
    if added is not None:  # SDXL: its sizes as they are, its text of the concept's
        kw["added_cond_kwargs"] = {
            **{name: value[cond] for name, value in added.items()},
            "text_embeds": text.pooled,
        }
    states = text.states.to(sample.dtype)
    return sample_of(forward(sample[cond], timestep, encoder_hidden_states=states, **kw))
