"""The host's encoded texts ("conds"): a tensor of token embeddings, or a dict of tensors (SDXL)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from safegen.method.mixing import mixed

CONTROLNET_MARK = 1000.0
"""ControlNet puts a row of ±1024 before the tokens, to tell cond from uncond rows."""


def rows_of(cond: Any, index: Sequence[int]) -> Any:
    """Rows ``index`` of a tensor, or of every tensor in a dict, whose type is kept."""
    rows = torch.tensor(index)
    if isinstance(cond, dict):
        return _like(cond, {key: value[rows] for key, value in cond.items()})
    return cond[rows]


def join(conds: Sequence[Any]) -> Any:
    """Conds below each other, in the type, dtype and device of the first."""
    first = conds[0]
    if isinstance(first, dict):
        return _like(
            first,
            {key: torch.cat([c[key].to(first[key]) for c in conds]) for key in first},
        )
    return torch.cat([c.to(first) for c in conds])


def cast(cond: Any, like: Any) -> Any:
    """``cond`` in the dtype and on the device of the cond ``like``."""
    if isinstance(cond, dict):
        return _like(cond, {key: value.to(like[key]) for key, value in cond.items()})
    return cond.to(like)


def _like(cond: Any, values: dict[str, Any]) -> Any:
    """``values`` in ``cond``'s own dict type (the host's has a ``shape``)."""
    return values if type(cond) is dict else type(cond)(values)


def tokens(cond: Any) -> Tensor:
    """The token embeddings ``[rows, tokens, width]`` of a cond."""
    found: Tensor = cond["crossattn"] if isinstance(cond, dict) else cond
    return found


def length(cond: Any) -> int:
    """How many tokens each row of ``cond`` has."""
    return tokens(cond).shape[1]


def with_tokens(cond: Any, value: Tensor) -> Any:
    """``cond`` with other token embeddings."""
    return _like(cond, {**cond, "crossattn": value}) if isinstance(cond, dict) else value


def with_vector_of(cond: Any, other: Any) -> Any:
    """``cond`` with the pooled vector of ``other``, where the model has one (SDXL)."""
    if not isinstance(cond, dict) or "vector" not in cond:
        return cond
    return _like(cond, {**cond, "vector": other["vector"]})


def padded(cond: Any, wanted: int, empty: Tensor) -> Any:
    """``cond`` with as many copies of ``empty`` behind its tokens as fit into ``wanted`` tokens.

    Args:
        empty: The token embeddings ``[1, 77, width]`` of an empty prompt.
    """
    own = tokens(cond)
    times = (wanted - own.shape[1]) // empty.shape[1]
    if times <= 0:
        return cond
    return with_tokens(cond, torch.cat([own, empty.to(own).repeat(len(own), times, 1)], dim=1))


def mixed_texts(prompt: Any, safe: Any, share: float) -> Any:
    """A cond of one row, ``share`` of the way (0 to 1) from the prompt's to the safe one.

    The tokens are aligned (`safegen.method.mixing`); the pooled vector needs no aligning.
    """
    if share == 1.0:
        return safe
    prompt = cast(prompt, safe)
    between = with_tokens(safe, mixed(tokens(prompt)[0], tokens(safe)[0], share)[None])
    if isinstance(safe, dict) and "vector" in safe:
        vector = torch.lerp(prompt["vector"], safe["vector"], share)
        between = _like(safe, {**between, "vector": vector})
    return between


def _mark_of(cond: Any) -> Tensor | None:
    """The mark that ControlNet has put before the tokens of ``cond``, if any.

    Such a cond has one token more than a multiple of 77.
    """
    mark = tokens(cond)[:1, :1]
    is_marked = length(cond) % 77 == 1 and bool((mark.abs() > CONTROLNET_MARK).all())
    return mark if is_marked else None


def marked(conds: Sequence[Any], like: Any) -> list[Any]:
    """``conds``, each with the mark of ``like``, if that has one."""
    mark = _mark_of(like)
    if mark is None:
        return list(conds)
    return [
        with_tokens(cond, torch.cat([mark.to(tokens(cond)), tokens(cond)], dim=1)) for cond in conds
    ]


def unmarked(cond: Any) -> Any:
    """``cond`` without such a mark."""
    return cond if _mark_of(cond) is None else with_tokens(cond, tokens(cond)[:, 1:])
