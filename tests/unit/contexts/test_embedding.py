"""Directions and subspaces learned from pairs, and the edits made with them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from safegen.conditioning.edits import MoveAlong, ProjectOut
from safegen.errors import InvalidValue
from safegen.learned.embedding import learn

WIDTH = 24


def table(seed: int, pairs: int = 12, width: int = WIDTH) -> Tensor:
    return torch.randn(pairs, width, generator=torch.Generator().manual_seed(seed))


def subspace_pairs(seed: int, *, dims: int = 2, pairs: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """Unsafe and safe rows that differ only within a subspace, and its orthonormal basis."""
    axes = torch.linalg.qr(table(seed + 1, WIDTH, dims).double()).Q.T
    amounts = 1 + table(seed + 2, pairs, dims).double().abs()
    safe = table(seed, pairs).double()
    return (safe + amounts @ axes).float(), safe.float(), axes


# ------------------------------------------------------------------ learning


def test_the_direction_is_from_the_unsafe_mean_to_the_safe_one() -> None:
    unsafe, safe = table(0), table(1)
    learned = learn(unsafe, safe, encoder="clip", rank=3)
    torch.testing.assert_close(learned.direction, safe.mean(0) - unsafe.mean(0))
    torch.testing.assert_close(learned.center, safe.mean(0))
    assert (learned.encoder, learned.pairs) == ("clip", 12)


@pytest.mark.parametrize("rank", [1, 4, 12])
def test_the_basis_is_orthonormal(rank: int) -> None:
    basis = learn(table(0), table(1), encoder="x", rank=rank).basis
    assert basis.shape == (rank, WIDTH)
    torch.testing.assert_close(basis @ basis.T, torch.eye(rank), rtol=0, atol=1e-5)


def test_the_basis_spans_what_the_pairs_differ_in() -> None:
    unsafe, safe, axes = subspace_pairs(5)
    basis = learn(unsafe, safe, encoder="x", rank=2).basis.double()
    torch.testing.assert_close(basis.T @ basis, axes.T @ axes, rtol=0, atol=1e-4)


def test_the_first_axis_is_where_they_differ_most_with_the_mean_in_it() -> None:
    """Differences are not centred: where all pairs differ alike, that is the first axis."""
    safe = table(0)
    step = torch.zeros(WIDTH)
    step[7] = 50.0
    learned = learn(safe + step + 0.1 * table(1), safe, encoder="x", rank=1)
    assert abs(learned.basis[0, 7]) > 0.999


@pytest.mark.parametrize("rank", [3, 12])
def test_the_basis_has_no_axis_that_no_pair_speaks_for(rank: int) -> None:
    unsafe, safe, _ = subspace_pairs(5)
    assert learn(unsafe, safe, encoder="x", rank=rank).basis.shape == (2, WIDTH)


def test_one_pair_is_enough() -> None:
    learned = learn(table(0, 1), table(1, 1), encoder="x", rank=1)
    cosine = torch.nn.functional.cosine_similarity(learned.basis, learned.direction[None])
    assert abs(float(cosine)) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_what_is_learned_is_float32_whatever_came(dtype: torch.dtype) -> None:
    learned = learn(table(0).to(dtype), table(1).to(dtype), encoder="x", rank=2)
    for tensor in (learned.direction, learned.basis, learned.center):
        assert tensor.dtype == torch.float32
        assert torch.isfinite(tensor).all()
        assert not tensor.requires_grad


def test_half_precision_tables_are_averaged_in_float64() -> None:
    """The sum of these overflows float16."""
    unsafe, safe = torch.full((8, 4), 60000.0).half(), torch.full((8, 4), 30000.0).half()
    learned = learn(unsafe, safe, encoder="x", rank=1)
    assert learned.direction.tolist() == pytest.approx([-30000.0] * 4, rel=1e-3)


def test_gradients_do_not_come_along() -> None:
    unsafe = table(0).requires_grad_()
    assert not learn(unsafe, table(1), encoder="x", rank=1).basis.requires_grad


@pytest.mark.parametrize(
    ("unsafe", "safe"),
    [
        (table(0), table(1, 11)),
        (table(0), table(1, 12, WIDTH + 1)),
        (table(0)[0], table(1)[0]),
        (table(0)[None], table(1)[None]),
        (table(0)[:0], table(1)[:0]),
    ],
    ids=["pairs", "width", "1-D", "3-D", "none"],
)
def test_tables_that_do_not_match_are_refused(unsafe: Tensor, safe: Tensor) -> None:
    with pytest.raises(InvalidValue, match=r"pairs: .* two tables \[pairs, width\], alike"):
        learn(unsafe, safe, encoder="x", rank=1)


@pytest.mark.parametrize("rank", [0, -1, 13])
def test_a_rank_out_of_range_is_refused(rank: int) -> None:
    with pytest.raises(InvalidValue, match="a whole number from 1 to 12") as caught:
        learn(table(0), table(1), encoder="x", rank=rank)
    assert (caught.value.field, caught.value.value) == ("rank", rank)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("half", [0, 1])
def test_pairs_that_are_not_finite_are_refused(bad: float, half: int) -> None:
    tables = [table(0), table(1)]
    tables[half][3, 3] = bad
    with pytest.raises(InvalidValue, match="finite numbers"):
        learn(*tables, encoder="x", rank=1)


def test_pairs_that_do_not_differ_are_refused() -> None:
    with pytest.raises(InvalidValue, match="pairs that differ"):
        learn(table(0), table(0), encoder="x", rank=1)


# ------------------------------------------------------------------ edits


def tokens(seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(seed)).to(dtype)


def test_projection_leaves_nothing_of_the_subspace_but_the_safe_mean_s_part() -> None:
    learned = learn(*subspace_pairs(3)[:2], encoder="x", rank=2)
    edited = ProjectOut(learned.basis, learned.center)(tokens(9))
    left = (edited - learned.center) @ learned.basis.T
    assert left.abs().max() < 1e-5


def test_projection_keeps_all_that_is_outside_the_subspace() -> None:
    learned = learn(table(0), table(1), encoder="x", rank=4)
    before = tokens(9)
    moved = ProjectOut(learned.basis, learned.center)(before) - before
    outside = moved - moved @ learned.basis.T @ learned.basis
    assert outside.abs().max() < 1e-5
    assert moved.abs().max() > 0.1


def test_projecting_twice_is_projecting_once() -> None:
    learned = learn(table(0), table(1), encoder="x", rank=4)
    project = ProjectOut(learned.basis, learned.center)
    once = project(tokens(9))
    torch.testing.assert_close(project(once), once, rtol=0, atol=1e-5)


def test_the_safe_mean_does_not_move() -> None:
    learned = learn(table(0), table(1), encoder="x", rank=4)
    center = learned.center[None, None]
    torch.testing.assert_close(ProjectOut(learned.basis, learned.center)(center), center)


@pytest.mark.parametrize(("strength", "share"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0), (7.0, 1.0)])
def test_strength_is_the_share_that_goes_and_never_more_than_all(
    strength: float, share: float
) -> None:
    """More than all would turn the embedding over to the other side."""
    learned = learn(table(0), table(1), encoder="x", rank=4)
    before = tokens(9)
    full = ProjectOut(learned.basis, learned.center)(before) - before
    part = ProjectOut(learned.basis, learned.center, strength)(before) - before
    torch.testing.assert_close(part, share * full, rtol=1e-5, atol=1e-5)


def test_unsafe_pairs_land_on_their_safe_halves() -> None:
    """Where the halves differ only in the subspace, what is left of both is the same."""
    unsafe, safe, _ = subspace_pairs(3)
    learned = learn(unsafe, safe, encoder="x", rank=2)
    project = ProjectOut(learned.basis, learned.center)
    torch.testing.assert_close(project(unsafe), project(safe), rtol=0, atol=1e-4)


def test_a_direction_of_strength_1_takes_the_unsafe_mean_to_the_safe_one() -> None:
    unsafe, safe = table(0), table(1)
    learned = learn(unsafe, safe, encoder="x", rank=1)
    moved = MoveAlong(learned.direction, 1.0)(unsafe)
    torch.testing.assert_close(moved.mean(0), safe.mean(0), rtol=1e-4, atol=1e-5)
    back = MoveAlong(learned.direction, -1.0)(moved)
    torch.testing.assert_close(back, unsafe, rtol=1e-4, atol=1e-5)
    half = MoveAlong(learned.direction, 0.5)(unsafe)
    torch.testing.assert_close(half, (unsafe + moved) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [1, WIDTH - 1, WIDTH + 1])
def test_another_encoders_width_is_refused(width: int) -> None:
    learned = learn(table(0), table(1), encoder="x", rank=2)
    embedding = torch.zeros(1, 5, width)
    for edit in (
        MoveAlong(learned.direction, 1.0),
        ProjectOut(learned.basis, learned.center),
        MoveAlong(learned.direction, 0.0),
    ):
        with pytest.raises(InvalidValue, match=f"learned embedding width: {WIDTH} .* {width}"):
            edit(embedding)


def edits(width: int = WIDTH) -> list[MoveAlong | ProjectOut]:
    learned = learn(table(0, 12, width), table(1, 12, width), encoder="x", rank=4)
    return [MoveAlong(learned.direction, 1.3), ProjectOut(learned.basis, learned.center, 0.9)]


@pytest.mark.parametrize("edit", edits(), ids=["direction", "projection"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_precision_is_rounded_once_and_float64_not_at_all(
    edit: MoveAlong | ProjectOut, dtype: torch.dtype
) -> None:
    embedding = tokens(4, dtype)
    result = edit(embedding)
    assert result.dtype == dtype
    in_float64 = edit(embedding.double())
    info = torch.finfo(dtype)
    slack = 0.51 * info.eps * in_float64.abs() * 2 + 1e-6 * (dtype != torch.float64)
    assert ((result.double() - in_float64).abs() <= slack).all()


@pytest.mark.parametrize("edit", edits(), ids=["direction", "projection"])
def test_float16_near_its_maximum_does_not_overflow_on_the_way(
    edit: MoveAlong | ProjectOut,
) -> None:
    embedding = torch.full((1, 3, WIDTH), 20000.0).half()
    result = edit(embedding)
    assert torch.isfinite(result).all()
    torch.testing.assert_close(result.float(), edit(embedding.float()), rtol=1e-3, atol=0.1)


@pytest.mark.parametrize("edit", edits(), ids=["direction", "projection"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_autocast_changes_nothing(edit: MoveAlong | ProjectOut, dtype: torch.dtype) -> None:
    embedding = tokens(4, dtype)
    plain = edit(embedding)
    for narrow in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=narrow):
            assert torch.equal(edit(embedding), plain)


@pytest.mark.parametrize("edit", edits(768), ids=["direction", "projection"])
def test_tokens_and_images_do_not_know_each_other(edit: MoveAlong | ProjectOut) -> None:
    """At a real encoder's size: the same bits alone, in a batch, and beside NaN."""
    embedding = torch.randn(3, 77, 768, generator=torch.Generator().manual_seed(0))
    together = edit(embedding)
    for image in range(3):
        assert torch.equal(edit(embedding[image : image + 1]), together[image : image + 1])
        assert torch.equal(edit(embedding[image]), together[image])
    assert torch.equal(edit(embedding[1, 5]), together[1, 5])
    poisoned = embedding.clone()
    poisoned[0] = math.nan
    poisoned[1, :5] = math.inf
    assert torch.equal(edit(poisoned)[1, 5:], together[1, 5:])
    assert torch.equal(edit(poisoned)[2], together[2])


@pytest.mark.parametrize("edit", edits(), ids=["direction", "projection"])
def test_an_edit_leaves_its_input_alone(edit: MoveAlong | ProjectOut) -> None:
    embedding = tokens(4)
    kept = embedding.clone()
    edit(embedding).zero_()
    assert torch.equal(embedding, kept)
