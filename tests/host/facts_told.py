"""Facts about SafeGen on a host: infotext, comments, axes, the record of the last run."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from driver import BENIGN, HAZARD, HIRES, STEPS, Host, facts, same
from facts_guard import AUTO, MANY, ON, ROWS, poison

FACTS, fact = facts()

# ---------------------------------------------------------------------- infotext and axes


@fact
def infotext_repeats_the_picture(host: Host) -> None:
    named = {
        **ON,
        "weight": 0.85,
        "region": "disagreement",
        "curve": "cosine",
        "detectors": ["lexicon"],
        "context": "custom",
        "safe_text": "a star, a box: safe",
        "unsafe_text": "bloody, 512x512",
    }
    made, script, args = host.make(HAZARD, named), host.script(), host.args()
    args[script.args_from : script.args_to] = host.pasted(made.infotexts[0])
    again = host.run(host.ask(HAZARD), runner=host.runner(), args=args)
    assert same(made, again)
    assert again.infotexts[0] == made.infotexts[0]


@fact
def settings_stand_in_the_infotext_before_anything_is_decided(host: Host) -> None:
    """The host writes it down before it samples, and its button for the last prompt reads that."""
    asked: list[str] = []

    def note(_self: Any, p: Any, *_args: Any, **_named: Any) -> None:
        told = {
            key: value(p=p, index=0) if callable(value) else value
            for key, value in p.extra_generation_params.items()
        }
        asked.append(", ".join(f"{key}: {value}" for key, value in told.items() if value))

    for prompt, named in ((HAZARD, {**ON, "weight": 0.6}), (HAZARD, {**AUTO, "tau": 0.2})):
        assert host.make_beside(host.script_of(process_batch=note), prompt, named).good
        again = host.pasted(f"a prompt\nSteps: 4, Seed: 1, {asked[-1]}")
        script, args = host.script(), host.args()
        args[script.args_from : script.args_to] = again
        repeated = host.run(host.ask(prompt), runner=host.runner(), args=args).good
        assert repeated.infotexts == host.make(prompt, named).infotexts
        assert "SafeGen chose" not in asked[-1]


@fact
def without_safegen_nothing_of_it_is_told(host: Host) -> None:
    """Pasting such a text switches it off; what is not ours stays."""
    assert host.pasted(host.make(HAZARD).infotexts[0])[0] is False
    p = host.ask(HAZARD)
    p.extra_generation_params.update({"Other extension": "kept", "SafeGen weight": "stale"})
    (told,) = host.run(p, runner=host.runner(), args=host.args()).infotexts
    assert "Other extension: kept" in told
    assert "SafeGen" not in told


@fact
def each_of_several_batches_has_an_infotext_of_its_own(host: Host) -> None:
    auto, prompts = {**AUTO, "evidence": True}, [BENIGN, HAZARD, HAZARD, BENIGN]
    made = host.make(prompts, auto, n_iter=2, batch_size=2).good
    for prompt, text in zip(prompts, made.infotexts, strict=True):
        assert ("SafeGen chose: violence" in text) is (prompt == HAZARD), text
        assert ("SafeGen saw" in text) is (prompt == HAZARD), text
    for text in host.make(prompts[:2], auto, n_iter=2, batch_size=1, **HIRES).good.infotexts:
        assert "SafeGen hires chose" not in text, "the second pass has no prompt of its own"


def axes_of(host: Host) -> list[Any]:
    """SafeGen's axes of the X/Y/Z plot."""
    (module,) = (
        data.module
        for data in host.scripts.scripts_data
        if data.script_class.__module__ in ("xyz_grid.py", "scripts.xyz_grid")
    )
    return [option for option in module.axis_options if "SafeGen" in option.label]


@fact
def axes_are_registered_once_and_cells_don_t_mix(host: Host) -> None:
    own = axes_of(host)
    labels = [option.label for option in own]
    assert len(labels) == len(set(labels)) >= 8, labels
    axis = next(option for option in own if "weight" in option.label.lower())
    switch = next(option for option in own if "Enable SafeGen" in option.label)
    p = host.ask(HAZARD)
    p.is_api, p.scripts, p.script_args = True, host.runner(), tuple(host.args(ON))
    cells: dict[str, Any] = {}
    for option, text in ((axis, "0.25"), (axis, "1"), (switch, "False"), (axis, "0.25")):
        values = [option.type(text)]
        option.confirm(p, values)
        cell = copy.copy(p)
        option.apply(cell, values[0], values)
        made = host.run(cell)
        assert same(made, cells.setdefault(text, made)), text
    assert same(cells["False"], host.make(HAZARD))
    assert "SafeGen" not in cells["False"].infotexts[0]
    assert "SafeGen weight: 0.25" in cells["0.25"].infotexts[0]
    assert not same(cells["0.25"], cells["1"])
    for text in ("7", "nonsense"):
        try:
            axis.confirm(p, [axis.type(text)])
        except Exception as error:
            assert text in f"{error} {getattr(error, 'detail', '')}"
        else:
            raise AssertionError(f"the weight axis takes {text}")


@fact
def a_grid_is_refused_whole_if_a_cell_can_t_be_made_or_none_is_ours(host: Host) -> None:
    axes = {option.label.split("] ")[1]: option for option in axes_of(host)}

    def begin(named: Any, **grid: list[str]) -> str:
        """What the user is told instead of a grid."""
        p = host.ask(HAZARD)
        p.scripts, p.script_args = host.runner(), tuple(host.args(named))
        chosen = [(axes[label], values) for label, values in grid.items()]
        try:
            for axis, values in chosen:
                axis.confirm(p, [axis.type(value) for value in values])
            cell = copy.copy(p)
            for axis, values in chosen:
                axis.apply(cell, axis.type(values[0]), values)
        except Exception as error:
            return str(error)
        return ""

    weights = {"Safety weight": ["0", "1"]}
    assert begin(ON, **weights) == ""
    assert "Tick it first" in begin({**ON, "enabled": False}, **weights)
    assert begin({**ON, "enabled": False}, **weights, **{"Enable SafeGen": ["False", "True"]}) == ""
    contexts = {"Safety context": ["violence", "custom"]}
    assert begin({**ON, "safe_text": "a calm scene"}, **contexts) == ""
    told = begin(ON, **weights, **contexts)
    assert "Fill in Custom safe text" in told
    assert "Safety weight: 0, Safety context: custom" in told
    spans = {"Global-context threshold": ["0.2", "0.6"], "Guard until": ["0.5", "1"]}
    assert "must be below" in begin(ON, **spans)
    assert begin(ON, **spans | {"Guard until": ["0.7", "1"]}) == ""
    assert "at least one value" in begin(ON, **{"When it acts": []})
    with host.options(safegen_enforce="basic"):
        assert "Safety weight: 0 is not allowed here" in begin(ON, **weights)
        assert begin(ON, **{"Safety weight": ["0.9", "1"]}) == ""
        assert "stays on" in begin(ON, **{"Enable SafeGen": ["True", "False"]})


# ---------------------------------------------------------------------- comments


@fact
def the_comment_says_what_was_chosen_why_and_what_was_rewritten(host: Host) -> None:
    made = host.make(f"{HAZARD}, (bloody:1.2) [cup|star]", {**ROWS, "context": "auto"})
    assert "Auto chose" in made.comments
    (shown,) = (
        line for line in made.comments.splitlines() if "safe version was made from:" in line
    )
    assert "bloody" not in shown
    assert "[cup|star]" in shown
    assert "red ball on the beach, on the left" in shown
    assert "made from" not in host.make(BENIGN, {**ROWS, "context": "auto"}).comments
    with host.options(safegen_comment=False):
        assert "SafeGen" not in host.make(HAZARD, ROWS).comments


@fact
def the_image_time_check_is_told_for_each_picture_if_asked_for(host: Host) -> None:
    from safegen.webui import record

    auto, both = {**AUTO, "tau": 0.25}, [HAZARD, BENIGN]
    for more in ({}, {"streams": "independent"}, {"strategy": "context"}):
        for sampler in ("Euler", "DDIM"):
            named = {**auto, **more}
            fields = {"sampler_name": sampler, "steps": 12}
            quiet = host.make(both, named, **fields)
            told = host.make(both, {**named, "evidence": True}, **fields)
            assert all(map(same, quiet.images, told.images))
            assert "SafeGen saw" not in quiet.infotexts[0]
            assert "SafeGen image check: True" in told.infotexts[0]
            assert "SafeGen saw" in told.infotexts[0]
            assert "SafeGen saw" not in told.infotexts[1]
            first, second = record.last_run().evidence
            assert 25 <= int(first.split("at ")[1].split("%")[0]) <= 25 + 100 / 12, first
            assert "the prompt's own pull" in first
            assert first in told.comments
            assert second == ""
    with host.options(skip_early_cond=0.5):
        one = host.make(HAZARD, {**auto, "evidence": True}, steps=12)
    assert "SafeGen saw" in one.infotexts[0]
    assert "prompt's own pull" not in one.infotexts[0]  # no uncond row to measure it by
    parts = host.make(f"{HAZARD} AND {BENIGN}", {**auto, "evidence": True})
    assert "SafeGen saw" in parts.infotexts[0]
    from safegen.plan import SETTINGS

    place = list(SETTINGS).index("evidence")
    assert host.pasted(parts.infotexts[0])[place] is True


# ---------------------------------------------------------------------- the record


def recorded(host: Host, prompt: Any, named: Any, **fields: Any) -> Any:
    """What is on record after a picture."""
    from safegen.webui import record

    host.make(prompt, named, **fields)
    return record.last_run()


@fact
def the_last_run_is_on_record(host: Host) -> None:
    from safegen.webui import record

    record.clear()
    off = recorded(host, HAZARD, None)
    assert (off.outcome, off.counts.calls, off.rows, off.tab) == ("off", 0, 2.0, "txt2img")
    nothing = recorded(host, HAZARD, {**ON, "weight": 0.0})
    assert (nothing.outcome, nothing.settings["weight"]) == ("off", 0.0)
    benign = recorded(host, BENIGN, AUTO)
    assert (benign.outcome, benign.contexts, benign.rows) == ("benign", (None,), 2.0)
    assert (benign.counts.calls, benign.counts.needed) == (STEPS, 0)

    late = {**ROWS, "tau": 0.5}
    run = recorded(host, HAZARD, late, batch_size=2, n_iter=2, steps=MANY)
    assert (run.outcome, run.contexts) == ("guarded", ("violence",) * 4)
    counts = run.counts
    found = (counts.calls, counts.needed, counts.guarded, counts.evaluated)
    assert found == (2 * MANY, MANY, MANY, MANY)
    assert (run.rows, run.settings["tau"]) == (2.5, 0.5)
    assert ["chosen by you" in why for why in run.why] == [True] * 4
    assert (run.evidence, run.disagreement, run.message) == ((), (), "")
    assert HAZARD not in repr(vars(run))
    assert recorded(host, HAZARD, {**ROWS, "streams": "independent"}).rows == 4.0
    assert record.last_error() is None


@fact
def a_failed_run_is_on_record_and_stays(host: Host) -> None:
    from safegen.webui import record

    record.clear()
    failed = recorded(host, HAZARD, {"weight": 7.0})
    assert (failed.outcome, failed.settings) == ("failed", {})
    assert "weight" in failed.message
    with host.listening(first=True, denoised=poison):
        poisoned = recorded(host, HAZARD, ON)
    assert (poisoned.outcome, poisoned.contexts) == ("failed", ("violence",))
    assert "not finite" in poisoned.message
    assert poisoned.counts.guarded < STEPS
    assert recorded(host, HAZARD, ON).outcome == "guarded"
    assert record.last_error() == poisoned


@fact
def maps_are_kept_for_who_asks_and_change_nothing(host: Host) -> None:
    from safegen.webui import record

    def asked(prompt: Any, named: Any, **fields: Any) -> tuple[Any, Any]:
        with record.keeping_maps():
            made = host.make(prompt, named, **fields)
        return made, record.last_run().disagreement

    for named in (ROWS, {**ON, "streams": "independent"}, {**ON, "strategy": "context"}):
        for sampler in ("Euler", "DDIM"):
            made, (found,) = asked(HAZARD, named, sampler_name=sampler)
            assert same(host.make(HAZARD, named, sampler_name=sampler), made), (named, sampler)
            assert found.dtype == np.float32
            assert found.shape == tuple(size // 8 for size in made.image.shape[:2])
            assert (found.min() >= 0.0, found.max(), found.std() > 0.0) == (True, 1.0, True)
    _, both = asked([HAZARD, BENIGN], AUTO)
    assert [float(found.max()) for found in both] == [1.0, 0.0]
    _, (benign,) = asked(BENIGN, AUTO)
    assert (float(benign.max()), benign.shape) == (0.0, both[0].shape)
    made, (large,) = asked(HAZARD, ON, **HIRES)
    assert large.shape == tuple(size // 8 for size in made.image.shape[:2])
