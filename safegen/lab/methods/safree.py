"""SAFREE (Yoon et al., arXiv 2410.12761), from its equations, for models with one text encoder.

1. The concepts' pooled encodings span a subspace C; the prompt's pooled encodings, each with one
   token masked, span I. A token counts as unsafe if masking it takes the prompt further from C
   than masking the others does, by a share of alpha (equations 2 to 4).
2. The encodings of unsafe tokens become P_I·(1 - P_C)·p (equation 5, in the order that is printed;
   the authors' code is said to multiply in the other order).
3. They are used for the first γ·sigmoid(1 - cos(p, P_I·(1 - P_C)·p)) of 50 steps (equation 6).
4. Re-attention: in these steps low frequencies of the features that are stronger for the filtered
   prompt than for the user's own are scaled down (equations 7 and 8).

Approximated, since the paper does not fix it: cos is taken over the prompt's own tokens; a count of
50 steps becomes a share of the steps; the features are the up blocks' skip connections, low are the
2×2 frequencies around zero, and the scale is 0.2: FreeU's choices (arXiv 2309.11497), on which the
authors are said to build. As in their set-up the concept also is the negative prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from safegen.errors import Unsupported
from safegen.hosts.diffusers import Forward, replaced_forward, sample_of, with_sample
from safegen.lab.methods.rows import chunked

RADIUS = 1


@dataclass(frozen=True)
class Filtered:
    """A prompt's states with its unsafe tokens filtered, and for which share of the steps."""

    states: Tensor
    unsafe: tuple[int, ...]
    share: float


def projection(columns: Tensor) -> Tensor:
    """The orthogonal projection ``[D, D]`` onto the span of ``columns`` [D, n], in float32."""
    columns = columns.float()
    projected: Tensor = columns @ torch.linalg.pinv(columns)
    return projected


def unsafe_tokens(masked: Tensor, concept: Tensor, alpha: float) -> Tensor:
    """Which tokens take the prompt nearer to the concept.

    Args:
        masked: Pooled encodings ``[D, n]``, column i with token i masked.
        concept: `projection` onto the concept's subspace.
        alpha: By which share the distance must exceed the others' mean.
    """
    distance = (masked.float() - concept @ masked.float()).norm(dim=0)
    if len(distance) < 2:
        return torch.ones_like(distance, dtype=torch.bool)
    others = (distance.sum() - distance) / (len(distance) - 1)
    above: Tensor = distance > (1 + alpha) * others
    return above


@torch.no_grad()
def filtered(pipe: Any, prompt: str, concept: str, options: Mapping[str, float]) -> Filtered:
    """Steps 1 to 3 for one prompt; ``concept`` is a list of phrases, separated by commas."""
    device = pipe._execution_device

    def encode(texts: Sequence[str], mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        tokens = pipe.tokenizer(
            list(texts), padding="max_length", truncation=True, return_tensors="pt",
            max_length=pipe.tokenizer.model_max_length,
        )  # fmt: skip
        ids = tokens.input_ids.to(device)
        if mask is not None:
            ids = ids.expand(len(mask), -1)
        found = pipe.text_encoder(ids, attention_mask=mask)
        return found.last_hidden_state, found.pooler_output, tokens.attention_mask.to(device)

    states, _, attended = encode([prompt])
    count = int(attended.sum()) - 2  # less the start and end tokens
    if count < 1:
        return Filtered(states, (), 0.0)
    masks = torch.ones(count, states.shape[1], dtype=torch.long, device=device)
    masks[torch.arange(count), 1 + torch.arange(count)] = 0
    masked = encode([prompt], masks)[1].T
    phrases = [phrase.strip() for phrase in concept.split(",") if phrase.strip()]
    away = projection(encode(phrases)[1].T)
    unsafe = unsafe_tokens(masked, away, options["alpha"])
    own = states[0, 1 : 1 + count].float().T
    moved = projection(masked) @ (own - away @ own)
    cosine = torch.cosine_similarity(own.flatten(), moved.flatten(), dim=0)
    steps = options["gamma"] * torch.sigmoid(1 - cosine)
    new = states.clone()
    new[0, 1 : 1 + count] = torch.where(unsafe, moved, own).T.to(new.dtype)
    places = tuple(int(i) for i in unsafe.nonzero().flatten())
    return Filtered(new, places, min(float(steps) / 50, 1.0))


def reattended(safe: Tensor, own: Tensor, scale: float) -> Tensor:
    """Step 4: ``safe`` [n, C, H, W] with what is low and stronger than in ``own`` scaled."""
    there, here = (torch.fft.fftshift(torch.fft.fft2(h.float()), dim=(-2, -1)) for h in (safe, own))
    low = torch.zeros_like(there, dtype=torch.bool)
    row, column = (size // 2 for size in safe.shape[-2:])
    low[..., row - RADIUS : row + RADIUS, column - RADIUS : column + RADIUS] = True
    there = torch.where(low & (there.abs() > here.abs()), there * scale, there)
    back = torch.fft.ifft2(torch.fft.ifftshift(there, dim=(-2, -1))).real
    result: Tensor = back.to(safe.dtype)
    return result


@contextmanager
def safree(
    pipe: Any, prompts: Sequence[str], concepts: Sequence[str], options: Mapping[str, float]
) -> Iterator[None]:
    """Within the block ``pipe`` samples ``prompts`` with SAFREE: 3 rows while it filters, then 2.

    Raises:
        Unsupported: The pipeline has two text encoders, or no classifier-free guidance.
    """
    if getattr(pipe, "text_encoder_2", None) is not None:
        raise Unsupported("SAFREE is written here for models with one text encoder")
    found = [filtered(pipe, p, c, options) for p, c in zip(prompts, concepts, strict=True)]
    images, calls = len(prompts), 0
    safe_states = torch.cat([f.states for f in found])

    def attend(_block: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        skips = []
        for skip in kwargs["res_hidden_states_tuple"]:
            rest, safe, own = skip[: -2 * images], skip[-2 * images : -images], skip[-images:]
            skips.append(torch.cat([rest, reattended(safe, own, options["scale"]), own]))
        return args, {**kwargs, "res_hidden_states_tuple": tuple(skips)}

    def make(forward: Forward) -> Forward:
        def call(sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, **kw: Any) -> Any:
            nonlocal calls
            chunked(sample, images, "SAFREE")
            active = [bool(f.unsafe) and calls < round(f.share * pipe.num_timesteps) for f in found]
            calls += 1
            if not any(active):
                return forward(sample, timestep, encoder_hidden_states=encoder_hidden_states, **kw)
            own = encoder_hidden_states[images:]
            rows = torch.tensor(active, device=sample.device)
            safe = torch.where(rows[:, None, None], safe_states.to(own.dtype), own)
            states = torch.cat([encoder_hidden_states[:images], safe, own])
            with ExitStack() as hooks:
                for block in pipe.unet.up_blocks:
                    hook = block.register_forward_pre_hook(attend, with_kwargs=True)
                    hooks.callback(hook.remove)
                output = forward(
                    torch.cat([sample, sample[images:]]),
                    timestep,
                    encoder_hidden_states=states,
                    **kw,
                )
            uncond, moved, plain = sample_of(output).chunk(3)
            cond = torch.where(rows[:, None, None, None], moved, plain)
            return with_sample(output, torch.cat([uncond, cond]))

        return call

    with replaced_forward(pipe.unet, make):
        yield
