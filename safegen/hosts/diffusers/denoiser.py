"""A pipeline's UNet, asked what it would draw for a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from safegen.errors import Unsupported
from safegen.hosts.diffusers.encoding import encode_texts
from safegen.learned.denoiser import LAYER, noise, read, timestep
from safegen.learned.encoder import identity_of

_identities: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
"""UNet to identity: a hash over all weights takes a while."""


class PipelineDenoiser:
    """A pipeline's UNet as an `Encoder`: a text is what stands in its middle.

    Args:
        pipe: A pipeline of Stable Diffusion 1, 2 or XL.
        clip_skip: As in the pipeline's call.
    """

    def __init__(self, pipe: Any, clip_skip: int | None = None) -> None:
        unet = getattr(pipe, "unet", None)
        if unet is None or not hasattr(unet, "mid_block"):
            raise Unsupported(f"{type(pipe).__name__} has no UNet that could be asked")
        self.pipe, self.clip_skip = pipe, clip_skip
        self.width = int(unet.config.block_out_channels[-1])
        if unet not in _identities:
            _identities[unet] = identity_of([unet], self.width, LAYER)
        self.identity = _identities[unet] + (f"/skip{clip_skip}" if clip_skip else "")

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See `Encoder.encode`: ``[texts, 1, channels]``."""
        pipe, unet = self.pipe, self.pipe.unet
        encoding = encode_texts(pipe, list(texts), clip_skip=self.clip_skip)
        config = unet.config
        size = config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        masks = config.in_channels - config.out_channels
        x = noise(config.in_channels, height, width, conditions=max(masks, 0))
        x = x.expand(len(texts), -1, -1, -1).to(unet.device, unet.dtype)
        inputs: dict[str, Any] = {"sample": x, "encoder_hidden_states": encoding.states}
        if encoding.pooled is not None:
            pixels = (height * pipe.vae_scale_factor, width * pipe.vae_scale_factor)
            ids = torch.tensor([[*pixels, 0, 0, *pixels]], device=unet.device)
            inputs["added_cond_kwargs"] = {
                "text_embeds": encoding.pooled,
                "time_ids": ids.expand(len(texts), -1).to(unet.dtype),
            }
        t = timestep(pipe.scheduler.config.num_train_timesteps)
        return read(unet.mid_block, lambda: unet(timestep=t, **inputs), len(texts))
