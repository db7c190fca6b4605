"""A residual block that changes the width, where SD1.5's autoencoder keeps it.

Between two levels the small autoencoder goes from n to m channels, with a linear shortcut, but
SD1.5's stays at 512 and so has no shortcut: its block adds, and what came in stays. The widened
model spends one of its spare blocks on that:

1. The convolution before gives the n channels, made small, and hides what the
   shortcut would give, faintly, as the difference of pairs of copies. The norm that follows sees
   the n channels alone.
2. The first block computes what the small block adds and writes it, as faintly, on top. It also
   adds a large constant to some copies and takes it from others.
3. In the next block's norm these constants alone decide by what is divided, so the block is linear
   and known. It reads the pairs, which now hold the small block's whole result, writes it out
   many times as large, which drowns what came in, and removes the constants.

What came in is left as an error of less than 1 in 1000. What follows runs at that size up to the
next norm or convolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from safegen.lab.model.sd15.copies import Sheet, Small, spread, widen

WIDTH, GROUPS = 512, 32
_CONSTANT = 64.0
_SLOPE = 2.0**-12
"""What SiLU is given of a channel: it is linear for so small a number."""
_HIDDEN_CONSTANT = 4.0


@dataclass(frozen=True)
class Turn:
    """Where the small model changes its width, and how large its channels are there.

    Args:
        convolution: Name of the convolution before.
        block: Name of the block that changes the width.
        quiet: By what the channels that come in are multiplied.
        faint: By what the results that are hidden among them are.
        loud: By what the results that go out are.
    """

    convolution: str
    block: str
    quiet: float
    faint: float
    loud: float


ENCODER = Turn("encoder.down.2.downsample.conv", "encoder.down.3.block.0", 2**-5, 2**-10, 32.0)
DECODER = Turn("decoder.up.3.upsample.conv", "decoder.up.2.block.0", 2**-4, 2**-8, 256.0)


def turn(sheet: Sheet, small: Small, what: Turn, blocks: tuple[str, str]) -> None:
    """Write ``what.convolution`` and two wide blocks that do what the small ``block`` does."""
    shortcut = small.weight(f"{what.block}.nin_shortcut")[:, :, 0, 0]
    into, out = shortcut.shape[1], shortcut.shape[0]
    pairs = _pairs(into, out)
    _convolution(sheet, small, what, shortcut, pairs)
    _first(sheet, small, what, blocks[0], pairs)
    _second(sheet, what, blocks[1], pairs)


def _pairs(into: int, out: int) -> Tensor:
    """For each of the ``out`` channels the two copies whose difference holds it, ``[out, 2]``."""
    times, members, made = WIDTH // into, into // GROUPS, out // GROUPS
    places = []
    for channel in range(out):
        group, index = divmod(channel, made)
        member, slot = index % members, 2 * (index // members)
        first = (group * members + member) * times + slot
        places.append([first, first + 1])
    return torch.tensor(places)


def _constants(pairs: Tensor) -> Tensor:
    """The constant of each channel: none on the pairs, else plus and minus in turn, ``[512]``."""
    signs = torch.zeros(WIDTH)
    free = torch.ones(WIDTH, dtype=torch.bool)
    free[pairs.flatten()] = False
    places = free.nonzero().flatten()
    signs[places] = torch.tensor([1.0, -1.0]).repeat(len(places) // 2)
    return signs * _CONSTANT


def _hide(wide: Tensor, values: Tensor, pairs: Tensor) -> None:
    """Add ``values`` ``[out, ...]`` to the first of each pair and take it from the second."""
    wide[pairs[:, 0]] += values
    wide[pairs[:, 1]] -= values


def _convolution(sheet: Sheet, small: Small, what: Turn, shortcut: Tensor, pairs: Tensor) -> None:
    weight, bias = small.weight(what.convolution), small.bias(what.convolution)
    times = WIDTH // len(weight), WIDTH // weight.shape[1]
    wide = widen(weight, (WIDTH, WIDTH), times) * what.quiet
    mixed = torch.einsum("oi,i...->o...", shortcut, weight) * what.faint
    _hide(wide, widen(mixed, (len(mixed), WIDTH), (1, times[1])), pairs)
    wide_bias = spread(bias, WIDTH, times[0]) * what.quiet
    _hide(wide_bias, shortcut @ bias * what.faint, pairs)
    sheet.put(what.convolution, wide, wide_bias)


def _first(sheet: Sheet, small: Small, what: Turn, name: str, pairs: Tensor) -> None:
    """The small block; it reads the last copy of each channel, which hides nothing."""
    weight = small.weight(f"{what.block}.conv1")
    out, into = weight.shape[:2]
    before, behind = WIDTH // into, WIDTH // out
    for part, times in (("norm1", before), ("norm2", behind)):
        source = f"{what.block}.{part}"
        sheet.put(
            f"{name}.{part}",
            spread(small.weight(source), WIDTH, times),
            spread(small.bias(source), WIDTH, times),
        )
    wide = widen(weight, (WIDTH, WIDTH), (behind, before)).roll(before - 1, 1)
    sheet.put(f"{name}.conv1", wide, spread(small.bias(f"{what.block}.conv1"), WIDTH, behind))
    added = widen(small.weight(f"{what.block}.conv2"), (out, WIDTH), (1, behind))
    weight, bias = torch.zeros(WIDTH, WIDTH, 3, 3), _constants(pairs)
    _hide(weight, added * what.faint, pairs)
    rest = small.bias(f"{what.block}.conv2") + small.bias(f"{what.block}.nin_shortcut")
    _hide(bias, rest * what.faint, pairs)
    sheet.put(f"{name}.conv2", weight, bias)


def _second(sheet: Sheet, what: Turn, name: str, pairs: Tensor) -> None:
    """The linear block that reads the pairs."""
    out, in_group, hidden = len(pairs), WIDTH // GROUPS, what.loud * 2**-14
    made = out // GROUPS
    constants = _constants(pairs)
    deviation = _CONSTANT * math.sqrt(float((constants != 0).float().mean()))
    weight = torch.zeros(WIDTH)
    weight[pairs.flatten()] = deviation * _SLOPE
    sheet.put(f"{name}.norm1", weight, torch.zeros(WIDTH))
    # Hidden: each result and its negative, which cancel in the mean, and constants.
    places = torch.tensor(
        [(c // made) * in_group + 2 * (c % made) for c in range(out)], dtype=torch.long
    )
    read = torch.zeros(WIDTH, WIDTH, 3, 3)
    gain = hidden / (_SLOPE * what.faint)
    for place, sign in ((places, gain), (places + 1, -gain)):
        read[place, pairs[:, 0], 1, 1] = sign
        read[place, pairs[:, 1], 1, 1] = -sign
    free = torch.ones(WIDTH, dtype=torch.bool)
    free[torch.cat([places, places + 1])] = False
    bias = torch.zeros(WIDTH)
    count = int(free.sum())
    bias[free] = torch.tensor([1.0, -1.0]).repeat(count // 2) * _HIDDEN_CONSTANT
    sheet.put(f"{name}.conv1", read, bias)
    weight = torch.zeros(WIDTH)
    weight[~free] = _HIDDEN_CONSTANT * math.sqrt(count / WIDTH)
    sheet.put(f"{name}.norm2", weight, torch.zeros(WIDTH))
    write = torch.zeros(WIDTH, WIDTH, 3, 3)
    times = WIDTH // out
    for copy in range(times):
        rows = torch.arange(out) * times + copy
        write[rows, places, 1, 1] = what.loud / hidden
        write[rows, places + 1, 1, 1] = -what.loud / hidden
    sheet.put(f"{name}.conv2", write, -constants)
