"""Conds of either kind: joined, padded and marked as the host and ControlNet do it."""

from __future__ import annotations

import torch
from a1111_support import WIDTH, Dict, encoded, number_of

from safegen.hosts.a1111.conds import (
    join,
    marked,
    mixed_texts,
    padded,
    rows_of,
    tokens,
    unmarked,
    with_vector_of,
)


def test_dicts_keep_their_type_and_take_the_first_one_s_dtype() -> None:
    half = Dict({key: value.half() for key, value in encoded("a").items()})
    both = join([half, encoded("b")])
    assert type(both) is Dict
    assert {value.dtype for value in both.values()} == {torch.float16}
    assert type(rows_of(both, [1])) is Dict
    assert torch.equal(tokens(rows_of(both, [1])), tokens(encoded("b")).half())


def test_tensors_have_no_vector_to_take() -> None:
    cond = torch.zeros(1, 77, WIDTH)
    assert with_vector_of(cond, encoded("b")) is cond


def test_padding_adds_whole_empty_prompts_up_to_the_wanted_length() -> None:
    empty = torch.full((1, 77, WIDTH), 5.0)
    longer = padded(encoded("a"), 231, empty)
    assert tokens(longer).shape == (1, 231, WIDTH)
    assert bool((tokens(longer)[:, 77:] == 5).all())
    assert torch.equal(longer["vector"], encoded("a")["vector"])
    for wanted in (77, 100, 0):
        assert tokens(padded(encoded("a"), wanted, empty)).shape[1] == 77


def test_a_mark_before_the_host_s_tokens_comes_before_ours() -> None:
    mark = torch.full((1, 1, WIDTH), 1024.0)
    like = torch.cat([mark, torch.zeros(1, 77, WIDTH)], dim=1)
    (found,) = marked([encoded("a")], like)
    assert torch.equal(tokens(found), torch.cat([mark, tokens(encoded("a"))], dim=1))
    (found,) = marked([encoded("a")], like[:, :77])
    assert torch.equal(tokens(found), tokens(encoded("a")))


def test_a_mark_can_be_taken_off_again() -> None:
    like = torch.cat([torch.full((1, 1, WIDTH), -1024.0), torch.zeros(1, 77, WIDTH)], dim=1)
    (found,) = marked([encoded("a")], like)
    assert torch.equal(tokens(unmarked(found)), tokens(encoded("a")))
    assert unmarked(encoded("a"))["crossattn"].shape == (1, 77, WIDTH)


def test_between_two_texts_lie_their_tokens_and_their_pooled_vectors() -> None:
    prompt, safe = encoded("a"), encoded("c", 154)
    assert mixed_texts(prompt, safe, 1.0) is safe
    between = mixed_texts(prompt, safe, 0.5)
    assert type(between) is Dict
    assert between["crossattn"].shape == safe["crossattn"].shape
    for value in between.values():
        assert bool((value == number_of("b")).all())
