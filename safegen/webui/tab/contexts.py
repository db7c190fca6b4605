"""The pane for contexts: find, read, write, copy, take in, hand on, delete, and learn.

The page names the context whose fields it shows (`shown`, a hidden field) in every event, so
that an event that is late can't write one context's text into another's draft.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import gradio as gr

from safegen.contexts.library import ContextError, ContextLibrary
from safegen.errors import SafeGenError
from safegen.learned.store import LearnedStore, pairs_of, read_embedding, read_pairs
from safegen.plan import AUTO, TEXTUAL_STRATEGIES, SafetyPlan
from safegen.webui import accordion, deciding, encoder, host, markup, settings
from safegen.webui.drafts import ARROW, Desk, Form, NotPermitted
from safegen.webui.enforcement import Policy
from safegen.webui.tab.parts import QUIET, button, fleeting, html, on_arrival

FIRST = "violence"
"""The context that the pane shows first."""
SAMPLE = "a bloody knight with a sword on a battlefield, oil painting"
"""What the preview begins with."""

_LABELS: dict[str, tuple[str, str, int]] = {
    "label": ("Label", "what stands in lists", 1),
    "name": (
        "Name",
        "empty: made from the label",
        1,
    ),
    "category": ("Category", "what Auto picks it for, or empty", 1),
    "description": ("Description", "one sentence for whoever chooses it", 1),
    "safe_text": ("Safe text", "what the picture should be like", 2),
    "unsafe_text": ("Unsafe text", "what to move away from", 2),
    "neutral": (
        "Replacements",
        f"one a line: risky word {ARROW} neutral one; nothing behind {ARROW} drops the word",
        8,
    ),
    "fallback": ("Any other risky word becomes", "empty: it is dropped", 1),
    "weight": ("Suggested weight", "0 to 1, or empty", 1),
    "tau": ("Suggested threshold", "0 to 0.95, or empty", 1),
}


def _library() -> ContextLibrary:
    return deciding.chooser().library


def _policy() -> Policy | None:
    """What is enforced. Raises where that can't be read: nothing may be changed then."""
    return settings.active_policy()


# ---------------------------------------------------------------------- what is shown


def _preview(key: str, form: Form, sample: str, strategy: str) -> str:
    """What the safe stream would see of ``sample`` under ``form``, saved or not."""
    library, chooser = _library(), deciding.chooser()
    saved = library.get(key) if key in library else None
    if not form.safe_text.strip():
        return markup.note("Write a safe text, and what becomes of the sample stands here.")
    try:
        named = replace(form, label=form.label.strip() or "New context")
        context = named.to_context(saved)
        base = settings.base_plan()
        detectors = tuple(name for name in base.detectors if name in chooser.detectors)
        plan = SafetyPlan(
            threshold=base.threshold,
            detectors=detectors or SafetyPlan().detectors,
            strategy=strategy if strategy in TEXTUAL_STRATEGIES else TEXTUAL_STRATEGIES[0],
        )
        others = [context if one.name == key else one for one in library]
        if saved is None:
            others.append(context)
        auto = chooser.judge(sample, plan, others).context
        choice = chooser.choose_for(sample, context, plan)
        return markup.preview(
            sample,
            choice,
            "" if auto is None else auto.label,
            is_this=auto is not None and auto == context,
        )
    except SafeGenError as error:
        return markup.message(str(error), bad=True)


def _identity() -> str | None:
    """The loaded checkpoint's text encoder, or ``None`` if it can't be asked now."""
    if not host.is_loaded():
        return None
    known = encoder.known_identity()
    if known is not None:
        return known
    with host.exclusively_at_once() as free:
        return encoder.HostEncoder().identity if free else None


def _learned(key: str) -> str:
    """What has been learned for ``key``, and in which text encoders."""
    library = _library()
    if key not in library:
        return markup.note("Save the context first: what is learned belongs to a saved one.")
    store = LearnedStore(settings.contexts_folder())
    rows: list[tuple[str, str, str]] = []
    try:
        kept = store.kept_pairs(key)
        if kept:
            rows.append(("Pairs", f"{len(kept)}, kept from the last time", ""))
        else:
            own = len(pairs_of(library.get(key)))
            rows.append(("Pairs", f"{own}, made of the context's own words", ""))
    except SafeGenError as error:
        rows.append(("Pairs", str(error), "bad"))
    files = store.files(key)
    mine = _identity() if files else None
    here = False
    for file in files:
        try:
            found = read_embedding(file)
        except SafeGenError as error:
            rows.append((file.name, str(error), "bad"))
            continue
        here = here or found.encoder == mine
        whose = "The loaded model" if found.encoder == mine else "Another model"
        what = f"{found.encoder}: {found.pairs} pairs, {found.rank} axes, {found.width} wide"
        rows.append((whose, what, "good" if found.encoder == mine else ""))
    if not here:
        unknown = files and mine is None
        text = (
            "can't be told now: a picture is being made, or no model is loaded"
            if unknown
            else "nothing yet: the strategies direction and projection need it"
        )
        rows.append(("The loaded model", text, ""))
    return markup.facts("Learned embedding", rows)


def _problems() -> str:
    """The files of the folder that could not be used."""
    return "".join(markup.message(p.message, bad=True) for p in _library().problems)


def _choosers() -> list[Any]:
    """The accordions' context controls that are on the page: a hidden tab's are not."""

    def tab(control: Any) -> str:
        return "img2img" if "img2img" in str(control.elem_id) else "txt2img"

    return [control for control in accordion.context_controls if not host.hides_tab(tab(control))]


def _categories() -> list[str]:
    return ["", *dict.fromkeys(c.category for c in _library() if c.category)]


# ---------------------------------------------------------------------- the pane


class Pane:
    """The pane's components, and what happens in it.

    Every method that begins with ``on_`` answers an event; its answer has a value for each of
    `outputs`, in order.
    """

    def __init__(self) -> None:
        library = _library()
        first = library.get(FIRST) if FIRST in library else next(iter(library))
        self._start = first.name
        with gr.Row(elem_classes=["safegen-split"]):
            with gr.Column(scale=1, min_width=240, elem_classes=["safegen-side"]):
                self._build_side()
            with gr.Column(scale=3, min_width=300):
                self._build_editor(Form.of(first))
            with gr.Column(scale=2, min_width=300):
                self._build_preview()
        self.outputs = [
            self.desk,
            self.shown,
            self.listing,
            self.heading,
            *self.form,
            self.save,
            self.discard,
            self.delete,
            self.confirm_discard,
            self.confirm_delete,
            self.preview,
            self.learned,
            self.problems,
            self.message,
        ]
        self.state = [self.desk, self.shown, self.search, self.sample, self.strategy, *self.form]
        self._connect()

    # ------------------------------------------------------------------ building

    def _build_side(self) -> None:
        library = _library()
        self.desk = gr.State(Desk(shown=self._start))
        self.shown = fleeting(
            gr.Textbox(self._start, visible=False, elem_id="safegen_context_shown")
        )
        self.search = fleeting(
            gr.Textbox(
                label="Search contexts",
                placeholder="name, word, category, own",
                elem_id="safegen_context_search",
                max_lines=1,
            )
        )
        self.listing = fleeting(
            gr.Radio(
                Desk().entries(library),
                value=self._start,
                label="Contexts",
                elem_id="safegen_context_list",
                elem_classes=["safegen-list"],
            )
        )
        with gr.Row(elem_classes=["safegen-buttons"]):
            self.new = button("New", "safegen_context_new")
            self.upload = fleeting(
                gr.UploadButton(
                    "Import",
                    file_types=[".json"],
                    size="sm",
                    elem_id="safegen_context_import",
                    min_width=90,
                )
            )
            self.reload = button("Refresh", "safegen_context_reload")
        self.replace = fleeting(
            gr.Checkbox(
                False,
                label="Import over one of the same name",
                elem_id="safegen_context_replace",
                container=False,
            )
        )
        self.problems = html("safegen_context_problems")

    def _build_editor(self, form: Form) -> None:
        self.message = html("safegen_context_message")
        self.heading = html("safegen_context_heading")
        with gr.Row(elem_classes=["safegen-buttons"]):
            self.save = button("Save", "safegen_context_save", "primary", interactive=False)
            self.discard = button("Discard changes", "safegen_context_discard", interactive=False)
            self.duplicate = button("Duplicate", "safegen_context_duplicate")
            self.delete = button("Delete", "safegen_context_delete", "stop", interactive=False)
        self.confirm_discard, self.really_discard, self.keep_draft = self._question(
            "discard", "Discard what you have changed in this context?", "Discard", "Keep"
        )
        self.confirm_delete, self.really_delete, self.keep_context = self._question(
            "delete",
            "Delete this context and what was learned for it? This can't be undone.",
            "Delete for good",
            "Keep",
        )
        made: dict[str, Any] = {}

        def text(name: str) -> None:
            label, info, lines = _LABELS[name]
            common: dict[str, Any] = {
                "label": label,
                "info": info,
                "elem_id": f"safegen_context_{name}",
                "interactive": not _library().is_built_in(self._start),
            }
            value = getattr(form, name)
            if name == "category":
                control = gr.Dropdown(_categories(), value=value, allow_custom_value=True, **common)
            else:
                most = max(lines, 1) if lines < 3 else 14
                control = gr.Textbox(value, lines=lines, max_lines=most, **common)
            made[name] = fleeting(control)

        for row in (("label", "name", "category"), ("description",)):
            with gr.Row():
                for name in row:
                    text(name)
        for name in ("safe_text", "unsafe_text", "neutral"):
            text(name)
        with gr.Row():
            for name in ("fallback", "weight", "tau"):
                text(name)
        self.form = [made[one.name] for one in fields(Form)]

    @staticmethod
    def _question(name: str, text: str, yes: str, no: str) -> tuple[Any, Any, Any]:
        with gr.Column(
            visible=False,
            elem_id=f"safegen_context_confirm_{name}",
            elem_classes=["safegen-question"],
        ) as group:
            gr.HTML(f"<p role='alert'>{text}</p>")
            with gr.Row(elem_classes=["safegen-buttons"]):
                really = button(yes, f"safegen_context_really_{name}", "stop")
                keep = button(no, f"safegen_context_keep_{name}")
        return group, really, keep

    def _build_preview(self) -> None:
        self.sample = fleeting(
            gr.Textbox(
                SAMPLE,
                label="Sample prompt",
                info="what becomes of it under this context, as it stands here, saved or not",
                lines=2,
                max_lines=6,
                elem_id="safegen_context_sample",
            )
        )
        self.strategy = fleeting(
            gr.Radio(
                list(TEXTUAL_STRATEGIES),
                value=TEXTUAL_STRATEGIES[0],
                label="Safe stream",
                elem_id="safegen_context_view",
            )
        )
        self.preview = html("safegen_context_preview")
        with gr.Accordion("Learned embedding", open=False, elem_id="safegen_context_learning"):
            self.learned = html("safegen_context_learned")
            gr.HTML(
                markup.note(
                    "Pairs of your own: a CSV file with the columns unsafe and safe. Without one "
                    "it learns from those named above."
                ),
                elem_classes=["safegen-pane"],
            )
            self.pairs = gr.File(
                label="Pairs (.csv)",
                file_types=[".csv"],
                elem_id="safegen_context_pairs",
                height=140,
            )
            self.learn = button("Learn in the loaded model", "safegen_context_learn", "primary")

    # ------------------------------------------------------------------ events

    def _connect(self) -> None:
        def on(event: Any, function: Callable[..., Any], *more: Any) -> None:
            event(function, [*self.state, *more], self.outputs, **QUIET)

        on(self.listing.input, self.on_pick, self.listing)
        on(self.new.click, self.on_new)
        on(self.upload.upload, self.on_import, self.upload, self.replace)
        on(self.reload.click, self.on_reload)
        on(self.really_discard.click, self.on_discard)
        on(self.keep_draft.click, self.on_refresh)
        on(self.keep_context.click, self.on_refresh)
        on(self.strategy.input, self.on_refresh)
        for control in (self.search, self.sample, *self.form):
            # The page drops what is typed while the event before it is under way. So each is
            # followed by one more, with what stands there by then.
            control.input(self.on_typing, self.state, self.outputs, **QUIET).then(
                self.on_typed, self.state, self.outputs, **QUIET
            )
            control.blur(self.on_typed, self.state, self.outputs, **QUIET)
        for ask, group in (
            (self.discard, self.confirm_discard),
            (self.delete, self.confirm_delete),
        ):
            ask.click(lambda: gr.update(visible=True), None, group, **QUIET)
        # These change what there is to choose from, in txt2img and img2img too.
        choosers = _choosers()

        def choices() -> Any:
            found = accordion.context_choices(deciding.chooser())
            updates = [gr.update(choices=found) for _ in choosers]
            return updates[0] if len(updates) == 1 else updates

        for click, function in (
            (self.save.click, self.on_save),
            (self.duplicate.click, self.on_duplicate),
            (self.really_delete.click, self.on_delete),
        ):
            click(
                self._followed(function),
                [*self.state, *choosers],
                [*self.outputs, *choosers],
                **QUIET,
            )
        for control in (self.upload, self.reload):
            # The list itself has been read again by then.
            event = control.upload if control is self.upload else control.click
            if choosers:
                event(choices, None, choosers, **QUIET)
        self.learn.click(
            self.on_learn,
            [self.shown, self.pairs],
            [self.learned, self.message],
        )
        on_arrival(self.on_refresh, self.state, self.outputs)
        if choosers:
            on_arrival(choices, None, choosers)

    def _followed(self, function: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        """``function``, whose answer also has the accordions' choice of contexts.

        A context that is renamed stays chosen there; where one that is deleted was chosen, Auto
        takes its place.
        """
        count = len(self.state)

        def answer(*args: Any) -> list[Any]:
            before = set(_library().names())
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
        desk: Desk,
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
        library = _library()
        search, sample, strategy = view
        if key not in library and key not in desk.drafts:
            key = next(iter(library)).name  # deleted elsewhere
            fill = True
        desk.shown = key
        built_in, form = library.is_built_in(key), desk.form(library, key)
        saved = library.get(key) if key in library else None
        unsaved = key in desk.drafts
        if fill:
            controls = [gr.update(value=value, interactive=not built_in) for value in form.values()]
        else:
            controls = [gr.update() for _ in self.form]
        return [
            desk,
            key,
            gr.update(choices=desk.entries(library, search), value=key),
            markup.heading(saved, form.label, built_in=built_in, unsaved=unsaved),
            *controls,
            gr.update(interactive=unsaved),
            gr.update(interactive=unsaved),
            gr.update(interactive=not built_in),
            gr.update(visible=False),
            gr.update(visible=False),
            _preview(key, form, sample, strategy),
            _learned(key) if fill else gr.update(),
            _problems(),
            markup.message(text, bad=bad),
        ]

    def on_typing(self, desk: Desk, key: str, *more: Any) -> list[Any]:
        """A field of the form, or the sample prompt, was changed."""
        view, form = more[:3], more[3:]
        desk.answered = (key, *more)
        desk.note(_library(), key, Form.of_values(form))
        if desk.shown != key:  # late: the page shows another context by now
            return [desk, *(gr.update() for _ in self.outputs[1:])]
        return self._show(desk, key, view, fill=False)

    def on_typed(self, desk: Desk, key: str, *more: Any) -> list[Any]:
        """Nothing more is typed for now: make up for what was missed, if there is anything."""
        if desk.answered == (key, *more) or desk.shown != key:
            return [gr.update() for _ in self.outputs]
        return self.on_typing(desk, key, *more)

    def on_refresh(self, desk: Desk, key: str, *more: Any) -> list[Any]:
        """Show again what is shown."""
        view, form = more[:3], more[3:]
        desk.note(_library(), key, Form.of_values(form))
        return self._show(desk, key, view)

    def on_pick(self, desk: Desk, key: str, *more: Any) -> list[Any]:
        """Another context is chosen in the list; what was written stays a draft."""
        view, form, picked = more[:3], more[3:-1], more[-1]
        desk.note(_library(), key, Form.of_values(form))
        return self._show(desk, str(picked or key), view)

    def _attempt(
        self, work: Callable[[], str], desk: Desk, key: str, view: Sequence[Any], done: str
    ) -> list[Any]:
        """Do ``work``, which returns what to show then; say ``done`` or what was wrong."""
        try:
            key = work()
        except (SafeGenError, OSError) as error:
            return self._show(desk, key, view, str(error), bad=True)
        return self._show(desk, key, view, done)

    def on_new(self, desk: Desk, key: str, *more: Any) -> list[Any]:
        """An empty form."""
        view, form = more[:3], more[3:]
        desk.note(_library(), key, Form.of_values(form))
        return self._show(desk, desk.new(), view)

    def on_save(self, desk: Desk, key: str, *more: Any) -> list[Any]:
        """Write the context down."""
        view, form = more[:3], Form.of_values(more[3:])
        return self._attempt(
            lambda: desk.save(_library(), key, form, _policy()), desk, key, view, "Saved."
        )

    def on_discard(self, desk: Desk, key: str, *more: Any) -> list[Any]:
        """Back to what is saved."""
        desk.discard(_library(), key)
        return self._show(
            desk, desk.shown if key not in _library() else key, more[:3], "Changes discarded."
        )

    def on_duplicate(self, desk: Desk, key: str, *more: Any) -> list[Any]:
        """A copy to change."""
        view, form = more[:3], Form.of_values(more[3:])
        desk.note(_library(), key, form)
        return self._attempt(
            lambda: desk.duplicate(_library(), key, _policy()), desk, key, view, "Duplicated."
        )

    def on_delete(self, desk: Desk, key: str, *more: Any) -> list[Any]:
        """Away with it."""

        def work() -> str:
            desk.delete(_library(), key, _policy())
            return desk.shown

        return self._attempt(work, desk, key, more[:3], "Deleted.")

    def on_import(self, desk: Desk, key: str, *more: Any) -> list[Any]:
        """A context from a file."""
        view, form, (file, over) = more[:3], more[3:-2], more[-2:]
        desk.note(_library(), key, Form.of_values(form))

        def work() -> str:
            if file is None:
                raise ContextError("no file was chosen")
            path = Path(file.name)
            return desk.take_in(_library(), path, _policy(), replace_own=bool(over))

        return self._attempt(work, desk, key, view, "Imported.")

    def on_reload(self, desk: Desk, key: str, *more: Any) -> list[Any]:
        """Read the folder again: files may have been put there by hand."""
        view, form = more[:3], Form.of_values(more[3:])
        desk.note(_library(), key, form)
        _library().reload()
        return self._show(desk, key, view)

    def on_learn(self, key: str, file: Any, progress: gr.Progress = gr.Progress()) -> Any:  # noqa: B008
        """Learn the context's embedding in the loaded model."""
        try:
            if settings.enforcing():
                raise NotPermitted(
                    "Nothing can be learned here while SafeGen is enforced: what is learned is "
                    "the operator's business"
                )
            context = _library().get(key)
            pairs = None if file is None else read_pairs(Path(file.name))
            progress(0.0, desc="Waiting for the model")

            def told(done: int, of: int) -> None:
                progress((done, of), desc="Encoding prompts", unit="prompts")

            with host.exclusively():
                store = LearnedStore(settings.contexts_folder())
                found = store.learn(context, encoder.HostEncoder(), pairs, progress=told)
        except (SafeGenError, OSError, csv.Error) as error:
            return gr.update(), markup.message(str(error), bad=True)
        text = f"Learned {context.label} from {found.pairs} pairs."
        return _learned(key), markup.message(text)


def build() -> None:
    """The pane, within the tab that is being built."""
    Pane()
