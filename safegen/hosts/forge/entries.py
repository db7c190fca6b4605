"""The host's texts in a denoiser call: one entry for each ``AND`` part, with a row an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from safegen.hosts.a1111.conds import length, tokens

Entry = dict[str, Any]
"""``model_conds`` holds what the model sees, ``strength`` is the part's weight."""


def strength(entries: Sequence[Entry]) -> float:
    """The sum of the parts' weights."""
    return float(sum(entry.get("strength", 1.0) for entry in entries))


def text_of(entry: Entry, image: int) -> Any:
    """The text of ``image`` in ``entry``, a cond of one row as the host's text encoder gives it."""
    conds = entry["model_conds"]
    own: Tensor = conds["c_crossattn"].cond[image : image + 1]
    if "y" not in conds:
        return own
    return {"crossattn": own, "vector": conds["y"].cond[image : image + 1]}


def with_texts(entry: Entry, texts: Sequence[Any]) -> Entry:
    """``entry`` with these ``texts``, one for each row of its latents.

    They are made of one length by repeating each as a whole, which changes nothing in the
    attention to them.
    """
    conds = dict(entry["model_conds"])
    like: Tensor = conds["c_crossattn"].cond
    wanted = math.lcm(*(length(text) for text in texts))
    rows = torch.cat([tokens(text).to(like).repeat(1, wanted // length(text), 1) for text in texts])
    if rows.shape[-1] != like.shape[-1]:
        raise ValueError(
            f"a text's encoding is {rows.shape[-1]} wide, the prompt's {like.shape[-1]}"
        )
    conds["c_crossattn"] = type(conds["c_crossattn"])(rows)
    made = {**entry, "cross_attn": rows, "model_conds": conds}
    if "y" in conds:
        like = conds["y"].cond
        vectors = torch.cat([text["vector"].to(like) for text in texts])
        conds["y"] = type(conds["y"])(vectors)
        made["pooled_output"] = vectors
    return made
