"""What the rows see that a guarded run evaluates beside the pipeline's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from safegen.conditioning.strategies import SafeConditioning
from safegen.hosts.diffusers.encoding import Encoding, encode_safe, encode_texts, encode_uncond
from safegen.hosts.diffusers.request import Request


@dataclass(frozen=True, eq=False)
class Streams:
    """The extra rows' encodings, one row per image; what an image has no use for means nothing.

    Args:
        guarded: Whether a context applies to the image.
        own: Whether its safe text is the prompt's own, which needs no row at the same latent.
        pushed: Whether its safe stream is pushed away from an unsafe text.
        safe: What the safe stream sees.
        unsafe: What it is pushed away from, if any image is.
        uncond: No prompt, or the negative one, for calls without such rows of their own, if
            any image is pushed.
    """

    guarded: tuple[bool, ...]
    own: tuple[bool, ...]
    pushed: tuple[bool, ...]
    safe: Encoding
    unsafe: Encoding | None = None
    uncond: Encoding | None = None

    def repeated(self, times: int) -> Streams:
        """Those of ``times`` images of each prompt."""

        def again(flags: tuple[bool, ...]) -> tuple[bool, ...]:
            return tuple(flag for flag in flags for _ in range(times))

        return Streams(
            again(self.guarded),
            again(self.own),
            again(self.pushed),
            self.safe.repeated(times),
            self.unsafe and self.unsafe.repeated(times),
            self.uncond and self.uncond.repeated(times),
        )


def encode_streams(
    pipe: Any,
    request: Request,
    first: Sequence[SafeConditioning | None],
    second: Sequence[SafeConditioning | None] | None = None,
) -> Streams:
    """The streams of ``request``, one row per prompt.

    Args:
        pipe: See `encode_texts`.
        request: What the pipeline is called with.
        first: What was decided for each prompt; ``None`` for a harmless one.
        second: The same for SDXL's second texts, where they are others.
    """
    both = [
        [(c, text) for c, text in zip((a, b), texts, strict=True) if c is not None]
        for a, b, texts in zip(
            first,
            second or (None,) * len(first),
            zip(request.prompts, request.second or request.prompts, strict=True),
            strict=True,
        )
    ]
    guarded = tuple(bool(pair) for pair in both)
    own = tuple(all(c.edit is None and c.text == text for c, text in pair) for pair in both)
    unsafe = [next((c.unsafe for c, _ in pair if c.unsafe), "") for pair in both]
    safe = encode_safe(pipe, first, second, prompt=request.embeds, **request.encoding)
    found = Streams(guarded, own, tuple(map(bool, unsafe)), safe)
    if not any(unsafe):
        return found
    return replace(
        found,
        unsafe=encode_texts(pipe, unsafe, **request.encoding),
        uncond=encode_uncond(pipe, len(unsafe), request.negative, **request.encoding),
    )
