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


@dataclass(frozen=True)
class MoveAlong:
    """e + strength · direction, on every token."""

    direction: Tensor
    strength: float

    def __call__(self, embedding: Tensor) -> Tensor:
        _check_width(embedding, len(self.direction))
        step = self.strength * self.direction.to(embedding.device, torch.float32)
        return (embedding.float() + step).to(embedding.dtype)


@dataclass(frozen=True)
class ProjectOut:
    """e - min(strength, 1) · ((e - center) U) Uᵀ: each token's part in the unsafe subspace goes.

    ``basis`` is U as orthonormal rows ``[k, width]``; ``center`` ``[width]`` is the safe mean,
    so that an embedding that is already as safe as the pairs' safe half hardly moves.
    """

    basis: Tensor
    center: Tensor
    strength: float = 1.0

    def __call__(self, embedding: Tensor) -> Tensor:
        _check_width(embedding, self.basis.shape[1])
        basis = self.basis.to(embedding.device, torch.float32)
        offset = embedding.float() - self.center.to(embedding.device, torch.float32)
        inside = offset @ basis.T @ basis
        return (embedding.float() - min(self.strength, 1.0) * inside).to(embedding.dtype)


def _check_width(embedding: Tensor, width: int) -> None:
    if embedding.shape[-1] != width:
        raise InvalidValue(
            "learned embedding width", width, f"the text encoder's, {embedding.shape[-1]}"
        )


def _replacement(found: str, context: SafetyContext) -> str:
    key = re.sub(r"\s+", " ", found.strip().lower())
    return context.neutral.get(key, context.fallback)


_ARTICLE = re.compile(r"\b(a|an)(\s+)$", re.IGNORECASE)


def _fit_article(before: str, following: str) -> str:
    """``before`` with its closing "a" or "an" made to fit the word that now follows."""
    match = _ARTICLE.search(before)
    if match is None or not following[:1].isalpha():
        return before
    article = match.group(1)
    wanted = "an" if following[0].lower() in "aeiou" else "a"
    if article.lower() == wanted:
        return before
    fitted = wanted.capitalize() if article[0].isupper() else wanted
    return before[: match.start(1)] + fitted + match.group(2)


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

    Everything outside the spans stays as it is, character for character, but for the space
    or comma that a dropped word leaves over and the article before a replaced word.

    Raises `InvalidValue` for a span that lies outside the prompt.
    """
    result, position = "", 0
    for start, end in merge_spans(spans):
        if not 0 <= start < end <= len(prompt):
            raise InvalidValue("span", (start, end), f"a stretch within 0 to {len(prompt)}")
        result += prompt[position:start]
        word = _replacement(prompt[start:end], context)
        rest = prompt[end:]
        if not word:
            # One of the two spaces around a dropped word goes with it, and one of two commas.
            if (not result or result[-1].isspace()) and rest[:1].isspace():
                end += len(rest) - len(rest.lstrip())
            elif result.endswith(" ") and (not rest or rest[0] in ",.;:)]"):
                result = result[:-1]
            if result.rstrip().endswith(",") and prompt[end:].startswith(","):
                end += 1
        result = _fit_article(result, word or prompt[end:])
        result += word
        position = end
    return result + prompt[position:]


def _joined(*parts: str) -> str:
    return ", ".join(part.strip().rstrip(",") for part in parts if part.strip())


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
            ``prepend`` and says so.
        learned: The context's embedding for the model's own text encoder, which ``direction``
            and ``projection`` need.
        strength: How far ``direction`` moves (1 = the mean distance between the pairs' halves)
            and how much ``projection`` removes (1 = all).

    Raises:
        InvalidValue: An unknown strategy, or a learned embedding that is missing.
    """
    if strategy == "counterpart":
        if spans:
            return SafeConditioning(strategy, rewrite(prompt, spans, context))
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
