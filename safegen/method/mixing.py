"""A conditioning between the prompt's and the safe text's: what the weight moves.

A weighted sum of two *pictures* shows both, one through the other. A weighted sum of two
*texts'* embeddings is one text to the model, which makes one picture of it: a milder one. The
two texts have their words in other places, so their tokens are aligned first. Pure torch and
numpy; ours.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safegen.method.blend import wide

GAP = 0.7
"""What it costs to leave a token without a partner of its own, as a cosine distance. Two tokens
are paired if they differ by less than twice that."""


def mixed(prompt: Tensor, safe: Tensor, share: float) -> Tensor:
    """Token embeddings ``share`` of the way from the prompt's to the safe text's.

    Words that only one of the texts has move towards, or come from, the word beside them in the
    other. A model that attends to tokens without regard to their order, as Stable Diffusion's
    does, sees the rest in its place.

    Args:
        prompt: ``[tokens, width]``, any float dtype.
        safe: ``[other tokens, width]``.
        share: 0 to 1. At 0 the result is ``prompt`` itself, at 1 ``safe`` itself.

    Returns:
        ``[tokens, width]``, as many as the longer text has, in the dtype of ``safe``.

    Raises:
        ValueError: ``share`` is out of range, or the widths differ.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share: {share} is not allowed; allowed: numbers from 0 to 1")
    if prompt.ndim != 2 or safe.ndim != 2 or prompt.shape[1] != safe.shape[1]:
        raise ValueError(
            f"safe: shape {tuple(safe.shape)} is not allowed; "
            f"allowed: tokens as wide as the prompt's, {tuple(prompt.shape)}"
        )
    if share == 0.0:
        return prompt
    if share == 1.0:
        return safe
    pairs = torch.tensor(aligned(prompt, safe), device=safe.device)
    a, b = wide(prompt)[pairs[:, 0]], wide(safe)[pairs[:, 1]]
    # The pairs at the end are padding, of which there may be less.
    result = (a + share * (b - a))[: max(len(prompt), len(safe))]
    return result.to(safe.dtype)


def aligned(prompt: Tensor, safe: Tensor) -> list[tuple[int, int]]:
    """The cheapest way to walk through two texts at once, as pairs of token numbers.

    A global alignment (Needleman and Wunsch, 1970) by the cosine between tokens, each less the
    mean of its text: a step takes a token of both, or one of either beside the other's last. The
    first tokens, the start marks, are always a pair, and so are the last.
    """
    distance = _distances(prompt, safe)
    rows, columns = distance.shape
    cost = np.full((rows, columns), np.inf)
    step = np.zeros((rows, columns), dtype=np.int8)
    cost[0, 0] = 0.0
    # One diagonal after another: what a cell needs lies on the two before.
    for total in range(1, rows + columns - 1):
        i = np.arange(max(0, total - columns + 1), min(rows, total + 1))
        j = total - i
        options = np.full((3, len(i)), np.inf)
        both = (i > 0) & (j > 0)
        options[0, both] = cost[i[both] - 1, j[both] - 1] + distance[i[both], j[both]]
        options[1, i > 0] = cost[i[i > 0] - 1, j[i > 0]] + GAP
        options[2, j > 0] = cost[i[j > 0], j[j > 0] - 1] + GAP
        best = options.argmin(axis=0)
        cost[i, j], step[i, j] = options[best, np.arange(len(i))], best
    path = [(rows - 1, columns - 1)]
    while path[-1] != (0, 0):
        row, column = path[-1]
        taken = step[row, column]
        path.append((row - (taken != 2), column - (taken != 1)))
    return path[::-1]


def _distances(prompt: Tensor, safe: Tensor) -> NDArray[np.float64]:
    """1 - cosine of each token of one text to each of the other, ``[tokens, other tokens]``."""
    directions = []
    for text in (prompt, safe):
        tokens = text.detach().to("cpu", torch.float64)
        centred = tokens - tokens.mean(0)
        directions.append(centred / centred.norm(dim=1, keepdim=True).clamp_min(1e-12))
    found: NDArray[np.float64] = (1 - directions[0] @ directions[1].T).numpy()
    return found
