"""Plans for tests that are about one piece of maths rather than about the defaults."""

from __future__ import annotations

from typing import Any

from safegen.plan import SafetyPlan


def blending(**settings: Any) -> SafetyPlan:
    """Two reconstructions mixed everywhere, late, in part and unpushed, but for ``settings``."""
    mixed = {"weight": 0.7, "tau": 0.2, "dial": "reconstruction", "region": "everywhere"}
    return SafetyPlan(**{**mixed, "push": 0.0, **settings})
