"""What a host must offer for anything that is learned in its text encoder's space."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from safegen.errors import InvalidValue

Progress = Callable[[int, int], None]
"""Called with how many prompts are encoded, and of how many."""

BATCH = 32


@runtime_checkable
class Encoder(Protocol):
    """A host's text encoder: prompts in, what the denoiser is conditioned on out.

    A host with two encoders (SDXL) offers one whose tokens are both encoders' side by side, as
    its denoiser receives them (768 + 1280 = 2048 wide), with both identities in one.
    """

    identity: str
    """Tells this encoder's weights and layer from any other's; see `identity_of`."""
    width: int
    """Numbers per token."""

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The embeddings of ``texts`` as the denoiser receives them, and whose they are.

        Returns:
            ``[texts, tokens, width]``, the start mark first, padding last; and a mask
            ``[texts, tokens]``, true for the text's own tokens and its closing mark.
        """
        ...


class TextEncoder(Encoder, Protocol):
    """An `Encoder` that tells how its tokens are put together."""

    widths: tuple[int, ...]
    """Numbers per token of each encoder that stands beside the others; they add up to `width`."""


def identity_of(modules: Iterable[torch.nn.Module], width: int, layer: str = "last") -> str:
    """A text encoder's identity: class, width, layer and a hash over all weights.

    The hash is taken over the weights in half precision, whatever they are loaded in, and does
    not depend on their names or order: one checkpoint has one identity in every host that
    keeps its tensors whole.

    Args:
        modules: One text encoder, or SDXL's two.
        width: Of the embedding they make together.
        layer: Which layer's output is used; embeddings of another are of no use.
    """
    parts = []
    for module in modules:
        hashes = []
        for weight in module.parameters():
            digest = hashlib.sha256(repr(tuple(weight.shape)).encode())
            values = weight.detach().to("cpu", torch.float16).contiguous()
            digest.update(values.numpy().tobytes())
            hashes.append(digest.digest())
        whole = hashlib.sha256(b"".join(sorted(hashes))).hexdigest()[:20]
        parts.append(f"{type(module).__name__}:{whole}")
    return f"{'+'.join(parts)}/{width}/{layer}"


def widths_of(modules: Iterable[torch.nn.Module], width: int) -> tuple[int, ...]:
    """How many of a token's ``width`` numbers each encoder makes, in the modules' order.

    They are told by transformers' configuration or open_clip's last norm; where they are not, or
    don't add up, the token counts as one encoder's.
    """
    found: list[int] = []
    for module in modules:
        config, norm = getattr(module, "config", None), getattr(module, "ln_final", None)
        hidden = getattr(config, "hidden_size", None) or len(getattr(norm, "weight", ()))
        found.append(int(hidden))
    return tuple(found) if sum(found) == width else (width,)


def encode_in_batches(
    encoder: Encoder, texts: Sequence[str], progress: Progress | None = None
) -> list[tuple[Tensor, Tensor]]:
    """Embedding ``[tokens, width]`` and mask ``[tokens]`` of each text, on the CPU, in float32.

    Raises:
        InvalidValue: if the encoder answers with other shapes than it promises, or with values
            that are not finite.
    """
    found: list[tuple[Tensor, Tensor]] = []
    for begin in range(0, len(texts), BATCH):
        batch = list(texts[begin : begin + BATCH])
        states, mask = encoder.encode(batch)
        states, mask = states.detach().cpu().float(), mask.detach().cpu().bool()
        if states.ndim != 3 or states.shape[::2] != (len(batch), encoder.width):
            raise InvalidValue(
                "encoder output", tuple(states.shape), f"[{len(batch)}, tokens, {encoder.width}]"
            )
        if mask.shape != states.shape[:2]:
            raise InvalidValue("encoder mask", tuple(mask.shape), str(tuple(states.shape[:2])))
        if not bool(torch.isfinite(states).all()):
            raise InvalidValue("encoder output", "NaN or infinity", "finite numbers")
        found += zip(states, mask, strict=True)
        if progress is not None:
            progress(len(found), len(texts))
    return found


def own_mean(states: Tensor, mask: Tensor) -> Tensor:
    """Mean of the text's own tokens ``[width]``; of an empty text, of its closing mark."""
    weight = mask.to(states.dtype).unsqueeze(-1)
    total = weight.sum()
    if not total > 0:
        raise InvalidValue("encoder mask", "nothing", "at least the closing mark")
    return (states * weight).sum(0) / total


def start_mark(encoded: Sequence[tuple[Tensor, Tensor]]) -> Tensor | None:
    """The start mark's embedding ``[width]``, or ``None`` if it differs from text to text."""
    first = torch.stack([states[0] for states, _ in encoded])
    mean = first.mean(0)
    spread = (first - mean).norm(dim=-1).max()
    return mean if bool(spread <= 1e-2 * mean.norm()) else None
