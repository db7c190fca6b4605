"""Pictures from the embedded model: plain DDIM with classifier-free guidance.

The noise of a picture depends on its own seed alone, so a picture is the same in any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from safegen.lab.model.architecture import LATENT_CHANNELS, TOKENS, UNET_CONFIG

STEPS = 12
GUIDANCE = 2.5


@torch.no_grad()
def encode_texts(pipe: Any, texts: Sequence[str]) -> Tensor:
    """The text encoder's last states, ``[n, 77, width]``."""
    tokens = pipe.tokenizer(
        list(texts), padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
    ).input_ids
    return torch.as_tensor(pipe.text_encoder(tokens).last_hidden_state)


def noise(seeds: Sequence[int]) -> Tensor:
    """Standard normal latents, one for each seed."""
    edge = UNET_CONFIG["sample_size"]
    return torch.stack(
        [
            torch.randn((LATENT_CHANNELS, edge, edge), generator=torch.Generator().manual_seed(s))
            for s in seeds
        ]
    )


@torch.no_grad()
def generate(
    pipe: Any,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    batch: int = 16,
) -> Tensor:
    """A picture for each prompt and its seed.

    Args:
        pipe: What `load_pipeline` gives.
        prompts: What to draw.
        seeds: As many as prompts.
        steps: DDIM steps.
        guidance: The CFG scale.
        batch: How many at a time; changes no picture beyond rounding.

    Returns:
        Float ``[n, 3, 96, 96]`` in [-1, 1].
    """
    uncond = encode_texts(pipe, [""])
    results = []
    for start in tqdm(range(0, len(prompts), batch), desc="generate", disable=len(prompts) < 200):
        texts = prompts[start : start + batch]
        cond = encode_texts(pipe, texts)
        rows = torch.cat([uncond.expand(len(cond), -1, -1), cond])
        pipe.scheduler.set_timesteps(steps)
        x = noise(seeds[start : start + batch])
        for t in pipe.scheduler.timesteps:
            out = pipe.unet(torch.cat([x, x]), t, encoder_hidden_states=rows).sample
            none, asked = out.chunk(2)
            x = pipe.scheduler.step(none + guidance * (asked - none), t, x).prev_sample
        decoded = pipe.vae.decode(x / pipe.vae.config.scaling_factor).sample
        results.append(decoded.clamp(-1, 1))
    return torch.cat(results)
