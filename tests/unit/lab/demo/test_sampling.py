"""Cells of pictures: the same whoever makes them, kept on disk, and counted rightly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")

from safegen.lab.demo import sampling
from safegen.lab.demo.report import benign_jobs, hazard_jobs, red_jobs
from safegen.lab.demo.sampling import (
    CHUNK,
    METHODS,
    PLAIN,
    SAFEGEN,
    STEPS,
    Cache,
    Cell,
    Result,
    run,
    sample,
)
from safegen.lab.demo.world import COLOURS, NO_HAZARD, SIZE
from safegen.plan import SafetyPlan

JOBS = hazard_jobs(3)


@pytest.fixture(scope="module")
def plain() -> Result:
    return sample(Cell("plain", JOBS))


def test_plain_pictures_take_two_rows_a_step(plain: Result) -> None:
    assert plain.pixels.shape == (3, SIZE, SIZE, 3)
    assert plain.rows_per_step == 2
    assert plain.contexts == ("", "", "")


@pytest.mark.parametrize(
    ("plan", "rows"),
    [
        (SafetyPlan(weight=0.5, tau=0.0), 3),
        (SafetyPlan(weight=0.5, tau=0.5), 2.5),
        (SafetyPlan(weight=0.5, tau=0.0, refresh=2), 2.5),
        (SafetyPlan(weight=0.5, tau=0.0, streams="independent"), 4),
        (SafetyPlan(weight=0.0), 2),
    ],
    ids=["shared", "tau", "refresh", "independent", "off"],
)
def test_what_guarding_costs(plain: Result, plan: SafetyPlan, rows: float) -> None:
    guarded = sample(Cell("guarded", JOBS, SAFEGEN, plan))
    assert guarded.rows_per_step == rows
    assert bool((guarded.pixels != plain.pixels).any()) == (plan.weight > 0)


def test_auto_leaves_harmless_pictures_alone() -> None:
    jobs = benign_jobs(3)
    guarded = sample(Cell("benign", jobs, SAFEGEN, SafetyPlan(weight=1.0, tau=0.0)))
    assert guarded.contexts == ("", "", "")
    assert guarded.rows_per_step == 2
    assert (guarded.pixels == sample(Cell("plain", jobs)).pixels).all()


def test_auto_guards_every_hazard() -> None:
    guarded = sample(Cell("hazards", JOBS, SAFEGEN, SafetyPlan()))
    assert all(guarded.contexts)


@pytest.mark.parametrize("method", [m for m in METHODS if m not in (PLAIN, SAFEGEN)])
def test_every_peer_makes_other_pictures(plain: Result, method: str) -> None:
    peer = sample(Cell(method, JOBS, method))
    assert (peer.pixels != plain.pixels).any()
    assert peer.rows_per_step == (3 if method.startswith("SLD") else 2)


def test_jobs_are_what_they_say() -> None:
    assert all(job.scene.hazard != NO_HAZARD for job in hazard_jobs(30))
    assert all(job.scene.hazard == NO_HAZARD for job in benign_jobs(30))
    assert all(job.scene.colour == COLOURS[0] for job in red_jobs(30))
    assert hazard_jobs(10) == hazard_jobs(30)[:10]
    seeds = [j.seed for jobs in (hazard_jobs(300), benign_jobs(300), red_jobs(60)) for j in jobs]
    assert len(set(seeds)) == len(seeds)


def test_results_are_kept_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: Result
) -> None:
    cell = Cell("plain", JOBS)
    cache = Cache(tmp_path, sampling.MODEL_FOLDER)
    assert cache.get(cell) is None
    cache.put(cell, plain)
    found = cache.get(cell)
    assert found is not None
    assert (found.pixels == plain.pixels).all()
    assert found.readings == plain.readings
    assert (found.rows, found.seconds, found.contexts) == (
        plain.rows,
        plain.seconds,
        plain.contexts,
    )
    assert cache.get(Cell("plain", JOBS[:2])) is None
    assert cache.get(Cell("plain", JOBS, SAFEGEN, SafetyPlan())) is None
    monkeypatch.setattr(sampling, "STEPS", STEPS + 1)
    assert Cache(tmp_path, sampling.MODEL_FOLDER).get(cell) is None


def test_a_torn_file_in_the_cache_is_made_again(tmp_path: Path, plain: Result) -> None:
    cell = Cell("plain", JOBS)
    cache = Cache(tmp_path, sampling.MODEL_FOLDER)
    cache.put(cell, plain)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert cache.get(cell) is None


def test_chunks_cover_the_cell_in_order() -> None:
    jobs = hazard_jobs(2 * CHUNK + 1)
    chunks = Cell("many", jobs).chunks()
    assert [len(chunk.jobs) for chunk in chunks] == [CHUNK, CHUNK, 1]
    assert tuple(job for chunk in chunks for job in chunk.jobs) == jobs


def test_workers_make_what_one_process_makes(tmp_path: Path, plain: Result) -> None:
    cells = [Cell("plain", JOBS), Cell("guarded", JOBS, SAFEGEN, SafetyPlan(weight=1.0))]
    results = run(cells, tmp_path, workers=1)
    assert np.array_equal(results["plain"].pixels, plain.pixels)
    assert set(results) == {"plain", "guarded"}
    assert len(list(tmp_path.iterdir())) == 2
