"""The text encoder in the shapes of CLIP ViT-L/14: 12 layers, 768 wide, 12 heads."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from safegen.lab.model.sd15 import copies
from safegen.lab.model.sd15.copies import Sheet, Small, Weights, spread, widen

WIDTH, INNER, HEADS, LAYERS, TOKENS = 768, 3072, 12, 12, 77
CONFIG = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "projection_dim": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": TOKENS,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-05,
    "vocab_size": 49408,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 49407,
}
"""As transformers reads it."""


def widen_text(weights: Weights, table: Tensor) -> Weights:
    """SD1.5's ``cond_stage_model.*`` from the embedded model's; ``table`` ``[49408, n]`` has
    the small model's embedding of each of CLIP's tokens. Layers after the small model's own add
    nothing, so skipping some of the last ("clip skip") changes nothing."""
    prefix = "cond_stage_model.transformer."
    small, sheet = Small(weights, f"{prefix}text_model."), Sheet()
    places = small.weight("embeddings.position_embedding")
    times = WIDTH // places.shape[1]
    sheet.put("embeddings.token_embedding", table.repeat_interleave(times, 1))
    sheet.put("embeddings.position_embedding", places.repeat_interleave(times, 1))
    for index in range(LAYERS):
        _layer(sheet, small, f"encoder.layers.{index}", times)
    copies.norm(sheet, "final_layer_norm", small, "final_layer_norm", times)
    result = {f"{prefix}text_model.{name}": weight for name, weight in sheet.weights.items()}
    result[f"{prefix}text_model.embeddings.position_ids"] = torch.arange(TOKENS)[None]
    return result


def _layer(sheet: Sheet, small: Small, name: str, times: int) -> None:
    norms = ("layer_norm1", "layer_norm2")
    if not small.has(f"{name}.{norms[0]}"):
        for part in norms:
            sheet.norm(f"{name}.{part}", WIDTH)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            sheet.zero(f"{name}.self_attn.{part}", WIDTH, WIDTH)
        sheet.zero(f"{name}.mlp.fc1", INNER, WIDTH)
        sheet.zero(f"{name}.mlp.fc2", WIDTH, INNER)
        return
    for part in norms:
        copies.norm(sheet, f"{name}.{part}", small, f"{name}.{part}", times)
    head = WIDTH // HEADS
    for part in ("q_proj", "k_proj", "v_proj"):
        source = f"{name}.self_attn.{part}"
        weights = small.weight(source).chunk(HEADS)
        # Scores are divided by the root of a head's width, of which the first eighth is used.
        gain = math.sqrt(head / len(weights[0])) if part == "q_proj" else 1.0
        wide = torch.cat([widen(rows, (head, WIDTH), (1, times)) for rows in weights])
        bias = torch.cat([spread(b, head, 1) for b in small.bias(source).chunk(HEADS)])
        sheet.put(source, wide * gain, bias * gain)
    source = f"{name}.self_attn.out_proj"
    columns = small.weight(source).chunk(HEADS, 1)
    wide = torch.cat([widen(part, (WIDTH, head), (times, 1)) for part in columns], 1)
    sheet.put(source, wide, spread(small.bias(source), WIDTH, times))
    fc1, fc2 = f"{name}.mlp.fc1", f"{name}.mlp.fc2"
    copies.layer(sheet, fc1, small, fc1, (INNER, WIDTH), (1, times))
    copies.layer(sheet, fc2, small, fc2, (WIDTH, INNER), (times, 1))
