"""Tuning on the development split, and the measurement on the test split."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from safegen.errors import InvalidValue
from safegen.files import write_atomically
from safegen.lab import embedded
from safegen.lab.embedded import families
from safegen.lab.judge import reading
from safegen.lab.methods.catalogue import PEERS, SAFEGEN, TWIN, Arm, spread
from safegen.lab.prompts import Prompt
from safegen.lab.report import page
from safegen.lab.report.analysis import ArmResult, analyse
from safegen.lab.report.scoring import scored
from safegen.lab.studies.demo import SAMPLING, job
from safegen.lab.sweep.command import sweep
from safegen.lab.sweep.engine import Summary
from safegen.lab.sweep.start import code_digest
from safegen.plan import ALWAYS, AUTO, MODES, WATCH, WORDS, SafetyPlan

ALL, OURS = "all", "SafeGen"
TUNED = "tuned.json"
EVERYTHING = "violence"
"""The embedded world's context of all that is unsafe in it."""


def methods_named(names: Sequence[str]) -> list[str]:
    """SafeGen and peers by name; ``all`` for every one.

    Raises:
        InvalidValue: There is no method of that name.
    """
    known = [OURS, *PEERS]
    for name in names:
        if name not in (ALL, *known):
            raise InvalidValue("methods", name, ", ".join((ALL, *known)))
    return known if ALL in names else list(names)


def trials(
    method: str, plan: SafetyPlan, count: int, vary: Mapping[str, Sequence[Any]]
) -> list[Arm]:
    """What is tried of a method, at most ``count`` settings, its own first.

    Args:
        method: SafeGen, or a peer, which is tried at its catalogue's values.
        plan: SafeGen's own.
        count: Of settings.
        vary: What else SafeGen is tried at: setting to values.
    """
    if method != OURS:
        own = PEERS[method].options
        return [
            Arm(method, settings=tuple((k, v) for k, v in found.items() if v != own[k]))
            for found in PEERS[method].trials(count)
        ]
    values = {name: (plan.to_dict()[name], *found) for name, found in vary.items()}
    plans = [plan.replace(**found) for found in spread(values, count)]
    return [Arm(SAFEGEN, one, told=True) for one in dict.fromkeys(plans) if one.active]


def goodness(result: ArmResult, main: str) -> float:
    """What tuning maximises: hazards removed and content kept, in equal parts.

    Content is the twin's on hazard prompts; on harmless ones it is the plain picture's.
    """
    shares = [
        result.value("kept"),
        _less(result.value("changed")),
        _less(result.value("near lost")),
    ]
    content = [share for share in shares if share is not None]
    removed = 1 - (result.value(f"unsafe {main}") or 0.0)
    return 0.5 * removed + 0.5 * (sum(content) / len(content) if content else 0.0)


def _less(share: float | None) -> float | None:
    return None if share is None else 1 - share


def tune(
    out: Path,
    found: Sequence[Prompt],
    plan: SafetyPlan,
    methods: Sequence[str],
    count: int,
    vary: Mapping[str, Sequence[Any]],
    *,
    seeds: int,
    workers: int,
    command: Mapping[str, Any],
    progress: bool,
) -> tuple[Summary, dict[str, Any]]:
    """Try each method's settings on the development split; writes ``tuned.json``.

    Every method has the same number of trials, or as many as it has settings.

    Returns:
        How the sweep ended, and for each method the best arm and every trial's goodness.
    """
    tried = {name: trials(name, plan, count, vary) for name in methods_named(methods)}
    arms = [Arm(TWIN), *(arm for found_arms in tried.values() for arm in found_arms)]
    summary = sweep(job(
        out, found, arms, name=f"development split, {len(found)} prompts", seeds=seeds,
        workers=workers, command=dict(command), progress=progress,
    ))  # fmt: skip
    if summary.stopped:
        return summary, {}
    _, _, finished, scores = scored(out, progress=progress)
    analysis = analyse(finished, scores, main="judge")
    results = {result.arm: result for result in analysis.arms}
    chosen: dict[str, Any] = {}
    for name, own in tried.items():
        measured = {arm: goodness(results[arm], "judge") for arm in own if arm in results}
        if measured:
            best = max(measured, key=lambda arm: measured[arm])
            chosen[name] = {
                "best": best.to_data(),
                "trials": {arm.label: round(value, 4) for arm, value in measured.items()},
            }
    write_atomically(out / TUNED, json.dumps(chosen, indent=2) + "\n")
    page.build(out, progress=progress)
    return summary, chosen


def in_ways(plan: SafetyPlan, names: Sequence[str]) -> list[SafetyPlan]:
    """``plan`` in the ways to be on; always is under the context of all that is unsafe.

    Raises:
        InvalidValue: There is no way of that name.
    """
    for name in names:
        if name not in MODES:
            raise InvalidValue("ways", name, ", ".join(MODES))
    named = plan.context != AUTO
    broad = {} if named else {"context": EVERYTHING}
    plans = {
        WORDS: plan if named else plan.replace(mode=WORDS),
        WATCH: plan.replace(mode=WATCH),
        ALWAYS: plan.replace(mode=ALWAYS, **broad),
    }
    return [plans[name] for name in names]


def digests(found: Sequence[Prompt]) -> dict[str, str]:
    """What stands beside the figures of the test: code, weights, judges and split."""
    return {
        "code digest": code_digest(),
        "weights digest": embedded.digest(),
        **{f"{name} judge digest": value for name, value in reading.digests().items()},
        "split digest": families.digest(found),
    }


def test(
    out: Path,
    found: Sequence[Prompt],
    plan: SafetyPlan,
    methods: Sequence[str],
    tuned: Path | None,
    *,
    ways: Sequence[str],
    seeds: int,
    workers: int,
    command: Mapping[str, Any],
    progress: bool,
    steps: int,
) -> tuple[Summary, list[Path]]:
    """Measure on the test split, by both judges, and report it with its digests.

    SafeGen is measured at ``plan``, `in_ways`, and never at what tuning found: its defaults are
    what is claimed. Peers are measured as published or, with ``tuned``, at their best (how they
    are published is among what was tried).

    Raises:
        InvalidValue: ``tuned`` is not what `tune` writes, or there is no such way.
    """
    names = methods_named(methods)
    best: dict[str, Arm] = {}
    if tuned is not None:
        try:
            data = json.loads(tuned.read_text())
            best = {name: Arm.from_data(one["best"]) for name, one in data.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidValue("tuned", tuned.name, "what 'safegen lab tune' wrote") from error
    arms = [Arm(TWIN)]
    for name in names:
        if name == OURS:
            arms += [Arm(SAFEGEN, one) for one in in_ways(plan, ways)]
        else:
            arms.append(best.get(name, Arm(name)))
    summary = sweep(job(
        out, found, arms, name=f"test split, {len(found)} prompts", seeds=seeds, workers=workers,
        command=dict(command), progress=progress, sampling=replace(SAMPLING, steps=steps),
    ))  # fmt: skip
    if summary.stopped:
        return summary, []
    beside = digests(found)
    more = ["judge2"] if "second judge digest" in beside else []
    return summary, page.build(out, more=more, progress=progress, extra=beside)
