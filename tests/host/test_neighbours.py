"""What SafeGen leaves behind in the host when a run ends, whatever became of the model by then."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from driver import Host

from safegen.plan import SafetyPlan

ENCODE = "get_learned_conditioning"


class Model(torch.nn.Module):
    """A loaded checkpoint."""

    def get_learned_conditioning(self, texts: list[str]) -> list[str]:
        return texts


def test_a_model_that_the_host_takes_apart_within_a_run_is_let_go(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """reForge does so when a refiner takes its place, and the picture is a guarded one."""
    from safegen.webui import neighbours

    model = Model()
    monkeypatch.setattr(neighbours.host.shared, "sd_model", model)
    run = SimpleNamespace(plan=SafetyPlan(), p=SimpleNamespace(extra_generation_params={}))
    with neighbours.reading(run):
        assert ENCODE in vars(model)
        vars(model).update(_parameters=None, _buffers=None, _modules=None)
    assert ENCODE not in vars(model)
