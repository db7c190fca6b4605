"""A detector in the model itself: what its denoiser would draw for a prompt, and for which words.

It asks the UNet's middle (`safegen.learned.denoiser`) with a probe that was fitted there, so it
needs no list: a word that brings harm in this model is found though nobody wrote it down. It
takes one row of the model for a text that shows nothing, and a few rows more to find the words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from safegen.detectors.causes import causes_of
from safegen.detectors.protocol import MODEL, Detection, Span
from safegen.learned.encoder import Encoder, encode_in_batches, own_mean
from safegen.learned.probe import Probe, ProbeError

SUSPICIOUS = 0.6
"""The score of a text at the probe's alarm."""
HARMLESS = 0.3
"""The score up to which what is left is taken for harmless: just below the alarm it may be a part
of what brings the harm that was left out."""
KEPT = 4096
"""Texts whose answers are remembered."""


class ModelDetector:
    """Scores a text by a `Probe` fitted in the denoiser that will draw it.

    The score is P(unsafe), moved so that the probe's alarm scores `SUSPICIOUS`. What brings the
    harm is found by leaving words out, one and then several in a row, until what is left scores
    `HARMLESS` or, where nothing gets there, as little as can be below the alarm: these stretches
    are the spans. A text of which nothing helps has none.

    Args:
        probe: Fitted in this very denoiser.
        denoiser: The host's own, see `safegen.learned.denoiser`.

    Raises:
        ProbeError: The probe was fitted in another denoiser.
    """

    name = MODEL

    def __init__(self, probe: Probe, denoiser: Encoder) -> None:
        if probe.encoder != denoiser.identity:
            raise ProbeError(
                f"what watches was fitted in another model, {probe.encoder}; this one is "
                f"{denoiser.identity}. Fit it here: safegen probe fit --watch --model MODEL"
            )
        self.probe, self.denoiser = probe, denoiser
        self._known: dict[str, Detection] = {}

    def forget(self) -> None:
        """Ask the model anew: a LoRA, say, has changed what it draws."""
        self._known.clear()

    @property
    def about(self) -> tuple[str, ...]:
        """The categories that it can tell."""
        return self.probe.categories

    def log_odds(self, texts: Sequence[str]) -> list[float]:
        """How suspicious each text is: above 0 it scores more than `SUSPICIOUS`."""
        return self._read(texts)[0]

    def _read(self, texts: Sequence[str]) -> tuple[list[float], list[dict[str, float]]]:
        encoded = encode_in_batches(self.denoiser, texts)
        z, shares = self.probe.read(torch.stack([own_mean(*one) for one in encoded]))
        relative = (shares / shares.amax(1, keepdim=True)).tolist()
        named = [dict(zip(self.probe.categories, row, strict=True)) for row in relative]
        return (z - self.probe.alarm).tolist(), named

    def score(self, prompt: str) -> Detection:
        """Score one text as the model sees it. Errors of the model are passed on."""
        if prompt not in self._known:
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[prompt] = self._score(prompt)
        return self._known[prompt]

    def _score(self, prompt: str) -> Detection:
        (z,), (shares,) = self._read([prompt])
        probability = _probability(z)
        scores = {category: probability * share for category, share in shares.items()}
        if z < 0:
            return Detection(scores)
        category = max(shares, key=lambda name: shares[name])
        causes = causes_of(prompt, lambda texts: self._read(texts)[0], _CLEAR)
        return Detection(scores, tuple(Span(*c, category, self.name) for c in causes))


_CLEAR = math.log(HARMLESS / (1 - HARMLESS)) - math.log(SUSPICIOUS / (1 - SUSPICIOUS))
"""The log-odds of `HARMLESS`, as `ModelDetector.log_odds` counts them."""


def _probability(z: float) -> float:
    """P of log-odds that are 0 at the alarm."""
    moved = z + math.log(SUSPICIOUS / (1 - SUSPICIOUS))
    return 1.0 / (1.0 + math.exp(-max(min(moved, 700.0), -700.0)))
