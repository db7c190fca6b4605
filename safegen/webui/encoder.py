"""The loaded checkpoint's own text encoder, for what is learned in its space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from safegen.contexts.context import SafetyContext
from safegen.detectors.probe import ProbeDetector
from safegen.errors import InvalidValue
from safegen.learned.embedding import LearnedEmbedding
from safegen.learned.encoder import identity_of
from safegen.learned.probe import ProbeError, ProbeStore
from safegen.learned.store import LearnedStore, NotLearned
from safegen.webui import host, settings

_known: dict[tuple[str, int], tuple[str, int]] = {}
"""Checkpoint and clip skip to identity and width: a hash over all weights takes a while."""


def known_identity() -> str | None:
    """The loaded encoder's identity if it has been worked out already, at no cost."""
    found = _known.get((host.loaded(), host.clip_skip()))
    return None if found is None else found[0]


def identity_at_once() -> str | None:
    """The loaded encoder's identity; ``None`` if it can't be asked without waiting."""
    if not host.is_loaded():
        return None
    known = known_identity()
    if known is not None:
        return known
    with host.exclusively_at_once() as free:
        return HostEncoder().identity if free else None


class HostEncoder:
    """What the WebUI conditions its denoiser on, as an `Encoder`.

    One identity for each checkpoint and clip skip. It is the same as that of a diffusers
    pipeline of the checkpoint where both hold the encoder in the same classes (SD1 does).
    """

    def __init__(self) -> None:
        skip = host.clip_skip()
        key = (host.loaded(), skip)
        if key not in _known:
            states, _ = self.encode([""])
            width = int(states.shape[-1])
            layer = f"skip{skip}" if skip else "last"
            _known.clear()
            _known[key] = identity_of(host.text_modules(), width, layer), width
        self.identity, self.width = _known[key]

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See `Encoder.encode`. Each text has to fit in one chunk of the encoder's."""
        states = host.embed(list(texts))
        mask = torch.zeros(states.shape[:2], dtype=torch.bool, device=states.device)
        for row, text in enumerate(texts):
            mask[row, 1 : min(host.token_count(text) + 2, mask.shape[1])] = True
        return states, mask


def learned(context: SafetyContext, strategy: str) -> LearnedEmbedding:
    """The embedding learned for ``context`` in the loaded checkpoint's encoder, for ``strategy``.

    Raises:
        InvalidValue: There is none; says how to learn one.
    """
    store = LearnedStore(settings.contexts_folder())
    try:
        return store.get(context.name, HostEncoder().identity)
    except NotLearned as error:
        raise InvalidValue("strategy", strategy, f"after learning: {error}") from error


def probe() -> ProbeDetector:
    """The probe fitted in the loaded checkpoint's encoder.

    Raises:
        InvalidValue: There is none; says how to fit one.
    """
    try:
        encoder = HostEncoder()
        return ProbeDetector(ProbeStore(settings.contexts_folder()).get(encoder.identity), encoder)
    except ProbeError as error:
        raise InvalidValue("detectors", "probe", f"after fitting: {error}") from error
