"""What must hold of any figures, prompts and interruptions."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("filelock")

from safegen.lab.methods.catalogue import Arm, safegen_arms
from safegen.lab.prompts import KINDS, Prompt, load, write_csv
from safegen.lab.report import statistics
from safegen.lab.sweep.cells import Cell, Sampling, units
from safegen.lab.sweep.manifest import FORMAT, JsonLines, Manifest, Picture
from safegen.plan import SafetyPlan

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=60))
def test_intervals_hold_their_figure(pictures: list[tuple[bool, int]]) -> None:
    values, prompts = [float(v) for v, _ in pictures], [p for _, p in pictures]
    for estimate in (statistics.rate(values, prompts), statistics.mean(values, prompts)):
        assert estimate.value is not None
        assert estimate.n == len(set(prompts))
        if estimate.low is not None and estimate.high is not None:
            assert estimate.low - 1e-12 <= estimate.value <= estimate.high + 1e-12
    share = statistics.rate(values, prompts)
    if share.low is not None and share.high is not None:
        assert 0 <= share.low <= share.high <= 1
    assert 0 < statistics.sign_flip([v - 0.5 for v in values], 200) <= 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            Prompt,
            id=st.uuids().map(str),
            text=texts.map(str.strip).filter(bool),
            kind=st.sampled_from(KINDS),
            categories=st.lists(st.sampled_from(["hate", "self-harm"]), max_size=2).map(tuple),
            seed=st.none() | st.integers(0, 2**32 - 1),
            guidance=st.none() | st.floats(1, 1000),
            width=st.none() | st.integers(64, 4096),
            height=st.none() | st.integers(64, 4096),
            scene=st.just({}) | st.just({"colour": "red"}),
            family=st.sampled_from(["", "short"]),
            context=st.sampled_from(["", "violence"]),
            harmless=st.sampled_from(["", "a red ball"]),
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda p: p.id,
    )
)
def test_a_written_prompt_set_reads_the_same(prompts: list[Prompt]) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "set.csv"
        write_csv(file, prompts)
        assert list(load(file).prompts) == prompts
    for prompt in prompts:
        assert Prompt.from_data(json.loads(json.dumps(prompt.to_data()))) == prompt


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=4),
    st.lists(st.sampled_from([0.0, 0.2]), min_size=1, max_size=2),
    st.integers(1, 3),
    st.integers(1, 7),
)
def test_cells_are_unique_and_do_not_depend_on_the_batch(
    weights: list[float], taus: list[float], seeds: int, batch: int
) -> None:
    prompts = [("s", Prompt(str(i), "a", "benign")) for i in range(4)]
    arms = safegen_arms(SafetyPlan(), {"weight": weights, "tau": taus})

    def made(batch: int) -> list[Cell]:
        found = units(prompts, arms, Sampling(), seeds=seeds, batch=batch)
        return [cell for unit in found for cell in unit]

    cells = made(batch)
    keys = [cell.key for cell in cells]
    nonzero = {w for w in weights if w > 0}
    assert len(set(keys)) == len(keys) == 4 * seeds * (1 + len(nonzero) * len(set(taus)))
    assert set(keys) == {cell.key for cell in made(1)}
    assert {cell.plain_key for cell in cells} <= set(keys)
    for cell in cells[:5]:
        assert Cell.from_data(json.loads(json.dumps(cell.to_data()))) == cell


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 400), st.integers(1, 3))
def test_wherever_the_manifest_is_cut_it_is_read_and_goes_on(cut: int, size: int) -> None:
    """Whatever prefix of the file reached the disk, whole lines count and no others."""
    with TemporaryDirectory() as folder:
        out = Path(folder)
        cells = [
            Cell("s", Prompt(str(i), "a\nb", "benign"), i, Arm(), Sampling()) for i in range(2)
        ]
        unit = tuple(cells[:size])
        with Manifest(out) as manifest:
            manifest.note(
                "sweep", format=FORMAT, safegen="0", model="m", model_hash="h", conditions={}
            )
            manifest.finish(unit, [Picture(b"png", 1.0) for _ in unit], "b")
        file = out / "manifest.jsonl"
        whole = file.read_bytes()
        kept = whole[: max(len(whole) - cut, 0)]
        file.write_bytes(kept)
        lines = kept.count(b"\n")
        assert len(list(JsonLines(file))) == lines
        with Manifest(out) as manifest:
            assert manifest.torn == len(kept) - (kept.rfind(b"\n") + 1)
            assert len(manifest.finished()) == (len(unit) if lines == 2 else 0)
            manifest.finish(unit, [Picture(b"png", 1.0) for _ in unit], "b")
            assert len(manifest.finished()) == len(unit)
