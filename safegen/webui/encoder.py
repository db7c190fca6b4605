"""The loaded checkpoint's own text encoder, for what is learned in its space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from safegen.contexts.context import SafetyContext
from safegen.detectors.probe import ProbeDetector
from safegen.errors import InvalidValue
from safegen.learned.embedding import LearnedEmbedding
from safegen.learned.encoder import identity_of, widths_of
from safegen.learned.probe import ProbeError, ProbeStore
from safegen.learned.store import LearnedStore
from safegen.plan import CUSTOM, SETTINGS
from safegen.sentence import told
from safegen.webui import host, making, settings
from safegen.webui.words import say

_known: dict[tuple[str, int], tuple[str, tuple[int, ...]]] = {}
"""Checkpoint and clip skip to identity and widths: a hash over all weights takes a while."""


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
            modules = host.text_modules()
            _known[key] = identity_of(modules, width, layer), widths_of(modules, width)
        self.identity, self.widths = _known[key]
        self.width = sum(self.widths)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See `Encoder.encode`. Each text has to fit in one chunk of the encoder's."""
        states = host.embed(list(texts))
        mask = torch.zeros(states.shape[:2], dtype=torch.bool, device=states.device)
        for row, text in enumerate(texts):
            mask[row, 1 : min(host.token_count(text) + 2, mask.shape[1])] = True
        return states, mask


def learned(context: SafetyContext, strategy: str) -> LearnedEmbedding:
    """What ``strategy`` needs for ``context`` in the loaded checkpoint's encoder.

    It is learned here, before the first picture that needs it; that takes seconds. Whoever asks
    must have the model to themselves.

    Raises:
        InvalidValue: It can't be learned, or kept; says why.
    """
    setting = SETTINGS["strategy"]
    if context.name == CUSTOM:
        raise InvalidValue(
            "strategy",
            strategy,
            "counterpart, prepend, append or context with texts of your own, as nothing is "
            "learned for those",
            plain=told(
                "{what} can't be used with custom texts. Choose another.",
                what=setting.named(strategy),
            ),
        )
    store = LearnedStore(settings.contexts_folder())
    learns = say("SafeGen learns {context} for this model.", context=context.label)
    try:
        return store.for_encoder(context, HostEncoder(), progress=lambda *_: making.tell(learns))
    except OSError as error:
        raise InvalidValue(
            "strategy",
            strategy,
            f"only where what is learned can be kept; {store.folder} can't be written: {error}",
            plain=told(
                "What SafeGen learns can't be kept here: its folder can't be written. Ask the "
                "operator, or choose another {field}.",
                field=told(setting.label),
            ),
        ) from error


def probe() -> ProbeDetector:
    """The probe fitted in the loaded checkpoint's encoder.

    Raises:
        InvalidValue: There is none; says how to fit one.
    """
    try:
        encoder = HostEncoder()
        return ProbeDetector(ProbeStore(settings.contexts_folder()).get(encoder.identity), encoder)
    except ProbeError as error:
        plain = told(
            "The detector 'probe' must first be fitted for this model. Press 'Fit the probe' in "
            "SafeGen's tab, under 'Check a prompt', or untick it."
        )
        raise InvalidValue("detectors", "probe", f"after fitting: {error}", plain=plain) from error
