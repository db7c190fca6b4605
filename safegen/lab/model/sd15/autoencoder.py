"""The autoencoder in SD1.5's shapes: 128, 256, 512, 512 channels, one block more at each level."""

from __future__ import annotations

import math

import torch

from safegen.lab.model.sd15 import copies, turns
from safegen.lab.model.sd15.copies import Sheet, Small, Weights, widen

WIDTHS = (128, 256, 512, 512)
SMALL_WIDTHS = (32, 32, 64, 128)
SCALE = 0.18215
"""SD1's scale of latents, which its hosts know by heart."""


def widen_autoencoder(weights: Weights, scale: float) -> Weights:
    """SD1.5's ``first_stage_model.*`` from the embedded model's, whose scale of latents is
    ``scale``."""
    prefix = "first_stage_model."
    small, sheet = Small(weights, prefix), Sheet()
    _encoder(sheet, small)
    _decoder(sheet, small)
    _scale(sheet, small, scale / SCALE)
    return {prefix + name: weight for name, weight in sheet.weights.items()}


def _times(level: int) -> int:
    return WIDTHS[level] // SMALL_WIDTHS[level]


def _encoder(sheet: Sheet, small: Small) -> None:
    copies.layer(sheet, "encoder.conv_in", small, "encoder.conv_in", (WIDTHS[0], 3), (_times(0), 1))
    for level in range(3):
        name, before = f"encoder.down.{level}", max(level - 1, 0)
        _resnet(sheet, f"{name}.block.0", small, f"{name}.block.0", before, level)
        _nothing(sheet, f"{name}.block.1", WIDTHS[level])
    for level in range(2):
        _convolution(sheet, small, f"encoder.down.{level}.downsample.conv", level)
    blocks = "encoder.down.3.block.0", "encoder.down.3.block.1"
    turns.turn(sheet, small, turns.ENCODER, blocks)
    _middle(sheet, small, "encoder", turns.ENCODER.loud)
    copies.norm(sheet, "encoder.norm_out", small, "encoder.norm_out", _times(3))
    copies.layer(
        sheet, "encoder.conv_out", small, "encoder.conv_out", (8, WIDTHS[3]), (1, _times(3))
    )


def _decoder(sheet: Sheet, small: Small) -> None:
    copies.layer(sheet, "decoder.conv_in", small, "decoder.conv_in", (WIDTHS[3], 4), (_times(3), 1))
    _middle(sheet, small, "decoder", 1.0)
    for level in (3, 1, 0):
        name, before = f"decoder.up.{level}", min(level + 1, 3)
        _resnet(sheet, f"{name}.block.0", small, f"{name}.block.0", before, level)
        _resnet(sheet, f"{name}.block.1", small, f"{name}.block.1", level, level)
        _nothing(sheet, f"{name}.block.2", WIDTHS[level])
    blocks, loud = ("decoder.up.2.block.0", "decoder.up.2.block.1"), turns.DECODER.loud
    turns.turn(sheet, small, turns.DECODER, blocks)
    _resnet(sheet, "decoder.up.2.block.2", small, "decoder.up.2.block.1", 2, 2, loud)
    _convolution(sheet, small, "decoder.up.2.upsample.conv", 2, 1 / loud)
    _convolution(sheet, small, "decoder.up.1.upsample.conv", 1)
    copies.norm(sheet, "decoder.norm_out", small, "decoder.norm_out", _times(0))
    copies.layer(
        sheet, "decoder.conv_out", small, "decoder.conv_out", (3, WIDTHS[0]), (1, _times(0))
    )


def _scale(sheet: Sheet, small: Small, ratio: float) -> None:
    """Bring the latents to SD1's scale in the two 1x1 convolutions around them."""
    weight, bias = small.weight("quant_conv"), small.bias("quant_conv")
    weight[:4] *= ratio
    bias[:4] *= ratio
    bias[4:] += 2 * math.log(ratio)  # the log variance
    sheet.put("quant_conv", weight, bias)
    sheet.put(
        "post_quant_conv", small.weight("post_quant_conv") / ratio, small.bias("post_quant_conv")
    )


def _convolution(sheet: Sheet, small: Small, name: str, level: int, gain: float = 1.0) -> None:
    """A level's down- or upsampling; ``gain`` scales what it reads."""
    times, width = _times(level), WIDTHS[level]
    wide = widen(small.weight(name), (width, width), (times, times)) * gain
    sheet.put(name, wide, copies.spread(small.bias(name), width, times))


def _nothing(sheet: Sheet, name: str, width: int) -> None:
    for part in ("1", "2"):
        sheet.norm(f"{name}.norm{part}", width)
        sheet.zero(f"{name}.conv{part}", width, width, 3, 3)


def _resnet(
    sheet: Sheet, name: str, small: Small, source: str, before: int, level: int, gain: float = 1.0
) -> None:
    """A residual block between two levels' widths; ``gain`` scales what it adds."""
    times, width = (_times(before), _times(level)), (WIDTHS[before], WIDTHS[level])
    copies.norm(sheet, f"{name}.norm1", small, f"{source}.norm1", times[0])
    copies.norm(sheet, f"{name}.norm2", small, f"{source}.norm2", times[1])
    into, square = (width[1], width[0]), (width[1], width[1])
    copies.layer(sheet, f"{name}.conv1", small, f"{source}.conv1", into, (times[1], times[0]))
    copies.layer(
        sheet, f"{name}.conv2", small, f"{source}.conv2", square, (times[1], times[1]), gain
    )
    if width[0] == width[1]:
        return
    shortcut = f"{source}.nin_shortcut"
    if small.has(shortcut):
        copies.layer(sheet, f"{name}.nin_shortcut", small, shortcut, into, (times[1], times[0]))
    else:
        eye = torch.eye(SMALL_WIDTHS[level])[:, :, None, None]
        sheet.put(
            f"{name}.nin_shortcut", widen(eye, into, (times[1], times[0])), torch.zeros(width[1])
        )


def _middle(sheet: Sheet, small: Small, side: str, gain: float) -> None:
    for block in ("block_1", "block_2"):
        name = f"{side}.mid.{block}"
        _resnet(sheet, name, small, name, 3, 3, gain)
    name, times, width = f"{side}.mid.attn_1", _times(3), WIDTHS[3]
    copies.norm(sheet, f"{name}.norm", small, f"{name}.norm", times)
    for part in "qkv":
        # Scores are divided by the root of the width, which is four times the small one's.
        copies.layer(
            sheet, f"{name}.{part}", small, f"{name}.{part}", (width, width), (1, times),
            math.sqrt(times) if part == "q" else 1.0,
        )  # fmt: skip
    copies.layer(
        sheet, f"{name}.proj_out", small, f"{name}.proj_out", (width, width), (times, 1), gain
    )
