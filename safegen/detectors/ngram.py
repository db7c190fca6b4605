"""A detector that has learned from pairs: a linear model over hashed word and character n-grams.

A prompt is read as *signs*: its words, and its pairs of neighbouring words. A sign's evidence is
a sum of weights, one for the sign itself and, for a word, one for each run of three to five
letters in it, so that unknown and misspelled words still say something; the first `MARGIN` of it
does not count::

    z = BIAS + sum of the ``STRONGEST`` largest positive evidences
    P(unsafe) = 1 / (1 + exp(-(slope · z + offset)))

Only the strongest positive signs count. Harmless words therefore neither hide a harmful one nor,
however many there are, add up to something that looks harmful. A second set of weights over the
same signs says which category they speak for.

Only numpy is needed to score; `safegen.lab.text.train` makes the weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from safegen.detectors.lexicon import built_in
from safegen.detectors.protocol import Detection, Span
from safegen.errors import SafeGenError
from safegen.text.phrases import Phrases
from safegen.text.words import negated, tokenize, word_set

Floats = NDArray[np.float64]
Sign = tuple[str, ...]
"""A word, or two neighbouring ones."""

WEIGHTS = Path(__file__).with_name("ngram.safetensors")
FORMAT = "safegen-ngram-1"
STRONGEST = 4
BIAS = -3.0
"""Log-odds of a prompt without signs: one strong sign or two middling ones have to outweigh it."""
MARGIN = 2.0
"""Evidence, in log-odds, that is taken for chance: a word has to stand out to be a sign."""
LETTERS = (3, 4, 5)
_LONGEST_WORD = 40
"""Letters of a word that are read; the rest of a longer one is noise."""
SPAN_EVIDENCE = 1.5
"""Evidence, in log-odds, from which a word is named as a cause."""
SPAN_SHARE = 0.4
"""Evidence, as a share of the strongest sign's, from which a word is named as a cause."""

_GLUE = word_set(
    "a an the of in on at to and or his her their its with is are was were as by for from it that "
    "this into while who be been has have had he she they them him one two man woman men women "
    "person people"
)
"""Words too common to be named as a cause, or to be a sign together with each other."""


class WeightsError(SafeGenError):
    """Weights that are missing or of another format."""


@dataclass(frozen=True)
class Occurrence:
    """A sign, and where it first stands in the text."""

    sign: Sign
    start: int
    end: int


def _likeliest(readings: Sequence[str]) -> str:
    return readings[0]


def signs(
    prompt: str,
    harmless: Phrases | None = None,
    read: Callable[[Sequence[str]], str] = _likeliest,
) -> list[Occurrence]:
    """The signs of a prompt, each once. ``read`` chooses among the readings of a word.

    Left out: what the prompt says is not there, and the words of ``harmless`` phrases (the
    built-in ones if nothing is given), such as *bloody mary*.
    """
    tokens = tokenize(prompt)
    absent = set(negated(tokens))
    for hit in (harmless or built_in().harmless).find(tokens):
        absent.update(i for i, t in enumerate(tokens) if hit.start <= t.start < hit.end)
    found: dict[Sign, Occurrence] = {}
    previous, previous_word = None, ""
    for index, token in enumerate(tokens):
        if index in absent:
            previous = None
            continue
        word = (token.word if len(token.readings) == 1 else read(token.readings))[:_LONGEST_WORD]
        found.setdefault((word,), Occurrence((word,), token.start, token.end))
        if previous is not None and previous.clause == token.clause:
            pair = (previous_word, word)
            found.setdefault(pair, Occurrence(pair, previous.start, token.end))
        previous, previous_word = token, word
    return list(found.values())


def features(sign: Sign) -> tuple[list[int], list[float]]:
    """The features of one sign: 32-bit hashes, to be cut to a table's size, and their values."""
    hashes = [crc32(" ".join(sign).encode())]
    if len(sign) > 1:
        return hashes, [1.0]
    framed = f"<{sign[0]}>"
    runs = [
        crc32(b"#" + framed[i : i + size].encode())
        for size in LETTERS
        for i in range(len(framed) - size + 1)
    ]
    return hashes + runs, [1.0] + [len(runs) ** -0.5] * len(runs)


@dataclass(frozen=True)
class Weights:
    """What training gave.

    Args:
        unsafe: Weight of each feature, ``[buckets]``; the number of buckets is a power of two.
        kinds: Weight of each feature for each category, ``[kind_buckets, categories]``.
        kind_bias: Log-probability of each category before any sign is seen, ``[categories]``.
        categories: Their names.
        slope: Calibration, together with ``offset``.
        offset: Calibration.
        origin: Where the weights come from: split, counts, versions. For people and reports.
    """

    unsafe: NDArray[np.float16]
    kinds: NDArray[np.float16]
    kind_bias: Floats
    categories: tuple[str, ...]
    slope: float
    offset: float
    origin: dict[str, Any]

    @classmethod
    def load(cls, file: Path = WEIGHTS) -> Weights:
        """Read weights.

        Raises:
            WeightsError: if the file is missing, damaged or of another format.
        """
        try:
            from safetensors import safe_open

            with safe_open(file, framework="numpy") as tensors:
                header = json.loads((tensors.metadata() or {}).get("safegen", "{}"))
                if header.get("format") != FORMAT:
                    raise WeightsError(f"{file.name}: not of the format {FORMAT}")
                return cls(
                    unsafe=tensors.get_tensor("unsafe"),
                    kinds=tensors.get_tensor("kinds"),
                    kind_bias=tensors.get_tensor("kind_bias").astype(np.float64),
                    categories=tuple(header["categories"]),
                    slope=float(header["slope"]),
                    offset=float(header["offset"]),
                    origin=header["origin"],
                )
        except WeightsError:
            raise
        except Exception as error:  # safetensors has an exception type of its own
            raise WeightsError(f"{file.name}: cannot be read: {error}") from error

    def save(self, file: Path = WEIGHTS) -> None:
        """Write weights, as float16 tensors and a JSON header."""
        from safetensors.numpy import save_file

        header = {
            "format": FORMAT,
            "categories": list(self.categories),
            "slope": self.slope,
            "offset": self.offset,
            "origin": self.origin,
        }
        tensors: dict[str, NDArray[Any]] = {
            "unsafe": self.unsafe.astype(np.float16),
            "kinds": self.kinds.astype(np.float16),
            "kind_bias": self.kind_bias.astype(np.float32),
        }
        save_file(tensors, file, metadata={"safegen": json.dumps(header, sort_keys=True)})


@dataclass(frozen=True)
class Evidence:
    """What the strongest signs of one prompt say.

    Args:
        z: Uncalibrated log-odds of being unsafe.
        probability: Calibrated.
        kinds: Probability of each category if the prompt is unsafe; they add up to 1.
        strongest: The signs that counted, with their evidence, the strongest first.
        places: Where each word first stands.
    """

    z: float
    probability: float
    kinds: Floats
    strongest: tuple[tuple[Occurrence, float], ...]
    places: dict[str, Occurrence]


class NgramDetector:
    """Scores a prompt with learned weights.

    A category's score is P(unsafe), scaled by how likely the category is beside the likeliest
    one: the likeliest category has the calibrated P(unsafe) itself.

    Args:
        weights: The shipped ones if nothing is given.
        harmless: Phrases whose words are no signs; the built-in ones if nothing is given.

    Raises:
        WeightsError: if the shipped weights are needed and cannot be read.
    """

    name = "ngram"

    def __init__(self, weights: Weights | None = None, harmless: Phrases | None = None) -> None:
        self.weights = weights or Weights.load()
        self.harmless = harmless
        self._unsafe = self.weights.unsafe.astype(np.float64)
        self._evidence_of = lru_cache(maxsize=1 << 17)(self._sign_evidence)

    def _sign_evidence(self, sign: Sign) -> float:
        hashes, values = features(sign)
        mask = len(self._unsafe) - 1
        return float(self._unsafe[[h & mask for h in hashes]] @ np.asarray(values)) - MARGIN

    def _kind_evidence(self, chosen: Iterable[Sign]) -> Floats:
        total = self.weights.kind_bias.copy()
        mask = len(self.weights.kinds) - 1
        for sign in chosen:
            hashes, values = features(sign)
            rows = self.weights.kinds[[h & mask for h in hashes]].astype(np.float64)
            total += np.asarray(values) @ rows
        return total

    def _signs(self, prompt: str) -> list[Occurrence]:
        """The signs of ``prompt``; a disguised word is read in the way that says most."""

        def worst(readings: Sequence[str]) -> str:
            return max(readings, key=lambda word: self._evidence_of((word[:_LONGEST_WORD],)))

        return signs(prompt, self.harmless, worst)

    def evidence(self, prompt: str) -> Evidence:
        """What the signs of ``prompt`` say."""
        scored = [(self._evidence_of(found.sign), found) for found in self._signs(prompt)]
        positive = [pair for pair in scored if pair[0] > 0]
        positive.sort(key=lambda pair: -pair[0])
        chosen = positive[:STRONGEST]
        z = BIAS + sum(value for value, _ in chosen)
        logits = self._kind_evidence(found.sign for _, found in chosen)
        shares = np.exp(logits - logits.max())
        return Evidence(
            z=z,
            probability=1.0
            / (1.0 + float(np.exp(-(self.weights.slope * z + self.weights.offset)))),
            kinds=shares / shares.sum(),
            strongest=tuple((found, value) for value, found in chosen),
            places={found.sign[0]: found for _, found in scored if len(found.sign) == 1},
        )

    def score(self, prompt: str) -> Detection:
        """Score one prompt, as the model sees it."""
        evidence = self.evidence(prompt)
        relative = evidence.kinds / evidence.kinds.max()
        scores = {
            category: float(evidence.probability * share)
            for category, share in zip(self.weights.categories, relative, strict=True)
        }
        category = self.weights.categories[int(np.argmax(evidence.kinds))]
        return Detection(scores, tuple(self._causes(evidence, category)))

    def _causes(self, evidence: Evidence, category: str) -> list[Span]:
        """The words behind the strongest signs; of a pair, the one that says more by itself.

        A pair whose words say little alone names nothing: *heart with* is a sign in the demo's
        world, as hazards follow it, but nothing is wrong with the heart.
        """
        causes: set[Span] = set()
        for found, value in evidence.strongest:
            strongest = evidence.strongest[0][1]
            if value < max(SPAN_EVIDENCE / self.weights.slope, SPAN_SHARE * strongest):
                break
            word = max(found.sign, key=lambda word: (word not in _GLUE, self._evidence_of((word,))))
            if word not in _GLUE and self._evidence_of((word,)) >= value / 2:
                place = evidence.places[word]
                causes.add(Span(place.start, place.end, category, self.name))
        return sorted(causes)
