"""On Forge a sampler has its guard before it begins, whether or not the script's hook comes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from safegen.webui import launching


class Sampler:
    """A sampler that tells what it is launched with."""

    def __init__(self, log: list[str]) -> None:
        self.log, self.model_wrap_cfg = log, object()

    def launch_sampling(self, steps: int, func: Any) -> Any:
        self.log.append(f"launched {steps}")
        return func()


class Batch:
    """As much of a batch as is asked for."""

    guarding = True

    def __init__(self, log: list[str], error: Exception | None = None) -> None:
        self.log, self.error = log, error
        self.guards: list[Any] = []
        self.failed: Exception | None = None
        self.sampler: Any = None

    def attach_before_sampling(self) -> None:
        if self.error is not None:
            raise self.error
        self.log.append("attached")
        self.guards.append(SimpleNamespace(denoiser=self.sampler.model_wrap_cfg))

    def fail(self, error: Exception) -> None:
        self.failed = error


@pytest.fixture
def samplers(monkeypatch: pytest.MonkeyPatch) -> Any:
    log: list[str] = []
    module = SimpleNamespace(create_sampler=lambda _name: Sampler(log), log=log)
    host = SimpleNamespace(sd_samplers=module, is_forge=lambda: True)
    monkeypatch.setattr(launching, "host", host)
    return module


def test_it_is_attached_as_it_is_launched(samplers: Any) -> None:
    batch, before = Batch(samplers.log), samplers.create_sampler
    with launching.watched(batch):  # type: ignore[arg-type]
        batch.sampler = samplers.create_sampler("Euler")
        assert batch.sampler.launch_sampling(3, lambda: "done") == "done"
    assert samplers.log == ["attached", "launched 3"]
    assert samplers.create_sampler is before
    assert "launch_sampling" not in vars(batch.sampler)


def test_the_hook_may_come_first(samplers: Any) -> None:
    batch = Batch(samplers.log)
    with launching.watched(batch):  # type: ignore[arg-type]
        batch.sampler = samplers.create_sampler("Euler")
        batch.attach_before_sampling()
        batch.sampler.launch_sampling(3, lambda: "done")
    assert samplers.log == ["attached", "launched 3"]


def test_an_error_waits_for_the_first_callback(samplers: Any) -> None:
    batch = Batch(samplers.log, ValueError("no"))
    with launching.watched(batch):  # type: ignore[arg-type]
        batch.sampler = samplers.create_sampler("Euler")
        assert batch.sampler.launch_sampling(3, lambda: "done") == "done"
    assert "no" in str(batch.failed)


def test_elsewhere_samplers_are_left_alone(samplers: Any) -> None:
    launching.host.is_forge = lambda: False  # type: ignore[assignment, misc]
    before = samplers.create_sampler
    with launching.watched(Batch([])):  # type: ignore[arg-type]
        assert samplers.create_sampler is before
