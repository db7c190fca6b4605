"""The accordion in txt2img and img2img, made from `SETTINGS`."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import gradio as gr
from tqdm import tqdm

from safegen.choice import Chooser
from safegen.errors import SafeGenError
from safegen.plan import ALWAYS, AUTO, CUSTOM, SETTINGS, WORDS, Setting
from safegen.webui import arguments, deciding, host, mending, settings, standing
from safegen.webui.controls import TEXTS, component, groups, offered
from safegen.webui.errors import plainly
from safegen.webui.words import say

on_page: dict[str, Accordion] = {}
"""The accordion of each tab of that page. The host's API makes others later, for itself."""


def begin_page() -> None:
    """A page is going to be built."""
    on_page.clear()


def context_choices(chooser: Chooser) -> list[str]:
    """What the context control offers: Auto, every context by name, custom texts."""
    return offered(chooser.library.names())


def _control(setting: Setting, value: Any, elem_id: str) -> Any:
    contexts = context_choices(deciding.chooser())
    if setting.name == "context" and value not in contexts:
        contexts.append(value)
    kind, given = component(setting, lambda: contexts)
    return kind(
        value=list(value) if isinstance(value, tuple) else value,
        label=setting.label,
        info=setting.help,
        elem_id=elem_id,
        elem_classes=["safegen-control"],
        **(given() if callable(given) else given),
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
        self.mend = gr.Button(
            "Fit it now", visible=False, elem_id=elem_id("mend"), variant="primary", size="sm"
        )
        self.mend.do_not_save_to_config = True
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
        shown = [self.line, self.texts, self.mend, controls["enabled"], controls["context"]]
        gather.click(self._refresh, inputs, shown, **quiet)
        # Not through gradio's queue: gradio 3 gives up a run whose news does not reach the page
        # within a second, and a model that is fitted on a small machine leaves it no second.
        told = self.mend.click(_begun, None, [self.line, self.mend], **quiet)
        told.then(self._make_it, inputs, [self.line, self.mend], **quiet)
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
        place, chooser = list(SETTINGS).index("context"), deciding.chooser()
        context = args[place]
        renamed = chooser.library.successor(context) if isinstance(context, str) else None
        follow: dict[str, Any] = {}
        if renamed is not None:  # or deleted: then Auto takes its place
            follow["value"] = context = renamed or AUTO
        found = standing.of([*args[:place], context, *args[place + 1 :]], _user(request))
        tick = {"value": True} if found.enforced else {}
        return [
            found.html(),
            gr.update(visible=context == CUSTOM),
            _button(found),
            gr.update(interactive=not found.enforced, **tick),
            gr.update(choices=context_choices(chooser), **follow),
        ]

    def _suggest(self, request: gr.Request, *args: Any) -> tuple[Any, ...]:
        """The chosen context's own weight and threshold, where it has them, and its mode."""
        library = deciding.chooser().library
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

    def _make_it(self, request: gr.Request, *args: Any) -> list[Any]:
        """Make what the standing says is missing. The bar is in the console."""
        try:
            need = standing.of(args, _user(request)).mend
            if need is not None:
                with tqdm(
                    desc=need.what, total=1.0, bar_format="{desc}: {percentage:3.0f}%"
                ) as bar:
                    mending.make(need, lambda share, _: bar.update(share - bar.n))
            found = standing.of(args, _user(request))
        except SafeGenError as error:
            said = say("It could not be made. Choose another setting, or try again later.")
            return [_unmade(said, standing.details(plainly(error))), gr.update(interactive=True)]
        except Exception:  # gradio would show no more than the word Error
            host.report("SafeGen could not make what is missing")
            said = say("It could not be made. The log says why.")
            return [_unmade(said), gr.update(interactive=True)]
        return [found.html(), _button(found)]


def _begun() -> list[Any]:
    """What is shown while it is made."""
    said = say("This takes a minute or more. The console shows how far it is.")
    line = standing.Standing("invalid", "", f"<p role='status'>{html.escape(said)}</p>")
    return [line.html(), gr.update(interactive=False)]


def _unmade(said: str, more: str = "") -> str:
    """The line where what is missing could not be made."""
    text = f"<p class='safegen-bad'>{html.escape(said)}</p>{more}"
    return standing.Standing("invalid", "", text).html()


def _button(found: standing.Standing) -> Any:
    if found.mend is None:
        return gr.update(visible=False)
    return gr.update(visible=True, value=found.mend.button, interactive=True)


def _user(request: gr.Request) -> str | None:
    name = getattr(request, "username", None)
    return str(name) if name else None


def build(make_accordion: Callable[..., Any], elem_id: Callable[[str], str]) -> dict[str, Any]:
    """The controls by setting, in the order of `SETTINGS`."""
    made = Accordion(make_accordion, elem_id)
    on_page.setdefault("img2img" if "img2img" in elem_id("enable") else "txt2img", made)
    return made.controls
