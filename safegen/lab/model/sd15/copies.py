"""Repeating channels: weights of a small layer as those of a wide one that computes the same."""

from __future__ import annotations

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def spread(vector: Tensor, size: int, copies: int) -> Tensor:
    """A small layer's bias or norm weight ``[n]``, each entry ``copies`` times, then zeros."""
    wide = torch.zeros(size)
    wide[: len(vector) * copies] = vector.float().repeat_interleave(copies)
    return wide


def widen(matrix: Tensor, shape: tuple[int, int], copies: tuple[int, int]) -> Tensor:
    """A small layer's weight ``[o, i, ...]`` as ``[*shape, ...]``.

    Each output is there ``copies[0]`` times, side by side, so that it stays within its norm
    group. Of an input's ``copies[1]`` copies the first is read: nothing is divided, so nothing
    is rounded.
    """
    small = matrix.float()
    wide = torch.zeros(*shape, *small.shape[2:])
    rows = small.repeat_interleave(copies[0], 0)
    wide[: len(rows), : small.shape[1] * copies[1] : copies[1]] = rows
    return wide


class Sheet:
    """Weights under construction, under the names of the SD1 layout."""

    def __init__(self) -> None:
        self.weights: Weights = {}

    def put(self, name: str, weight: Tensor, bias: Tensor | None = None) -> None:
        """Write ``name.weight`` and, if given, ``name.bias``, in half precision."""
        self.weights[f"{name}.weight"] = weight.half().contiguous()
        if bias is not None:
            self.weights[f"{name}.bias"] = bias.half().contiguous()

    def zero(self, name: str, *shape: int, bias: bool = True) -> None:
        """A layer that gives nothing."""
        self.put(name, torch.zeros(shape), torch.zeros(shape[0]) if bias else None)

    def norm(self, name: str, size: int) -> None:
        """A norm that changes nothing of what it normalises."""
        self.put(name, torch.ones(size), torch.zeros(size))


class Small:
    """The small model's weights, read by name."""

    def __init__(self, weights: Weights, prefix: str) -> None:
        self._weights = weights
        self._prefix = prefix

    def has(self, name: str) -> bool:
        """Whether there is such a layer."""
        return f"{self._prefix}{name}.weight" in self._weights

    def weight(self, name: str) -> Tensor:
        """``name.weight`` in float32."""
        return self._weights[f"{self._prefix}{name}.weight"].float()

    def bias(self, name: str) -> Tensor:
        """``name.bias`` in float32."""
        return self._weights[f"{self._prefix}{name}.bias"].float()


def layer(
    sheet: Sheet,
    name: str,
    small: Small,
    source: str,
    shape: tuple[int, int],
    copies: tuple[int, int],
    gain: float = 1.0,
) -> None:
    """A linear layer or convolution of the small model, widened; ``gain`` scales what it gives."""
    bias = spread(small.bias(source), shape[0], copies[0]) * gain
    sheet.put(name, widen(small.weight(source), shape, copies) * gain, bias)


def norm(sheet: Sheet, name: str, small: Small, source: str, copies: int) -> None:
    """A norm of the small model, widened."""
    weight = small.weight(source)
    size = len(weight) * copies
    sheet.put(name, spread(weight, size, copies), spread(small.bias(source), size, copies))
