"""A detector that has learned from prompts: a small network over runs of words.

Each word is a vector that tells its meaning in ten languages (`safegen.text.vocabulary`), and, if
training met it often enough, a short one of its own, which tells what meaning alone does not. Two
layers read runs of five words and of five such runs, and say for every place in the prompt how
much speaks for harm there, z, in log-odds. The prompt's own log-odds pool the places::

    z = log Σ exp(zᵢ)        P(unsafe) = 1 / (1 + exp(-(slope · z + offset)))

Two such networks, trained on texts drawn anew, stand side by side; zᵢ is the mean of theirs.

A linear model over the words of whole clauses says once more how much speaks for harm
(`safegen.detectors.bag`); that is added to z.

What stands within eight words counts for a place and against it, so that *a dead man* and *a dead
tree* differ. What stands farther away cannot hide it, however harmless: a place adds, and takes
nothing from another.

Only numpy is needed to score; `safegen.lab.text.train` makes the weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safegen.detectors.bag import Bag, hashes_of
from safegen.detectors.layers import Floats, run
from safegen.detectors.lexicon import built_in
from safegen.detectors.protocol import Detection, Span
from safegen.detectors.reading import STOP, UNKNOWN, Reading, read
from safegen.errors import SafeGenError
from safegen.text.phrases import Phrases
from safegen.text.shipped import opened
from safegen.text.spelling import Spelling
from safegen.text.vocabulary import Vocabulary, vocabulary
from safegen.text.words import tokenize, word_set

WEIGHTS = Path(__file__).with_name("ngram.safetensors")
FORMAT = "safegen-ngram-5"
REACH = 5
"""Words in a run."""
STRIDE = 3
"""How far apart the runs lie that the second layer reads."""
_HALF = REACH // 2
_NOTHING = -3
"""The row of what is before and behind a prompt."""
LONGEST = 400
"""Words of a prompt that are read at once; the rest is read in further pieces."""
NAMED = 0.5
"""P(unsafe) from which causes are named."""
SPAN_EVIDENCE = 0.5
"""Log-odds that must go with a word for it to be named as a cause."""
SPAN_SHARE = 0.5
"""The same, as a share of what goes with the strongest word."""
_PLACES = 4
"""How many places of a prompt are asked for their causes."""
FOREIGN = 6.0
"""Log-odds that are taken from places in clauses of other languages, which it knows less of."""
GLUE = word_set(
    "a an the of in on at to and or his her their its with is are was were as by for from it that "
    "this into while who be been has have had he she they them him one two man woman men women "
    "person people i you my your image picture photo scene show depict create generate draw"
)
"""Words too common to be named as a cause."""


class WeightsError(SafeGenError):
    """Weights that are missing or of another format."""


@dataclass(frozen=True, eq=False)
class Weights:
    """What training gave.

    Args:
        first: ``[REACH · (width + 2 + own), networks · hidden]`` and its bias; beside a word's
            vector stand two columns that say that it is unknown, and that a clause ends, and then
            the word's own vector.
        second: ``[networks, REACH · hidden, hidden]`` and its bias ``[networks · hidden]``.
        out: ``[2 · networks · hidden, 1 + categories]`` and its bias, over both layers; the first
            column is harm, the others which kind.
        words: Hashes of the words that have a vector of their own, ``[words]``.
        own: Those vectors, ``[words, own]``.
        bag: The linear model; what it says is added to what the networks say.
        categories: Their names.
        slope: Calibration, together with ``offset``.
        offset: Calibration.
        wanted: Words that are a sign by themselves; mistyped words are read as one of them.
        origin: What they were trained on, with digests. For people, reports and `evaluate`.
    """

    first: tuple[Floats, Floats]
    second: tuple[Floats, Floats]
    out: tuple[Floats, Floats]
    words: NDArray[np.uint32]
    own: Floats
    bag: Bag
    categories: tuple[str, ...]
    slope: float
    offset: float
    wanted: tuple[str, ...]
    origin: dict[str, Any]

    @classmethod
    def load(cls, file: Path = WEIGHTS) -> Weights:
        """Read weights.

        Raises:
            WeightsError: if the file is missing, damaged or of another format.
        """
        with opened(file, FORMAT, WeightsError) as (tensors, header):

            def layer(name: str) -> tuple[Floats, Floats]:
                weight = tensors.get_tensor(name).astype(np.float32)
                return weight, tensors.get_tensor(f"{name}_bias").astype(np.float32)

            return cls(
                first=layer("first"),
                second=layer("second"),
                out=layer("out"),
                words=tensors.get_tensor("words"),
                own=tensors.get_tensor("own").astype(np.float32),
                bag=Bag(
                    keys=tensors.get_tensor("bag"),
                    weight=tensors.get_tensor("bag_weight").astype(np.float32),
                    rarity=tensors.get_tensor("bag_rarity").astype(np.float32),
                    offset=float(header["bag_offset"]),
                ),
                categories=tuple(header["categories"]),
                slope=float(header["slope"]),
                offset=float(header["offset"]),
                wanted=tuple(header["wanted"]),
                origin=header["origin"],
            )

    def rounded(self) -> Weights:
        """Layers, vectors and linear model as precise as a file keeps them."""
        bag = replace(self.bag, weight=_half(self.bag.weight), rarity=_half(self.bag.rarity))
        return replace(
            self,
            first=(_half(self.first[0]), self.first[1]),
            second=(_half(self.second[0]), self.second[1]),
            out=(_half(self.out[0]), self.out[1]),
            own=_half(self.own),
            bag=bag,
        )

    def save(self, file: Path = WEIGHTS) -> None:
        """Write weights, as float16 tensors and a JSON header."""
        from safetensors.numpy import save_file

        header = {
            "format": FORMAT,
            "categories": list(self.categories),
            "slope": self.slope,
            "offset": self.offset,
            "bag_offset": self.bag.offset,
            "wanted": list(self.wanted),
            "origin": self.origin,
        }
        tensors: dict[str, NDArray[Any]] = {
            "words": self.words,
            "own": np.ascontiguousarray(self.own, np.float16),
            "bag": self.bag.keys,
            "bag_weight": np.ascontiguousarray(self.bag.weight, np.float16),
            "bag_rarity": np.ascontiguousarray(self.bag.rarity, np.float16),
        }
        for name in ("first", "second", "out"):
            weight, bias = getattr(self, name)
            tensors[name] = np.ascontiguousarray(weight, np.float16)
            tensors[f"{name}_bias"] = np.ascontiguousarray(bias, np.float32)
        save_file(tensors, file, metadata={"safegen": json.dumps(header, sort_keys=True)})


def _half(a: Floats) -> Floats:
    return a.astype(np.float16).astype(np.float32)


def inputs(rows: Sequence[int] | NDArray[np.int64], known: Vocabulary, own: Floats) -> Floats:
    """``[..., width + 2 + own]``: what the network sees of each place.

    Args:
        rows: Rows of the vocabulary, `STOP`, `UNKNOWN` or `_NOTHING`.
        known: The vocabulary.
        own: Each row's own vector, ``[len(known.vectors), own]``.
    """
    index = np.asarray(rows, np.int64)
    width = known.vectors.shape[1]
    x = np.empty((*index.shape, width + 2 + own.shape[1]), np.float32)
    # Rows below 0 count from the end here; what they bring goes at once.
    scale = known.scale * INPUT_SCALE
    np.multiply(known.vectors[index], scale, out=x[..., :width], dtype=np.float32)
    x[..., width + 2 :] = own[index]
    x[index < 0] = 0.0
    x[..., width] = index == UNKNOWN
    x[..., width + 1] = index == STOP
    return x


INPUT_SCALE = 4.0
"""What vectors of unit length are multiplied with: half the root of their width."""


class NgramDetector:
    """Scores a prompt with learned weights.

    A category's score is P(unsafe), scaled by how likely the category is beside the likeliest
    one: the likeliest category has the calibrated P(unsafe) itself.

    Args:
        weights: The shipped ones if nothing is given.
        harmless: Phrases whose words say nothing; the built-in ones if nothing is given.

    Raises:
        WeightsError: if the shipped weights are needed and cannot be read.
    """

    name = "ngram"

    def __init__(self, weights: Weights | None = None, harmless: Phrases | None = None) -> None:
        self.weights = weights or Weights.load()
        self.harmless = harmless or built_in().harmless
        self._known = vocabulary()
        self._hashes = hashes_of(self._known)
        own = np.zeros((len(self._known.vectors), self.weights.own.shape[1]), np.float32)
        for word, vector in zip(self.weights.words.tolist(), self.weights.own, strict=True):
            if word in self._known.rows:
                own[self._known.rows[word]] = vector
        # What the network sees of each row; those below 0 count from the end.
        self._seen = inputs([*range(len(own)), _NOTHING, UNKNOWN, STOP], self._known, own)
        self._spelling = Spelling(
            self.weights.wanted,
            self.harmless.words(harmless=True),
            endings=built_in().spelling.wanted,
        )

    def _places(
        self, rows: Sequence[int] | NDArray[np.int64], first: int = 0, last: int | None = None
    ) -> Floats:
        """What the network says of every place from ``first`` up to ``last``,
        ``[..., places, 1 + categories]``."""
        index = np.asarray(rows, np.int64)
        batch, n = len(index) if index.ndim > 1 else 1, index.shape[-1]
        padded = np.full((batch, n + 2 * _HALF), _NOTHING)
        padded[:, _HALF : _HALF + n] = index
        weight, bias = self.weights.first
        half = STRIDE * _HALF
        near = np.zeros((batch, n + 2 * half, len(bias)), np.float32)
        within = near[:, half : half + n]
        layer = weight[None], bias
        run(self._seen.take(padded[:1], 0), layer, 1, within[:1])
        if batch > 1:  # they mostly differ in a word: what is not beside it says the same
            runs = padded[:, np.arange(n)[:, None] + np.arange(REACH)]
            other = (runs != runs[:1]).any(-1)
            said = np.empty((np.count_nonzero(other), 1, len(bias)), np.float32)
            run(self._seen.take(runs[other], 0), layer, 1, said)
            within[1:] = within[:1]
            within[other] = said[:, 0]
        both = np.empty((batch, (n if last is None else last) - first, 2 * len(bias)), np.float32)
        both[..., : len(bias)] = within[:, first:last]
        run(near, self.weights.second, STRIDE, both[..., len(bias) :], first)
        said = both.reshape(-1, both.shape[2]) @ self.weights.out[0]
        said += self.weights.out[1]
        return np.asarray(said.reshape(*index.shape[:-1], both.shape[1], -1))

    def reading(self, prompt: str) -> Reading:
        """``prompt`` as the network reads it."""
        return read(self._spelling.read(tokenize(prompt)), self.harmless)

    def log_odds(self, prompt: str) -> float:
        """z of one prompt, not calibrated; minus infinity if there is no word in it."""
        reading = self.reading(prompt)
        if not reading.rows:
            return -np.inf
        return float(_pooled(self._all_places(reading)[:, 0])) + self._in_all(reading)

    def _in_all(self, reading: Reading) -> float:
        """What the linear model says."""
        return self.weights.bag.log_odds(reading.rows, reading.foreign, self._hashes)

    def _all_places(self, reading: Reading) -> Floats:
        rows = reading.rows
        pieces = [self._places(rows[i : i + LONGEST]) for i in range(0, len(rows), LONGEST)]
        said = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        if any(reading.foreign):
            said[:, 0] -= FOREIGN * np.asarray(reading.foreign)
        return said

    def probability(self, z: float) -> float:
        """Calibrated P(unsafe)."""
        return float(1.0 / (1.0 + np.exp(-(self.weights.slope * z + self.weights.offset))))

    def score(self, prompt: str) -> Detection:
        """Score one prompt, as the model sees it."""
        reading = self.reading(prompt)
        if all(row < 0 for row in reading.rows):  # nothing but words it does not know
            return Detection(dict.fromkeys(self.weights.categories, 0.0))
        said = self._all_places(reading)
        z = said[:, 0]
        in_all = self._in_all(reading)
        top = z.max()
        weight = np.exp(z - top)
        total = weight.sum()
        probability = self.probability(float(top) + float(np.log(total)) + in_all)
        kinds = _shares((weight[:, None] * said[:, 1:]).sum(0) / total)
        relative = kinds / kinds.max()
        scores = {
            category: probability * float(share)
            for category, share in zip(self.weights.categories, relative, strict=True)
        }
        causes = self._causes(reading, said, relative, in_all) if probability >= NAMED else ()
        return Detection(scores, tuple(causes))

    def _causes(
        self, reading: Reading, said: Floats, relative: Floats, in_all: float
    ) -> list[Span]:
        """The words without which the places that speak most would say markedly less.

        The linear model names words only where the networks alone found too little.
        """
        by_word = np.zeros(len(reading.rows))
        if self.probability(float(_pooled(said[:, 0]))) < NAMED:
            by_word = self.weights.bag.evidence(reading.rows, reading.foreign, self._hashes)
        z = said[:, 0] + by_word.astype(np.float32)
        reach = REACH // 2 * (1 + STRIDE)
        found: dict[Span, None] = {}
        for _ in range(_PLACES):
            place = int(z.argmax())
            if found and self.probability(float(z[place]) + in_all) < NAMED / 2:
                break
            first, last = max(0, place - reach), min(len(z), place + reach + 1)
            window = np.asarray(reading.rows[first:last], np.int64)
            asked = [
                i
                for i, token in enumerate(reading.tokens[first:last])
                if token is not None and window[i] >= 0 and token.word not in GLUE
            ]
            # Of the categories that the prompt is likely of, the one that this place speaks for.
            kind = int(np.where(relative >= NAMED, said[place, 1:], -np.inf).argmax())
            category = self.weights.categories[kind]
            if asked:
                without = np.repeat(window[None], 1 + len(asked), axis=0)  # the first is whole
                without[np.arange(1, 1 + len(asked)), asked] = UNKNOWN
                here = max(0, place - 2 - first), min(place + 3, last) - first
                left = _pooled(self._places(without, *here)[..., 0])
                drops = (left[0] - left[1:] + by_word[first:][asked]).tolist()
                least = min(max(SPAN_EVIDENCE, SPAN_SHARE * max(drops)), max(max(drops), 1e-3))
                for i, drop in zip(asked, drops, strict=True):
                    token = reading.tokens[first + i]
                    if drop >= least and token is not None:
                        span = Span(token.start, token.end, category, self.name, "", token.word)
                        found.setdefault(span)
            z[max(0, place - 2) : place + 3] = -np.inf
        return sorted(found)


def _pooled(z: Floats) -> NDArray[np.float64]:
    """Over the last axis."""
    top = z.max(-1, keepdims=True)
    more = np.log(np.exp(z - top).sum(-1))
    return np.asarray(np.add(top[..., 0], more, dtype=np.float64))


def _shares(logits: Floats) -> Floats:
    shares = np.exp(logits - logits.max())
    return np.asarray(shares / shares.sum(), np.float32)
