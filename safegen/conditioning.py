"""What the safe stream sees: six strategies from a prompt and a `SafetyContext`.

A strategy answers with a `SafeConditioning`: the text that the host's own text encoder shall
encode and, for the strategies that work on the embedding, an edit to apply afterwards. The
host never needs to know which strategy it serves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from safegen.contexts.context import SafetyContext
from safegen.contexts.embedding import LearnedEmbedding
from safegen.detectors.neutral import replacement
from safegen.detectors.prompt import Part, parts
from safegen.detectors.protocol import Span
from safegen.errors import InvalidValue
from safegen.plan import LEARNED_STRATEGIES, STRATEGIES

EmbeddingEdit = Callable[[Tensor], Tensor]


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
    """

    strategy: str
    text: str
    edit: EmbeddingEdit | None = None
    note: str = ""
    added: str = ""
    pooled: str = ""

    def apply(self, embedding: Tensor) -> Tensor:
        """``embedding`` with the edit applied, in its own dtype."""
        return embedding if self.edit is None else self.edit(embedding)


@dataclass(frozen=True, eq=False)
class MoveAlong:
    """e + strength · direction, on every token but start marks, in float32 or wider.

    ``start`` ``[width]`` is the start mark's embedding, or ``None`` to move every token. The
    mark is the same for every prompt, so what it is cannot depend on safety, and a model that
    never saw it moved would misread everything.
    """

    direction: Tensor
    strength: float
    start: Tensor | None = None

    def __call__(self, embedding: Tensor) -> Tensor:
        _check_width(embedding, len(self.direction))
        wide = _wide(embedding)
        moved = wide + self.strength * self.direction.to(wide)
        return _but_start(embedding, wide, moved, self.start)


@dataclass(frozen=True, eq=False)
class ProjectOut:
    """e - min(strength, 1) · ((e - center) Uᵀ) U: each token's part in the unsafe subspace goes.

    ``basis`` is U as orthonormal rows ``[k, width]``; ``center`` ``[width]`` is the safe mean,
    so that an embedding that is already as safe as the pairs' safe half hardly moves. ``start``
    is as in `MoveAlong`. Computed in float32 or wider.
    """

    basis: Tensor
    center: Tensor
    strength: float = 1.0
    start: Tensor | None = None

    def __call__(self, embedding: Tensor) -> Tensor:
        _check_width(embedding, self.basis.shape[1])
        wide = _wide(embedding)
        offset = wide - self.center.to(wide)
        inside = torch.zeros_like(wide)
        # Sums rather than a matrix product, which autocast would run in half precision.
        for axis in self.basis.to(wide):
            inside += (offset * axis).sum(-1, keepdim=True) * axis
        moved = wide - min(self.strength, 1.0) * inside
        return _but_start(embedding, wide, moved, self.start)


def _wide(embedding: Tensor) -> Tensor:
    return embedding.to(torch.promote_types(embedding.dtype, torch.float32))


_SAME_DIRECTION = 0.999
"""Cosine from which a token is taken for the start mark; a host may have scaled it."""


def _but_start(given: Tensor, wide: Tensor, moved: Tensor, start: Tensor | None) -> Tensor:
    """``moved`` in the dtype of ``given``, but the tokens that are start marks as given."""
    result = moved.to(given.dtype)
    if start is None:
        return result
    mark = start.to(wide)
    cosine = (wide * mark).sum(-1) / (wide.norm(dim=-1) * mark.norm()).clamp_min(1e-12)
    return torch.where((cosine > _SAME_DIRECTION).unsqueeze(-1), given, result)


def _check_width(embedding: Tensor, width: int) -> None:
    if embedding.shape[-1] != width:
        raise InvalidValue(
            "learned embedding width", width, f"the text encoder's, {embedding.shape[-1]}"
        )


_ARTICLE = re.compile(r"\b(an?)(\s+[(\[]*)$", re.IGNORECASE)
_VOWEL_SOUND = re.compile(
    r"(?!uni(?![dmn])|us[aeiu]|eu|ewe|one\b|once\b)[aeiou]|hour|honest|honou?r|heir",
    re.IGNORECASE,
)


def _fit_article(before: str, following: str) -> str:
    """``before`` with its closing "a" or "an" made to fit the word that now follows.

    Goes by spelling, with the commonest exceptions ("a unicorn", "an hour").
    """
    match, following = _ARTICLE.search(before), following.lstrip("([")
    if match is None or not following[:1].isalpha():
        return before
    article = match.group(1)
    wanted = "an" if _VOWEL_SOUND.match(following) else "a"
    if article.lower() == wanted:
        return before
    fitted = wanted.capitalize() if article[0].isupper() else wanted
    return before[: match.start(1)] + fitted + match.group(2)


def _close_gap(before: str, after: str) -> tuple[str, str]:
    """What stands around a dropped word, without the blank or the comma it leaves over."""
    left, right = before.rstrip(" "), after.lstrip(" ")
    begins = not before or before[-1].isspace() or before[-1] in "([|:"
    if right.startswith(",") and (not left or left[-1] in ",([|:"):
        right = right[1:]
        return before, right.removeprefix(" ") if begins else right
    if left.endswith(",") and (not right or right[0] in ")]|:"):
        return left[:-1], right
    if begins and after.startswith(" "):
        return before, right
    if before.endswith(" ") and (not after or after[0].isspace() or after[0] in ",.;:|)]"):
        return before[:-1], after
    return before, after


_NUMBER = r"\s*[-+]?(?:\d+\.?\d*|\.\d+)\s*"
_EMPTIED = tuple(
    (re.compile(rf"(?<!\\)(?:\\\\)*(?P<opened>{opened})\Z"), re.compile(closed))
    for opened, closed in (
        (r"\(\s*", rf"\s*(?::{_NUMBER})?\)"),  # () and (:1.2)
        (r"\[\s*(?:\|\s*)*", r"\s*(?:\|\s*)*\]"),  # [] and [||]
        (r"\[\s*(?::\s*)?", rf"\s*(?::\s*)?:{_NUMBER}\]"),  # [:0.5] and [::0.5]
    )
)
"""What stands before and behind a dropped word that was all there was in its brackets."""


def _drop_empty(before: str, after: str) -> tuple[str, str]:
    """What stands around a dropped word, without the brackets that have nothing in them now.

    Emphasis and prompt editing of nothing say nothing; ``[|cat]`` and ``[cat::0.5]`` do.
    """
    for opened, closed in _EMPTIED:
        left, right = opened.search(before), closed.match(after)
        if left and right:
            return _drop_empty(before[: left.start("opened")], after[right.end() :])
    return before, after


def merge_spans(spans: Iterable[Span]) -> list[tuple[int, int]]:
    """The stretches that ``spans`` cover, in order, overlapping ones joined."""
    merged: list[tuple[int, int]] = []
    for span in sorted(spans):
        if merged and span.start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], span.end))
        else:
            merged.append((span.start, span.end))
    return merged


def _letters(text: str) -> str:
    return "".join(text.split())


def _pieces(prompt: str, spans: Sequence[Span], context: SafetyContext) -> dict[Span, str]:
    """What takes the place of the pieces of words that syntax cuts: one replacement for each
    word, in its first piece, and nothing in the others."""
    found: dict[Span, str] = {}
    missing: dict[tuple[str, str, str], str] = {}
    for span in sorted(spans):
        if not span.whole:
            continue
        key = (span.whole, span.category, span.detector)
        piece, rest = _letters(prompt[span.start : span.end]), missing.get(key, "")
        if rest.startswith(piece):
            found[span] = ""
        else:
            rest = _letters(span.whole)
            found[span] = replacement(span.whole, context)
        missing[key] = rest.removeprefix(piece)
    return found


def rewrite(prompt: str, spans: Sequence[Span], context: SafetyContext) -> str:
    """``prompt`` with each span replaced by the context's neutral words.

    Everything outside the spans stays as it is, character for character, but for what a dropped
    word leaves over (blanks, a comma, brackets with nothing else in them) and the article before
    the span. A word that
    is cut by syntax, such as ``(bl:1.2)ood``, has one replacement, not one for each piece.

    Raises `InvalidValue` for a span that lies outside the prompt.
    """
    result, position = "", 0
    of_pieces = {
        (span.start, span.end): word for span, word in _pieces(prompt, spans, context).items()
    }
    for start, end in merge_spans(spans):
        if not 0 <= start < end <= len(prompt):
            raise InvalidValue("span", (start, end), f"a stretch within 0 to {len(prompt)}")
        result += prompt[position:start]
        rest = prompt[max(position, end) :]
        word = of_pieces.get((start, end))
        if word is None:
            word = replacement(prompt[start:end], context)
        if not word:
            result, rest = _close_gap(*_drop_empty(result, rest))
        result = _fit_article(result, word or rest) + word
        position = len(prompt) - len(rest)
    return result + prompt[position:]


_ALL_RISKY = "every word of the prompt is risky: the context's text takes its place"
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
    strength: float = 1.0,
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
            changes, it falls back to ``prepend``, with nothing else in the prompt to
            ``context``, and says so.
        learned: The context's embedding for the model's own text encoder, which ``direction``
            and ``projection`` need.
        strength: How far ``direction`` moves (1 = the mean distance between the pairs' halves)
            and how much ``projection`` removes (1 = all).

    Raises:
        InvalidValue: An unknown strategy, a learned embedding that is missing, or a span that
            lies outside the prompt.
    """
    places = parts(prompt)
    done = condition_parts(
        prompt, context, strategy, spans=spans, learned=learned, strength=strength
    )
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
        return SafeConditioning("context", context.safe_text, note=_ALL_RISKY)
    return replace(chief, text=text, note="; ".join(notes))


def condition_parts(
    prompt: str,
    context: SafetyContext,
    strategy: str,
    *,
    spans: Sequence[Span] = (),
    learned: LearnedEmbedding | None = None,
    strength: float = 1.0,
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
    edit: EmbeddingEdit | None = None
    if strategy in LEARNED_STRATEGIES:
        if learned is None:
            raise InvalidValue(
                "strategy",
                strategy,
                f"only with an embedding learned for context {context.name!r} in this model's "
                "text encoder; learn one, or choose counterpart, prepend, append or context",
            )
        edit = _edit(learned, strategy, strength)
    places = parts(prompt)
    pooled = [""] * len(places)
    if edit is not None:
        plainly = condition_parts(prompt, context, "counterpart", spans=spans)
        pooled = [one.text for one in plainly]
    note = ""
    rewritten = [place.text for place in places]
    if strategy == "counterpart":
        for span in spans:
            if not 0 <= span.start < span.end <= len(prompt):
                raise InvalidValue(
                    "span", (span.start, span.end), f"a stretch within 0 to {len(prompt)}"
                )
        rewritten = [
            rewrite(place.text, _within(place, spans), context) if place.weight > 0 else place.text
            for place in places
        ]
        changed = [
            place.weight > 0 and _plain(text) != _plain(place.text)
            for place, text in zip(places, rewritten, strict=True)
        ]
        if not any(changed):
            strategy = "prepend"
            reason = (
                "the context has no other words for the risky ones"
                if spans
                else "no risky words found in the prompt"
            )
            note = f"{reason}: the context's text goes before it instead"
    if not any(place.weight > 0 for place in places):
        note = "every part of the prompt has a weight of 0 or less: nothing to make safe"

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
                return SafeConditioning(strategy, text)
            return SafeConditioning(
                "context",
                context.safe_text,
                note=_ALL_RISKY,
            )
        texts = {
            "prepend": _joined(context.safe_text, place.text),
            "append": _joined(place.text, context.safe_text),
            "context": context.safe_text,
        }
        added = context.safe_text if strategy in ("prepend", "append") else ""
        text = texts.get(strategy, place.text)
        return SafeConditioning(strategy, text, edit, note, added, pooled)

    return tuple(map(one, places, rewritten, pooled))


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
