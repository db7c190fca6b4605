"""A detector in the host's own text-encoder space: reads a prompt by a probe fitted there.

It knows words that no list has, as far as the checkpoint's encoder knows them, and is refused in
any other encoder than the one that its probe was fitted in.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from safegen.detectors.protocol import Detection, Span
from safegen.learned.encoder import Encoder, encode_in_batches, own_mean
from safegen.learned.probe import Probe, ProbeError
from safegen.text.words import tokenize

SPAN_EVIDENCE = 1.0
"""Log-odds that must go with a word for it to be named as a cause."""
SPAN_SHARE = 0.4
"""The same, as a share of what goes with the strongest word."""


class ProbeDetector:
    """Scores a prompt by a `Probe` in the encoder that it was fitted in.

    A category's score is P(unsafe), scaled by how likely the category is beside the likeliest
    one. The words whose omission makes the prompt markedly safer are named as causes.

    Args:
        probe: Fitted in this very encoder.
        encoder: The host's own.

    Raises:
        ProbeError: The probe was fitted in another encoder.
    """

    name = "probe"

    def __init__(self, probe: Probe, encoder: Encoder) -> None:
        if probe.encoder != encoder.identity:
            raise ProbeError(
                f"the probe was fitted in another text encoder, {probe.encoder}; this model's is "
                f"{encoder.identity}. Fit one for it: safegen probe fit --model MODEL"
            )
        self.probe, self.encoder = probe, encoder

    def _read(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        encoded = encode_in_batches(self.encoder, texts)
        return self.probe.read(torch.stack([own_mean(*one) for one in encoded]))

    def _categories(self, z: Tensor, shares: Tensor) -> dict[str, float]:
        probability = float(torch.sigmoid(z))
        relative = (shares / shares.max()).tolist()
        return {
            category: probability * share
            for category, share in zip(self.probe.categories, relative, strict=True)
        }

    def categories(self, prompts: Sequence[str]) -> list[dict[str, float]]:
        """The scores of many texts, without the words that caused them: one batch after another."""
        return [self._categories(*one) for one in zip(*self._read(prompts), strict=True)]

    def score(self, prompt: str) -> Detection:
        """Score one text as the model sees it. Errors of the encoder are passed on."""
        z, shares = self._read([prompt])
        scores = self._categories(z[0], shares[0])
        probability = max(scores.values())
        spans: tuple[Span, ...] = ()
        if probability >= 0.5:
            category = self.probe.categories[int(shares[0].argmax())]
            spans = self._causes(prompt, float(z[0]), category)
        return Detection(scores, spans)

    def _causes(self, prompt: str, z: float, category: str) -> tuple[Span, ...]:
        words = tokenize(prompt)
        if not words:
            return ()
        without, _ = self._read([prompt[: w.start] + prompt[w.end :] for w in words])
        gone = z - without
        least = max(SPAN_EVIDENCE, SPAN_SHARE * float(gone.max()))
        return tuple(
            Span(word.start, word.end, category, self.name)
            for word, drop in zip(words, gone.tolist(), strict=True)
            if drop >= least
        )
