"""What the safe stream sees: six strategies from a prompt and a `SafetyContext`.

A strategy answers with a `SafeConditioning`: the text that the host's own text encoder shall
encode and, for the strategies that work on the embedding, an edit to apply afterwards. The
host never needs to know which strategy it serves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor

from safegen.conditioning.edits import EmbeddingEdit, MoveAlong, ProjectOut
from safegen.conditioning.rewriting import check_spans, rewrite
from safegen.contexts.context import SafetyContext
from safegen.detectors.protocol import Span
from safegen.errors import InvalidValue
from safegen.learned.embedding import LearnedEmbedding
from safegen.plan import AWAY, LEARNED_STRATEGIES, NEEDED, PUSHED, STRATEGIES
from safegen.sentence import joined, told
from safegen.text.syntax import Part, parts

NEVER = "never"
"""That the safe stream is not pushed, beside `safegen.plan.PUSHED`."""


@dataclass(frozen=True)
class SafeConditioning:
    """What the safe stream is conditioned on.

    Args:
        strategy: The strategy that was used, which a fallback may have changed.
        text: What to encode.
        edit: Applied to the encoding ``[..., width]``, or ``None``.
        note: For the user, where something was decided that they did not ask for.
        added: What of ``text`` is the context's and stands beside the user's own prompt. A
            host with room for few tokens shortens this, not the prompt.
        pooled: For the strategies that edit the embedding: a text without the risky words, for
            models that see a prompt's pooled vector beside its tokens (SDXL). No edit is
            learned for that vector, so the safe stream has this text's.
        unsafe: A text for a row of its own, which the safe stream is pushed away from; empty if
            it is not pushed.
        own: Whether ``text`` is the prompt's own and there is no edit. Its cond row is then the
            safe row too, and no other need be evaluated at the same latent.
        anew: Makes the edit for the text encoder that is loaded by then; ``None`` where that is
            not known. For hosts that change the checkpoint within a run.
    """

    strategy: str
    text: str
    edit: EmbeddingEdit | None = None
    note: str = ""
    added: str = ""
    pooled: str = ""
    unsafe: str = ""
    own: bool = False
    anew: Callable[[], EmbeddingEdit] | None = field(default=None, repr=False, compare=False)

    def apply(self, embedding: Tensor) -> Tensor:
        """``embedding`` with the edit applied, in its own dtype."""
        return embedding if self.edit is None else self.edit(embedding)


_ALL_RISKY = told("every word of the prompt is risky: the context's text takes its place")
_INSTRUCTION = re.compile(r"<[^>]*>|\b(?:AND|BREAK)\b")
"""What has letters in a host's prompt but says nothing to the model."""


def _joined(*parts: str) -> str:
    return ", ".join(part.strip().rstrip(", ") for part in parts if part.strip(", \n"))


def condition(
    prompt: str,
    context: SafetyContext,
    strategy: str,
    *,
    spans: Sequence[Span] = (),
    learned: LearnedEmbedding | None = None,
    find: Callable[[], LearnedEmbedding] | None = None,
    strength: float = 1.0,
    push: str = NEVER,
) -> SafeConditioning:
    """What the safe stream shall see for ``prompt``.

    A prompt of several ``AND`` parts is conditioned part by part, and the text has the parts
    and their weights in their places; a host that encodes parts by themselves takes them from
    `condition_parts`.

    Args:
        prompt: The user's prompt.
        context: What to keep away from.
        strategy: One of `STRATEGIES`.
        spans: The prompt's risky stretches, for ``counterpart``; without any, or if nothing
            changes, it falls back to ``away`` (to ``prepend`` where nothing is pushed), with
            nothing else in the prompt to ``context``, and says so.
        learned: The context's embedding for the model's own text encoder, which ``direction``
            and ``projection`` need.
        find: Finds it in whatever text encoder is loaded by then; see `SafeConditioning.anew`.
        strength: How far ``direction`` moves (1 = the mean distance between the pairs' halves)
            and how much ``projection`` removes (1 = all).
        push: Whether the safe stream is also pushed away from the context's unsafe text, if it
            has one: `NEVER`, where it is `NEEDED` since no word could be replaced, or
            `PUSH_ALL`.

    Raises:
        InvalidValue: An unknown strategy, a learned embedding that is missing, or a span that
            lies outside the prompt.
    """
    places = parts(prompt)
    done = condition_parts(
        prompt, context, strategy, spans=spans, learned=learned, find=find, strength=strength,
        push=push,
    )  # fmt: skip
    text, position = "", 0
    for place, one in zip(places, done, strict=True):
        text += prompt[position : place.start]
        if one.text and not place.text:  # something where nothing was: keep clear of an AND
            text += " " * text.endswith("AND") + one.text + " " * (place.end < len(prompt))
        else:
            text += one.text
        position = place.end
    # The first part that was conditioned speaks for all: parts of weight 0 or less are not.
    chief = max(zip(places, done, strict=True), key=lambda pair: pair[0].weight > 0)[1]
    notes = dict.fromkeys(one.note for one in done if one.note)
    text += prompt[position:]
    if chief.strategy == "counterpart" and not _has(text, str.isalpha):
        chief = replace(chief, strategy="context", text=context.safe_text, note=_ALL_RISKY)
    else:
        chief = replace(chief, text=text, note=joined("; ", notes))
    return _owned(chief, prompt)


def condition_parts(
    prompt: str,
    context: SafetyContext,
    strategy: str,
    *,
    spans: Sequence[Span] = (),
    learned: LearnedEmbedding | None = None,
    find: Callable[[], LearnedEmbedding] | None = None,
    strength: float = 1.0,
    push: str = NEVER,
) -> tuple[SafeConditioning, ...]:
    """What the safe stream shall see for each ``AND`` part, in order; for hosts that encode the
    parts by themselves and weigh their rows.

    ``spans`` are stretches of the whole prompt; each part is rewritten with those that lie in
    it. The texts have no weights. A part of weight 0 or less is left as it is: the model moves
    away from what it says. So is, for ``counterpart``, a part without risky words beside
    another one that has some. Arguments and errors are those of `condition`.
    """
    if strategy not in STRATEGIES:
        raise InvalidValue("strategy", strategy, ", ".join(STRATEGIES))
    if push not in (NEVER, *PUSHED):
        raise InvalidValue("push", push, ", ".join((NEVER, *PUSHED)))
    edit: EmbeddingEdit | None = None
    anew: Callable[[], EmbeddingEdit] | None = None
    if strategy in LEARNED_STRATEGIES:
        if learned is None:
            raise InvalidValue(
                "strategy",
                strategy,
                f"only with an embedding learned for context {context.name!r} in this model's "
                "text encoder; learn one, or choose counterpart, prepend, append or context",
            )
        edit = _edit(learned, strategy, strength)
        if find is not None:
            anew = partial(_found_edit, find, strategy, strength)
    unsafe = context.unsafe_text.strip() if push != NEVER else ""
    if strategy == AWAY and not unsafe:
        raise InvalidValue(
            "strategy",
            strategy,
            f"only with push above 0 and an unsafe text in context {context.name!r}",
        )
    places = parts(prompt)
    pooled = [""] * len(places)
    if edit is not None:
        plainly = condition_parts(prompt, context, "counterpart", spans=spans)
        pooled = [one.text for one in plainly]
    note = ""
    rewritten = [place.text for place in places]
    if strategy == "counterpart":
        check_spans(prompt, spans)
        rewritten = [
            rewrite(place.text, _within(place, spans), context) if place.weight > 0 else place.text
            for place in places
        ]
        changed = [
            place.weight > 0 and _plain(text) != _plain(place.text)
            for place, text in zip(places, rewritten, strict=True)
        ]
        if not any(changed):
            strategy = AWAY if unsafe else "prepend"
            reason = (
                told("the context has no other words for the risky ones")
                if spans
                else told("no risky words found in the prompt")
            )
            instead = (
                told("your own prompt is pushed away from what is unsafe instead")
                if unsafe
                else told("the context's text goes before it instead")
            )
            note = joined(": ", (reason, instead))
    if push == NEEDED and strategy != AWAY:
        unsafe = ""
    if not any(place.weight > 0 for place in places):
        note = told("every part of the prompt has a weight of 0 or less: nothing to make safe")

    # Where nothing is said there is nothing to make safe, unless nothing is said at all.
    silent = {place for place in places if not place.text}
    if len(silent) == len(places):
        silent.discard(places[0])

    def one(place: Part, text: str, pooled: str) -> SafeConditioning:
        if place.weight <= 0 or place in silent:
            return SafeConditioning(strategy, place.text, note=note)
        if strategy == "counterpart":
            # A number alone is no prompt, but it may be a word that was found risky.
            if _has(text, str.isalpha) or not _has(place.text, str.isalnum):
                return SafeConditioning(strategy, text, unsafe=unsafe)
            return SafeConditioning("context", context.safe_text, note=_ALL_RISKY, unsafe=unsafe)
        texts = {
            "prepend": _joined(context.safe_text, place.text),
            "append": _joined(place.text, context.safe_text),
            "context": context.safe_text,
        }
        added = context.safe_text if strategy in ("prepend", "append") else ""
        text = texts.get(strategy, place.text)
        return SafeConditioning(strategy, text, edit, note, added, pooled, unsafe, anew=anew)

    done = map(one, places, rewritten, pooled)
    return tuple(_owned(each, place.text) for each, place in zip(done, places, strict=True))


def _owned(conditioning: SafeConditioning, prompt: str) -> SafeConditioning:
    """``conditioning``, which says whether it is what ``prompt`` itself would be encoded to."""
    own = conditioning.edit is None and conditioning.text == prompt
    return replace(conditioning, own=own)


def _found_edit(
    find: Callable[[], LearnedEmbedding], strategy: str, strength: float
) -> EmbeddingEdit:
    return _edit(find(), strategy, strength)


def _edit(learned: LearnedEmbedding, strategy: str, strength: float) -> EmbeddingEdit:
    if strategy == "direction":
        return MoveAlong(learned.direction, strength, learned.start)
    return ProjectOut(learned.basis, learned.center, strength, learned.start)


def _has(text: str, kind: Callable[[str], bool]) -> bool:
    """Whether there is a character of ``kind`` in ``text`` beside its instructions."""
    return any(kind(character) for character in _INSTRUCTION.sub("", text))


def _within(part: Part, spans: Sequence[Span]) -> list[Span]:
    """The spans that touch ``part``, in the part's own offsets."""
    found = []
    for span in spans:
        start, end = max(span.start, part.start), min(span.end, part.end)
        if start < end:
            found.append(replace(span, start=start - part.start, end=end - part.start))
    return found


def _plain(text: str) -> str:
    """For telling whether two texts say the same."""
    return " ".join(text.casefold().split())
