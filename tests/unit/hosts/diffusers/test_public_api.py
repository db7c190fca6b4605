"""What ``import safegen`` offers: cheap, complete, and documented by examples that run."""

from __future__ import annotations

import doctest
import subprocess
import sys
from typing import Any

import pytest

import safegen

NAMES = sorted(safegen.__all__)


def test_importing_it_loads_neither_torch_nor_diffusers() -> None:
    code = (
        "import sys, safegen\n"
        "heavy = {'torch', 'numpy', 'diffusers', 'transformers'}\n"
        "assert not heavy & set(sys.modules)\n"
        "safegen.SafetyPlan(weight=0.5), safegen.GuardFailure\n"
        "assert not heavy & set(sys.modules)\n"
        "safegen.guard, safegen.generate\n"
        "assert not {'diffusers', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_is_there_and_listed() -> None:
    pytest.importorskip("diffusers", minversion="0.36")
    for name in NAMES:
        assert getattr(safegen, name).__name__ == name
        assert name in dir(safegen)
    with pytest.raises(AttributeError, match="no attribute 'guards'"):
        _ = safegen.guards


@pytest.fixture(scope="module")
def examples() -> dict[str, Any]:
    """The names that the examples presuppose."""
    pytest.importorskip("diffusers", minversion="0.36")
    from diffusers_support import modular_of
    from tiny_pipelines import tiny_sd, tiny_sdxl

    return {"pipe": tiny_sd(), "modular_pipe": modular_of(tiny_sdxl())}


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_every_name_run(
    name: str, examples: dict[str, Any], monkeypatch: Any, tmp_path: Any
) -> None:
    monkeypatch.setenv("SAFEGEN_CONTEXTS", str(tmp_path))
    document = getattr(safegen, name).__doc__ or ""
    example = doctest.DocTestParser().get_doctest(document, dict(examples), name, None, None)
    assert example.examples, f"{name} has no example"
    told: list[str] = []
    doctest.DocTestRunner().run(example, out=told.append)
    assert not told, "".join(told)
