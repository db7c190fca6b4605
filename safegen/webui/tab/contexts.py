"""The pane for contexts: find, read, write, copy, import, export, delete, and learn.

The page keeps what is written and not saved, and sends it with every request; nothing of it is
kept here.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from safegen.contexts.library import ContextError
from safegen.errors import InvalidValue, SafeGenError
from safegen.learned.store import LearnedStore, read_pairs
from safegen.sentence import told
from safegen.webui import encoder, host, markup, settings
from safegen.webui.deciding import library
from safegen.webui.drafts import Drafts
from safegen.webui.enforcement import Policy
from safegen.webui.errors import plainly
from safegen.webui.forms import Form
from safegen.webui.jobs import Answer, Tell
from safegen.webui.tab import asked
from safegen.webui.tab import context_layout as layout
from safegen.webui.tab import context_views as views
from safegen.webui.tab.asked import Body
from safegen.webui.tab.fitting import refuse_if_enforced
from safegen.webui.words import say

FIRST = "violence"
"""The context that the pane shows first."""
MESSAGE, LEARNED = f"{layout.ID}message", f"{layout.ID}learned"

html = layout.html


def _policy() -> Policy | None:
    """What is enforced. Raises where that can't be read: nothing may be changed then."""
    return settings.active_policy()


@dataclass(frozen=True)
class Shown:
    """What the page holds when it asks.

    Args:
        drafts: What is not saved.
        key: The context whose fields the page shows; empty at first.
        form: What stands in them.
        search, sample, strategy: What is beside the form.
        body: All that was sent.
    """

    drafts: Drafts
    key: str
    form: Form
    search: str
    sample: str
    strategy: str
    body: Body

    @classmethod
    def of(cls, body: Body) -> Shown:
        """What was sent, read and checked."""
        return cls(
            Drafts.from_data(body.get("drafts")),
            asked.text(body, "shown"),
            Form.from_data(body.get("form") or {}),
            asked.text(body, "search"),
            asked.text(body, "sample"),
            asked.text(body, "strategy"),
            body,
        )

    def note(self) -> None:
        """Keep what is written as a draft."""
        self.drafts.note(library(), self.key, self.form)

    # ------------------------------------------------------------------ answers

    def show(self, key: str, text: str = "", *, bad: bool = False, fill: bool = True) -> Answer:
        """The answer that shows ``key``.

        Args:
            text: What has happened, or what was wrong.
            fill: Whether the fields' values are sent too. They are not while somebody types.
        """
        contexts, drafts = library(), self.drafts
        if key not in contexts and key not in drafts.of_context:
            # Nothing is shown yet, or it was deleted elsewhere.
            key = FIRST if FIRST in contexts else next(iter(contexts)).name
            fill = True
        built_in, form = contexts.is_built_in(key), drafts.form(contexts, key)
        saved = contexts.get(key) if key in contexts else None
        unsaved = key in drafts.of_context
        places = {
            "list": layout.entries(drafts.entries(contexts, self.search)),
            "heading": markup.heading(saved, form.label, built_in=built_in, unsaved=unsaved),
            "preview": views.preview(key, form, self.sample, self.strategy),
            "problems": views.problems(),
        }
        answer: Answer = {
            "drafts": drafts.to_data(),
            "shown": key,
            "unsaved": unsaved,
            "builtIn": built_in,
            "html": {layout.ID + name: found for name, found in places.items()},
        }
        if fill:
            answer["form"] = asdict(form)
            answer["html"].update(
                {LEARNED: views.learned(key), MESSAGE: markup.message(text, bad=bad)}
            )
        return answer

    def attempt(self, work: Callable[[], str], done: str) -> Answer:
        """Do ``work``, which returns what to show then; say ``done`` or what was wrong."""
        try:
            key = work()
        except (SafeGenError, OSError) as error:
            return self.show(self.key, plainly(error), bad=True)
        # In txt2img and img2img there are other contexts to choose from now.
        return {**self.show(key, done), "changed": True}


# ---------------------------------------------------------------------- what is done


def _typed(page: Shown) -> Answer:
    """Fields of the form, the search or the sample prompt were changed."""
    page.note()
    return page.show(page.key, fill=False)


def _refresh(page: Shown) -> Answer:
    """Show again what is shown."""
    page.note()
    return page.show(page.key)


def _pick(page: Shown) -> Answer:
    """Another context is chosen in the list; what was written stays a draft."""
    page.note()
    return page.show(asked.text(page.body, "picked") or page.key)


def _new(page: Shown) -> Answer:
    """An empty form."""
    page.note()
    return page.show(page.drafts.new())


def _save(page: Shown) -> Answer:
    """Write the context down."""
    return page.attempt(
        lambda: page.drafts.save(library(), page.key, page.form, _policy()), say("Saved.")
    )


def _discard(page: Shown) -> Answer:
    """Back to what is saved."""
    page.drafts.discard(library(), page.key)
    return page.show(page.key, say("Changes discarded."))


def _duplicate(page: Shown) -> Answer:
    """A copy to change."""
    page.note()
    return page.attempt(
        lambda: page.drafts.duplicate(library(), page.key, _policy()), say("Duplicated.")
    )


def _delete(page: Shown) -> Answer:
    """Away with it."""

    def work() -> str:
        page.drafts.delete(library(), page.key, _policy())
        return page.drafts.shown

    return page.attempt(work, say("Deleted."))


def _import(page: Shown) -> Answer:
    """A context from a file."""
    page.note()

    def work() -> str:
        over = asked.tick(page.body, "replace")
        with tempfile.TemporaryDirectory() as folder:
            path = asked.file(page.body, "file", Path(folder))
            if path is None:
                raise ContextError(told("Choose a file first."))
            return page.drafts.import_file(library(), path, _policy(), replace_own=over)

    return page.attempt(work, say("Imported."))


def _reload(page: Shown) -> Answer:
    """Read the folder again: files may have been put there by hand."""
    page.note()
    library().reload()
    return {**page.show(page.key), "changed": True}


ACTIONS: dict[str, Callable[[Shown], Answer]] = {
    "typed": _typed,
    "refresh": _refresh,
    "pick": _pick,
    "new": _new,
    "save": _save,
    "discard": _discard,
    "duplicate": _duplicate,
    "delete": _delete,
    "import": _import,
    "reload": _reload,
}


def on_contexts(body: Body) -> Answer:
    """One of `ACTIONS`, called ``do``."""
    do = asked.text(body, "do")
    if do not in ACTIONS:
        raise InvalidValue("do", do, ", ".join(ACTIONS))
    return ACTIONS[do](Shown.of(body))


def on_learn(body: Body, tell: Tell) -> Answer:
    """Learn the context's embedding in the loaded model."""
    try:
        refuse_if_enforced()
        key = asked.text(body, "shown")
        context = library().get(key)
        with tempfile.TemporaryDirectory() as folder:
            file = asked.file(body, "pairs", Path(folder))
            pairs = None if file is None else read_pairs(file)
        tell(0.0, say("Waiting for the model"))
        with host.exclusively():
            found = LearnedStore(settings.contexts_folder()).learn(
                context,
                encoder.HostEncoder(),
                pairs,
                progress=lambda done, of: tell(done / of, say("Reading prompts")),
            )
    except (SafeGenError, OSError, csv.Error) as error:
        return {"html": {MESSAGE: markup.message(plainly(error), bad=True)}}
    text = say("{context}: learned from {n} pairs.", context=context.label, n=found.pairs)
    return {"shown": key, "html": {MESSAGE: markup.message(text), LEARNED: views.learned(key)}}
