"""Shared by all tests: one thread, and the embedded model loaded once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import settings

# A busy machine is no failure.
settings.register_profile("safegen", deadline=None)
settings.load_profile("safegen")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors lose on threads that wait for each other, and results must not vary."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def embedded_pipe() -> Any:
    """The embedded model as a pipeline. Tests must leave it as they found it."""
    pytest.importorskip("diffusers")
    from safegen.lab.embedded import load_pipeline

    pipeline = load_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
