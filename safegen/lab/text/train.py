"""Make the n-gram model's weights: ``python -m safegen.lab.text.train --pairs … --benign …``.

Four kinds of text are learned from:

- pairs of harmful and harmless prompts for one scene, by category;
- benign captions;
- both again with style words after them, so that style says nothing;
- random common words, labelled harmless, so that a word nobody has seen says nothing;
- captions of the embedded demo's small world, with its hazards as violence.

The loss is the logistic one over the pooled evidence (see `safegen.detectors.ngram`), minimised
by L-BFGS from the solution of the convex problem without pooling and with weights of 0 or more.
Categories are learned afterwards, from the signs that counted. Minutes on one core.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, vstack

from safegen.detectors.lexicon import LexiconDetector, built_in
from safegen.detectors.ngram import (
    BIAS,
    MARGIN,
    STRONGEST,
    WEIGHTS,
    NgramDetector,
    Sign,
    Weights,
    features,
    signs,
)
from safegen.lab.demo import world
from safegen.lab.text import corpus
from safegen.learned import pairs as pairs_module
from safegen.learned.pairs import Pair

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UNSAFE_BUCKETS = 1 << 17
KIND_BUCKETS = 1 << 16
DEMO_CAPTIONS = 3000
DEMO_CATEGORY = "violence"
BACKGROUND = 12_000
BENIGN_SHARES = 0.9, 0.1
"""Of the benign captions, how many are learned from and how many calibrate."""
STYLED = 0.6
"""Weight of a text with style words; of benign captions, the share that is given them."""
PENALTY = 0.5
KIND_PENALTY = 1.0
TERM_WEIGHT = 12.0
"""How many prompts a lexicon term counts for when categories are learned."""


@dataclass(frozen=True)
class Texts:
    """What is learned from: ``label`` is 1 for harmful, ``category`` ``""`` for harmless."""

    text: list[str]
    label: Floats
    weight: Floats
    category: list[str]


@dataclass
class _Collector:
    text: list[str]
    label: list[float]
    weight: list[float]
    category: list[str]

    def add(self, text: str, category: str = "", weight: float = 1.0) -> None:
        self.text.append(text)
        self.label.append(1.0 if category else 0.0)
        self.weight.append(weight)
        self.category.append(category)


def background_words(pairs: Sequence[Pair], words: Sequence[str]) -> list[str]:
    """Those of ``words`` that neither the lexicon nor the pairs know as a sign of harm."""
    lexicon = LexiconDetector()
    unsafe = Counter(found.sign for pair in pairs for found in signs(pair.unsafe))
    safe = Counter(found.sign for pair in pairs for found in signs(pair.safe))
    return [
        word
        for word in words
        if not lexicon.score(word).categories
        and (unsafe[(word,)] < 2 or unsafe[(word,)] <= 1.2 * safe[(word,)])
    ]


def demo_captions(count: int, seed: int) -> list[tuple[str, bool]]:
    """Captions of the demo's world, and whether each has a hazard."""
    rng = random.Random(seed)
    scenes = [world.random_scene(rng) for _ in range(count)]
    return [
        (world.caption(scene, rng, drop=0.3), scene.hazard != world.NO_HAZARD) for scene in scenes
    ]


def training_texts(
    pairs: Sequence[Pair],
    benign: Sequence[str],
    words: Sequence[str],
    seed: int = pairs_module.SEED,
) -> Texts:
    """Everything that is learned from."""
    rng = random.Random(seed)
    out = _Collector([], [], [], [])
    for pair in pairs:
        out.add(pair.unsafe, pair.category)
        out.add(pair.safe)
        out.add(corpus.with_styles(pair.unsafe, rng), pair.category, STYLED)
        out.add(corpus.with_styles(pair.safe, rng), weight=STYLED)
    for caption in benign:
        out.add(corpus.with_styles(caption, rng) if rng.random() < STYLED else caption)
    for caption, hazard in demo_captions(DEMO_CAPTIONS, seed):
        out.add(caption, DEMO_CATEGORY if hazard else "", 0.5)
    if words:
        for text in corpus.background(background_words(pairs, words), BACKGROUND, rng):
            out.add(text)
    return Texts(out.text, np.asarray(out.label), np.asarray(out.weight), out.category)


@dataclass(frozen=True)
class Design:
    """Texts as sparse matrices: text by sign, and sign by feature."""

    contains: csr_matrix
    features: csr_matrix
    signs: list[Sign]

    @classmethod
    def of(cls, texts: Sequence[str], buckets: int) -> Design:
        """Read ``texts``; features are hashed into ``buckets``."""
        number: dict[Sign, int] = {}
        ends, members = [0], []
        for text in texts:
            members += [number.setdefault(found.sign, len(number)) for found in signs(text)]
            ends.append(len(members))
        contains = csr_matrix(
            (np.ones(len(members)), members, ends), shape=(len(texts), len(number))
        )
        return cls(contains, sign_features(list(number), buckets), list(number))

    def rows(self) -> Ints:
        """The text that each entry of ``contains`` belongs to."""
        counts = np.diff(self.contains.indptr)
        return np.repeat(np.arange(self.contains.shape[0], dtype=np.int64), counts)


def sign_features(found: Sequence[Sign], buckets: int) -> csr_matrix:
    """Sign by feature."""
    ends, columns, values = [0], [], []
    for sign in found:
        hashes, parts = features(sign)
        columns += [h & (buckets - 1) for h in hashes]
        values += parts
        ends.append(len(columns))
    matrix = csr_matrix((values, columns, ends), shape=(len(found), buckets))
    matrix.sum_duplicates()
    return matrix


def strongest(evidence: Floats, rows: Ints, starts: Ints, most: int) -> NDArray[np.bool_]:
    """Which entries are among the ``most`` largest of their text, and positive."""
    order = np.lexsort((-evidence, rows))
    rank = np.empty(len(evidence), np.int64)
    rank[order] = np.arange(len(evidence)) - starts[rows]
    return (rank < most) & (evidence > 0)


def _minimise(
    loss: Callable[[Floats], tuple[float, Floats]],
    start: Floats,
    steps: int,
    lowest: float | None = None,
) -> Floats:
    bounds = None if lowest is None else [(lowest, None)] * len(start)
    result = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": steps, "maxfun": 2 * steps, "maxcor": 8},
    )
    return np.asarray(result.x, dtype=np.float64)


def _logistic(z: Floats, label: Floats, weight: Floats) -> tuple[float, Floats]:
    """Weighted logistic loss of log-odds ``z``, and its gradient."""
    side = 2 * label - 1
    loss = float((weight * np.logaddexp(0.0, -side * z)).sum())
    return loss, -weight * side / (1.0 + np.exp(np.clip(side * z, -500, 500)))


def fit_unsafe(design: Design, texts: Texts) -> Floats:
    """Feature weights."""
    rows, starts = design.rows(), design.contains.indptr[:-1].astype(np.int64)
    members = design.contains.indices
    transposed = design.features.T.tocsr()
    everything = (design.contains @ design.features).tocsr()
    everything_transposed = everything.T.tocsr()

    def convex(w: Floats) -> tuple[float, Floats]:
        loss, slope = _logistic(everything @ w + BIAS, texts.label, texts.weight)
        return loss + 0.5 * PENALTY * float(w @ w), everything_transposed @ slope + PENALTY * w

    def pooled(w: Floats, margin: float) -> tuple[float, Floats]:
        evidence = (design.features @ w - margin)[members]
        counts = strongest(evidence, rows, starts, STRONGEST)
        pooled_evidence: Floats = np.bincount(
            rows, evidence * counts, minlength=len(texts.label)
        ).astype(np.float64)
        z = pooled_evidence + BIAS
        loss, slope = _logistic(z, texts.label, texts.weight)
        per_sign = np.bincount(members, counts * slope[rows], minlength=design.features.shape[0])
        return loss + 0.5 * PENALTY * float(w @ w), transposed @ per_sign + PENALTY * w

    best = _minimise(convex, np.zeros(design.features.shape[1]), 60, lowest=0.0)
    # A sign below the margin learns nothing, so the margin is raised little by little.
    for share in (0.0, 0.5, 1.0):
        best = _minimise(partial(pooled, margin=share * MARGIN), best, 60)
    return best


def lexicon_terms(categories: Sequence[str]) -> list[tuple[str, str]]:
    """Every term of the built-in lexicon that says much by itself, and its category.

    The pairs' labels name the subject that a group of prompts was written around, whatever the
    single prompt shows: more prompts with blood in them are labelled hate than violence. The
    terms say which category a word stands for.
    """
    found = {
        (term.name.replace("+", ""), term.category)
        for term in built_in().phrases.terms.values()
        if term.category in categories and term.probability >= 0.5
    }
    return sorted(found)


def fit_kinds(
    design: Design, texts: Texts, unsafe: Floats, categories: Sequence[str]
) -> tuple[Floats, Floats]:
    """Weights ``[buckets, categories]`` and bias of the categories, from the signs that count."""
    rows, starts = design.rows(), design.contains.indptr[:-1].astype(np.int64)
    evidence = (design.features @ unsafe - MARGIN)[design.contains.indices]
    counts = strongest(evidence, rows, starts, STRONGEST)
    chosen = csr_matrix(
        (counts.astype(np.float64), design.contains.indices, design.contains.indptr),
        shape=design.contains.shape,
    )
    harmful = np.flatnonzero(texts.label)
    terms = lexicon_terms(categories)
    anchors = Design.of([text for text, _ in terms], KIND_BUCKETS)
    x = vstack(
        [
            chosen[harmful] @ sign_features(design.signs, KIND_BUCKETS),
            anchors.contains @ anchors.features,
        ]
    ).tocsr()
    x_transposed = x.T.tocsr()
    names = [texts.category[i] for i in harmful] + [category for _, category in terms]
    target = np.asarray([categories.index(name) for name in names])
    weight = np.append(texts.weight[harmful], np.full(len(terms), TERM_WEIGHT))
    # Rare categories count as much as frequent ones: a prompt's category does not depend on how
    # many pairs of it somebody wrote.
    totals = np.bincount(target, weight, minlength=len(categories))
    weight = weight * (totals.sum() / len(categories) / totals)[target]
    shape = (KIND_BUCKETS + 1, len(categories))

    def loss(p: Floats) -> tuple[float, Floats]:
        w = p.reshape(shape)
        logits = x @ w[:-1] + w[-1]
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        shares /= shares.sum(axis=1, keepdims=True)
        each = np.arange(len(target))
        value = -float((weight * np.log(shares[each, target])).sum())
        shares[each, target] -= 1.0
        slope = shares * weight[:, None]
        gradient = np.vstack([x_transposed @ slope + KIND_PENALTY * w[:-1], slope.sum(axis=0)])
        return value + 0.5 * KIND_PENALTY * float((w[:-1] ** 2).sum()), gradient.ravel()

    best = _minimise(loss, np.zeros(shape).ravel(), 60).reshape(shape)
    return best[:-1], best[-1]


def calibrate(z: Floats, label: Floats) -> tuple[float, float]:
    """Platt's slope and offset, so that 1 / (1 + exp(-(slope · z + offset))) is a probability."""

    def loss(p: Floats) -> tuple[float, Floats]:
        value, slope = _logistic(p[0] * z + p[1], label, np.ones_like(z))
        return value, np.asarray([slope @ z, slope.sum()])

    slope, offset = _minimise(loss, np.asarray([1.0, 0.0]), 200)
    return float(slope), float(offset)


def train(
    pairs: Sequence[Pair],
    benign: Sequence[str],
    words: Sequence[str],
    *,
    seed: int = pairs_module.SEED,
    unsafe_buckets: int = UNSAFE_BUCKETS,
) -> Weights:
    """Divide, fit, calibrate.

    Args:
        pairs: The whole set; its test part is not looked at.
        benign: Captions that are all learned from: those to measure on are no part of them.
        words: Common words for the background.
        seed: Decides the division and everything drawn.
        unsafe_buckets: Size of the larger table, a power of two.
    """
    by_part = pairs_module.divide(pairs, pairs_module.scenes(pairs), seed)
    captions = list(benign)
    random.Random(seed).shuffle(captions)
    learned = round(BENIGN_SHARES[0] * len(captions))
    categories = tuple(sorted({pair.category for pair in pairs} | {DEMO_CATEGORY}))

    texts = training_texts(by_part["train"], captions[:learned], words, seed)
    design = Design.of(texts.text, unsafe_buckets)
    unsafe = fit_unsafe(design, texts)
    kinds, kind_bias = fit_kinds(design, texts, unsafe, categories)

    origin: dict[str, Any] = {
        "seed": seed,
        "pairs": {part: len(items) for part, items in by_part.items()},
        "benign": {"train": learned, "calibration": len(captions) - learned},
        "texts": len(texts.text),
        "signs": len(design.signs),
    }
    weights = Weights(
        unsafe=unsafe.astype(np.float16),
        kinds=kinds.astype(np.float16),
        kind_bias=kind_bias,
        categories=categories,
        slope=1.0,
        offset=0.0,
        origin=origin,
    )
    detector = NgramDetector(weights)
    held = by_part["calibration"]
    prompts = [p.unsafe for p in held] + [p.safe for p in held] + captions[learned:]
    z = np.asarray([detector.evidence(prompt).z for prompt in prompts])
    label = (np.arange(len(z)) < len(held)).astype(np.float64)
    slope, offset = calibrate(z, label)
    return replace(weights, slope=slope, offset=offset)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m safegen.lab.text.train")
    parser.add_argument("--pairs", type=Path, required=True, help="CSV: category, unsafe, safe")
    parser.add_argument("--benign", type=Path, required=True, help="CSV: prompt")
    parser.add_argument("--held-out", type=Path, help="CSV: prompt; left out of the benign ones")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args(argv)
    held_out = set(map(_plain, corpus.read_prompts(args.held_out))) if args.held_out else set()
    benign = [text for text in corpus.read_prompts(args.benign) if _plain(text) not in held_out]
    weights = train(pairs_module.read_pairs(args.pairs), benign, corpus.common_words())
    weights.save(args.out)
    print(f"{args.out.name}: {args.out.stat().st_size / 1e6:.2f} MB, {weights.origin}")
    return 0


def _plain(text: str) -> str:
    """For telling whether two captions are the same."""
    return " ".join(text.lower().strip(" .").split())


if __name__ == "__main__":
    raise SystemExit(main())
