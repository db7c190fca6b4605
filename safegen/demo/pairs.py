"""Pairs of the world's captions, unsafe and safe, and what the text encoder says of them."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from safegen.contexts.embedding import LearnedEmbedding, learn
from safegen.demo.world import prompt, random_scene

PAIR_SEED = 7_000_000


def world_pairs(count: int) -> list[tuple[str, str]]:
    """``count`` pairs (unsafe, safe) of one scene each, the same every time."""
    rng = random.Random(PAIR_SEED)
    scenes = [random_scene(rng, hazard_rate=1.0) for _ in range(count)]
    return [(prompt(scene), prompt(scene.without_hazard())) for scene in scenes]


@torch.no_grad()
def mean_embeddings(pipe: Any, texts: list[str]) -> Tensor:
    """The text encoder's output averaged over each text's own tokens, ``[texts, width]``."""
    tokens = pipe.tokenizer(
        texts,
        padding="max_length",
        max_length=pipe.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    states = pipe.text_encoder(tokens.input_ids).last_hidden_state
    own = tokens.attention_mask.clone()
    own[:, 0] = 0  # the start token's embedding is the same for every text
    weights = own.unsqueeze(-1).to(states.dtype)
    averaged = (states * weights).sum(1) / weights.sum(1)
    assert isinstance(averaged, Tensor)
    return averaged


def learn_world_embedding(pipe: Any, pairs: int = 256, rank: int = 4) -> LearnedEmbedding:
    """The world's direction from hazard to safety, and its unsafe subspace."""
    texts = world_pairs(pairs)
    return learn(
        mean_embeddings(pipe, [unsafe for unsafe, _ in texts]),
        mean_embeddings(pipe, [safe for _, safe in texts]),
        encoder="safegen-world",
        rank=rank,
    )
