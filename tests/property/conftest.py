"""Hypothesis for all of this folder: the same examples on every machine, whatever its speed."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "safegen",
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("safegen")
