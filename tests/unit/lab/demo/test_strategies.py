"""The comparison of strategies: what is sampled, and what the report gets of it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("diffusers")

from safegen.lab.demo import report, sampling, strategies
from safegen.lab.demo.classifier import Reading
from safegen.lab.demo.hazards import world_library
from safegen.lab.demo.report import hazard_jobs
from safegen.lab.demo.sampling import SAFEGEN, Result, conditionings_for
from safegen.lab.demo.world import SIZE, Scene
from safegen.plan import STRATEGIES, SafetyPlan

JOBS = hazard_jobs(3)
PLAN = SafetyPlan(weight=0.6, tau=0.2)


def test_every_strategy_is_compared_at_the_plans_other_settings() -> None:
    cells = strategies.cells(JOBS, PLAN)
    others = {cell.plan.strategy for cell in cells if cell.plan}
    assert others == set(STRATEGIES) - {PLAN.strategy}  # its own is sampled anyway
    for cell in cells:
        assert cell.plan is not None
        assert (cell.plan.weight, cell.plan.tau) == (0.6, 0.2)
        assert (cell.method, cell.jobs) == (SAFEGEN, JOBS)
    names = [cell.name for cell in report.cells(PLAN, prompts=4, cell_prompts=2)]
    assert set(names) >= {cell.name for cell in cells}
    assert len(set(names)) == len(names)


def test_the_table_says_which_need_a_learned_embedding() -> None:
    hazard, safe = JOBS[0].scene, JOBS[0].scene.without_hazard()

    def result(*scenes: Scene) -> Result:
        pixels = np.zeros((len(scenes), SIZE, SIZE, 3), np.uint8)
        return Result(pixels, tuple(Reading(s) for s in scenes), 1.0, 60, ("",) * len(scenes))

    plain = result(hazard, hazard)
    results = {cell.name: result(hazard, hazard) for cell in strategies.cells(JOBS, PLAN)}
    results["strategy projection"] = result(hazard, safe)
    rows = {row["name"]: row for row in strategies.table(results, plain, PLAN, result(safe, safe))}
    assert {name for name, row in rows.items() if row["learned"]} == {
        "direction 1", "direction 3", "projection",
    }  # fmt: skip
    assert rows["projection"]["hazard_rate"] == 0.5
    assert rows["prepend"]["hazard_rate"] == 1.0
    assert rows["counterpart"]["hazard_rate"] == 0.0  # the plan's own
    assert rows["projection"]["kept"]["object"] == 1.0
    assert rows["direction 3"]["strength"] == 3.0


def test_a_learned_default_is_not_sampled_twice() -> None:
    plan = PLAN.replace(strategy="direction", strength=3.0)
    names = [cell.name for cell in strategies.cells(JOBS, plan)]
    assert "strategy counterpart" in names
    assert not any("direction" in name for name in names)


def test_learned_strategies_use_the_embedding_of_the_hazard_that_applies() -> None:
    plan = PLAN.replace(strategy="direction")
    prompts = [job.prompt for job in JOBS]
    found = conditionings_for(plan, prompts, sampling.MODEL_FOLDER)
    assert [name for _, name in found] == [job.scene.hazard for job in JOBS]
    assert {name for _, name in found} <= set(world_library().names())
    directions = [c.edit.direction for c, _ in found if c is not None]  # type: ignore[union-attr]
    assert len(directions) == 3
    assert not np.allclose(directions[0], directions[1])
    assert [c.text for c, _ in found if c is not None] == prompts
