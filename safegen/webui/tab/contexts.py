"""The pane for contexts: find, read, write, copy, import, export, delete, and learn."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from safegen.contexts.library import ContextError
from safegen.errors import SafeGenError
from safegen.learned.store import LearnedStore, read_pairs
from safegen.plan import AUTO
from safegen.sentence import told
from safegen.webui import accordion, deciding, encoder, host, markup, page, settings
from safegen.webui.drafts import Drafts, Form, NotPermitted
from safegen.webui.enforcement import Policy
from safegen.webui.errors import plainly
from safegen.webui.tab import context_layout as layout
from safegen.webui.tab import context_views as views
from safegen.webui.tab.context_views import library
from safegen.webui.tab.parts import QUIET, on_arrival
from safegen.webui.words import say

FIRST = "violence"
"""The context that the pane shows first."""


def _policy() -> Policy | None:
    """What is enforced. Raises where that can't be read: nothing may be changed then."""
    return settings.active_policy()


def _choosers() -> list[Any]:
    """The accordions' context controls that are on the page: a hidden tab's are not."""

    def tab(control: Any) -> str:
        return "img2img" if "img2img" in str(control.elem_id) else "txt2img"

    return [control for control in accordion.context_controls if not host.hides_tab(tab(control))]


_TYPED = (
    '(...values) => { document.dispatchEvent(new CustomEvent("safegen:typed")); return values; }'
)
"""Tells the page's script that something is written in the form; no request is made."""


class Pane:
    """What happens in the pane.

    Every method that begins with ``on_`` answers an event; its answer has a value for each of
    ``outputs``, in order.
    """

    def __init__(self) -> None:
        # It is filled when its tab is first opened.
        with gr.Row(elem_classes=["safegen-split"]):
            with gr.Column(scale=1, min_width=240, elem_classes=["safegen-side"]):
                side = self.side = layout.side()
            with gr.Column(scale=3, min_width=300, elem_classes=["safegen-editor"]):
                editor = self.editor = layout.editor()
            with gr.Column(scale=2, min_width=300):
                view = self.view = layout.preview()
        self.outputs = [
            side.drafts,
            side.shown,
            side.listing,
            editor.heading,
            *editor.fields,
            editor.save,
            editor.discard,
            editor.delete,
            editor.confirm_discard.group,
            editor.confirm_delete.group,
            view.shown,
            view.learned,
            side.problems,
            editor.message,
        ]
        self.state = [
            side.drafts,
            side.shown,
            side.search,
            view.sample,
            view.strategy,
            *editor.fields,
        ]
        self._connect()

    # ------------------------------------------------------------------ events

    def _connect(self) -> None:
        side, editor, view = self.side, self.editor, self.view

        def on(event: Any, function: Callable[..., Any], *more: Any) -> None:
            event(function, [*self.state, *more], self.outputs, **QUIET)

        on(side.listing.input, self.on_pick, side.listing)
        on(side.new.click, self.on_new)
        on(side.upload.upload, self.on_import, side.upload, side.replace)
        on(side.reload.click, self.on_reload)
        on(editor.confirm_discard.yes.click, self.on_discard)
        on(editor.confirm_discard.no.click, self.on_refresh)
        on(editor.confirm_delete.no.click, self.on_refresh)
        on(view.strategy.input, self.on_refresh)
        on(side.typed.click, self.on_typed)
        for control in editor.fields:
            if isinstance(control, gr.Dropdown):  # a choice in it is no typing that can be seen
                control.input(None, **page.js(_TYPED))
        for ask, group in (
            (editor.discard, editor.confirm_discard.group),
            (editor.delete, editor.confirm_delete.group),
        ):
            ask.click(lambda: gr.update(visible=True), None, group, **QUIET)
        # These change what there is to choose from, in txt2img and img2img too.
        choosers = _choosers()

        def choices() -> Any:
            found = accordion.context_choices(deciding.chooser())
            updates = [gr.update(choices=found) for _ in choosers]
            return updates[0] if len(updates) == 1 else updates

        for click, function in (
            (editor.save.click, self.on_save),
            (editor.duplicate.click, self.on_duplicate),
            (editor.confirm_delete.yes.click, self.on_delete),
        ):
            click(
                self._followed(function),
                [*self.state, *choosers],
                [*self.outputs, *choosers],
                **QUIET,
            )
        for control in (side.upload, side.reload):
            # The list itself has been read again by then.
            event = control.upload if control is side.upload else control.click
            if choosers:
                event(choices, None, choosers, **QUIET)
        view.learn.click(
            self.on_learn,
            [side.shown, view.pairs],
            [view.learned, editor.message],
        )
        on_arrival(self.on_refresh, self.state, self.outputs)

    def _followed(self, function: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        """``function``, whose answer also has the accordions' choice of contexts.

        A context that is renamed stays chosen there; where one that is deleted was chosen, Auto
        takes its place.
        """
        count = len(self.state)

        def answer(*args: Any) -> list[Any]:
            before = set(library().names())
            state, chosen = args[:count], args[count:]
            found = function(*state)
            choices = accordion.context_choices(deciding.chooser())
            gone = before - set(choices)
            key = found[1]
            followed = []
            for value in chosen:
                update: dict[str, Any] = {"choices": choices}
                if value in gone:
                    update["value"] = key if function == self.on_save else AUTO
                followed.append(gr.update(**update))
            return [*found, *followed]

        return answer

    def _show(
        self,
        drafts: Drafts,
        key: str,
        view: Sequence[str],
        text: str = "",
        *,
        bad: bool = False,
        fill: bool = True,
    ) -> list[Any]:
        """The answer that shows ``key``.

        Args:
            view: The search, the sample prompt and the strategy it is shown for.
            text: What has happened, or what was wrong.
            fill: Whether the fields' values are sent too. They are not while somebody types.
        """
        contexts = library()
        search, sample, strategy = view
        if key not in contexts and key not in drafts.of_context:
            # Nothing is shown yet, or it was deleted elsewhere.
            key = FIRST if FIRST in contexts else next(iter(contexts)).name
            fill = True
        drafts.shown = key
        built_in, form = contexts.is_built_in(key), drafts.form(contexts, key)
        saved = contexts.get(key) if key in contexts else None
        unsaved = key in drafts.of_context
        if fill:
            controls = [gr.update(value=value, interactive=not built_in) for value in form.values()]
        else:
            controls = [gr.update() for _ in self.editor.fields]
        return [
            drafts,
            key,
            gr.update(choices=drafts.entries(contexts, search), value=key),
            markup.heading(saved, form.label, built_in=built_in, unsaved=unsaved),
            *controls,
            gr.update(interactive=unsaved),
            gr.update(interactive=unsaved),
            gr.update(interactive=not built_in),
            gr.update(visible=False),
            gr.update(visible=False),
            views.preview(key, form, sample, strategy),
            views.learned(key) if fill else gr.update(),
            views.problems(),
            markup.message(text, bad=bad),
        ]

    def on_typed(self, drafts: Drafts, key: str, *more: Any) -> list[Any]:
        """Fields of the form, the search or the sample prompt were changed.

        What is said stays: the page hides it as somebody types, and this answer may come after
        that of a button.
        """
        view, form = more[:3], more[3:]
        drafts.note(library(), key, Form.of_values(form))
        if drafts.shown != key:  # late: the page shows another context by now
            return [drafts, *(gr.update() for _ in self.outputs[1:])]
        return [*self._show(drafts, key, view, fill=False)[:-1], gr.update()]

    def on_refresh(self, drafts: Drafts, key: str, *more: Any) -> list[Any]:
        """Show again what is shown."""
        view, form = more[:3], more[3:]
        drafts.note(library(), key, Form.of_values(form))
        return self._show(drafts, key, view)

    def on_pick(self, drafts: Drafts, key: str, *more: Any) -> list[Any]:
        """Another context is chosen in the list; what was written stays a draft."""
        view, form, picked = more[:3], more[3:-1], more[-1]
        drafts.note(library(), key, Form.of_values(form))
        return self._show(drafts, str(picked or key), view)

    def _attempt(
        self, work: Callable[[], str], drafts: Drafts, key: str, view: Sequence[Any], done: str
    ) -> list[Any]:
        """Do ``work``, which returns what to show then; say ``done`` or what was wrong."""
        try:
            key = work()
        except (SafeGenError, OSError) as error:
            return self._show(drafts, key, view, plainly(error), bad=True)
        return self._show(drafts, key, view, done)

    def on_new(self, drafts: Drafts, key: str, *more: Any) -> list[Any]:
        """An empty form."""
        view, form = more[:3], more[3:]
        drafts.note(library(), key, Form.of_values(form))
        return self._show(drafts, drafts.new(), view)

    def on_save(self, drafts: Drafts, key: str, *more: Any) -> list[Any]:
        """Write the context down."""
        view, form = more[:3], Form.of_values(more[3:])
        return self._attempt(
            lambda: drafts.save(library(), key, form, _policy()), drafts, key, view, say("Saved.")
        )

    def on_discard(self, drafts: Drafts, key: str, *more: Any) -> list[Any]:
        """Back to what is saved."""
        drafts.discard(library(), key)
        return self._show(
            drafts,
            drafts.shown if key not in library() else key,
            more[:3],
            say("Changes discarded."),
        )

    def on_duplicate(self, drafts: Drafts, key: str, *more: Any) -> list[Any]:
        """A copy to change."""
        view, form = more[:3], Form.of_values(more[3:])
        drafts.note(library(), key, form)
        return self._attempt(
            lambda: drafts.duplicate(library(), key, _policy()),
            drafts,
            key,
            view,
            say("Duplicated."),
        )

    def on_delete(self, drafts: Drafts, key: str, *more: Any) -> list[Any]:
        """Away with it."""

        def work() -> str:
            drafts.delete(library(), key, _policy())
            return drafts.shown

        return self._attempt(work, drafts, key, more[:3], say("Deleted."))

    def on_import(self, drafts: Drafts, key: str, *more: Any) -> list[Any]:
        """A context from a file."""
        view, form, (file, over) = more[:3], more[3:-2], more[-2:]
        drafts.note(library(), key, Form.of_values(form))

        def work() -> str:
            if file is None:
                raise ContextError(told("Choose a file first."))
            path = Path(file.name)
            return drafts.import_file(library(), path, _policy(), replace_own=bool(over))

        return self._attempt(work, drafts, key, view, say("Imported."))

    def on_reload(self, drafts: Drafts, key: str, *more: Any) -> list[Any]:
        """Read the folder again: files may have been put there by hand."""
        view, form = more[:3], Form.of_values(more[3:])
        drafts.note(library(), key, form)
        library().reload()
        return self._show(drafts, key, view)

    def on_learn(self, key: str, file: Any, progress: gr.Progress = gr.Progress()) -> Any:  # noqa: B008
        """Learn the context's embedding in the loaded model."""
        try:
            if settings.enforcing():
                raise NotPermitted(
                    told("Nothing can be learned here while SafeGen is enforced. Ask the operator.")
                )
            context = library().get(key)
            pairs = None if file is None else read_pairs(Path(file.name))
            progress(0.0, desc=say("Waiting for the model"))

            def tell(done: int, of: int) -> None:
                progress((done, of), desc=say("Reading prompts"), unit="")

            with host.exclusively():
                store = LearnedStore(settings.contexts_folder())
                found = store.learn(context, encoder.HostEncoder(), pairs, progress=tell)
        except (SafeGenError, OSError, csv.Error) as error:
            return gr.update(), markup.message(plainly(error), bad=True)
        text = say("{context}: learned from {n} pairs.", context=context.label, n=found.pairs)
        return views.learned(key), markup.message(text)


def build() -> None:
    """The pane, within the tab that is being built."""
    Pane()
