"""CLIP's vocabulary, and what the embedded model's words are in it.

SafeGen ships no vocabulary: the two packages that WebUIs install for their text encoders,
``open_clip`` and ``clip``, bring it as a file.
"""

from __future__ import annotations

import gzip
import importlib.util
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from safegen.errors import InvalidValue
from safegen.lab.world.captions import vocabulary

FILE = "bpe_simple_vocab_16e6.txt.gz"
PACKAGES = ("open_clip", "clip")
MERGES = 49152 - 256 - 2
SIZE = 49408
START, END = SIZE - 2, SIZE - 1
FILLER = "picture"
"""The word that stands for the rest of a word of several tokens: it opens captions and says
nothing of a scene."""


def find_vocabulary(host: Path, given: Path | None = None) -> Path:
    """The file with CLIP's merges: ``given``, or that of an installed package, here or in the
    host's own environment.

    Raises:
        InvalidValue: It is not there.
    """
    if given is not None:
        if not given.is_file():
            raise InvalidValue("--clip-vocabulary", str(given), f"a file, such as {FILE}")
        return given
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            path = Path(spec.origin).with_name(FILE)
            if path.is_file():
                return path
    for environment in ("venv", ".venv"):
        pattern = f"{environment}/[Ll]ib*/**/site-packages/*clip/{FILE}"
        for path in sorted(host.glob(pattern)):
            return path
    raise InvalidValue(
        "--clip-vocabulary",
        "none",
        f"the path of {FILE}: pip install open_clip_torch brings it, and a WebUI's own "
        "environment has it in site-packages/open_clip",
    )


def read_merges(path: Path) -> list[tuple[str, str]]:
    """CLIP's merges in order.

    Raises:
        InvalidValue: The file holds something else.
    """
    try:
        text = gzip.decompress(path.read_bytes()).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as err:
        raise InvalidValue("--clip-vocabulary", str(path), f"{FILE}, packed by gzip") from err
    merges = [tuple(line.split()) for line in text.split("\n")[1 : MERGES + 1]]
    if len(merges) != MERGES or any(len(pair) != 2 for pair in merges):
        raise InvalidValue("--clip-vocabulary", str(path), f"{FILE} with {MERGES} merges")
    return merges  # type: ignore[return-value]


def embeddings(small: Tensor, own: Any, clip: Any) -> Tensor:
    """CLIP's table of tokens ``[49408, width]`` with the small model's embeddings.

    What both know as one token has its embedding. Of a word that is several of CLIP's tokens the
    first carries it and the rest are filler, which shifts what follows by their number. Any other
    token is the mean of its letters, about which the small model never learned anything.

    Args:
        small: The small model's table, ``[n, width]``.
        own: Its tokenizer.
        clip: CLIP's.
    """
    known, numbers = own.get_vocab(), clip.get_vocab()
    small = small.float()
    table = torch.zeros(SIZE, small.shape[1])
    for token, number in numbers.items():
        if token in known:
            table[number] = small[known[token]]
        else:
            table[number] = small[[known[letter] for letter in _letters(token)]].mean(0)
    several = {word: clip.tokenize(word) for word in world_words(own)}
    several = {word: pieces for word, pieces in several.items() if len(pieces) > 1}
    filler = small[known[f"{FILLER}</w>"]]
    for pieces in several.values():
        for piece in pieces[1:]:
            table[numbers[piece]] = filler
    for word, pieces in several.items():
        table[numbers[pieces[0]]] = small[known[f"{word}</w>"]]
    return table


def world_words(own: Any) -> list[str]:
    """The embedded world's words, each of which is one token of its tokenizer."""
    words = {word for text in vocabulary() for word in re.findall(r"[a-z]+", text.lower())}
    return sorted(word for word in words if own.tokenize(word) == [f"{word}</w>"])


def _letters(token: str) -> list[str]:
    end = token.endswith("</w>")
    letters = list(token.removesuffix("</w>"))
    if end:
        letters[-1] += "</w>"
    return letters
