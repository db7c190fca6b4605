"""Edits of a prompt's embedding: along a learned direction, or out of a learned subspace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from safegen.errors import InvalidValue

EmbeddingEdit = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class MoveAlong:
    """e + strength · direction, on every token but start marks, in float32 or wider.

    ``start`` ``[width]`` is the start mark's embedding, or ``None`` to move every token. The
    mark is the same for every prompt, so what it is cannot depend on safety, and a model that
    never saw it moved would misread everything.
    """

    direction: Tensor
    strength: float
    start: Tensor | None = None

    def __call__(self, embedding: Tensor) -> Tensor:
        _check_width(embedding, len(self.direction))
        wide = _wide(embedding)
        moved = wide + self.strength * self.direction.to(wide)
        return _but_start(embedding, wide, moved, self.start)


@dataclass(frozen=True, eq=False)
class ProjectOut:
    """e - min(strength, 1) · ((e - center) Uᵀ) U: each token's part in the unsafe subspace goes.

    ``basis`` is U as orthonormal rows ``[k, width]``; ``center`` ``[width]`` is the safe mean,
    so that an embedding that is already as safe as the pairs' safe half hardly moves. ``start``
    is as in `MoveAlong`. Computed in float32 or wider.
    """

    basis: Tensor
    center: Tensor
    strength: float = 1.0
    start: Tensor | None = None

    def __call__(self, embedding: Tensor) -> Tensor:
        _check_width(embedding, self.basis.shape[1])
        wide = _wide(embedding)
        offset = wide - self.center.to(wide)
        inside = torch.zeros_like(wide)
        # Sums rather than a matrix product, which autocast would run in half precision.
        for axis in self.basis.to(wide):
            inside += (offset * axis).sum(-1, keepdim=True) * axis
        moved = wide - min(self.strength, 1.0) * inside
        return _but_start(embedding, wide, moved, self.start)


def _wide(embedding: Tensor) -> Tensor:
    return embedding.to(torch.promote_types(embedding.dtype, torch.float32))


_SAME_DIRECTION = 0.999
"""Cosine from which a token is taken for the start mark; a host may have scaled it."""


def _but_start(given: Tensor, wide: Tensor, moved: Tensor, start: Tensor | None) -> Tensor:
    """``moved`` in the dtype of ``given``, but the tokens that are start marks as given."""
    result = moved.to(given.dtype)
    if start is None:
        return result
    mark = start.to(wide)
    cosine = (wide * mark).sum(-1) / (wide.norm(dim=-1) * mark.norm()).clamp_min(1e-12)
    return torch.where((cosine > _SAME_DIRECTION).unsqueeze(-1), given, result)


def _check_width(embedding: Tensor, width: int) -> None:
    if embedding.shape[-1] != width:
        raise InvalidValue(
            "learned embedding width", width, f"the text encoder's, {embedding.shape[-1]}"
        )
