"""Composable Diffusion (Liu et al., arXiv 2206.01714), on the rows of the UNet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from safegen.hosts.diffusers import Forward, replaced_forward, sample_of, with_sample
from safegen.lab.methods.rows import chunked, encode, evaluate


@contextmanager
def composition(
    pipe: Any, also: Sequence[str], weights: tuple[float, float], images: int
) -> Iterator[None]:
    """Within the block every picture composes its prompt with a second one: 3 rows a picture.

    ε(∅) + s·Σ wᵢ·(ε(cᵢ) - ε(∅)), a negative weight being a negation. The pipeline computes it by
    itself from the cond row ε(∅) + Σ wᵢ·(ε(cᵢ) - ε(∅)).

    Args:
        pipe: A Stable Diffusion pipeline with classifier-free guidance.
        also: The second prompt of each picture, ``""`` for none: that one stays as it is.
        weights: w of the pipeline's own prompt and of the second.
        images: Pictures a call.
    """
    chosen = torch.tensor([i for i, text in enumerate(also) if text], dtype=torch.long)
    if not len(chosen):
        yield
        return
    text = encode(pipe, [text for text in also if text])

    def make(forward: Forward) -> Forward:
        def composed(
            sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, **kw: Any
        ) -> Any:
            chunked(sample, images, "a composition")
            # Apart, so that a picture without a second prompt is evaluated in the same batch
            # as without this block and comes out the same.
            output = forward(sample, timestep, encoder_hidden_states=encoder_hidden_states, **kw)
            second = evaluate(forward, sample, timestep, text, chosen, **kw)
            uncond, cond = sample_of(output).chunk(2)
            base = uncond[chosen]
            cond = cond.clone()
            cond[chosen] = base + weights[0] * (cond[chosen] - base) + weights[1] * (second - base)
            return with_sample(output, torch.cat([uncond, cond]))

        return composed

    with replaced_forward(pipe.unet, make):
        yield
