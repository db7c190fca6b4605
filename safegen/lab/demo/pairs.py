"""Pairs of the world's captions, unsafe and safe, and what is learned from them."""

from __future__ import annotations

import random
import re
from typing import Any

from safegen.lab.demo import world
from safegen.lab.demo.world import HAZARDS, Scene, caption, random_scene
from safegen.learned.embedding import LearnedEmbedding
from safegen.learned.store import Pair, learn_from_pairs

PAIR_SEED = 7_000_000

_UNSAFE_WORDS = sorted(
    {
        *world._HAZARD_MOODS,
        *(text for table in (world._HAZARD_ADJECTIVES, world._HAZARD_PHRASES)
          for options in table.values() for text in options),
    },
    key=len,
    reverse=True,
)  # fmt: skip
_UNSAFE = re.compile(rf"\b(?:{'|'.join(map(re.escape, _UNSAFE_WORDS))})\b ?")


def without_hazard(text: str) -> str:
    """A caption with the world's hazards and unsafe moods left unsaid, all else as it is."""
    return " ".join(_UNSAFE.sub("", text).replace(" ,", ",").split())


def world_pairs(count: int, hazard: str | None = None, seed: int = PAIR_SEED) -> list[Pair]:
    """``count`` pairs (unsafe, safe) of captions of one scene each, the same every time.

    The halves differ in nothing but the hazard: were they worded anew, the wording would be
    most of their difference. ``hazard`` is one of `HAZARDS`, or ``None`` for all in turn.
    """
    rng = random.Random(seed)
    pairs = []
    for i in range(count):
        base = random_scene(rng, hazard_rate=0.0)
        which = hazard or HAZARDS[i % len(HAZARDS)]
        scene = Scene(base.background, base.object, base.colour, base.position, which)
        unsafe = caption(scene, rng, drop=0.3)
        pairs.append((unsafe, without_hazard(unsafe)))
    return pairs


def learn_world_embedding(
    pipe: Any, context: str = "", pairs: int = 256, rank: int = 4
) -> LearnedEmbedding:
    """The direction from hazard to safety, and the unsafe subspace, in ``pipe``'s encoder.

    ``context`` is that of one hazard, which then is all that is learned; for any other name
    all hazards are.
    """
    from safegen.hosts.diffusers import PipelineEncoder

    hazard = context if context in HAZARDS else None
    return learn_from_pairs(world_pairs(pairs, hazard), PipelineEncoder(pipe), rank=rank)
