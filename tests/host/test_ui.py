"""The accordion's own doing: what choosing a context does to the dials."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from driver import Host

from safegen.contexts.context import SafetyContext
from safegen.contexts.library import ContextLibrary
from safegen.plan import SETTINGS, SafetyPlan


class Page:
    """The accordion by itself."""

    def __init__(self, host: Host) -> None:
        with gr.Blocks() as self.blocks:
            made = host.script().ui(False)
        self.controls = dict(zip(SETTINGS, made, strict=True))

    def events(self, name: str, kind: str) -> list[int]:
        """The events of ``kind`` on a control, by number."""
        control = self.controls[name]._id
        return [
            i
            for i, event in enumerate(self.blocks.dependencies)
            if event["trigger"] == kind and control in event["targets"]
        ]

    def choose(self, context: str, **values: Any) -> dict[str, Any]:
        """What a person's choice of ``context`` sets: setting to value."""
        (number,) = self.events("context", "input")
        plan = {**SafetyPlan().to_dict(), **values, "context": context}
        asking = SimpleNamespace(username=None)
        made = self.blocks.fns[number].fn(asking, *plan.values())
        names = {control._id: name for name, control in self.controls.items()}
        targets = self.blocks.dependencies[number]["outputs"]
        return {
            names[target]: value
            for target, value in zip(targets, made, strict=True)
            if not isinstance(value, dict)  # an update of nothing
        }


@pytest.fixture
def page(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Page]:
    """Builds it over a library with one context that has suggestions."""
    from safegen.webui import deciding

    library = ContextLibrary(tmp_path)
    library.add(SafetyContext("own", "Own", "", "", "calm", "", weight=0.6, tau=0.05))
    monkeypatch.setattr(deciding, "_library", library)
    return lambda: Page(host)


def test_the_page_is_built_without_what_reads_prompts(
    page: Callable[[], Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lists take half a second to load: the first prompt's, and not the start's."""
    from safegen.webui import deciding

    monkeypatch.setattr(deciding, "_chooser", None)
    page()
    assert deciding._chooser is None


def test_choosing_a_context_sets_the_dials_it_has_suggestions_for(
    page: Callable[[], Page],
) -> None:
    made = page()
    own = {"weight": 0.6, "tau": 0.05, "mode": "always"}
    assert made.choose("own") == own
    assert made.choose("own", weight=0.9, tau=0.3) == own
    for other in ("custom", "violence", "gone in the meantime"):
        assert made.choose(other) == {"mode": "always"}
    assert made.choose("auto") == {}
    assert made.choose("auto", mode="always") == {"mode": "auto"}


def test_suggestions_stop_at_what_is_enforced(host: Host, page: Callable[[], Page]) -> None:
    host.shared.cmd_opts.safegen_enforce = "strict"
    assert page().choose("own") == {"weight": 1.0, "tau": 0.0, "mode": "always"}


def test_a_paste_makes_one_request_for_all_controls(page: Callable[[], Page]) -> None:
    """No control has an event of its own: the page's script presses one button for all."""
    made = page()
    dependencies = made.blocks.dependencies
    for name in SETTINGS:
        assert not made.events(name, "change"), name
    gathering = next(
        block._id
        for block in made.blocks.blocks.values()
        if str(getattr(block, "elem_id", "")).endswith("safegen_changed")
    )
    (event,) = (d for d in dependencies if gathering in d["targets"])
    assert event["backend_fn"]
    assert len(event["inputs"]) == len(SETTINGS)
