"""What the property tests share: tensors of every kind, plans of every kind, a small sampler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from safegen.method.session import Session, Verdict
from safegen.plan import SETTINGS, SafetyPlan, Setting

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
CHANNELS = (1, 4, 16)
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are alike to the last bit: dtype, shape, signed zeros, NaN too."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    bits = _BITS[a.element_size()]
    return bool((a.contiguous().view(bits) == b.contiguous().view(bits)).all())


def noise(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


def specials(dtype: torch.dtype) -> list[float]:
    """Finite values at the ends of ``dtype``, and both zeros."""
    info = torch.finfo(dtype)
    return [0.0, -0.0, info.max, info.min, info.tiny, -info.tiny, info.smallest_normal / 2, 1.0]


@st.composite
def shapes(draw: st.DrawFn, *, ndim: int | None = None, least: int = 1) -> tuple[int, ...]:
    """[B, C, H, W] or [B, C, T, H, W], small."""
    sides = st.integers(least, 9)
    batch, channels = draw(st.integers(1, 4)), draw(st.sampled_from(CHANNELS))
    frames = (
        (draw(st.integers(1, 3)),) if ndim == 5 or (ndim is None and draw(st.booleans())) else ()
    )
    return (batch, channels, *frames, draw(sides), draw(sides))


@st.composite
def pairs(
    draw: st.DrawFn,
    *,
    ndim: int | None = None,
    dtypes: tuple[torch.dtype, ...] = DTYPES,
    extreme: bool = True,
) -> tuple[Tensor, Tensor]:
    """Two finite tensors alike in shape and dtype; often with values at the dtype's ends."""
    shape = draw(shapes(ndim=ndim))
    dtype = draw(st.sampled_from(dtypes))
    scale = draw(st.sampled_from([1.0, 1e-3, 200.0]))
    seed = draw(st.integers(0, 10_000))
    tensors = [(noise(shape, seed + i) * scale).to(dtype) for i in range(2)]
    if extreme:
        for tensor in tensors:
            flat = tensor.view(-1)
            for value in draw(st.lists(st.sampled_from(specials(dtype)), max_size=6)):
                flat[draw(st.integers(0, flat.numel() - 1))] = value
    return tensors[0], tensors[1]


weights = st.one_of(
    st.sampled_from([0.0, 0.25, 0.5, 1.0, 1e-8, 1 - 1e-8]), st.floats(0.0, 1.0, allow_nan=False)
)


@st.composite
def weight_per_image(draw: st.DrawFn, batch: int) -> Tensor:
    values = draw(st.lists(weights, min_size=batch, max_size=batch))
    return torch.tensor(values, dtype=torch.float64)


# ------------------------------------------------------------------ plans

NASTY = [
    "",
    " ",
    "  leading and trailing\t",
    "'",
    "''",
    "'quoted'",
    '"quoted"',
    '"',
    '"open',
    'a "word", in quotes',
    "back\\slash, \\n",
    "\\",
    "512x512",
    "512x512\n",
    "'512x512'",
    "1x2, 3x4",
    "key: value, other: 3",
    "Steps: 20, Sampler: Euler a",
    ", , ,",
    ":",
    "two\nlines",
    "\n",
    "\r",
    "carriage\r\nreturn",
    "auto",
    "True",
    "None",
    "SafeGen safe text",
    "SafeGen unsafe text",
    "größer, 日本語: 🙂 ٣x٣",
    "\u00a0no-break\u2003",
    "\x1c",
    "<lora:x:1>, (a:1.2) [b|c]",
    "a+b",
]

texts = st.one_of(
    st.sampled_from(NASTY),
    st.text(alphabet=" '\",:\\\nx5[]()a\u00a0é", max_size=8),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)


def values_of(setting: Setting) -> st.SearchStrategy[Any]:
    """Every value that one setting allows, as far as it can say by itself."""
    if setting.kind is bool:
        return st.booleans()
    if setting.kind is tuple:
        members = st.sampled_from(setting.choices)
        return st.lists(members, min_size=1, max_size=4)
    if setting.choices:
        return st.sampled_from(setting.choices)
    if setting.kind is str:
        return texts
    assert setting.minimum is not None
    assert setting.maximum is not None
    if setting.kind is int:
        return st.integers(int(setting.minimum), int(setting.maximum))
    return st.floats(setting.minimum, setting.maximum, allow_nan=False)


@st.composite
def plans(draw: st.DrawFn, **fixed: Any) -> SafetyPlan:
    """Any plan at all: each setting drawn from its own range, then made consistent."""
    drawn = {name: draw(values_of(setting)) for name, setting in SETTINGS.items()}
    drawn.update(
        {name: draw(v) if isinstance(v, st.SearchStrategy) else v for name, v in fixed.items()}
    )
    if drawn["tau"] >= drawn["end"]:
        drawn["tau"], drawn["end"] = 0.0, max(drawn["end"], 0.05)
    if not drawn["context"].strip():
        drawn["context"] = draw(st.sampled_from(["auto", "custom", "violence"]))
    if drawn["context"] == "custom" and not drawn["safe_text"].strip():
        drawn["safe_text"] = "calm"
    if drawn["strategy"] == "away":
        drawn["push"] = drawn["push"] or 1.0
    if drawn["mode"] == "always" and drawn["context"] == "auto":
        drawn["mode"] = "auto"
    return SafetyPlan(**drawn)


# ------------------------------------------------------------------ a sampler

Model = Callable[[Tensor, float, Tensor], Tensor]


def toy_model(x: Tensor, sigma: float, cond: Tensor) -> Tensor:
    """An x0 prediction: not linear in x nor cond, the same for an image whatever its neighbours.

    Only operations that IEEE rounds exactly, so that the batch size cannot show in the last bit.
    """
    pull = x / (1.0 + x.abs())
    return cond + pull * (0.25 + 0.5 * cond / (1.0 + cond.abs())) / (1.0 + 0.125 * sigma)


@dataclass
class Run:
    """A sampling run with guidance, in variance-exploding form, and what came of it."""

    latent: Tensor
    verdict: Verdict | None = None
    rows: int = 0
    sent: list[Tensor] = field(default_factory=list)


SIGMAS = (14.0, 9.0, 6.0, 4.0, 2.5, 1.5, 0.8, 0.4, 0.1)


def sample(
    plan: SafetyPlan | None,
    x: Tensor,
    cond: Tensor,
    safe: Tensor,
    *,
    guarded: list[bool] | None = None,
    scale: float = 3.0,
    sigmas: tuple[float, ...] = SIGMAS,
    heun: bool = False,
    churn: float = 0.0,
) -> Run:
    """Sample with Euler, Heun (``heun``) or ancestral-like (``churn``) steps under ``plan``.

    ``plan`` None is a host without SafeGen. Each image has its own cond, safe cond and noise.
    """
    session = None if plan is None else Session(plan, guarded or [True] * len(x))
    run = Run(x)
    uncond = torch.zeros_like(cond)

    def guidance(at: Tensor, sigma: float, row: Tensor) -> Tensor:
        base = toy_model(at, sigma, uncond)
        return base + scale * (row - base)

    def denoise(at: Tensor, sigma: float, progress: float) -> Tensor:
        row = toy_model(at, sigma, cond)
        run.rows += 2 * len(at)
        if session is None:
            return guidance(at, sigma, row)
        call = session.begin(progress)
        other = None
        if session.independent:
            own = session.safe_latent(call, at, sigma)
            if call.evaluate:
                run.rows += 2 * len(at)
                other = guidance(own, sigma, toy_model(own, sigma, safe))
            result = session.combine(call, guidance(at, sigma, row), other)
        else:
            if call.evaluate:
                run.rows += len(at)
                other = toy_model(at, sigma, safe)
            result = guidance(at, sigma, session.combine(call, row, other))
        run.sent.append(result)
        return result

    steps = len(sigmas)
    for i, sigma in enumerate(sigmas):
        following = sigmas[i + 1] if i + 1 < steps else 0.0
        x0 = denoise(run.latent, sigma, i / steps)
        slope = (run.latent - x0) / sigma
        moved = run.latent + slope * (following - sigma)
        if heun and following > 0:
            second = (moved - denoise(moved, following, i / steps)) / following
            moved = run.latent + (slope + second) / 2 * (following - sigma)
        if churn:
            kick = noise(tuple(x.shape[1:]), 1000 + i, x.dtype)  # the same for every image
            moved = moved + churn * following * kick
        run.latent = moved
    if session is not None:
        run.verdict = session.finish()
    return run
