"""Layers of small networks that stand side by side, over runs of places."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def run(x: Floats, layer: tuple[Floats, Floats], stride: int, out: Floats, first: int = 0) -> None:
    """What a layer says of runs of places, where that is above 0.

    Args:
        x: ``[batch, places, networks · width]``.
        layer: ``[networks, reach · width, hidden]`` and its bias ``[networks · hidden]``.
        stride: How far apart the places of a run lie.
        out: Takes what it says, ``[batch, runs, networks · hidden]``.
        first: Where the first run starts; each of the others starts at the next place.
    """
    weight, bias = layer
    networks, wide, hidden = weight.shape
    batch, places, _ = out.shape
    own = x.shape[2] // networks
    each, place, number = x.strides
    runs: Floats = np.ndarray(  # a view
        (networks, batch, places, wide // own, own),
        np.float32,
        x,
        first * place,
        (own * number, each, place, stride * place, number),
    )
    rows = np.ascontiguousarray(runs).reshape(networks, batch * places, wide)
    said = _products(rows, weight)
    said = said.reshape(networks, batch, places, hidden).transpose(1, 2, 0, 3)
    np.add(said, bias.reshape(networks, hidden), out=out.reshape(said.shape))
    np.maximum(out, 0.0, out=out)


def _products(a: Floats, b: Floats) -> Floats:
    """``[networks, n, k]`` times ``[networks, k, m]``.

    Torch multiplies matrices as small as these several times as fast as numpy. Hosts have loaded
    it; the command line does not, and to load it would take longer than it saves.
    """
    torch = sys.modules.get("torch")
    if not hasattr(torch, "bmm"):
        return np.asarray(a @ b)
    assert torch is not None
    said = np.empty((*a.shape[:2], b.shape[2]), np.float32)
    # Autocast leaves what is written to `out` alone.
    torch.bmm(torch.from_numpy(a), torch.from_numpy(b), out=torch.from_numpy(said))
    return said
