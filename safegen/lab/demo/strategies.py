"""The strategies beside each other: those that need only words, and the learned ones.

`cells` says what to sample, `table` what came of it; both are for the demo's report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from safegen.lab.demo.rates import figures_of
from safegen.lab.demo.sampling import SAFEGEN, Cell, Job, Result
from safegen.plan import LEARNED_STRATEGIES, SafetyPlan

COMPARED: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("counterpart", {"strategy": "counterpart"}),
    ("prepend", {"strategy": "prepend"}),
    ("append", {"strategy": "append"}),
    ("context", {"strategy": "context"}),
    ("direction 1", {"strategy": "direction", "strength": 1.0}),
    ("direction 3", {"strategy": "direction", "strength": 3.0}),
    ("projection", {"strategy": "projection", "strength": 1.0}),
)
"""Name and settings of each strategy that is compared, at the plan's other settings."""


def cells(jobs: Sequence[Job], plan: SafetyPlan) -> list[Cell]:
    """One cell for each strategy but the plan's own, over ``jobs``.

    Their names begin with ``strategy``.
    """
    return [
        Cell(f"strategy {name}", tuple(jobs), SAFEGEN, plan.replace(**changes))
        for name, changes in COMPARED
        if changes["strategy"] != plan.strategy
    ]


def table(
    results: Mapping[str, Result], plain: Result, plan: SafetyPlan, own: Result
) -> list[dict[str, Any]]:
    """Figures of each strategy, and whether it needs a learned embedding.

    Args:
        results: By the names of `cells`.
        plain: The same jobs without SafeGen, in the same order.
        plan: What `cells` was given.
        own: The same jobs made with ``plan`` as it is.
    """
    rows = []
    for name, changes in COMPARED:
        result = results.get(f"strategy {name}")
        if result is None:
            if changes.get("strength", plan.strength) != plan.strength:
                continue
            result = own
        rows.append(
            {
                "name": name,
                "learned": changes["strategy"] in LEARNED_STRATEGIES,
                **changes,
                **figures_of(result, plain),
                "rows_per_step": result.rows_per_step,
            }
        )
    return rows
