"""SafeGen: safer images from any Stable Diffusion checkpoint while they are being made.

    with safegen.guard(pipe, weight=0.7) as run:
        image = pipe(prompt).images[0]
    print(run.verdict, run.choices)

Names are loaded when they are first used: ``import safegen`` loads neither torch nor diffusers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safegen.errors import GuardFailure, InvalidValue, SafeGenError, Unsupported
    from safegen.hosts.diffusers.guider import SafeGuidance
    from safegen.hosts.diffusers.pipelines import Generated, GuardedRun, generate, guard
    from safegen.method.session import Verdict
    from safegen.plan import SafetyPlan

__version__ = "0.2.0"

_PLACES = {
    "Generated": "safegen.hosts.diffusers.pipelines",
    "GuardFailure": "safegen.errors",
    "GuardedRun": "safegen.hosts.diffusers.pipelines",
    "InvalidValue": "safegen.errors",
    "SafeGenError": "safegen.errors",
    "SafeGuidance": "safegen.hosts.diffusers.guider",
    "SafetyPlan": "safegen.plan",
    "Unsupported": "safegen.errors",
    "Verdict": "safegen.method.session",
    "generate": "safegen.hosts.diffusers.pipelines",
    "guard": "safegen.hosts.diffusers.pipelines",
}

__all__ = [
    "Generated",
    "GuardFailure",
    "GuardedRun",
    "InvalidValue",
    "SafeGenError",
    "SafeGuidance",
    "SafetyPlan",
    "Unsupported",
    "Verdict",
    "generate",
    "guard",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'safegen' has no attribute {name!r}")
    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
