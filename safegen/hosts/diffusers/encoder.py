"""A pipeline's text encoders, for what is learned in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from safegen.errors import Unsupported
from safegen.learned.encoder import identity_of, widths_of


class PipelineEncoder:
    """A pipeline's own text encoder, or SDXL's two side by side, as an `Encoder`.

    Args:
        pipe: A diffusers pipeline with ``encode_prompt``; it needs neither UNet nor VAE.
        clip_skip: As in the pipeline's call: each value is a space of its own.
    """

    def __init__(self, pipe: Any, clip_skip: int | None = None) -> None:
        found = (getattr(pipe, name, None) for name in ("text_encoder", "text_encoder_2"))
        modules = [module for module in found if module is not None]
        tokenizers = [getattr(pipe, name, None) for name in ("tokenizer", "tokenizer_2")]
        self._tokenizer = next((t for t in tokenizers if t is not None), None)
        if not modules or self._tokenizer is None or not hasattr(pipe, "encode_prompt"):
            raise Unsupported("this pipeline has no text encoder that could be asked")
        self.pipe, self.clip_skip = pipe, clip_skip
        states, _ = self.encode([""])
        self.width = int(states.shape[-1])
        self.widths = widths_of(modules, self.width)
        layer = f"skip{clip_skip}" if clip_skip else "last"
        self.identity = identity_of(modules, self.width, layer)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See `Encoder.encode`; longer texts are cut, as the pipeline itself cuts them."""
        texts = list(texts)
        states = self.pipe.encode_prompt(
            prompt=texts,
            device=self.pipe._execution_device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
            clip_skip=self.clip_skip,
        )[0]
        assert self._tokenizer is not None
        tokens = self._tokenizer(
            texts, padding="max_length", truncation=True, max_length=states.shape[1],
            return_tensors="pt",
        )  # fmt: skip
        mask = tokens.attention_mask.bool()
        mask[:, 0] = False  # the start mark, which is the same for every text
        return states, mask.to(states.device)
