"""The maths of the blend, the mask, the safe stream and the reuse, for tensors of every kind."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from property_support import (
    CHANNELS,
    DTYPES,
    noise,
    pairs,
    same_bits,
    shapes,
    specials,
    weight_per_image,
    weights,
)
from torch import Tensor

from safegen.method.blend import blend
from safegen.method.region import MASK_HIGH, MASK_LOW, disagreement_mask
from safegen.method.streams import Reuse, SafeStream, euler_step

Pair = tuple[Tensor, Tensor]
UNUSABLE = st.sampled_from([math.nan, math.inf, -math.inf])


def exact(original: Tensor, safe: Tensor, weight: Tensor, mask: Tensor | None = None) -> Tensor:
    """The blend's definition, in float64."""
    w = weight.double().reshape(-1, *[1] * (original.ndim - 1))
    w = w if mask is None else w * mask.double()
    return (1 - w) * original.double() + w * safe.double()


def tolerance(original: Tensor, safe: Tensor) -> Tensor:
    """How far rounding may take a blend from its definition: the result's own, and float32's
    for half precision, at the size of the greater of the two values."""
    info = torch.finfo(original.dtype)
    size = torch.maximum(original.abs(), safe.abs()).double()
    return 4 * info.eps * size + 4 * info.tiny


# ------------------------------------------------------------------ blend


@given(pairs(), st.sampled_from([None, math.nan, math.inf]))
def test_weight_0_is_the_original_bit_for_bit(pair: Pair, poison: float | None) -> None:
    original, safe = pair
    if poison is not None:
        safe = torch.full_like(safe, poison)
    assert same_bits(blend(original, safe, 0.0), original)
    mask = torch.full((1, *[1] * (original.ndim - 1)), math.nan)
    assert same_bits(blend(original, safe, 0.0, mask), original)


@given(pairs())
def test_mask_0_is_the_original_bit_for_bit(pair: Pair) -> None:
    original, safe = pair
    mask = torch.zeros(len(original), *[1] * (original.ndim - 1))
    assert same_bits(blend(original, safe, 1.0, mask), original)


@given(pairs(), st.sampled_from([None, math.nan, math.inf]))
def test_weight_1_is_the_safe_stream_bit_for_bit(pair: Pair, poison: float | None) -> None:
    original, safe = pair
    if poison is not None:
        original = torch.full_like(original, poison)
    assert same_bits(blend(original, safe, 1.0), safe)


@given(pairs(), st.data())
def test_the_blend_is_the_weighted_sum(pair: Pair, data: st.DataObject) -> None:
    """Also at the ends of every dtype: nothing overflows, whatever the weight."""
    original, safe = pair
    weight = data.draw(weight_per_image(len(original)))
    result = blend(original, safe, weight)
    assert result.dtype == original.dtype
    assert result.shape == original.shape
    assert torch.isfinite(result).all()
    wanted = exact(original * 0.5, safe * 0.5, weight)  # halved, so that float64 holds it
    slack = tolerance(original * 0.5, safe * 0.5)
    assert ((result.double() * 0.5 - wanted).abs() <= slack).all()


@pytest.mark.parametrize("dtype", DTYPES)
@given(weight=weights)
def test_the_ends_of_a_dtype_do_not_overflow(dtype: torch.dtype, weight: float) -> None:
    ends = torch.tensor(specials(dtype), dtype=torch.float64).to(dtype)
    original, safe = (t.reshape(1, 1, -1) for t in torch.meshgrid(ends, ends, indexing="ij"))
    result = blend(original, safe, weight)
    assert torch.isfinite(result).all()
    low, high = torch.minimum(original, safe), torch.maximum(original, safe)
    slack = tolerance(original * 0.5, safe * 0.5)
    half = result.double() * 0.5
    assert (half >= low.double() * 0.5 - slack).all()
    assert (half <= high.double() * 0.5 + slack).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@given(seed=st.integers(0, 10_000), weight=weights)
def test_half_precision_rounds_once(dtype: torch.dtype, seed: int, weight: float) -> None:
    """The sum is taken in float32 and rounded at the end: half a unit in the last place."""
    original, safe = noise((2, 4, 5), seed, dtype), noise((2, 4, 5), seed + 1, dtype)
    result = blend(original, safe, weight).double()
    wanted = exact(original, safe, torch.full((2,), weight, dtype=torch.float64))
    size = torch.maximum(wanted.abs(), result.abs())
    unit = torch.exp2(torch.floor(torch.log2(size.clamp_min(1e-12)))) * torch.finfo(dtype).eps
    # float32's own rounding, of the terms rather than the sum, is all that may come on top.
    terms = torch.maximum(original.abs(), safe.abs()).double() * 1e-6
    assert ((result - wanted).abs() <= 0.5 * unit + terms + torch.finfo(dtype).tiny).all()


@given(pairs(), weights, weights)
def test_distance_grows_with_the_weight(pair: Pair, one: float, other: float) -> None:
    original, safe = pair
    low, high = sorted((one, other))
    near, far = blend(original, safe, low), blend(original, safe, high)
    slack = tolerance(original * 0.5, safe * 0.5)
    halves = [t.double() * 0.5 for t in (original, safe, near, far)]
    from_original = [(t - halves[0]).abs() for t in halves[2:]]
    from_safe = [(t - halves[1]).abs() for t in halves[2:]]
    assert (from_original[0] <= from_original[1] + slack).all()
    assert (from_safe[1] <= from_safe[0] + slack).all()


@given(st.integers(0, 10_000), st.floats(0.05, 0.9), st.floats(0.05, 0.1))
def test_a_greater_weight_really_moves(seed: int, low: float, more: float) -> None:
    original, safe = noise((1, 4, 6, 6), seed), noise((1, 4, 6, 6), seed + 1)
    near, far = (blend(original, safe, w) for w in (low, low + more))
    assert torch.linalg.norm(far - original) > torch.linalg.norm(near - original) > 0
    assert torch.linalg.norm(near - safe) > torch.linalg.norm(far - safe) > 0


@given(pairs(), st.data())
def test_each_image_has_its_own_weight(pair: Pair, data: st.DataObject) -> None:
    original, safe = pair
    weight = data.draw(weight_per_image(len(original)))
    together = blend(original, safe, weight)
    for i in range(len(original)):
        alone = blend(original[i : i + 1], safe[i : i + 1], float(weight[i]))
        assert same_bits(together[i : i + 1], alone)


@given(pairs(ndim=4), st.data())
def test_neighbours_do_not_matter(pair: Pair, data: st.DataObject) -> None:
    """Whatever the others are, even NaN, an image and its mask stay the same to the last bit."""
    original, safe = pair
    weight = data.draw(weight_per_image(len(original)))
    kept = data.draw(st.integers(0, len(original) - 1))
    poison = data.draw(UNUSABLE)
    mask = disagreement_mask(original, safe)
    before = blend(original, safe, weight, mask)[kept]
    others = [i for i in range(len(original)) if i != kept]
    original, safe, weight = original.clone(), safe.clone(), weight.clone()
    original[others], safe[others], weight[others] = poison, -poison, 1 - weight[others]
    changed = disagreement_mask(original, safe)
    assert same_bits(changed[kept], mask[kept])
    assert same_bits(blend(original, safe, weight, changed)[kept], before)


@given(
    st.integers(0, 10_000),
    st.sampled_from(CHANNELS),
    st.integers(1, 3),
    st.floats(1.0, 15.0),
    st.floats(0.05, 80.0),
    st.sampled_from(["x0", "eps", "v"]),
    st.booleans(),
    st.data(),
)
def test_blending_cond_rows_before_guidance_is_blending_the_guided_after(
    seed: int,
    channels: int,
    batch: int,
    scale: float,
    sigma: float,
    kind: str,
    masked: bool,
    data: st.DataObject,
) -> None:
    shape = (batch, channels, 7, 6)
    x, uncond, cond, safe = (noise(shape, seed + i) for i in range(4))
    weight = data.draw(weight_per_image(batch))

    def guided(row: Tensor) -> Tensor:
        return uncond + scale * (row - uncond)

    def x0(row: Tensor) -> Tensor:  # variance-preserving: x = alpha·x0 + s·eps
        alpha, s = (1 + sigma**2) ** -0.5, sigma * (1 + sigma**2) ** -0.5
        if kind == "eps":
            return (x - s * row) / alpha
        return alpha * x - s * row if kind == "v" else row

    mask = disagreement_mask(cond, safe) if masked else None
    before = x0(guided(blend(cond, safe, weight, mask)))
    after = blend(x0(guided(cond)), x0(guided(safe)), weight, mask)
    torch.testing.assert_close(before, after, rtol=1e-9, atol=1e-9 * scale * (1 + sigma))


@pytest.mark.parametrize("weight", [-0.01, 1.01, math.nan, math.inf, -math.inf])
@given(st.data())
def test_a_weight_out_of_range_is_refused(weight: float, data: st.DataObject) -> None:
    batch = data.draw(st.integers(1, 4))
    rows = torch.zeros(batch, 4, 2, 2)
    several = torch.zeros(batch)
    several[data.draw(st.integers(0, batch - 1))] = weight
    for bad in (weight, torch.tensor(weight), several):
        with pytest.raises(ValueError, match=r"weight: .* is not allowed; allowed: .*0 to 1"):
            blend(rows, rows, bad)


# ------------------------------------------------------------------ mask


@given(pairs(ndim=4))
def test_masks_are_within_0_and_1_for_any_finite_rows(pair: Pair) -> None:
    original, safe = pair
    mask = disagreement_mask(original, safe)
    assert mask.shape == (len(original), 1, *original.shape[2:])
    assert mask.dtype == (torch.float64 if original.dtype == torch.float64 else torch.float32)
    assert (mask >= 0).all()
    assert (mask <= 1).all()


@given(pairs(ndim=4))
def test_a_mask_reaches_1_where_rows_differ_and_is_0_where_they_agree(pair: Pair) -> None:
    original, safe = pair
    halves = safe.double() * 0.5 - original.double() * 0.5
    differs = (halves != 0).flatten(1).any(dim=1)
    tops = disagreement_mask(original, safe).flatten(1).amax(dim=1)
    # Differences that float32 cannot halve count as none.
    visible = halves.abs().flatten(1).amax(dim=1) > 1e-30
    assert (tops[visible] == 1).all()
    assert (tops[~differs] == 0).all()


@given(pairs(ndim=4))
def test_a_mask_is_the_same_whatever_the_batch(pair: Pair) -> None:
    original, safe = pair
    together = disagreement_mask(original, safe)
    for i in range(len(original)):
        alone = disagreement_mask(original[i : i + 1], safe[i : i + 1])
        assert same_bits(together[i : i + 1], alone)
    reversed_batch = disagreement_mask(original.flip(0), safe.flip(0)).flip(0)
    assert same_bits(reversed_batch, together)


@given(pairs(ndim=4))
def test_the_mask_of_a_video_of_one_frame_is_the_picture_s(pair: Pair) -> None:
    original, safe = pair
    video = disagreement_mask(original.unsqueeze(2), safe.unsqueeze(2))
    torch.testing.assert_close(video.squeeze(2), disagreement_mask(original, safe))


@given(st.integers(0, 10_000))
def test_a_video_s_frames_share_one_scale_and_its_neighbours_do_not_matter(seed: int) -> None:
    original, safe = noise((2, 4, 3, 6, 7), seed), noise((2, 4, 3, 6, 7), seed + 1)
    safe[:, :, 1] = original[:, :, 1]
    mask = disagreement_mask(original, safe)
    assert mask.shape == (2, 1, 3, 6, 7)
    assert (mask[:, :, 1] == 0).all()
    assert (mask.flatten(1).amax(1) == 1).all()
    assert same_bits(mask[1:], disagreement_mask(original[1:], safe[1:]))


@pytest.mark.parametrize("channels", CHANNELS)
@settings(max_examples=4)
@given(st.integers(0, 10_000))
def test_batch_size_does_not_show_at_a_real_size(channels: int, seed: int) -> None:
    """Latents large enough for vectorised kernels, and for more than one smoothing step."""
    shape = (5, channels, 72, 64)
    original, safe = noise(shape, seed, torch.float32), noise(shape, seed + 1, torch.float32)
    mask = disagreement_mask(original, safe)
    result = blend(original, safe, 0.7, mask)
    for i in (0, 4):
        own_mask = disagreement_mask(original[i : i + 1], safe[i : i + 1])
        assert same_bits(own_mask, mask[i : i + 1])
        own = blend(original[i : i + 1], safe[i : i + 1], 0.7, own_mask)
        assert same_bits(own, result[i : i + 1])


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3), st.booleans())
def test_a_mask_does_not_depend_on_the_rows_scale(seed: int, scale: float, swap: bool) -> None:
    """x0 rows differ from eps rows by a shift and a factor: their masks agree."""
    shape = (2, 4, 9, 8)
    x, original, safe = (noise(shape, seed + i) for i in range(3))
    eps = [(x - row) * scale for row in ((safe, original) if swap else (original, safe))]
    torch.testing.assert_close(
        disagreement_mask(*eps), disagreement_mask(original, safe), rtol=0, atol=1e-9
    )


@given(st.integers(0, 10_000), st.integers(0, 2))
def test_a_mask_turns_with_the_picture(seed: int, axis: int) -> None:
    original, safe = noise((1, 4, 8, 8), seed), noise((1, 4, 8, 8), seed + 1)

    def turn(t: Tensor) -> Tensor:
        return t.transpose(2, 3) if axis == 0 else t.flip(axis + 1)

    turned = disagreement_mask(turn(original), turn(safe))
    torch.testing.assert_close(turned, turn(disagreement_mask(original, safe)), rtol=0, atol=1e-9)


@given(st.integers(0, 30), st.integers(0, 30), st.floats(0.01, 100.0))
def test_a_mask_is_soft_around_the_disagreement_and_0_far_away(
    row: int, column: int, size: float
) -> None:
    original = torch.zeros(1, 4, 31, 31)
    safe = original.clone()
    safe[:, :, row, column] = size
    mask = disagreement_mask(original, safe)[0, 0]
    assert mask[row, column] == 1
    distance = torch.maximum(
        (torch.arange(31) - row).abs()[:, None], (torch.arange(31) - column).abs()[None]
    )
    assert (mask[distance > 1] == 0).all()
    assert (mask[distance <= 1] > 0).all()
    corners = (torch.arange(31) - row).abs()[:, None] * (torch.arange(31) - column).abs()[None] == 1
    assert (mask[corners] < 1).all()


def test_a_masks_limits_are_shares_of_the_greatest_disagreement() -> None:
    """Wide bands of disagreement from none to all, read in the bands' middles: smoothly up."""
    shares = torch.tensor([-1 / 3, 0.0, 0.25, 0.5, 0.75, 1.0, 3.0], dtype=torch.float64)
    levels = MASK_LOW + shares * (MASK_HIGH - MASK_LOW)
    levels[0], levels[-1] = 0.0, 1.0
    safe = levels.repeat_interleave(9).expand(1, 4, 9, 63)
    middles = disagreement_mask(torch.zeros_like(safe), safe)[0, 0, 4, 4::9]
    wanted = torch.tensor([0.0, 0.0, 0.15625, 0.5, 0.84375, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(middles, wanted, rtol=0, atol=1e-6)


@given(pairs(ndim=4, extreme=False), weights)
def test_a_mask_only_ever_takes_from_the_weight(pair: Pair, weight: float) -> None:
    original, safe = pair
    masked = blend(original, safe, weight, disagreement_mask(original, safe))
    plain = blend(original, safe, weight)
    slack = tolerance(original, safe)
    near = (masked.double() - original.double()).abs()
    assert (near <= (plain.double() - original.double()).abs() + slack).all()


@given(pairs(ndim=4, dtypes=(torch.float32,)))
def test_autocast_changes_nothing(pair: Pair) -> None:
    original, safe = pair
    mask = disagreement_mask(original, safe)
    result = blend(original, safe, 0.3, mask)
    step = euler_step(original * 0.25, safe * 0.25, 2.0, 1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert same_bits(disagreement_mask(original, safe), mask)
        assert same_bits(blend(original, safe, 0.3, mask), result)
        assert same_bits(euler_step(original * 0.25, safe * 0.25, 2.0, 1.0), step)


# ------------------------------------------------------------------ the safe stream

sigmas = st.floats(0.01, 50.0)


@given(shapes(), st.integers(0, 10_000), sigmas, st.floats(0.0, 50.0))
def test_an_euler_step_follows_the_noise(
    shape: tuple[int, ...], seed: int, sigma: float, following: float
) -> None:
    """x0 + σ·ε goes to x0 + σ'·ε when the reconstruction is x0 itself."""
    x0, eps = noise(shape, seed), noise(shape, seed + 1)
    moved = euler_step(x0 + sigma * eps, x0, sigma, following)
    torch.testing.assert_close(moved, x0 + following * eps, rtol=1e-9, atol=1e-9 * (1 + following))


@given(pairs(extreme=False), sigmas)
def test_an_euler_step_to_0_is_the_reconstruction(pair: Pair, sigma: float) -> None:
    latent, denoised = pair
    moved = euler_step(latent, denoised, sigma, 0.0)
    assert moved.dtype == (torch.float64 if latent.dtype == torch.float64 else torch.float32)
    assert (moved == denoised.to(moved.dtype)).all()


@given(st.integers(0, 10_000), st.lists(sigmas, min_size=2, max_size=6, unique=True))
def test_a_stream_is_its_own_euler_sampler(seed: int, levels: list[float]) -> None:
    """Whatever latents the sampler shows it later, it goes on from its fork by itself."""
    fork = noise((2, 4, 3, 3), seed)
    stream, wanted, seen = SafeStream(), fork, None
    for i, sigma in enumerate(levels):
        if seen is not None:
            wanted = euler_step(wanted, seen, levels[i - 1], sigma)
        given_latent = fork if i == 0 else noise((2, 4, 3, 3), seed + 100 + i)
        assert same_bits(stream.latent_at(sigma, given_latent), wanted)
        assert same_bits(stream.latent_at(sigma, given_latent), wanted)
        seen = noise((2, 4, 3, 3), seed + 200 + i)
        stream.saw(seen)


@given(st.integers(0, 10_000), st.integers(1, 3))
def test_a_streams_images_do_not_know_each_other(seed: int, kept: int) -> None:
    def path(rows: slice) -> Tensor:
        stream = SafeStream()
        for i, sigma in enumerate((5.0, 2.0, 1.0)):
            latent = stream.latent_at(sigma, noise((4, 4, 3, 3), seed, torch.float32)[rows])
            stream.saw(noise((4, 4, 3, 3), seed + i, torch.float32)[rows])
        return latent

    assert same_bits(path(slice(0, 4))[kept : kept + 1], path(slice(kept, kept + 1)))


# ------------------------------------------------------------------ reuse


@given(st.integers(1, 10), st.integers(1, 40))
def test_the_safe_row_is_due_at_every_nth_call(interval: int, calls: int) -> None:
    reuse, due = Reuse(interval), []
    row = torch.zeros(1, 4, 2, 2)
    for _ in range(calls):
        due.append(reuse.due)
        reuse.safe_row(row, row if reuse.due else None)
    assert due == [i % interval == 0 for i in range(calls)]


@given(pairs(), st.integers(1, 5))
def test_an_evaluated_row_is_used_as_it_is(pair: Pair, interval: int) -> None:
    original, safe = pair
    assert Reuse(interval).safe_row(original, safe) is safe


@given(pairs(extreme=False), st.integers(2, 5), st.integers(0, 10_000))
def test_a_reused_row_keeps_the_difference(pair: Pair, interval: int, seed: int) -> None:
    original, safe = pair
    reuse = Reuse(interval)
    reuse.safe_row(original, safe)
    later = noise(tuple(original.shape), seed, original.dtype)
    row = reuse.safe_row(later, None)
    assert row.dtype == (torch.float64 if original.dtype == torch.float64 else torch.float32)
    wanted = later.double() + (safe.double() - original.double())
    torch.testing.assert_close(row.double(), wanted, rtol=1e-5, atol=1e-3)


@given(st.integers(0, 10_000))
def test_a_reused_row_may_leave_float16s_range(seed: int) -> None:
    original = torch.full((1, 4, 2, 2), -60000.0, dtype=torch.float16)
    reuse = Reuse(2)
    reuse.safe_row(original, -original)
    later = noise((1, 4, 2, 2), seed, torch.float16)
    row = reuse.safe_row(later, None)
    assert torch.isfinite(row).all()
    assume(bool((later != 0).all()))
    assert torch.isfinite(blend(later, row, 0.5)).all()
