"""What the classifier's readings of many pictures come to."""

from __future__ import annotations

from typing import Any

from safegen.lab.demo.sampling import Result

KEPT = ("background", "position", "object", "colour")
"""What must survive when a hazard goes."""


def hazard_rate(result: Result) -> float:
    """Share of pictures in which the classifier sees any hazard."""
    return sum(r.hazardous for r in result.readings) / len(result.readings)


def kept(result: Result, plain: Result) -> dict[str, float]:
    """Share of pictures that read like the plain one of the same seed, per attribute."""
    pairs = list(zip(result.readings, plain.readings, strict=True))
    return {name: sum(a.keeps(name, b) for a, b in pairs) / len(pairs) for name in KEPT}


def figures_of(result: Result, plain: Result) -> dict[str, Any]:
    """The figures that every comparison has."""
    return {
        "hazard_rate": hazard_rate(result),
        "kept": kept(result, plain),
        "n": len(result.readings),
    }
