"""Model calls of SafeGen's own on Forge and reForge, beside what works in the model itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from forge_support import Calc, entry
from test_forge_guard import PLAN, SAFE, N, P, Run, U, X

from safegen.conditioning.strategies import SafeConditioning
from safegen.hosts.forge import evaluation


@pytest.fixture
def steered(monkeypatch: pytest.MonkeyPatch) -> Calc:
    """A host whose ControlNet steers the prompts' rows, and not those of negative prompts."""
    found = Calc(steered=0.3)
    monkeypatch.setattr(evaluation, "calc", lambda: found)
    return found


def test_negative_prompts_are_evaluated_as_such(steered: Calc) -> None:
    """At weight 1 an independent stream is the safe prompt's own picture."""
    plan = PLAN.replace(weight=1.0, streams="independent")
    found, _ = Run(steered, [[P]], [[SAFE]], plan).guarded()
    assert torch.allclose(found, Run(steered, [[X]]).sample(), atol=1e-4)


@pytest.mark.parametrize("streams", ["shared", "independent"])
@pytest.mark.parametrize(
    "options",
    [
        {"transformer_options": {"patches_replace": {"attn1": {"every block": abs}}}},
        {"transformer_options": {}, "model_function_wrapper": abs},
    ],
    ids=["in the attention", "around the model"],
)
def test_beside_others_in_the_model_each_call_has_the_hosts_rows(
    steered: Calc, options: dict[str, Any], streams: str
) -> None:
    """Such as *reference only*, which keeps another picture's attention for so many rows."""
    safe = SafeConditioning("context", X, unsafe=U)
    plan = PLAN.replace(push=1.5, streams=streams)
    alone, _ = Run(steered, [[P]], [[safe]], plan).guarded()
    steered.rows.clear()
    run = Run(steered, [[P]], [[safe]], plan)
    run.unet.model_options.update(options)
    found, _ = run.guarded()
    assert torch.allclose(found, alone, atol=1e-5)
    assert set(steered.rows) == {1}


def test_kinds_share_a_call_where_nobody_else_is(steered: Calc) -> None:
    x = torch.zeros(2, 4, 2, 6)
    own = evaluation.Evaluation(None, torch.ones(2), {"transformer_options": {"patches": {}}})
    kinds = {"safe": [entry([X, X])], "unsafe": [entry([U, U])]}
    negative = [entry([N, N])]
    together = own.of(x, kinds)
    assert steered.rows == [4]
    apart = own.of(x, {evaluation.UNCOND: negative, **kinds})
    assert all(torch.equal(together[name], apart[name]) for name in kinds)
    assert torch.equal(apart[evaluation.UNCOND], steered(None, [], negative, x, own.sigma, {})[1])
