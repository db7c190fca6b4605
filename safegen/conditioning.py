"""What the safe stream sees: six strategies from a prompt and a `SafetyContext`.

A strategy answers with a `SafeConditioning`: the text that the host's own text encoder shall
encode and, for the strategies that work on the embedding, an edit to apply afterwards. The
host never needs to know which strategy it serves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from safegen.contexts.context import SafetyContext
from safegen.contexts.embedding import LearnedEmbedding
from safegen.detectors.protocol import Span
from safegen.errors import InvalidValue
from safegen.plan import STRATEGIES

EmbeddingEdit = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SafeConditioning:
    """What the safe stream is conditioned on.

    Args:
        strategy: The strategy that was used, which a fallback may have changed.
        text: What to encode.
        edit: Applied to the encoding ``[..., width]``, or ``None``.
        note: For the user, where something was decided that they did not ask for.
    """

    strategy: str
    text: str
    edit: EmbeddingEdit | None = None
    note: str = ""

    def apply(self, embedding: Tensor) -> Tensor:
        """``embedding`` with the edit applied, in its own dtype."""
        return embedding if self.edit is None else self.edit(embedding)


@dataclass(frozen=True, eq=False)
class MoveAlong:
    """e + strength · direction, on every token, computed in float32 or wider."""

    direction: Tensor
    strength: float

    def __call__(self, embedding: Tensor) -> Tensor:
        _check_width(embedding, len(self.direction))
        wide = _wide(embedding)
        return (wide + self.strength * self.direction.to(wide)).to(embedding.dtype)


@dataclass(frozen=True, eq=False)
class ProjectOut:
    """e - min(strength, 1) · ((e - center) Uᵀ) U: each token's part in the unsafe subspace goes.

    ``basis`` is U as orthonormal rows ``[k, width]``; ``center`` ``[width]`` is the safe mean,
    so that an embedding that is already as safe as the pairs' safe half hardly moves. Computed
    in float32 or wider.
    """

    basis: Tensor
    center: Tensor
    strength: float = 1.0

    def __call__(self, embedding: Tensor) -> Tensor:
        _check_width(embedding, self.basis.shape[1])
        wide = _wide(embedding)
        offset = wide - self.center.to(wide)
        inside = torch.zeros_like(wide)
        # Sums rather than a matrix product, which autocast would run in half precision.
        for axis in self.basis.to(wide):
            inside += (offset * axis).sum(-1, keepdim=True) * axis
        return (wide - min(self.strength, 1.0) * inside).to(embedding.dtype)


def _wide(embedding: Tensor) -> Tensor:
    return embedding.to(torch.promote_types(embedding.dtype, torch.float32))


def _check_width(embedding: Tensor, width: int) -> None:
    if embedding.shape[-1] != width:
        raise InvalidValue(
            "learned embedding width", width, f"the text encoder's, {embedding.shape[-1]}"
        )


def _replacement(found: str, context: SafetyContext) -> str:
    key = re.sub(r"\s+", " ", found.strip().lower())
    return context.neutral.get(key, context.fallback)


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


def merge_spans(spans: Iterable[Span]) -> list[tuple[int, int]]:
    """The stretches that ``spans`` cover, in order, overlapping ones joined."""
    merged: list[tuple[int, int]] = []
    for span in sorted(spans):
        if merged and span.start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], span.end))
        else:
            merged.append((span.start, span.end))
    return merged


def rewrite(prompt: str, spans: Sequence[Span], context: SafetyContext) -> str:
    """``prompt`` with each span replaced by the context's neutral words.

    Everything outside the spans stays as it is, character for character, but for the blanks
    and the comma that a dropped word leaves over and the article before the span.

    Raises `InvalidValue` for a span that lies outside the prompt.
    """
    result, position = "", 0
    for start, end in merge_spans(spans):
        if not 0 <= start < end <= len(prompt):
            raise InvalidValue("span", (start, end), f"a stretch within 0 to {len(prompt)}")
        result += prompt[position:start]
        word, rest = _replacement(prompt[start:end], context), prompt[max(position, end) :]
        if not word:
            result, rest = _close_gap(result, rest)
        result = _fit_article(result, word or rest) + word
        position = len(prompt) - len(rest)
    return result + prompt[position:]


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

    Args:
        prompt: The user's prompt.
        context: What to keep away from.
        strategy: One of `STRATEGIES`.
        spans: The prompt's risky stretches, for ``counterpart``; without any it falls back to
            ``prepend``, with nothing else in the prompt to ``context``, and says so.
        learned: The context's embedding for the model's own text encoder, which ``direction``
            and ``projection`` need.
        strength: How far ``direction`` moves (1 = the mean distance between the pairs' halves)
            and how much ``projection`` removes (1 = all).

    Raises:
        InvalidValue: An unknown strategy, a learned embedding that is missing, or a span that
            lies outside the prompt.
    """
    if strategy == "counterpart":
        if spans:
            text = rewrite(prompt, spans, context)
            if any(character.isalpha() for character in _INSTRUCTION.sub("", text)):
                return SafeConditioning(strategy, text)
            return SafeConditioning(
                "context",
                context.safe_text,
                note="every word of the prompt is risky: the context's text takes its place",
            )
        return SafeConditioning(
            "prepend",
            _joined(context.safe_text, prompt),
            note="no risky words found in the prompt: the context's text goes before it instead",
        )
    if strategy == "prepend":
        return SafeConditioning(strategy, _joined(context.safe_text, prompt))
    if strategy == "append":
        return SafeConditioning(strategy, _joined(prompt, context.safe_text))
    if strategy == "context":
        return SafeConditioning(strategy, context.safe_text)
    if strategy in ("direction", "projection"):
        if learned is None:
            raise InvalidValue(
                "strategy",
                strategy,
                f"only with an embedding learned for context {context.name!r} in this model's "
                "text encoder; learn one, or choose counterpart, prepend, append or context",
            )
        if strategy == "direction":
            return SafeConditioning(strategy, prompt, MoveAlong(learned.direction, strength))
        return SafeConditioning(
            strategy, prompt, ProjectOut(learned.basis, learned.center, strength)
        )
    raise InvalidValue("strategy", strategy, ", ".join(STRATEGIES))
