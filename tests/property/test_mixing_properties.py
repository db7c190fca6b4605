"""The conditioning between two texts: what must hold for any tokens and shares."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plans import blending
from torch import Tensor

from safegen.method.mixing import aligned, mixed
from safegen.method.session import Session

WIDTH = 16
seeds = st.integers(0, 2**31)
lengths = st.integers(1, 20)
shares = st.floats(0.0, 1.0)


def text(seed: int, tokens: int) -> Tensor:
    return torch.randn((tokens, WIDTH), generator=torch.Generator().manual_seed(seed))


@given(seeds, lengths, seeds, lengths)
def test_a_walk_begins_and_ends_together_and_misses_no_token(
    one: int, n: int, other: int, m: int
) -> None:
    path = aligned(text(one, n), text(other, m))
    assert path[0] == (0, 0)
    assert path[-1] == (n - 1, m - 1)
    for before, after in pairwise(path):
        assert (after[0] - before[0], after[1] - before[1]) in ((1, 0), (0, 1), (1, 1))


@given(seeds, st.integers(2, 20))
def test_a_text_is_aligned_with_itself_token_by_token(seed: int, n: int) -> None:
    own = text(seed, n)
    assert aligned(own, own) == [(i, i) for i in range(n)]


@given(seeds, lengths, seeds, lengths)
def test_both_ends_of_the_dial_are_the_texts_themselves(
    one: int, n: int, other: int, m: int
) -> None:
    prompt, safe = text(one, n), text(other, m)
    assert torch.equal(mixed(prompt, safe, 0.0), prompt)
    assert torch.equal(mixed(prompt, safe, 1.0), safe)


@given(seeds, seeds, st.integers(2, 20), shares)
def test_texts_of_one_edit_are_mixed_token_by_token(
    seed: int, edit: int, n: int, share: float
) -> None:
    prompt = text(seed, n)
    safe = prompt + 0.05 * text(edit, n)
    torch.testing.assert_close(mixed(prompt, safe, share), torch.lerp(prompt, safe, share))


@given(seeds, lengths, seeds, lengths, shares)
def test_a_mixture_is_as_long_as_the_longer_text(
    one: int, n: int, other: int, m: int, share: float
) -> None:
    result = mixed(text(one, n), text(other, m), share)
    assert result.shape[1] == WIDTH
    assert len(result) == {0.0: n, 1.0: m}.get(share, max(n, m))
    assert torch.isfinite(result).all()


def test_a_word_that_is_dropped_leaves_the_others_with_their_own() -> None:
    prompt = text(3, 9)
    safe = torch.cat([prompt[:4], prompt[5:]])
    pairs = aligned(prompt, safe)
    assert {(i, i) for i in range(4)} | {(i, i - 1) for i in range(5, 9)} <= set(pairs)


def test_half_precision_is_mixed_in_single_and_comes_back_as_it_was() -> None:
    prompt, safe = text(1, 5).half(), text(2, 5).half()
    result = mixed(prompt, safe, 0.25)
    assert result.dtype == torch.float16
    torch.testing.assert_close(result, mixed(prompt.float(), safe.float(), 0.25).half())


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"share: .* is not allowed"):
        mixed(text(0, 3), text(1, 3), share)


def test_texts_of_two_encoders_are_refused() -> None:
    with pytest.raises(ValueError, match="as wide as the prompt"):
        mixed(text(0, 3), torch.zeros(3, WIDTH + 1), 0.5)


@given(st.floats(0.01, 1.0), st.floats(0.0, 4.0))
def test_with_the_dial_on_the_conditioning_the_safe_stream_counts_in_full(
    weight: float, push: float
) -> None:
    plan = blending(weight=weight, tau=0.5, push=push, dial="conditioning")
    session = Session(plan, [True, False], [True, True])
    before = session.begin(0.0)
    assert not before.active
    assert before.share == 1.0
    call = session.begin(0.75)
    assert call.weights == (1.0, 0.0)
    assert call.share == weight
    assert call.pushes == (weight * push, 0.0)
    rows = torch.ones(2, 4, 3, 3)
    more = {"unsafe": rows, "uncond": rows} if call.push else {}
    session.combine(call, rows, rows, **more)
    assert session.reached == weight
