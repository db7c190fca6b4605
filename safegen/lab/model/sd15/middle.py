"""The second half of the small UNet's middle, which fits none of SD1.5's blocks, at its 4th level.

The first four blocks of the small model's coarsest level (3x3 for pictures of 96x96) stand in
input blocks 7 and 8 and output blocks 4 and 5. The remaining one, the residual block behind the
middle's attention, would stand in output block 3, whose norm sees two tensors side by side and so
has but 16 groups for the half that matters, where 32 are needed. It is computed at the fourth
level instead, on the flattened picture:

1. Input block 9 (stride 2, 2x2 positions A and B along each side) sees windows of the 3x3 picture.
2. Input block 10 exchanges them, so that each position holds all nine pixels: 9 x 128 channels,
   4 of 40 in each norm group spare for the group's mean, which leaves its statistics as they were
   but for a known factor.
3. Input block 11 is the residual block, its convolutions written as matrices over nine pixels.
4. What it adds returns as two kinds of channels along each side, P and Q, such that the
   upsampling convolution finds pixel 0 as P(A), pixel 1 as Q(A) + P(A), and pixel 2 as
   Q(A) + P(B). This holds whether a host scales 2x2 up to 3x3 before the convolution (diffusers,
   Forge) or to 4x4 and cuts afterwards (the WebUI).

Pictures of other sizes than 96x96 lose this block's share.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from safegen.lab.model.sd15.copies import Sheet, Small, spread

WIDTH, CHANNELS, COPIES = 1280, 128, 10
GROUPS, IN_GROUP, SLOTS, USED = 32, 4, 40, 36
_FAINT = 2.0**-10
"""What input block 10 reads is this faint, so that what it adds drowns it."""
_LOUD = 16.0
_SLOPE, _OFFSET = 0.5, 16.0
"""SiLU is linear there: of 16 plus or minus 6 it is off by less than 0.0005."""

_WINDOWS = {"p": 0, "q": 1, "s": -1}
"""What a position sees of the finer grid: the pixel it stands on, the next, the one before."""
_FIRST = {"z": [("p", -1)], "y": [("p", 1)], "f": [("q", 0), ("s", 0)]}
"""The first exchange: which windows, at which neighbour. z holds pixel 0 at B, y pixel 2 at A."""
_SECOND = {0: [("z", 0), ("z", 1)], 1: [("f", 0)], 2: [("y", 0), ("y", -1)]}
"""The second: each pixel at every position."""
_RETURN = {"P": [(0, {0: 1.0}), (-1, {2: 1.0, 1: -1.0})], "Q": [(0, {1: 1.0, 0: -1.0})]}
"""P and Q: at which neighbour, from which pixels."""
_READ = {"P": 0, "Q": -1}
"""Where the upsampling convolution looks for each kind."""


def _slot(channel: int, place: int) -> int:
    """Where one of nine values of a small channel stands: within its norm group."""
    return channel // IN_GROUP * SLOTS + channel % IN_GROUP * 9 + place


def downwards(sheet: Sheet, small: Small) -> None:
    """Input blocks 9 to 11, over blocks that add nothing."""
    sheet.put("input_blocks.9.0.op", _windows(), torch.zeros(WIDTH))
    _exchange(sheet)
    _residual(sheet, small)


def upwards(sheet: Sheet, small: Small) -> None:
    """The skip connections of output blocks 0 to 3 and the convolution that brings it back."""
    eye = torch.eye(WIDTH)
    first = torch.cat([eye, torch.zeros(WIDTH, WIDTH)], 1)
    rest = torch.cat([eye, -eye], 1)  # what input block 11 added, since its neighbour is block 10
    both = torch.cat([eye, eye], 1)
    bias = spread(small.bias("middle_block.2.out_layers.3"), WIDTH, COPIES)
    for block, matrix in enumerate((first, rest, first, both)):
        sheet.put(
            f"output_blocks.{block}.0.skip_connection",
            matrix[:, :, None, None],
            bias if block == 3 else torch.zeros(WIDTH),
        )
    back = torch.zeros(WIDTH, WIDTH, 3, 3)
    for index, (a, b) in enumerate(itertools.product("PQ", repeat=2)):
        for channel in range(CHANNELS):
            rows = slice(channel * COPIES, (channel + 1) * COPIES)
            back[rows, index * CHANNELS + channel, _READ[a] + 1, _READ[b] + 1] = 1.0
    sheet.put("output_blocks.2.1.conv", back, torch.zeros(WIDTH))


def _windows() -> Tensor:
    weight = torch.zeros(WIDTH, WIDTH, 3, 3)
    for place, (a, b) in enumerate(itertools.product(_WINDOWS, repeat=2)):
        for channel in range(CHANNELS):
            taps = _WINDOWS[a] + 1, _WINDOWS[b] + 1
            weight[(_slot(channel, place), channel * COPIES, *taps)] = _FAINT
    return weight


def _exchange(sheet: Sheet) -> None:
    """Input block 10: two linear steps. What a norm takes away as the mean comes back by
    subtracting a slot that holds nothing; by what it divides does not matter to the next norm."""
    name = "input_blocks.10.0"
    for part in ("in_layers.0", "out_layers.0"):
        sheet.put(f"{name}.{part}", torch.full((WIDTH,), _SLOPE), torch.full((WIDTH,), _OFFSET))
    first = _steps(_FIRST, list(_WINDOWS))
    sheet.put(f"{name}.in_layers.2", first, torch.zeros(WIDTH))
    second = _steps(_SECOND, list(_FIRST)) * _LOUD
    _fill_means(second)
    sheet.put(f"{name}.out_layers.3", second, torch.zeros(WIDTH))


def _steps(table: Mapping[Any, list[tuple[str, int]]], before: list[str]) -> Tensor:
    weight = torch.zeros(WIDTH, WIDTH, 3, 3)
    for place, (a, b) in enumerate(itertools.product(table, repeat=2)):
        for (kind_a, tap_a), (kind_b, tap_b) in itertools.product(table[a], table[b]):
            source = before.index(kind_a) * len(before) + before.index(kind_b)
            for channel in range(CHANNELS):
                row = _slot(channel, place)
                taps = tap_a + 1, tap_b + 1
                weight[(row, _slot(channel, source), *taps)] += 1.0
                weight[(row, channel // IN_GROUP * SLOTS + USED, *taps)] -= 1.0
    return weight


def _fill_means(rows: Tensor) -> None:
    """Let each group's spare slots hold the mean of the others."""
    grouped = rows.view(GROUPS, SLOTS, *rows.shape[1:])
    grouped[:, USED:] = grouped[:, :USED].mean(1, keepdim=True)


def _slots() -> Tensor:
    return torch.tensor([[_slot(c, place) for place in range(9)] for c in range(CHANNELS)])


def _flat(values: Tensor) -> Tensor:
    """``[128, ...]``, one a channel, as ``[1280, ...]``, one a slot."""
    wide = torch.zeros(WIDTH, *values.shape[1:])
    wide[_slots().flatten()] = values.repeat_interleave(9, 0)
    return wide


def _matrix(weight: Tensor) -> Tensor:
    """A 3x3 convolution ``[o, 128, 3, 3]`` on 3x3 pixels as ``[o, 9, 1280]``."""
    dense = torch.zeros(len(weight), 9, CHANNELS, 9)
    for (y, x), (v, u) in itertools.product(itertools.product(range(3), repeat=2), repeat=2):
        if abs(v - y) <= 1 and abs(u - x) <= 1:
            dense[:, 3 * y + x, :, 3 * v + u] = weight[:, :, v - y + 1, u - x + 1]
    wide = torch.zeros(len(weight), 9, WIDTH)
    wide[:, :, _slots().flatten()] = dense.flatten(2)
    return wide


def _residual(sheet: Sheet, small: Small) -> None:
    """Input block 11: the small block on nine pixels; its last bias comes in output block 3."""
    name, source = "input_blocks.11.0", "middle_block.2"
    # The spare slots stand at the mean, which lowers the variance by this.
    factor = math.sqrt(USED / SLOTS)
    for part in ("in_layers.0", "out_layers.0"):
        weight, bias = small.weight(f"{source}.{part}"), small.bias(f"{source}.{part}")
        sheet.put(f"{name}.{part}", _flat(weight) * factor, _flat(bias))
    first = torch.zeros(WIDTH, WIDTH)
    first[_slots().flatten()] = _matrix(small.weight(f"{source}.in_layers.2")).flatten(0, 1)
    bias = _flat(small.bias(f"{source}.in_layers.2"))
    time = torch.zeros(WIDTH, WIDTH)
    weight = _flat(small.weight(f"{source}.emb_layers.1"))
    time[:, : weight.shape[1]] = weight
    time_bias = _flat(small.bias(f"{source}.emb_layers.1"))
    for made in (first, bias, time, time_bias):
        _fill_means(made)
    centre = torch.zeros(WIDTH, WIDTH, 3, 3)
    centre[:, :, 1, 1] = first
    sheet.put(f"{name}.in_layers.2", centre, bias)
    sheet.put(f"{name}.emb_layers.1", time, time_bias)
    dense = _matrix(small.weight(f"{source}.out_layers.3"))
    back = torch.zeros(WIDTH, WIDTH, 3, 3)
    for index, (a, b) in enumerate(itertools.product("PQ", repeat=2)):
        rows = slice(index * CHANNELS, (index + 1) * CHANNELS)
        for (tap_a, from_a), (tap_b, from_b) in itertools.product(_RETURN[a], _RETURN[b]):
            for (y, gain), (x, other) in itertools.product(from_a.items(), from_b.items()):
                back[rows, :, tap_a + 1, tap_b + 1] += gain * other * dense[:, 3 * y + x]
    sheet.put(f"{name}.out_layers.3", back, torch.zeros(WIDTH))
