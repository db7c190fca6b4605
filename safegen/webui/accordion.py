"""The accordion in txt2img and img2img, made from `SETTINGS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from safegen.plan import ALWAYS, AUTO, CUSTOM, SETTINGS, WORDS, Setting
from safegen.webui import arguments, deciding, settings, standing
from safegen.webui.controls import TEXTS, component, groups, offered

on_page: dict[str, Accordion] = {}
"""The accordion of each tab of that page. The host's API makes others later, for itself."""


def begin_page() -> None:
    """A page is going to be built."""
    on_page.clear()


def context_choices() -> list[str]:
    """What the context control offers: Auto, every context by name, custom texts."""
    return offered(deciding.library().names())


def _control(setting: Setting, value: Any, elem_id: str) -> Any:
    contexts = context_choices()
    if setting.name == "context" and value not in contexts:
        contexts.append(value)
    kind, given = component(setting, contexts)
    return kind(
        value=list(value) if isinstance(value, tuple) else value,
        label=setting.label,
        info=setting.help,
        elem_id=elem_id,
        elem_classes=["safegen-control"],
        **given,
    )


class Accordion:
    """One tab's controls, and what happens when they change.

    Args:
        make_accordion: The host's ``InputAccordion``.
        elem_id: The script's own, which tells txt2img from img2img.
    """

    def __init__(self, make_accordion: Callable[..., Any], elem_id: Callable[[str], str]) -> None:
        self.elem_id = elem_id
        self.made: dict[str, Any] = {}
        policy = settings.policy_to_show()
        self._base = settings.base_plan()
        if policy is not None:
            self._base, _ = policy.apply(self._base)
        # Never ticked here, for the host's API takes its defaults from these values for as long as
        # it runs, and what is enforced may change meanwhile. The page ticks it when it is loaded.
        with make_accordion(False, label="SafeGen", elem_id=elem_id("enable")) as accordion:
            self.made["enabled"] = accordion
            self._build()
        self.controls = {name: self.made[name] for name in SETTINGS}
        if policy is not None:
            # What was saved as a default before must not hide what is enforced now. The host keeps
            # the accordion beside its checkbox.
            for control in (*self.controls.values(), getattr(accordion, "accordion", None)):
                if control is not None:
                    control.do_not_save_to_config = True
        self._connect()
        whole = gr.context.Context.root_block
        if policy is None and whole is not None and settings.ticked():
            whole.load(lambda: True, None, accordion, show_progress=False, queue=False)

    def _make(self, name: str) -> None:
        value = getattr(self._base, name)
        self.made[name] = _control(SETTINGS[name], value, self.elem_id(name))

    def _build(self) -> None:
        elem_id = self.elem_id
        with gr.Row():
            for name, setting in SETTINGS.items():
                if not setting.advanced and name != "enabled":
                    self._make(name)
        with gr.Group(
            visible=self._base.context == CUSTOM, elem_id=elem_id("custom_texts")
        ) as self.texts:
            for name in TEXTS:
                self._make(name)
        found = standing.of([False])
        self.line = gr.HTML(
            found.html(), elem_id=elem_id("summary"), elem_classes=["safegen-summary"]
        )
        for title, names in groups().items():
            where = elem_id(f"advanced_{title.split()[-1]}")
            with gr.Accordion(title, open=False, elem_id=where, elem_classes=["safegen-grid"]):
                for name in names:
                    self._make(name)

    def _connect(self) -> None:
        controls, quiet = self.controls, {"show_progress": "hidden", "queue": False}
        inputs = list(controls.values())
        # The page's script sees when controls have changed. It presses this button once for all
        # that a pasted infotext changes; also after a run.
        gather = gr.Button("Refresh", visible=False, elem_id=self.elem_id("changed"))
        shown = [self.line, self.texts, controls["enabled"], controls["context"]]
        gather.click(self._refresh, inputs, shown, **quiet)
        # Only a person's choice: a pasted infotext changes the context too, and says the weight.
        dials = [controls["weight"], controls["tau"], controls["mode"]]
        controls["context"].input(self._suggest, inputs, dials, **quiet)

    @property
    def choices(self) -> list[Any]:
        """The contexts that the page was built with."""
        return list(self.controls["context"].choices)

    # ------------------------------------------------------------------ events

    def _refresh(self, request: gr.Request, *args: Any) -> list[Any]:
        """What is shown beside the controls."""
        place = list(SETTINGS).index("context")
        context = args[place]
        renamed = deciding.library().successor(context) if isinstance(context, str) else None
        follow: dict[str, Any] = {}
        if renamed is not None:  # or deleted: then Auto takes its place
            follow["value"] = context = renamed or AUTO
        found = standing.of([*args[:place], context, *args[place + 1 :]], _user(request))
        tick = {"value": True} if found.enforced else {}
        return [
            found.html(),
            gr.update(visible=context == CUSTOM),
            gr.update(interactive=not found.enforced, **tick),
            gr.update(choices=context_choices(), **follow),
        ]

    def _suggest(self, request: gr.Request, *args: Any) -> tuple[Any, ...]:
        """The chosen context's own weight and threshold, where it has them, and its mode."""
        library = deciding.library()
        found: dict[str, Any] = {}
        name = args[list(SETTINGS).index("context")]
        if name in library:
            policy = settings.policy_to_show(_user(request))
            found = arguments.suggested(library.get(name), args, settings.base_plan(), policy)
        mode = args[list(SETTINGS).index("mode")]
        if name != AUTO:
            found["mode"] = ALWAYS
        elif mode == ALWAYS:
            found["mode"] = WORDS
        return tuple(found.get(dial, gr.update()) for dial in ("weight", "tau", "mode"))


def _user(request: gr.Request) -> str | None:
    name = getattr(request, "username", None)
    return str(name) if name else None


def build(make_accordion: Callable[..., Any], elem_id: Callable[[str], str]) -> dict[str, Any]:
    """The controls by setting, in the order of `SETTINGS`."""
    made = Accordion(make_accordion, elem_id)
    on_page.setdefault("img2img" if "img2img" in elem_id("enable") else "txt2img", made)
    return made.controls
