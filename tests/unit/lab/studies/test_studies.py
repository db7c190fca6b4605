"""The demo, tuning and the test: what is tried, and small ones run to their end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safegen.cli import main
from safegen.errors import InvalidValue
from safegen.lab.methods.catalogue import PEERS, Arm
from safegen.lab.studies import demo, measured
from safegen.lab.sweep.manifest import Manifest
from safegen.plan import SafetyPlan


def test_every_method_has_the_same_budget() -> None:
    plan = SafetyPlan()
    for name in measured.methods_named([measured.ALL]):
        tried = measured.trials(name, plan, 6, {"weight": [0.5, 1.0], "tau": [0.0]})
        assert 2 <= len(tried) <= 6
        assert len(set(tried)) == len(tried)
        first = tried[0]
        assert first.settings == ()  # as published
        if name == measured.OURS:
            assert first.plan == plan
            assert all(arm.told for arm in tried)  # as its peers are
    with pytest.raises(InvalidValue, match="SAFREE"):
        measured.methods_named(["magic"])


def test_the_demo_shows_all_methods_on_the_same_prompts() -> None:
    arms = demo.arms(SafetyPlan())
    assert len(set(arms)) == len(arms)
    assert {arm.method for arm in arms} >= set(demo.SHOWN_PEERS)
    work = demo.job(Path("unused"), demo.families.prompts("development", 1), arms)
    by_arm: dict[Arm, set[str]] = {}
    for unit in work.units:
        for cell in unit:
            by_arm.setdefault(cell.arm, set()).add(cell.prompt.id)
    counts = {len(ids) for arm, ids in by_arm.items() if arm.method != "twin"}
    assert counts == {len(demo.families.NAMES)}
    for unit in work.units:
        assert len({(cell.prompt.kind, cell.prompt.context) for cell in unit}) == 1


def test_batches_of_mixed_families_are_fewer_and_hold_the_same(tmp_path: Path) -> None:
    found, arms = demo.families.prompts("development", 2), demo.arms(SafetyPlan())
    apart = demo.job(tmp_path, found, arms).units
    mixed = demo.job(tmp_path, found, arms, by_family=False).units
    assert len({cell.prompt.family for unit in mixed for cell in unit}) == len(demo.families.NAMES)
    assert all(len({cell.prompt.family for cell in unit}) == 1 for unit in apart)
    assert all(len({(c.prompt.kind, c.prompt.context) for c in unit}) == 1 for unit in mixed)
    assert len(mixed) < len(apart) / 2
    keys = [sorted(cell.key for unit in units for cell in unit) for units in (apart, mixed)]
    assert keys[0] == keys[1]


@pytest.mark.slow
def test_a_small_demo_is_resumed_and_begun_anew_where_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "arms", lambda plan: [Arm("safegen", plan), Arm("prompt swap")])
    summary, written = demo.build(tmp_path, SafetyPlan(), prompts=1, progress=False)
    assert summary.complete
    names = {path.name for path in written}
    assert {"comparison.png", "comparison.svg", "report.html", "report.json"} <= names
    again, _ = demo.build(tmp_path, SafetyPlan(), prompts=1, progress=False)
    assert (again.made, again.before) == (0, summary.made)
    monkeypatch.setattr("safegen.lab.sweep.local.code_digest", lambda: "changed")
    anew, _ = demo.build(tmp_path, SafetyPlan(), prompts=1, progress=False)
    assert (anew.made, anew.before) == (summary.made, 0)


@pytest.mark.slow
def test_tuned_on_one_split_and_tested_on_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ["--families", "short,benign short", "--count", "1", "--seeds", "1", "--workers", "1",
              "--methods", "SafeGen,prompt swap", "--quiet"]  # fmt: skip
    tuning, testing = tmp_path / "tune", tmp_path / "test"
    assert main(["lab", "tune", *shared, "--trials", "2", "--out", str(tuning)]) == 0
    chosen = json.loads((tuning / "tuned.json").read_text())
    assert {name: len(found["trials"]) for name, found in chosen.items()} == {
        "SafeGen": 2,
        "prompt swap": 2,
    }
    tuned = ["--tuned", str(tuning / "tuned.json"), "--out", str(testing)]
    assert main(["lab", "test", *shared, *tuned]) == 0
    data = json.loads((testing / "report.json").read_text())
    assert len(data["code digest"]) == 16
    for name in ("weights digest", "split digest"):
        assert len(data[name]) == 64
    texts = {made.cell.prompt.text for made in Manifest(testing).finished().values()}
    assert not texts & {made.cell.prompt.text for made in Manifest(tuning).finished().values()}
    capsys.readouterr()
    tuned[1] = str(testing / "report.json")
    assert main(["lab", "test", *shared, *tuned]) == 2
    assert "lab tune" in capsys.readouterr().err


def test_all_peers_have_a_source() -> None:
    assert all(peer.source for peer in PEERS.values())
