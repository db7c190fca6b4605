"""Contexts under the user's hands: the drafts of what is not saved yet, and saving.

Nothing here knows the page. A draft is kept for every context whose form differs from what is
saved, so that going elsewhere and coming back loses nothing. Whoever changes a context is
checked here, whatever buttons the page has shown.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from safegen.contexts.context import SafetyContext
from safegen.contexts.library import ContextError, ContextLibrary, clean_name, read
from safegen.errors import InvalidValue, SafeGenError
from safegen.sentence import told
from safegen.webui.enforcement import Policy
from safegen.webui.forms import Form
from safegen.webui.words import say, spoken

DOT = "●"
"""Marks what is not saved yet."""

OWN, BUILT_IN = "own", "built-in"
"""Words of a search."""

_WRITING = threading.Lock()


class NotPermitted(SafeGenError):
    """What the operator's enforcement keeps users from changing."""


def permit(policy: Policy | None, *contexts: SafetyContext) -> None:
    """Refuse to change ``contexts``, as they were or as they would be, if that could weaken
    what is enforced.

    Auto picks among all contexts of a category the one that knows most of a prompt's words. So
    anybody's context with a category can take the place of a required one, with a bland text of
    its own. A context without a category is only used where it is asked for, and never where a
    required one is called for: those stay the user's. So does nothing that the policy names.

    Raises:
        NotPermitted: Says which and why.
    """
    if policy is None:
        return
    for context in contexts:
        if context.category.strip():
            raise NotPermitted(
                told(
                    "The operator of this server enforces SafeGen (level {level}), and {context} "
                    "has the category {category}: Auto could take it in place of a context that "
                    "is enforced. Leave the category empty; such a context can be chosen by hand.",
                    level=policy.name,
                    context=context.name,
                    category=context.category,
                )
            )
        if context.name in policy.required:
            raise NotPermitted(
                told(
                    "The operator of this server enforces SafeGen (level {level}) and requires "
                    "the context {context}, so nobody can change it.",
                    level=policy.name,
                    context=context.name,
                )
            )


# ---------------------------------------------------------------------- drafts


@dataclass(frozen=True)
class Draft:
    """What the user has written and not saved.

    Args:
        base: What was saved when they began; ``None`` for a new context.
    """

    form: Form
    base: Form | None


@dataclass
class Drafts:
    """One browser page's drafts, by the key of the list: a saved context's name, or that of a
    new one, which has a blank in it and so is no name.

    Args:
        shown: The key whose form the page shows.
        made: New contexts begun so far.
    """

    shown: str = ""
    of_context: dict[str, Draft] = field(default_factory=dict)
    made: int = 0

    @classmethod
    def from_data(cls, data: Any) -> Drafts:
        """The drafts that the page keeps, as `to_data` gave them; none if it has none yet.

        Raises:
            InvalidValue: They are something else.
        """
        try:
            given = data or {"of_context": {}, "made": 0}
            of_context = {
                str(key): Draft(
                    Form.from_data(one["form"]),
                    None if one["base"] is None else Form.from_data(one["base"]),
                )
                for key, one in given["of_context"].items()
            }
            return cls(of_context=of_context, made=int(given["made"]))
        except InvalidValue:
            raise
        except (TypeError, KeyError, AttributeError, OverflowError, ValueError) as error:
            raise InvalidValue("drafts", data, "what the page was given") from error

    def to_data(self) -> dict[str, Any]:
        """The drafts in plain JSON types."""
        of_context = {
            key: {"form": asdict(one.form), "base": one.base and asdict(one.base)}
            for key, one in self.of_context.items()
        }
        return {"of_context": of_context, "made": self.made}

    def form(self, library: ContextLibrary, key: str) -> Form:
        """What to show for ``key``: its draft, or what is saved, or an empty form."""
        draft = self.of_context.get(key)
        if draft is not None:
            return draft.form
        return Form.of(library.get(key)) if key in library else Form()

    def note(self, library: ContextLibrary, key: str, form: Form) -> None:
        """Keep ``form``, which the page holds for ``key``, if there is anything to lose."""
        if not key or library.is_built_in(key):
            return
        saved = Form.of(library.get(key)) if key in library else None
        draft = self.of_context.get(key)
        if form == saved:
            self.of_context.pop(key, None)
        elif draft is not None:
            self.of_context[key] = replace(draft, form=form)
        elif saved is not None:
            self.of_context[key] = Draft(form, saved)
        elif form != Form():
            # Somebody else has deleted it meanwhile: what the page holds is all that is left.
            self.of_context[key] = Draft(form, None)

    def entries(self, library: ContextLibrary, search: str = "") -> list[tuple[str, str]]:
        """Label and key of every context that has all words of ``search``, new ones last.

        The words ``own`` and ``built-in`` stand for the user's contexts and the others.
        """
        wanted = search.casefold().split()
        found = []
        keys = [*library.names(), *(key for key in self.of_context if key not in library)]
        for key in keys:
            form = self.form(library, key)
            kind = BUILT_IN if library.is_built_in(key) else OWN
            text = " ".join([*form.values(), spoken(form.label)]).casefold()
            if all(
                word in text if word not in (OWN, BUILT_IN) else word == kind for word in wanted
            ):
                label = form.label.strip() or say("New context")
                found.append((f"{label} {DOT}" if key in self.of_context else label, key))
        return found

    def new(self, form: Form | None = None) -> str:
        """Begin a new context; its key."""
        self.made += 1
        key = f"new {self.made}"
        self.of_context[key] = Draft(form or Form(), None)
        self.shown = key
        return key

    def discard(self, library: ContextLibrary, key: str) -> None:
        """Forget the draft of ``key``."""
        self.of_context.pop(key, None)
        if key not in library:
            self.shown = next(iter(library)).name

    # ------------------------------------------------------------------ writing

    def save(self, library: ContextLibrary, key: str, form: Form, policy: Policy | None) -> str:
        """Save ``form`` as the context ``key``, or as a new one; its name.

        Raises:
            InvalidValue: Names the field that is not allowed. Nothing is changed then, nor by
                the other errors.
            ContextError: It is built in, its name is taken, or somebody has changed it since the
                draft was begun; in that case the next save overwrites it.
            NotPermitted: Enforcement forbids it.
        """
        with _WRITING:
            saved = library.get(key) if key in library else None
            self.note(library, key, form)
            context = form.to_context(saved)
            if saved is None:
                permit(policy, context)
                name = library.add(context).name
            else:
                permit(policy, saved, context)
                self._refuse_overtaken(key, saved)
                changes = {one.name: getattr(context, one.name) for one in fields(context)}
                name = library.edit(key, **changes).name
        self.of_context.pop(key, None)
        self.shown = name
        return name

    def _refuse_overtaken(self, key: str, saved: SafetyContext) -> None:
        draft = self.of_context.get(key)
        if draft is not None and draft.base not in (None, Form.of(saved)):
            self.of_context[key] = replace(draft, base=Form.of(saved))
            raise ContextError(
                told(
                    "{context} was changed elsewhere since you began: save once more to overwrite "
                    "that, or discard your changes to see it.",
                    context=key,
                )
            )

    def duplicate(self, library: ContextLibrary, key: str, policy: Policy | None) -> str:
        """A saved copy of ``key``, with what was learned for it; its name. A draft is copied
        as a draft.

        Raises:
            ContextError: There is no saved context of this name, or no folder.
            NotPermitted: Enforcement forbids it.
        """
        with _WRITING:
            original = library.get(key)
            permit(policy, original)
            name, number = clean_name(f"{key[:50]}-copy"), 2
            while name in library:
                name, number = clean_name(f"{key[:50]}-copy-{number}"), number + 1
            library.duplicate(key, name)
            library.edit(name, label=f"{original.label} (copy)")
        draft = self.of_context.get(key)
        if draft is not None:
            base = Form.of(library.get(name))
            form = replace(draft.form, name=base.name, label=f"{draft.form.label} (copy)")
            self.of_context[name] = Draft(form, base)
        self.shown = name
        return name

    def delete(self, library: ContextLibrary, key: str, policy: Policy | None) -> None:
        """Delete one of the user's contexts with what was learned for it, and its draft.

        Raises:
            ContextError: It is built in.
            NotPermitted: Enforcement forbids it.
        """
        with _WRITING:
            if key in library:
                permit(policy, library.get(key))
                library.delete(key)
        self.of_context.pop(key, None)
        self.shown = next(iter(library)).name

    def import_file(
        self, library: ContextLibrary, file: Path, policy: Policy | None, *, replace_own: bool
    ) -> str:
        """Import a context file, all of it or nothing; the context's name.

        Raises:
            ContextError: Names the file, and what in it is not allowed.
            NotPermitted: Enforcement forbids it.
        """
        context = read(file)
        if context.name in self.of_context:
            raise ContextError(
                told(
                    "{context} has changes that are not saved: save or discard them.",
                    context=context.name,
                )
            )
        with _WRITING:
            permit(policy, context)
            if replace_own and context.name in library:
                permit(policy, library.get(context.name))
            name = library.add(context, replace_own=replace_own).name
        self.shown = name
        return name
