"""Safety directions and unsafe subspaces, learned from pairs in a model's own text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from safegen.errors import InvalidValue


@dataclass(frozen=True, eq=False)
class LearnedEmbedding:
    """What pairs of prompts say about safety in one text encoder.

    Args:
        direction: mean(safe) - mean(unsafe), ``[width]``.
        basis: The unsafe subspace as orthonormal rows ``[k, width]``.
        center: mean(safe), ``[width]``.
        encoder: Identity of the text encoder it was learned in.
        pairs: How many pairs it was learned from.
        start: The start mark's embedding, ``[width]``, which no edit may touch; ``None`` if the
            encoder has no such constant.
        digest: sha256 of the pairs it was learned from.
    """

    direction: Tensor
    basis: Tensor
    center: Tensor
    encoder: str
    pairs: int
    start: Tensor | None = None
    digest: str = ""

    @property
    def width(self) -> int:
        """Numbers per token."""
        return len(self.direction)

    @property
    def rank(self) -> int:
        """Dimensions of the unsafe subspace."""
        return len(self.basis)


def learn(
    unsafe: Tensor,
    safe: Tensor,
    *,
    encoder: str,
    rank: int = 4,
    least: float = 0.0,
    widths: Sequence[int] = (),
) -> LearnedEmbedding:
    """Learn from embeddings of pairs; row i of both is one scene, unsafe and safe.

    The direction is the difference of means; the subspace is spanned by the first ``rank``
    right singular vectors of the pairs' differences, which are not centred, so that the
    direction itself lies (nearly) within. It has fewer dimensions where the differences span
    no more: an axis that no pair speaks for would take away something else. Where two encoders
    stand side by side (SDXL) each has a subspace of its own, lest the louder decide alone.

    Args:
        unsafe, safe: ``[pairs, width]``, token embeddings averaged over the prompt's own
            tokens: the words and the closing mark. Averages over the padding too are far less
            use to the denoiser (measured in ``docs/detectors.md``).
        rank: Greatest dimension of the subspace of each encoder, 1 to min(pairs, its width).
        least: Share of the squared differences that an axis has to explain, 0 to 1; the first
            axis always stays. What explains little tells how the pairs are worded rather than
            what is unsafe in them, and removing it distorts.
        widths: Of each encoder's part of a token, if there are several; they add up to width.

    Raises:
        InvalidValue: The tables don't match, hold values that are not finite or no pair that
            differs, or ``rank`` is out of range.
    """
    if unsafe.ndim != 2 or unsafe.shape != safe.shape or not len(unsafe):
        raise InvalidValue(
            "pairs", (tuple(unsafe.shape), tuple(safe.shape)), "two tables [pairs, width], alike"
        )
    widths = tuple(widths) or (unsafe.shape[1],)
    if sum(widths) != unsafe.shape[1] or min(widths) < 1:
        raise InvalidValue("widths", widths, f"numbers from 1 on that make {unsafe.shape[1]}")
    most = min(len(unsafe), *widths)
    if not 0.0 <= least <= 1.0:
        raise InvalidValue("least", least, "a number from 0 to 1")
    if not 1 <= rank <= most:
        raise InvalidValue("rank", rank, f"a whole number from 1 to {most}")
    # On the CPU, since not every device has float64.
    a, b = unsafe.detach().cpu().double(), safe.detach().cpu().double()
    if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise InvalidValue("pairs", "NaN or infinity", "finite numbers")
    if not bool((a != b).any()):
        raise InvalidValue("pairs", "equal halves", "pairs that differ")
    blocks = [_axes(block, rank, least) for block in torch.split(a - b, list(widths), dim=1)]
    return LearnedEmbedding(
        direction=(b.mean(0) - a.mean(0)).float(),
        basis=_side_by_side(blocks).float().contiguous(),
        center=b.mean(0).float(),
        encoder=encoder,
        pairs=len(unsafe),
    )


def _side_by_side(blocks: Sequence[Tensor]) -> Tensor:
    """Axes of the encoders one by one, with zeros for what is another's."""
    joined: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return joined


def _axes(differences: Tensor, rank: int, least: float) -> Tensor:
    """The axes ``[k, width]`` that explain the pairs' ``differences`` in one encoder's space."""
    sizes: Tensor
    rows: Tensor
    _, sizes, rows = torch.linalg.svd(differences, full_matrices=False)
    if not sizes[0] > 0:
        return rows[:0]
    negligible = float(sizes[0]) * max(differences.shape) * torch.finfo(torch.float32).eps
    shares = sizes**2 / (sizes**2).sum()
    speaking = (sizes > negligible) & (shares >= least)
    return rows[: min(rank, max(1, int(speaking.sum())))]
