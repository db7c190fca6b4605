"""The embedded model's byte-level BPE tokenizer, in CLIP's own file format.

The vocabulary is CLIP's in small: 256 byte symbols, the same 256 closing a word, one token
for each merge, and the two specials. Each word of the world becomes one token; any other
text falls back to bytes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from transformers.models.clip.tokenization_clip import bytes_to_unicode

START, END = "<|startoftext|>", "<|endoftext|>"


def learn_merges(words: Counter[str]) -> list[tuple[str, str]]:
    """Byte-pair merges until each of ``words`` is one token, most frequent pair first.

    Ties go to the pair that sorts first, so the result depends on the words alone.
    """
    alphabet = bytes_to_unicode()
    pieces: dict[tuple[str, ...], int] = {}
    for word, count in sorted(words.items()):
        symbols = [alphabet[byte] for byte in word.encode()]
        pieces[(*symbols[:-1], symbols[-1] + "</w>")] = count
    merges: list[tuple[str, str]] = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for word_symbols, count in pieces.items():
            for pair in pairwise(word_symbols):
                pairs[pair] += count
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces = {_merge(symbols, best): count for symbols, count in pieces.items()}


def _merge(symbols: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return tuple(merged)


def write(sentences: list[str], folder: Path) -> int:
    """Write the tokenizer to which each word of ``sentences`` is one token; returns its size."""
    words = Counter(re.findall(r"[a-z]+|[^\sa-z]+", " ".join(sentences).lower()))
    return write_merges(learn_merges(words), folder)


def write_merges(merges: Iterable[tuple[str, str]], folder: Path) -> int:
    """Write ``vocab.json``, ``merges.txt`` and ``tokenizer_config.json``; returns the size."""
    merges = list(merges)
    symbols = list(bytes_to_unicode().values())
    tokens = [*symbols, *(s + "</w>" for s in symbols), *("".join(pair) for pair in merges)]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys([*tokens, START, END]))}
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": START,
        "eos_token": END,
        "pad_token": END,
        "unk_token": END,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return len(vocabulary)
