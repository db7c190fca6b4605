"""Rows of a UNet's inputs and outputs: taken out, put below one another, read and replaced."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def select_rows(value: Any, rows: int, index: Tensor) -> Any:
    """``value`` with rows ``index`` taken from every tensor in it that has ``rows`` rows."""
    if isinstance(value, Tensor):
        return value[index] if value.ndim and len(value) == rows else value
    if isinstance(value, dict):
        return {key: select_rows(member, rows, index) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(select_rows(member, rows, index) for member in value)
    return value


def join_rows(first: Any, second: Any, rows: int) -> Any:
    """Tensors of ``rows`` rows in ``first`` with those of ``second`` below them."""
    if isinstance(first, Tensor):
        return torch.cat([first, second]) if first.ndim and len(first) == rows else first
    if isinstance(first, dict):
        return {key: join_rows(member, second[key], rows) for key, member in first.items()}
    if isinstance(first, (list, tuple)):
        pairs = zip(first, second, strict=True)
        return type(first)(join_rows(a, b, rows) for a, b in pairs)
    return first


def sample_of(output: Any) -> Tensor:
    """The prediction in what a UNet's ``forward`` returned."""
    tensor = output[0] if isinstance(output, tuple) else output.sample
    assert isinstance(tensor, Tensor)
    return tensor


def with_sample(output: Any, sample: Tensor) -> Any:
    """What ``forward`` returned, with another prediction in it."""
    if isinstance(output, tuple):
        return (sample, *output[1:])
    return type(output)(sample=sample)
