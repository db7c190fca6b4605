"""What a pipeline's text encoders make of the texts of the safe stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from safegen.conditioning.strategies import SafeConditioning
from safegen.method.mixing import mixed

LEAST_WORDS = 3
"""Of a context's text, how many words must remain for it to say anything."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """One text per row, as a UNet is conditioned on it.

    Args:
        states: Token embeddings, ``[rows, tokens, width]``.
        pooled: SDXL's pooled vectors, ``[rows, width]``; ``None`` for models without.
    """

    states: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, index: Tensor | slice) -> Encoding:
        return Encoding(self.states[index], None if self.pooled is None else self.pooled[index])

    def repeated(self, times: int) -> Encoding:
        """Every row ``times`` times in a row, as pipelines repeat the rows of a prompt."""
        pooled = None if self.pooled is None else self.pooled.repeat_interleave(times, 0)
        return Encoding(self.states.repeat_interleave(times, 0), pooled)

    def between(self, prompt: Encoding, share: float) -> Encoding:
        """``share`` (0 to 1) of the way from ``prompt``'s rows to these, row by row.

        Tokens are aligned first (`safegen.method.mixing.mixed`); pooled vectors, of which each
        text has one, are interpolated.
        """
        if share == 1.0:
            return self
        pairs = zip(prompt.states, self.states.to(prompt.states.device), strict=True)
        states = [mixed(own, safe, share) for own, safe in pairs]
        pooled = self.pooled
        if pooled is not None:
            own_pooled = _same(prompt.pooled).float()
            pooled = torch.lerp(own_pooled, pooled.to(own_pooled), share)
        return Encoding(torch.stack(states), pooled)

    def equals(self, other: Encoding) -> bool:
        """Whether both are the same, value by value."""
        if (self.pooled is None) != (other.pooled is None):
            return False
        pooled = self.pooled is None or torch.equal(self.pooled, _same(other.pooled))
        return pooled and torch.equal(self.states, other.states)

    @classmethod
    def of_inputs(cls, inputs: Mapping[str, Any]) -> Encoding:
        """The encoding among a UNet's inputs."""
        added = inputs.get("added_cond_kwargs") or {}
        return cls(inputs["encoder_hidden_states"], added.get("text_embeds"))

    def put_into(self, inputs: dict[str, Any]) -> None:
        """Replace the encoding among a UNet's ``inputs``, in the dtype of theirs."""
        inputs["encoder_hidden_states"] = self.states.to(inputs["encoder_hidden_states"].dtype)
        if self.pooled is not None:
            added = inputs["added_cond_kwargs"]
            pooled = self.pooled.to(added["text_embeds"].dtype)
            inputs["added_cond_kwargs"] = {**added, "text_embeds": pooled}


def _same(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor


def has_two_encoders(pipe: Any) -> bool:
    """Whether a prompt is encoded twice, side by side, with a pooled vector (SDXL)."""
    return getattr(pipe, "text_encoder_2", None) is not None


def fitted(pipe: Any, conditioning: SafeConditioning) -> str:
    """The conditioning's text, the context's part shortened until all of it fits.

    A pipeline cuts off what does not fit, and that would be the end of the user's prompt. A
    prompt that leaves no room is cut nevertheless: without the context nothing would be safe.
    """
    found = (getattr(pipe, name, None) for name in ("tokenizer", "tokenizer_2"))
    tokenizers = [tokenizer for tokenizer in found if tokenizer is not None]

    def fits(text: str) -> bool:
        # Textual inversions stand for several tokens; two are the start and the end mark.
        convert = getattr(pipe, "maybe_convert_prompt", lambda text, _tokenizer: text)
        return all(len(t.tokenize(convert(text, t))) <= t.model_max_length - 2 for t in tokenizers)

    words = conditioning.added.split()
    text = conditioning.text
    while not fits(text):
        if len(words) <= LEAST_WORDS:
            return conditioning.text
        words.pop()
        shortened = " ".join(words).rstrip(",")
        text = conditioning.text.replace(conditioning.added, shortened, 1)
    return text


@torch.no_grad()
def encode_texts(
    pipe: Any, texts: Sequence[str], second: Sequence[str] | None = None, **how: Any
) -> Encoding:
    """``texts`` as the pipeline itself encodes its prompts, one row each.

    Args:
        pipe: A pipeline with ``encode_prompt``, or a modular SDXL pipeline.
        texts: What the first encoder reads, or the only one.
        second: What SDXL's second encoder reads; the same as the first without.
        how: ``clip_skip`` and ``lora_scale``, as in the pipeline's call.
    """
    if has_two_encoders(pipe):
        how["prompt_2"] = list(texts if second is None else second)
    found = _encode(pipe, False, prompt=list(texts), **how)
    return Encoding(found[0], found[2] if has_two_encoders(pipe) else None)


@torch.no_grad()
def encode_uncond(pipe: Any, prompts: int, negative: Mapping[str, Any], **how: Any) -> Encoding:
    """What a pipeline with guidance conditions its uncond rows on, one row for each prompt.

    Args:
        pipe: See `encode_texts`.
        prompts: How many there are.
        negative: The call's ``negative_prompt`` and the like; without any, none.
        how: See `encode_texts`.
    """
    texts = {k: [v] * prompts if isinstance(v, str) else v for k, v in negative.items()}
    found = _encode(pipe, True, prompt=[""] * prompts, **texts, **how)
    return Encoding(found[1], found[3] if has_two_encoders(pipe) else None)


def _encode(pipe: Any, uncond: bool, **how: Any) -> Any:
    """What the pipeline's own ``encode_prompt`` returns."""
    how.update(device=pipe._execution_device, num_images_per_prompt=1)
    if hasattr(pipe, "encode_prompt"):
        return pipe.encode_prompt(do_classifier_free_guidance=uncond, **how)
    from diffusers.modular_pipelines.stable_diffusion_xl.encoders import (
        StableDiffusionXLTextEncoderStep,
    )

    return StableDiffusionXLTextEncoderStep.encode_prompt(
        pipe, prepare_unconditional_embeds=uncond, **how
    )


@torch.no_grad()
def encode_safe(
    pipe: Any,
    conditionings: Sequence[SafeConditioning | None],
    second: Sequence[SafeConditioning | None] | None = None,
    *,
    prompt: Encoding | None = None,
    **how: Any,
) -> Encoding:
    """The safe stream's encoding, one row for each of ``conditionings``.

    Args:
        pipe: See `encode_texts`.
        conditionings: What the safe stream sees of each prompt; ``None`` for a harmless one,
            whose row means nothing.
        second: The same for SDXL's second encoder; the first's without.
        prompt: The prompts' own encodings, where there are no texts. A conditioning without a
            text means these.
        how: See `encode_texts`.
    """
    harmless = SafeConditioning("context", "")
    first = [c or harmless for c in conditionings]
    other = None if second is None else [c or harmless for c in second]

    def encoded(text_of: Callable[[SafeConditioning], SafeConditioning]) -> Encoding:
        texts = [fitted(pipe, text_of(c)) for c in first]
        texts_2 = None if other is None else [fitted(pipe, text_of(c)) for c in other]
        return encode_texts(pipe, texts, texts_2, **how)

    found = encoded(lambda c: c)
    if any(c.pooled for c in (*first, *(other or ()))):
        # No edit is learned for the pooled vector: it is that of a text without risky words.
        plain = encoded(lambda c: replace(c, text=c.pooled or c.text))
        found = Encoding(found.states, plain.pooled)
    states, pooled = list(found.states), None if found.pooled is None else list(found.pooled)
    for i, c in enumerate(first):
        if prompt is not None and not c.text:
            states[i] = prompt.states[i]
            if pooled is not None and prompt.pooled is not None and not c.pooled:
                pooled[i] = prompt.pooled[i]
        edit = c.edit or (other[i].edit if other else None)
        if edit is not None:
            states[i] = edit(states[i])
    return Encoding(torch.stack(states), None if pooled is None else torch.stack(pooled))
