"""The safe stream's texts: encoded once a checkpoint, edited, and their pooled vectors."""

from __future__ import annotations

import pytest
import torch
from a1111_support import WIDTH, Dict, Host, encoded

from safegen.conditioning.edits import MoveAlong
from safegen.conditioning.strategies import SafeConditioning
from safegen.errors import Unsupported
from safegen.hosts.a1111.safe_conds import SafeConds

EDIT = MoveAlong(torch.ones(WIDTH), 2.0)


def conds(host: Host, *conditionings: SafeConditioning | None) -> SafeConds:
    return SafeConds(host, None, conditionings, hires=False, cache=[None, None])


def test_an_edit_moves_the_tokens_and_takes_the_vector_of_the_safe_text() -> None:
    host = Host()
    edited = SafeConditioning("direction", "a bloody ball", EDIT, pooled="a clean ball")
    cond = conds(host, edited).safe(0, 0)
    assert type(cond) is Dict
    assert torch.equal(cond["crossattn"], encoded("a bloody ball")["crossattn"] + 2)
    assert torch.equal(cond["vector"], encoded("a clean ball")["vector"])
    assert host.asked == ["a bloody ball", "a clean ball"]


def test_other_strategies_take_everything_from_their_own_text() -> None:
    host = Host()
    cond = conds(host, SafeConditioning("counterpart", "a clean ball")).safe(0, 0)
    assert torch.equal(cond["vector"], encoded("a clean ball")["vector"])
    assert host.asked == ["a clean ball"]


def test_texts_are_encoded_once_for_each_checkpoint() -> None:
    host = Host()
    same = SafeConditioning("counterpart", "a clean ball")
    found = conds(host, same, None, same)
    for row, step in ((0, 0), (2, 0), (0, 1)):
        found.safe(row, step)
    assert host.asked == ["a clean ball"]
    host.loaded = "another"
    found.safe(0, 2)
    assert host.asked == ["a clean ball"] * 2


def test_an_edit_is_made_anew_for_another_checkpoint() -> None:
    host, made = Host(), []

    def anew() -> MoveAlong:
        made.append(host.loaded)
        return MoveAlong(torch.ones(WIDTH), float(len(made)))

    found = conds(host, SafeConditioning("direction", "a bloody ball", EDIT, anew=anew))
    first = encoded("a bloody ball")["crossattn"]
    assert torch.equal(found.safe(0, 0)["crossattn"], first + 1)
    was, host.loaded = host.loaded, "another"
    assert torch.equal(found.safe(0, 1)["crossattn"], first + 2)
    assert made == [was, "another"]


def test_an_edit_that_was_given_does_not_follow_into_another_checkpoint() -> None:
    host = Host()
    found = conds(host, SafeConditioning("direction", "a bloody ball", EDIT))
    host.loaded = "another"
    with pytest.raises(Unsupported, match="refiner"):
        found.safe(0, 0)


def test_unsafe_texts_are_encoded_beside_the_safe_ones_and_the_prompt_s_own_not_at_all() -> None:
    host = Host()
    found = conds(
        host,
        SafeConditioning("counterpart", "a clean ball", unsafe="blood"),
        SafeConditioning("away", "a ball", unsafe="blood", own=True),
        SafeConditioning("counterpart", "a clean ball"),
        None,
    )
    assert host.asked == ["a clean ball", "blood"]
    assert torch.equal(found.unsafe(1, 0)["vector"], encoded("blood")["vector"])
    assert [found.has_safe(row) for row in range(4)] == [True, False, True, False]
    assert [found.has_unsafe(row) for row in range(4)] == [True, True, False, False]
