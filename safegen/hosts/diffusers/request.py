"""What a pipeline is called with, as far as the guard has to know it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safegen.errors import InvalidValue, Unsupported
from safegen.hosts.diffusers.encoding import Encoding
from safegen.plan import AUTO, AWAY, LEARNED_STRATEGIES, SafetyPlan

TEXTLESS_STRATEGIES = ("context", AWAY, *LEARNED_STRATEGIES)
"""The strategies that need not read the prompt."""
NEGATIVE = (
    "negative_prompt",
    "negative_prompt_2",
    "negative_prompt_embeds",
    "negative_pooled_prompt_embeds",
)
"""Arguments of a call that ``encode_prompt`` takes too."""


def _texts(name: str, value: Any) -> tuple[str, ...]:
    """One text or a list of texts as a tuple."""
    texts = (value,) if isinstance(value, str) else value
    fits = isinstance(texts, (list, tuple)) and texts and all(isinstance(t, str) for t in texts)
    if not fits:
        raise InvalidValue(name, value, "a text or a list of texts, at least one")
    return tuple(texts)


def _signature(pipe: Any) -> inspect.Signature:
    """That of the call which names its arguments; wrappers around it may pass all on."""
    for kind in type(pipe).__mro__:
        if "__call__" in vars(kind):
            signature = inspect.signature(vars(kind)["__call__"])
            if "prompt" in signature.parameters:
                return signature
    raise Unsupported(f"{type(pipe).__name__} can't be guarded: it takes no prompt")


@dataclass(frozen=True, eq=False)
class Request:
    """One call of a pipeline.

    Args:
        prompts: What the pictures shall show, one text for each; empty texts beside ``embeds``.
        second: The texts for SDXL's second encoder, where they are others (``prompt_2``).
        embeds: The prompts' encodings where the caller has made them.
        images_per_prompt: ``num_images_per_prompt``.
        encoding: ``clip_skip`` and ``lora_scale``, as ``encode_prompt`` takes them.
        negative: ``negative_prompt`` and the like, as far as they are given.
        guidance_rescale: As in the call, 0 where it is not given.
    """

    prompts: tuple[str, ...]
    second: tuple[str, ...] | None
    embeds: Encoding | None
    images_per_prompt: int
    encoding: Mapping[str, Any]
    negative: Mapping[str, Any]
    guidance_rescale: float

    @classmethod
    def read(cls, pipe: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Request:
        """The request in the arguments of a call of ``pipe``.

        Raises:
            InvalidValue: The prompt is neither a text nor a list of texts.
            Unsupported: The pipeline takes no prompt.
            TypeError: The pipeline does not take these arguments.
        """
        given = _signature(pipe).bind(pipe, *args, **kwargs).arguments
        embeds = given.get("prompt_embeds")
        second = given.get("prompt_2")
        if embeds is None:
            prompts = _texts("prompt", given.get("prompt"))
            texts_2 = None if second is None else _texts("prompt_2", second)
            if texts_2 is not None and len(texts_2) != len(prompts):
                raise InvalidValue("prompt_2", second, f"{len(prompts)} texts, one per prompt")
        else:
            prompts, texts_2 = ("",) * len(embeds), None
        attention = given.get("cross_attention_kwargs") or {}
        return cls(
            prompts,
            None if texts_2 == prompts else texts_2,
            None if embeds is None else Encoding(embeds, given.get("pooled_prompt_embeds")),
            given.get("num_images_per_prompt") or 1,
            {"clip_skip": given.get("clip_skip"), "lora_scale": attention.get("scale")},
            {k: v for k, v in given.items() if k in NEGATIVE and v is not None},
            given.get("guidance_rescale") or 0.0,
        )

    def check(self, plan: SafetyPlan) -> None:
        """Raise `Unsupported` for what cannot be guarded, before anything is sampled."""
        textless = plan.context != AUTO and plan.strategy in TEXTLESS_STRATEGIES
        if self.embeds is not None and not textless:
            raise Unsupported(
                "prompt_embeds can't be read: pass the prompt as text, or name a context and "
                f"choose one of the strategies {', '.join(TEXTLESS_STRATEGIES)}"
            )
        if plan.streams == "independent" and self.guidance_rescale:
            raise Unsupported("guidance_rescale needs shared streams")
