"""The blend and its parts: what they refuse, and cases worth naming."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from safegen.method.blend import blend, per_image
from safegen.method.region import disagreement_mask
from safegen.method.streams import Reuse, SafeStream, euler_step

ROWS = torch.arange(2 * 4 * 3 * 3, dtype=torch.float32).reshape(2, 4, 3, 3)


# ------------------------------------------------------------------ blend


@pytest.mark.parametrize(
    "mask",
    [
        torch.tensor([[0.0], [1.0], [0.5]]).reshape(1, 1, 3, 1),
        torch.tensor([0.0, 1.0, 0.5])[:, None],
    ],
    ids=["4-D", "2-D"],
)
def test_a_mask_scales_the_weight_where_it_lies(mask: Tensor) -> None:
    result = blend(torch.zeros(2, 4, 3, 2), torch.ones(2, 4, 3, 2), 0.5, mask)
    assert result[1, 3].tolist() == [[0.0, 0.0], [0.5, 0.5], [0.25, 0.25]]


def test_a_mask_of_nan_stays_in_its_image() -> None:
    mask = torch.tensor([math.nan, 1.0]).reshape(2, 1, 1, 1)
    result = blend(ROWS, ROWS + 1, torch.tensor([0.0, 1.0]), mask)
    assert (result[0] == ROWS[0]).all()
    assert (result[1] == ROWS[1] + 1).all()
    assert blend(ROWS, ROWS + 1, torch.tensor([0.5, 1.0]), mask)[0].isnan().all()


def test_small_differences_of_large_half_precision_numbers_count() -> None:
    """In float16 itself, 0.3 · 2048 + 0.7 · 2050 would lose what the weight says."""
    a, b = torch.tensor([[2048.0]]).half(), torch.tensor([[2064.0]]).half()
    assert float(blend(a, b, 0.3)) == 2052.0
    assert float(blend(a, b, 0.7)) == 2060.0


def test_the_result_has_the_originals_dtype() -> None:
    assert blend(ROWS.half(), ROWS, 0.5).dtype == torch.float16
    assert blend(ROWS, ROWS.double(), 1.0).dtype == torch.float32


def test_the_inputs_stay_as_they_are() -> None:
    original, safe, weight = ROWS.clone(), ROWS * 2, torch.tensor([0.2, 1.0])
    mask = disagreement_mask(original, safe)
    kept = mask.clone()
    result = blend(original, safe, weight, mask)
    result.zero_()
    assert (original == ROWS).all()
    assert (safe == ROWS * 2).all()
    assert (mask == kept).all()
    assert weight.tolist() == pytest.approx([0.2, 1.0])


def test_rows_that_are_not_contiguous_are_no_different() -> None:
    turned, other = ROWS.transpose(2, 3), (ROWS + 3).flip(0).transpose(2, 3)
    assert not turned.is_contiguous()
    assert torch.equal(
        blend(turned, other, 0.3), blend(turned.contiguous(), other.contiguous(), 0.3)
    )
    last = ROWS.to(memory_format=torch.channels_last)
    torch.testing.assert_close(disagreement_mask(last, -last), disagreement_mask(ROWS, -ROWS))


@pytest.mark.parametrize("shape", [(1, 4, 3, 3), (2, 3, 3, 3), (2, 4, 3), (2, 4, 3, 3, 1)])
def test_shapes_that_differ_are_refused_not_broadcast(shape: tuple[int, ...]) -> None:
    for call in (lambda safe: blend(ROWS, safe, 0.5), lambda safe: disagreement_mask(ROWS, safe)):
        with pytest.raises(
            ValueError, match=r"safe: shape .* allowed: the original's, \(2, 4, 3, 3\)"
        ):
            call(torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_rows_that_are_no_floats_are_refused(dtype: torch.dtype) -> None:
    bad = torch.ones(2, 4, 3, 3).to(dtype)
    for pair in ((ROWS, bad), (bad, ROWS), (bad, bad)):
        with pytest.raises(ValueError, match="floating point"):
            blend(*pair, 0.5)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3, 3), (3, 1, 3, 3), (2, 2, 3, 3), (1, 1, 3, 4), (5,)])
def test_a_mask_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"mask: shape .* broadcasts to the original's"):
        blend(ROWS, ROWS, 0.5, torch.ones(shape))


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 1), (2, 1, 1, 1)])
def test_a_weight_for_other_images_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"weight: shape .* one for each of 2 images"):
        blend(ROWS, ROWS, torch.full(shape, 0.5))


def test_weights_take_the_rows_shape_and_dtype() -> None:
    assert per_image(0.5, ROWS.half()).dtype == torch.float32
    assert per_image(torch.tensor([0.0, 1.0]).half(), ROWS.double()).dtype == torch.float64
    assert per_image(torch.tensor(0.5), torch.zeros(2, 4, 1, 3, 3)).shape == (2, 1, 1, 1, 1)


# ------------------------------------------------------------------ mask


@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3), (2, 4, 1, 1, 3, 3)])
def test_a_mask_is_of_pictures_or_videos(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"original: {len(shape)} dimensions .* \[B, C, H, W\]"):
        disagreement_mask(torch.zeros(shape), torch.ones(shape))


def test_a_bad_image_has_a_bad_mask_alone() -> None:
    safe = ROWS + 1
    safe[0, 0, 0, 0] = math.nan
    mask = disagreement_mask(ROWS, safe)
    assert mask[0].isnan().any()
    assert (mask[1] == 1).all()


def test_channels_count_by_their_mean() -> None:
    """Four channels that differ by 1 each are one channel that differs by 4."""
    one, each = torch.zeros(2, 1, 4, 9, 9).unbind()
    one[:, :, :, 4:] = each[:, :, :, 4:] = 1
    one[:, 0, 2, 2], each[:, :, 2, 2] = 4 * 0.3, 0.3
    zero = torch.zeros_like(one)
    torch.testing.assert_close(disagreement_mask(zero, one), disagreement_mask(zero, each))


def test_the_frame_of_a_picture_is_no_different() -> None:
    """What is the same in every row is masked the same in every row, the outer ones too."""
    safe = torch.linspace(0.05, 1, 40).expand(1, 4, 40, 40)
    mask = disagreement_mask(torch.zeros_like(safe), safe)
    assert ((mask > 0) & (mask < 1)).any()
    torch.testing.assert_close(mask, mask[:, :, 20:21].expand_as(mask), rtol=0, atol=1e-5)


def test_smoothing_grows_with_the_picture() -> None:
    def reach(side: int) -> int:
        safe = torch.zeros(1, 4, side, side)
        safe[..., side // 2, side // 2] = 1
        row = disagreement_mask(torch.zeros_like(safe), safe)[0, 0, side // 2]
        return int((row > 0).sum())

    assert reach(16) == reach(32) == 3
    assert reach(128) > reach(64) >= 3


# ------------------------------------------------------------------ euler step


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_a_step_starts_at_a_positive_level(sigma: float) -> None:
    with pytest.raises(ValueError, match=r"sigma: .* allowed: finite numbers above 0"):
        euler_step(ROWS, ROWS, sigma, 1.0)


@pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf])
def test_a_step_ends_at_0_or_above(sigma: float) -> None:
    with pytest.raises(ValueError, match=r"next_sigma: .* allowed: finite numbers from 0"):
        euler_step(ROWS, ROWS, 1.0, sigma)


def test_a_half_precision_step_is_taken_in_float32() -> None:
    latent, denoised = torch.tensor([[60000.0]]).half(), torch.tensor([[-60000.0]]).half()
    moved = euler_step(latent, denoised, 4.0, 3.0)
    assert moved.dtype == torch.float32
    assert moved.item() == -60000 + 0.75 * 120000


def test_sigmas_may_be_tensors() -> None:
    moved = euler_step(torch.ones(1, 1), torch.zeros(1, 1), torch.tensor(2.0), torch.tensor(1.0))
    assert moved.item() == 0.5


# ------------------------------------------------------------------ the safe stream


def test_a_stream_starts_where_the_sampler_is_in_its_dtype() -> None:
    latent = SafeStream().latent_at(3.0, ROWS.half())
    assert latent.dtype == torch.float16
    assert (latent == ROWS.half()).all()


def test_a_stream_keeps_more_than_its_host_s_dtype() -> None:
    """Steps of half a unit in float16's last place still add up."""
    stream = SafeStream()
    start = torch.full((1, 1), 2048.0).half()
    stream.latent_at(1024.0, start)
    for sigma in range(1023, 1007, -1):  # 16 steps of 1: each half a unit of float16 here
        stream.saw(torch.full((1, 1), 1024.0).half())
        moved = stream.latent_at(float(sigma), start)
    assert moved.item() == 2032.0


def test_neither_side_can_change_the_other_s_latent() -> None:
    stream, mine = SafeStream(), ROWS.clone()
    first = stream.latent_at(3.0, mine)
    first.zero_()
    mine.zero_()
    assert (stream.latent_at(3.0, mine) == ROWS).all()
    seen = ROWS * 2
    stream.saw(seen)
    seen.zero_()
    assert (stream.latent_at(0.0, mine) == ROWS * 2).all()


def test_a_stream_refuses_another_shape() -> None:
    stream = SafeStream()
    stream.latent_at(3.0, ROWS)
    with pytest.raises(ValueError, match=r"latent: shape \(1, 4, 3, 3\) .* \(2, 4, 3, 3\)"):
        stream.latent_at(3.0, ROWS[:1])


def test_a_stream_does_not_move_on_before_it_has_seen() -> None:
    stream = SafeStream()
    stream.latent_at(3.0, ROWS)
    with pytest.raises(ValueError, match="before its reconstruction was seen"):
        stream.latent_at(2.0, ROWS)


# ------------------------------------------------------------------ reuse


@pytest.mark.parametrize("interval", [0, -1])
def test_an_interval_below_1_is_refused(interval: int) -> None:
    with pytest.raises(ValueError, match=r"interval: .* 1 and more"):
        Reuse(interval)


@pytest.mark.parametrize("interval", [1, 3])
def test_a_row_that_is_due_must_come(interval: int) -> None:
    reuse = Reuse(interval)
    with pytest.raises(ValueError, match="was due in this call"):
        reuse.safe_row(ROWS, None)
    reuse.safe_row(ROWS, ROWS)
    for _ in range(interval - 1):
        reuse.safe_row(ROWS, None)
    with pytest.raises(ValueError, match="was due in this call"):
        reuse.safe_row(ROWS, None)


def test_a_difference_is_not_applied_to_another_batch() -> None:
    reuse = Reuse(3)
    reuse.safe_row(ROWS, ROWS + 1)
    with pytest.raises(ValueError, match=r"original: shape \(1, 4, 3, 3\)"):
        reuse.safe_row(ROWS[:1], None)


def test_the_latest_difference_counts() -> None:
    reuse = Reuse(2)
    reuse.safe_row(ROWS, ROWS + 1)
    assert (reuse.safe_row(ROWS * 2, None) == ROWS * 2 + 1).all()
    reuse.safe_row(ROWS, ROWS + 5)
    assert (reuse.safe_row(ROWS * 2, None) == ROWS * 2 + 5).all()


def test_a_host_may_reuse_its_buffers() -> None:
    reuse, original, safe = Reuse(2), ROWS.clone(), ROWS + 1
    reuse.safe_row(original, safe)
    original.zero_()
    safe.zero_()
    assert (reuse.safe_row(ROWS, None) == ROWS + 1).all()


def test_nothing_broadcasts_in_a_reused_row() -> None:
    wrong: Any = torch.zeros(2, 1, 3, 3)
    reuse = Reuse(2)
    reuse.safe_row(ROWS, ROWS)
    with pytest.raises(ValueError, match="not allowed"):
        reuse.safe_row(wrong, None)
