"""The UNet in SD1.5's shapes.

The small UNet has three levels (64, 64, 128 channels), SD1.5's four (320, 640, 1280, 1280) with
twice the blocks. Which of its blocks carries which small one is fixed by what a norm sees: the
groups of a concatenation must be those of the small model, repeated. So output blocks 4 to 7 and
10, 11 carry the small six, and the rest pass on. What is left over is the middle's second block:
see `middle`.
"""

from __future__ import annotations

import math

import torch

from safegen.lab.model.sd15 import copies, middle
from safegen.lab.model.sd15.copies import Sheet, Small, Weights, spread, widen

CONTEXT = 768
EMBEDDING = 1280
HEADS = 8
WIDTHS = (320, 640, 1280, 1280)
SMALL_CONTEXT_COPIES = 8
_SMALL_EMBEDDING = 256


def widen_unet(weights: Weights) -> Weights:
    """SD1.5's ``model.diffusion_model.*`` from the embedded model's."""
    prefix = "model.diffusion_model."
    small, sheet = Small(weights, prefix), Sheet()
    _time(sheet, small)
    _down(sheet, small)
    _middle(sheet)
    _up(sheet, small)
    return {prefix + name: weight for name, weight in sheet.weights.items()}


def _time(sheet: Sheet, small: Small) -> None:
    """SD1.5's sinusoid has 160 frequencies, of which every fifth is one of the small one's 32."""
    weight = small.weight("time_embed.0")
    half = weight.shape[1] // 2
    step = WIDTHS[0] // 2 // half
    wide = torch.zeros(EMBEDDING, WIDTHS[0])
    wide[:_SMALL_EMBEDDING, 0 : WIDTHS[0] // 2 : step] = weight[:, :half]
    wide[:_SMALL_EMBEDDING, WIDTHS[0] // 2 :: step] = weight[:, half:]
    sheet.put("time_embed.0", wide, spread(small.bias("time_embed.0"), EMBEDDING, 1))
    copies.layer(sheet, "time_embed.2", small, "time_embed.2", (EMBEDDING, EMBEDDING), (1, 1))


def _down(sheet: Sheet, small: Small) -> None:
    first, second, third = WIDTHS[:3]
    copies.layer(sheet, "input_blocks.0.0", small, "input_blocks.0.0", (first, 4), (5, 1))
    _resnet(sheet, "input_blocks.1.0", first, first, small, "input_blocks.1.0", (5, 5))
    _transformer(sheet, "input_blocks.1.1", first)
    _resnet(sheet, "input_blocks.2.0", first, first)
    _transformer(sheet, "input_blocks.2.1", first)
    copies.layer(sheet, "input_blocks.3.0.op", small, "input_blocks.2.0.op", (first, first), (5, 5))
    _resnet(sheet, "input_blocks.4.0", first, second)
    _pass(sheet, "input_blocks.4.0", second, first, (10, 5))
    _transformer(sheet, "input_blocks.4.1", second)
    _resnet(sheet, "input_blocks.5.0", second, second, small, "input_blocks.3.0", (10, 10))
    _transformer(sheet, "input_blocks.5.1", second, small, "input_blocks.3.1")
    copies.layer(
        sheet, "input_blocks.6.0.op", small, "input_blocks.4.0.op", (second, second), (10, 10)
    )
    _resnet(sheet, "input_blocks.7.0", second, third, small, "input_blocks.5.0", (10, 10))
    _transformer(sheet, "input_blocks.7.1", third, small, "input_blocks.5.1")
    _resnet(sheet, "input_blocks.8.0", third, third, small, "middle_block.0", (10, 10))
    _transformer(sheet, "input_blocks.8.1", third, small, "middle_block.1")
    for block in (10, 11):
        _resnet(sheet, f"input_blocks.{block}.0", third, third)
    middle.downwards(sheet, small)


def _middle(sheet: Sheet) -> None:
    width = WIDTHS[3]
    _resnet(sheet, "middle_block.0", width, width)
    _transformer(sheet, "middle_block.1", width)
    _resnet(sheet, "middle_block.2", width, width)


def _up(sheet: Sheet, small: Small) -> None:
    first, second, third = WIDTHS[:3]
    for block in range(4):
        _resnet(sheet, f"output_blocks.{block}.0", 2 * third, third)
    middle.upwards(sheet, small)
    _transformer(sheet, "output_blocks.3.1", third)
    for block, source, width, beside in ((4, 0, third, third), (5, 1, third, second)):
        _resnet(
            sheet, f"output_blocks.{block}.0", width + beside, width,
            small, f"output_blocks.{source}.0", (10, 10),
        )  # fmt: skip
        _transformer(sheet, f"output_blocks.{block}.1", width, small, f"output_blocks.{source}.1")
    _convolution(sheet, "output_blocks.5.2.conv", small, "output_blocks.1.2.conv", third)
    for block, source, before in ((6, 2, third), (7, 3, second)):
        _resnet(
            sheet, f"output_blocks.{block}.0", before + second, second,
            small, f"output_blocks.{source}.0", (10, 10),
        )  # fmt: skip
        _transformer(sheet, f"output_blocks.{block}.1", second, small, f"output_blocks.{source}.1")
    _resnet(sheet, "output_blocks.8.0", second + first, second)
    _pass(sheet, "output_blocks.8.0", second, second + first, (10, 10))
    _transformer(sheet, "output_blocks.8.1", second)
    _convolution(sheet, "output_blocks.8.2.conv", small, "output_blocks.3.2.conv", second)
    _resnet(sheet, "output_blocks.9.0", second + first, first)
    _pass(sheet, "output_blocks.9.0", first, second + first, (5, 10))
    _transformer(sheet, "output_blocks.9.1", first)
    for block, source in ((10, 4), (11, 5)):
        _resnet(
            sheet, f"output_blocks.{block}.0", 2 * first, first,
            small, f"output_blocks.{source}.0", (5, 5),
        )  # fmt: skip
        _transformer(sheet, f"output_blocks.{block}.1", first)
    copies.norm(sheet, "out.0", small, "out.0", 5)
    copies.layer(sheet, "out.2", small, "out.2", (4, first), (1, 5))


def _convolution(sheet: Sheet, name: str, small: Small, source: str, width: int) -> None:
    copies.layer(sheet, name, small, source, (width, width), (10, 10))


def _pass(sheet: Sheet, name: str, out: int, into: int, repeats: tuple[int, int]) -> None:
    """Let a block's skip connection hand on the 64 small channels."""
    eye = torch.eye(64)[:, :, None, None]
    sheet.put(f"{name}.skip_connection", widen(eye, (out, into), repeats), torch.zeros(out))


def _resnet(
    sheet: Sheet,
    name: str,
    into: int,
    out: int,
    small: Small | None = None,
    source: str = "",
    repeats: tuple[int, int] = (1, 1),
) -> None:
    """A residual block: a small one widened, or one that adds nothing.

    ``repeats`` are how often each channel is there before and behind it.
    """
    if small is None:
        sheet.norm(f"{name}.in_layers.0", into)
        sheet.zero(f"{name}.in_layers.2", out, into, 3, 3)
        sheet.zero(f"{name}.emb_layers.1", out, EMBEDDING)
        sheet.norm(f"{name}.out_layers.0", out)
        sheet.zero(f"{name}.out_layers.3", out, out, 3, 3)
        if into != out:
            sheet.zero(f"{name}.skip_connection", out, into, 1, 1)
        return
    before, behind = repeats
    copies.norm(sheet, f"{name}.in_layers.0", small, f"{source}.in_layers.0", before)
    copies.norm(sheet, f"{name}.out_layers.0", small, f"{source}.out_layers.0", behind)
    for part, width, copied in (
        ("in_layers.2", into, before),
        ("emb_layers.1", EMBEDDING, 1),
        ("out_layers.3", out, behind),
        ("skip_connection", into, before),
    ):
        if part != "skip_connection" or into != out:
            copies.layer(
                sheet, f"{name}.{part}", small, f"{source}.{part}", (out, width), (behind, copied)
            )


def _transformer(
    sheet: Sheet, name: str, width: int, small: Small | None = None, source: str = ""
) -> None:
    """A transformer: a small one widened tenfold, or one that adds nothing."""
    block = f"{name}.transformer_blocks.0"
    inner = 4 * width
    if small is None:
        sheet.norm(f"{name}.norm", width)
        for part in ("proj_in", "proj_out"):
            sheet.zero(f"{name}.{part}", width, width, 1, 1)
        for part in ("norm1", "norm2", "norm3"):
            sheet.norm(f"{block}.{part}", width)
        for part, context in (("attn1", width), ("attn2", CONTEXT)):
            sheet.zero(f"{block}.{part}.to_q", width, width, bias=False)
            sheet.zero(f"{block}.{part}.to_k", width, context, bias=False)
            sheet.zero(f"{block}.{part}.to_v", width, context, bias=False)
            sheet.zero(f"{block}.{part}.to_out.0", width, width)
        sheet.zero(f"{block}.ff.net.0.proj", 2 * inner, width)
        sheet.zero(f"{block}.ff.net.2", width, inner)
        return
    old, square = f"{source}.transformer_blocks.0", (width, width)
    copies.norm(sheet, f"{name}.norm", small, f"{source}.norm", 10)
    for part in ("proj_in", "proj_out"):
        copies.layer(sheet, f"{name}.{part}", small, f"{source}.{part}", square, (10, 10))
    for part in ("norm1", "norm2", "norm3"):
        copies.norm(sheet, f"{block}.{part}", small, f"{old}.{part}", 10)
    _attention(sheet, f"{block}.attn1", small, f"{old}.attn1", width, (width, 10))
    _attention(
        sheet, f"{block}.attn2", small, f"{old}.attn2", width, (CONTEXT, SMALL_CONTEXT_COPIES)
    )
    # The gate's two halves keep their places.
    part = "ff.net.0.proj"
    weight, bias = small.weight(f"{old}.{part}"), small.bias(f"{old}.{part}")
    halves = [widen(half, (inner, width), (1, 10)) for half in weight.chunk(2)]
    sheet.put(
        f"{block}.{part}",
        torch.cat(halves),
        torch.cat([spread(half, inner, 1) for half in bias.chunk(2)]),
    )
    copies.layer(sheet, f"{block}.ff.net.2", small, f"{old}.ff.net.2", (width, inner), (10, 1))


def _attention(
    sheet: Sheet, name: str, small: Small, source: str, width: int, context: tuple[int, int]
) -> None:
    """Attention whose heads are ten times as wide, of which the first tenth is used.

    Scores are divided by the root of a head's width, so the queries are multiplied by √10.
    """
    head = width // HEADS
    for part, (size, copied) in (("to_q", (width, 10)), ("to_k", context), ("to_v", context)):
        weight = small.weight(f"{source}.{part}")
        used = weight.shape[0] // HEADS
        wide = torch.zeros(HEADS, head, size)
        for index, rows in enumerate(weight.chunk(HEADS)):
            wide[index] = widen(rows, (head, size), (1, copied))
        gain = math.sqrt(head / used) if part == "to_q" else 1.0
        sheet.put(f"{name}.{part}", wide.flatten(0, 1) * gain)
    weight = small.weight(f"{source}.to_out.0")
    columns = [widen(part, (width, head), (10, 1)) for part in weight.chunk(HEADS, 1)]
    bias = spread(small.bias(f"{source}.to_out.0"), width, 10)
    sheet.put(f"{name}.to_out.0", torch.cat(columns, 1), bias)
