"""Beside what keeps something of the texts that the host shows it, as *reference only* does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from forge_support import Calc, Text, encoded, model
from test_forge_guard import PLAN, SAFE, P, Run, U, X
from torch import Tensor

from safegen.conditioning.strategies import SafeConditioning
from safegen.hosts.forge import evaluation

HARMLESS = "a house"


class Reference(Calc):
    """A host whose rows are moved towards what the model made of noise with the texts of a call."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []
        self.seen = 0

    def put_in(self, run: Run) -> Run:
        noise = torch.Generator().manual_seed(5)

        def modifier(a: Any, x: Tensor, sigma: Tensor, uncond: Any, cond: Any, *rest: Any) -> Any:
            drawn = torch.randn(x.shape, generator=noise)
            self.kept = [model(drawn, one["model_conds"]["c_crossattn"].cond) for one in cond]
            self.seen += 1
            return a, x, sigma, uncond, cond, *rest

        run.unet.add_conditioning_modifier(modifier)
        inside = run.unet.model_options["transformer_options"]
        inside["patches_replace"] = {"attn1": {"every block": abs}}
        return run

    def __call__(self, _model: Any, cond: Any, *args: Any) -> tuple[Tensor, Tensor]:
        """It moves the prompts' rows alone, as with a style fidelity of 1."""
        own, base = super().__call__(_model, cond, *args)
        weights = [one["strength"] for one in cond]
        moved = sum(weight * kept for weight, kept in zip(weights, self.kept, strict=True))
        return own + moved / sum(weights), base


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Reference:
    found = Reference()
    monkeypatch.setattr(evaluation, "calc", lambda: found)
    return found


def sampled(reference: Reference, prompts: Sequence[Sequence[str]], **more: Any) -> Tensor:
    """The host's own picture."""
    return reference.put_in(Run(reference, prompts, **more)).sample()


@pytest.mark.parametrize("streams", ["shared", "independent"])
def test_at_weight_1_nothing_that_was_kept_of_the_prompt_is_left(
    reference: Reference, streams: str
) -> None:
    plan = PLAN.replace(weight=1.0, streams=streams)
    found, verdict = reference.put_in(Run(reference, [[P]], [[SAFE]], plan)).guarded()
    assert torch.allclose(found, sampled(reference, [[X]]), atol=1e-4)
    assert verdict.guarded == 4


def test_it_is_the_hosts_own_and(reference: Reference) -> None:
    found, _ = reference.put_in(Run(reference, [[P]], [[SAFE]])).guarded()
    other = sampled(reference, [[P], [X]], weights=(0.6, 0.4))
    assert torch.allclose(found, other, atol=1e-5)


def test_a_harmless_picture_beside_a_guarded_one_is_bit_identical(reference: Reference) -> None:
    """Its next call has the noise that it would have had."""
    plain = sampled(reference, [[P, HARMLESS]])
    run = Run(reference, [[P, HARMLESS]], [[SAFE], [None]])
    found, _ = reference.put_in(run).guarded()
    assert torch.equal(found[1], plain[1])
    assert not torch.equal(found[0], plain[0])


def test_what_is_pushed_away_is_shown_too(reference: Reference) -> None:
    safe = SafeConditioning("context", X, unsafe=U)
    reference.put_in(Run(reference, [[P]], [[safe]], PLAN.replace(push=1.5))).guarded()
    assert reference.seen == 4 * 3


def test_where_nothing_is_guarded_they_are_asked_once(reference: Reference) -> None:
    reference.put_in(Run(reference, [[P]], [[SAFE]], PLAN.replace(weight=0.0))).sample()
    assert reference.seen == 4


def test_what_writes_into_the_texts_does_not_reach_ours(reference: Reference) -> None:
    """*PhotoMaker* is such."""

    def writing(a: Any, x: Tensor, sigma: Tensor, uncond: Any, cond: Any, *rest: Any) -> Any:
        for one in cond:
            one["model_conds"]["c_crossattn"] = Text(encoded(P))
        return a, x, sigma, uncond, cond, *rest

    run = reference.put_in(Run(reference, [[P]], [[SAFE]], PLAN.replace(weight=1.0)))
    run.unet.model_options["conditioning_modifiers"].insert(0, writing)
    found, _ = run.guarded()
    wanted = sampled(reference, [[X]])
    assert (found - wanted).abs().max() < (found - sampled(reference, [[P]])).abs().max()
