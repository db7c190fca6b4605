"""Forge's and reForge's denoiser calls under guard: the same blend, and nothing goes by."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from forge_support import Calc, Denoiser, Host, Text, Unet, encoded
from plans import blending
from torch import Tensor

from safegen.conditioning.strategies import SafeConditioning
from safegen.errors import GuardFailure, Unsupported
from safegen.hosts.forge import PassGuard, check_pass, evaluation, stop
from safegen.method.blend import blend
from safegen.method.push import pushed
from safegen.method.session import Call, Verdict
from safegen.plan import SafetyPlan

P, X, N, U = "a bloody ball", "a calm harbour", "low quality", "blood"
SAFE = SafeConditioning("context", X)
PLAN = blending(
    weight=0.4,
    tau=0.0,
    strategy="context",
    region="everywhere",
    push=0.0,
    dial="reconstruction",
)


@pytest.fixture
def calc(monkeypatch: pytest.MonkeyPatch) -> Calc:
    found = Calc()
    monkeypatch.setattr(evaluation, "calc", lambda: found)
    return found


def _nothing(_params: Any) -> None:
    """A callback that never comes."""


class Run:
    """One sampling pass, by Euler's steps.

    Args:
        parts: For each image, for each ``AND`` part, what its safe stream sees; none: no guard.
    """

    def __init__(
        self,
        calc: Calc,
        prompts: Sequence[Sequence[str]],
        parts: Sequence[Sequence[SafeConditioning | None]] | None = None,
        plan: SafetyPlan = PLAN,
        *,
        negatives: Sequence[str] | None = None,
        **more: Any,
    ) -> None:
        self.images = len(prompts[0])
        self.host = Host()
        cfg = more.get("cfg", 4.0)
        given = [N] * self.images if negatives is None and cfg != 1.0 else negatives
        self.denoiser = Denoiser(calc, prompts, negatives=given, **more)
        self.denoiser.previews = self.host.module
        self.p = SimpleNamespace(
            cfg_scale=cfg, sampler_name="Euler", negative_prompts=[N] * self.images
        )
        self.guard: PassGuard | None = None
        if parts is not None:
            self.guard = PassGuard(
                self.host, self.p, self.denoiser, plan, parts, hires=False, cache=[None, None]
            )
            self.denoiser.callback = self.guard.before

    @property
    def unet(self) -> Unet:
        found: Unet = self.denoiser.objects.unet
        return found

    def call(self, x: Tensor, sigma: float) -> Tensor:
        return self.denoiser.forward(x, torch.full((self.images,), sigma))

    def sample(self) -> Tensor:
        x = 10 * torch.randn(self.images, 4, 2, 6, generator=torch.Generator().manual_seed(3))
        sigmas = [10.0, 4.0, 1.0, 0.3, 0.0]
        for sigma, then in itertools.pairwise(sigmas):
            found = self.call(x, sigma)
            noise = found if self.denoiser.classic_ddim_eps_estimation else (x - found) / sigma
            x = x + noise * (then - sigma)
        return x

    def guarded(self) -> tuple[Tensor, Verdict]:
        assert self.guard is not None
        found = self.sample()
        verdict = self.guard.finish()
        assert verdict is not None
        return found, verdict


@pytest.mark.parametrize("eps", [False, True])
@pytest.mark.parametrize("cfg", [4.0, 1.0, 0.5])
def test_it_is_the_hosts_own_and(calc: Calc, cfg: float, eps: bool) -> None:
    found, verdict = Run(calc, [[P]], [[SAFE]], cfg=cfg, eps=eps).guarded()
    other = Run(calc, [[P], [X]], weights=(0.6, 0.4), cfg=cfg, eps=eps).sample()
    plain = Run(calc, [[P]], cfg=cfg, eps=eps).sample()
    assert torch.allclose(found, other, atol=1e-5)
    assert not torch.allclose(found, plain, atol=1e-2)
    assert (verdict.calls, verdict.needed, verdict.guarded) == (4, 4, 4)


def test_and_parts_have_their_own_safe_texts(calc: Calc) -> None:
    parts = [[SAFE, None]]
    found, _ = Run(calc, [[P], ["a tree"]], parts, weights=(1.0, 0.5)).guarded()
    other = Run(calc, [[P], [X], ["a tree"]], weights=(0.6, 0.4, 0.5)).sample()
    assert torch.allclose(found, other, atol=1e-5)


def test_a_harmless_picture_beside_a_guarded_one_is_bit_identical(calc: Calc) -> None:
    plain = Run(calc, [[P, "a house"]]).sample()
    found, verdict = Run(calc, [[P, "a house"]], [[SAFE], [None]]).guarded()
    assert torch.equal(found[1], plain[1])
    assert not torch.equal(found[0], plain[0])
    assert verdict.guarded_images == 1


def test_a_text_of_another_length_says_the_same(calc: Calc) -> None:
    short, _ = Run(calc, [[P]], [[SAFE]]).guarded()
    run = Run(calc, [[P]])
    run.host.tokens[X] = 5
    guard = PassGuard(run.host, run.p, run.denoiser, PLAN, [[SAFE]], hires=False, cache=[])
    run.denoiser.callback, run.guard = guard.before, guard
    assert torch.allclose(run.guarded()[0], short, atol=1e-6)


@pytest.mark.parametrize("cfg", [4.0, 1.0])
def test_the_push_is_that_of_the_method(calc: Calc, cfg: float) -> None:
    """At CFG scale 1 the host has no uncond rows, and the negative prompt is encoded for it."""
    safe = SafeConditioning("context", X, unsafe=U)
    run = Run(calc, [[P]], [[safe]], PLAN.replace(push=1.5), cfg=cfg)
    x = torch.randn(1, 4, 2, 6, generator=torch.Generator().manual_seed(1))
    found = run.call(x, 10.0)

    def row(text: str) -> Tensor:
        one = {"model_conds": {"c_crossattn": Text(encoded(text))}, "strength": 1.0}
        return Calc()(None, [one], None, x, None, None)[0]

    away = pushed(row(X), row(U), row(N), torch.tensor([1.5], dtype=torch.float64), cfg)
    wanted = blend(row(P), away, torch.tensor([0.4], dtype=torch.float64), None)
    base = row(N) if cfg != 1.0 else torch.zeros_like(x)
    assert torch.allclose(found, base + cfg * (wanted - base), atol=1e-5)
    assert run.guard is not None
    assert run.guard.own_rows == (2 if cfg != 1.0 else 3)


def test_independent_streams_begin_where_shared_ones_do_and_then_part(calc: Calc) -> None:
    shared = Run(calc, [[P]], [[SAFE]])
    apart = Run(calc, [[P]], [[SAFE]], PLAN.replace(streams="independent"))
    x = torch.randn(1, 4, 2, 6, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(shared.call(x, 10.0), apart.call(x, 10.0), atol=1e-5)
    one, _ = Run(calc, [[P]], [[SAFE]]).guarded()
    other, verdict = Run(calc, [[P]], [[SAFE]], PLAN.replace(streams="independent")).guarded()
    assert not torch.allclose(one, other, atol=1e-3)
    assert verdict.guarded == 4


def test_between_refreshes_no_row_is_evaluated(calc: Calc) -> None:
    _, verdict = Run(calc, [[P]], [[SAFE]], PLAN.replace(refresh=2)).guarded()
    assert (verdict.guarded, verdict.evaluated) == (4, 2)


def test_before_the_threshold_nothing_changes_and_nothing_is_shown(calc: Calc) -> None:
    run = Run(calc, [[P, "a house"]], [[SAFE], [None]], PLAN.replace(tau=0.5))
    plain = Run(calc, [[P, "a house"]])
    run.denoiser.total_steps = 20  # in few steps every call is guarded
    x = torch.randn(2, 4, 2, 6, generator=torch.Generator().manual_seed(1))
    for sigma in (10.0, 4.0):
        assert torch.equal(run.call(x, sigma), plain.call(x, sigma))
        assert not run.host.module.shown[-1][0].any()
        assert torch.equal(run.host.module.shown[-1][1], plain.host.module.shown[-1][1])
    run.denoiser.step = 10
    result = run.call(x, 1.0)
    assert torch.equal(run.host.module.shown[-1], result)


def test_an_inpaintings_mask_is_kept(calc: Calc) -> None:
    def masked(run: Run) -> Run:
        mask = torch.zeros(1, 1, 2, 6)
        mask[..., :3] = 1.0
        run.denoiser.mask, run.denoiser.nmask = mask, 1 - mask
        run.denoiser.init_latent = torch.full((1, 4, 2, 6), 0.2)
        return run

    found, _ = masked(Run(calc, [[P]], [[SAFE]])).guarded()
    other = masked(Run(calc, [[P], [X]], weights=(0.6, 0.4))).sample()
    assert torch.allclose(found, other, atol=1e-5)


def test_another_extension_guides_the_blended_rows(calc: Calc) -> None:
    """Dynamic thresholding is such: not affine in the rows."""

    def own_way(args: dict[str, Any]) -> Tensor:
        pull = args["cond"] - args["uncond"]
        return args["uncond"] + torch.tanh(pull) * args["cond_scale"]

    def guided(run: Run) -> Run:
        run.unet.model_options["sampler_cfg_function"] = own_way
        return run

    found, _ = guided(Run(calc, [[P]], [[SAFE]], PLAN.replace(weight=1.0))).guarded()
    assert torch.allclose(found, guided(Run(calc, [[X]])).sample(), atol=1e-5)
    both, _ = guided(Run(calc, [[P, "a house"]], [[SAFE], [None]])).guarded()
    assert torch.equal(both[1], guided(Run(calc, [[P, "a house"]])).sample()[1])
    with pytest.raises(GuardFailure, match="use shared streams"):
        guided(Run(calc, [[P]], [[SAFE]], PLAN.replace(streams="independent"))).sample()


def test_it_stays_in_place_in_a_copy_of_the_patcher(calc: Calc) -> None:
    """Other extensions copy the patcher; a refiner brings one that never had the modifier."""
    run, plain = Run(calc, [[P]], [[SAFE]]), Run(calc, [[P]], [[SAFE]])
    x = torch.randn(1, 4, 2, 6, generator=torch.Generator().manual_seed(1))
    run.call(x, 10.0)
    plain.call(x, 10.0)
    run.denoiser.objects.unet = run.unet.clone()
    assert torch.equal(run.call(x, 4.0), plain.call(x, 4.0))
    run.denoiser.objects.unet = Unet()
    assert torch.equal(run.call(x, 1.0), plain.call(x, 1.0))
    assert len(run.unet.model_options["conditioning_modifiers"]) == 1


def test_detached_it_leaves_everything_as_it_was(calc: Calc) -> None:
    run, plain = Run(calc, [[P]], [[SAFE]]), Run(calc, [[P]])
    run.guarded()
    x = torch.randn(1, 4, 2, 6, generator=torch.Generator().manual_seed(1))
    run.denoiser.callback = _nothing
    calc.rows.clear()
    assert torch.equal(run.call(x, 10.0), plain.call(x, 10.0))
    assert "forward" not in vars(run.denoiser)
    assert "store_latent" not in vars(run.host.module)
    assert len(calc.rows) == 4


# ---------------------------------------------------------------------- faults


def _no_callback(run: Run) -> None:
    run.denoiser.callback = _nothing


def _lost_options(run: Run) -> None:
    guard = run.guard
    assert guard is not None

    def callback(params: Any) -> None:
        guard.before(params)
        unet = run.unet
        unet.add_conditioning_modifier(
            lambda *given: (*given[:6], {"transformer_options": {}}, given[7])
        )

    run.denoiser.callback = callback


def _changed(run: Run) -> None:
    def more(args: dict[str, Any]) -> Tensor:
        found: Tensor = args["denoised"]
        return found + 0.1

    run.unet.model_options["sampler_post_cfg_function"] = [more]


def _after(run: Run) -> None:
    run.denoiser.after = lambda denoised: denoised * 1.001


def _more_texts(run: Run) -> None:
    run.unet.add_conditioning_modifier(
        lambda *given: (*given[:4], [*given[4], given[4][0]], *given[5:])
    )


def _narrower(run: Run) -> None:
    run.unet.add_conditioning_modifier(lambda *given: (given[0], given[1][..., :-1], *given[2:]))


def _nan(run: Run) -> None:
    run.host.cond_at = lambda schedule, _step: schedule * float("nan")  # type: ignore[method-assign]


def _too_wide(run: Run) -> None:
    run.host.cond_at = lambda schedule, _step: schedule[..., :2]  # type: ignore[method-assign]


def _unevaluable(run: Run) -> None:
    def fails(*_args: Any) -> Any:
        raise RuntimeError("out of memory")

    run.host.cond_at = fails  # type: ignore[method-assign]


FAULTS: dict[str, tuple[Callable[[Run], None], str]] = {
    "the callback never comes": (_no_callback, "never reached SafeGen's conditioning modifier"),
    "another modifier drops ours": (_lost_options, "never reached SafeGen's function"),
    "another function guides anew": (_changed, "_changed.<locals>.more changes the guided result"),
    "a later callback changes the result": (_after, "changed the guided result behind SafeGen"),
    "another extension adds texts": (_more_texts, "2 texts for prompts of 1 parts"),
    "another extension changes the latents": (_narrower, "changed the latents"),
    "the safe text is not finite": (_nan, "not finite"),
    "the safe text has another width": (_too_wide, "2 wide"),
    "the safe text can't be had": (_unevaluable, "out of memory"),
}


@pytest.mark.parametrize("streams", ["shared", "independent"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_stops_the_pass_for_good(calc: Calc, name: str, streams: str) -> None:
    breaks, said = FAULTS[name]
    run = Run(calc, [[P]], [[SAFE]], PLAN.replace(streams=streams))
    x = torch.randn(1, 4, 2, 6, generator=torch.Generator().manual_seed(1))
    breaks(run)
    with pytest.raises(GuardFailure, match=said):
        run.call(x, 10.0)
    with pytest.raises(GuardFailure):
        run.call(x, 1.0)
    assert run.guard is not None
    with pytest.raises(GuardFailure):
        run.guard.finish()


@pytest.mark.parametrize("streams", ["shared", "independent"])
def test_a_picture_left_out_of_the_blend_stops_the_pass(
    calc: Calc, streams: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Call, "chosen", property(lambda _: []))
    run = Run(calc, [[P]], [[SAFE]], PLAN.replace(streams=streams))
    with pytest.raises(GuardFailure, match="not among those that are"):
        run.call(torch.ones(1, 4, 2, 6), 10.0)


def test_an_error_in_a_callback_stops_the_call_that_has_begun(calc: Calc) -> None:
    """What a callback raises the host prints and forgets."""
    run = Run(calc, [[P]])
    run.denoiser.callback = lambda params: stop(params.denoiser, ValueError("no"), KeyError("why"))
    x = torch.zeros(1, 4, 2, 6)
    with pytest.raises(ValueError, match="no"):
        run.call(x, 10.0)
    run.denoiser.callback = _nothing
    assert run.call(x, 10.0).isfinite().all()


def test_a_flow_model_is_refused() -> None:
    host = Host()
    host.flow = True
    with pytest.raises(Unsupported, match="Choose a checkpoint"):
        check_pass(host, SimpleNamespace(cfg_scale=4.0), None, PLAN)


# ---------------------------------------------------------------------- looking


class _Calls:
    """A denoiser whose source names what Forge's does."""

    def forward(self) -> Any:
        cfg_denoiser_callback: Any = None
        return cfg_denoiser_callback, "conditioning_modifiers", "sampler_post_cfg_function"


def test_what_is_needed_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = SimpleNamespace()

    def modules(names: Sequence[str]) -> Any:
        return sampling if names is evaluation._SAMPLING else patcher

    patcher = SimpleNamespace(UnetPatcher=Unet)
    monkeypatch.setattr(evaluation, "_import", modules)
    evaluation.calc.cache_clear()
    assert "set_model_sampler_post_cfg_function" in evaluation.why_not(_Calls)
    monkeypatch.setattr(Unet, "set_model_sampler_post_cfg_function", None, raising=False)
    assert "calc_cond_uncond_batch" in evaluation.why_not(_Calls)

    def calc_cond_uncond_batch(
        model: Any, cond: Any, uncond: Any, x_in: Any, timestep: Any, model_options: Any
    ) -> None: ...

    sampling.calc_cond_uncond_batch = calc_cond_uncond_batch
    evaluation.calc.cache_clear()
    assert "cfg_denoiser_callback" in evaluation.why_not(object)
    monkeypatch.setattr(
        _Calls,
        "forward",
        eval("lambda self: (cfg_denoiser_callback, 'conditioning_modifiers')"),
    )
    assert "sampler_post_cfg_function" in evaluation.why_not(_Calls)
    evaluation.calc.cache_clear()
