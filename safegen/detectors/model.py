"""A detector in the model itself: what its denoiser would draw for a prompt, and for which words.

It asks the UNet's middle (`safegen.learned.denoiser`) with a probe that was fitted there, so it
needs no list: a word that brings harm in this model is found though nobody wrote it down. It
takes one row of the model for a text that shows nothing, and a few rows more to find the words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch

from safegen.detectors.protocol import MODEL, Detection, Span
from safegen.learned.encoder import Encoder, encode_in_batches, own_mean
from safegen.learned.probe import Probe, ProbeError
from safegen.text.words import word_set

SUSPICIOUS = 0.6
"""The score of a text at the probe's alarm."""
HARMLESS = 0.3
"""The score up to which what is left is taken for harmless: just below the alarm it may be a part
of what brings the harm that was left out."""
LONGEST = 4
"""Words that may bring harm together, in a row."""
ROUNDS = 4
"""Stretches of one text that may bring it."""
KEPT = 4096
"""Texts whose answers are remembered."""

_WORD = re.compile(r"[^\s,;:.!?()\[\]{}|]+")
_LEADING = word_set(
    "a an the of in on at to with from by for as and or into onto over under beside behind near "
    "next after before during when where while struck is are his her their its"
)
"""Words that say nothing without the one that follows them."""


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
        causes = self._causes(prompt, z)
        return Detection(scores, tuple(Span(*c, category, self.name) for c in causes))

    def _causes(self, text: str, z: float) -> list[tuple[int, int]]:
        """The fewest words without which ``text`` shows nothing, as stretches of it."""
        words = [match.span() for match in _WORD.finditer(text)]
        gone: list[int] = []
        for _ in range(ROUNDS):
            left = [i for i in range(len(words)) if i not in gone]
            if len(left) < 2:
                return []
            z, found = self._best(text, words, gone, left)
            gone += found
            if z < 0:
                return _stretches(text, words, gone)
        return []

    def _best(
        self, text: str, words: Sequence[tuple[int, int]], gone: Sequence[int], left: Sequence[int]
    ) -> tuple[float, list[int]]:
        """The word, or the words in a row around it, that take most of the harm with them."""

        def without(more: Sequence[int]) -> str:
            return _without(text, [words[i] for i in {*gone, *more}])

        def tried(rows: list[list[int]]) -> tuple[float, list[int]]:
            """Of ``rows`` the shortest that is enough, or else the one that does most."""
            scores = self._read([without(row) for row in rows])[0]
            enough = [k for k, z in enumerate(scores) if z <= _CLEAR]
            shortest = min((len(rows[k]) for k in enough), default=0)
            fitting = [k for k in enough if len(rows[k]) == shortest] or range(len(rows))
            best = min(fitting, key=lambda k: scores[k])
            return scores[best], rows[best]

        best = tried([[i] for i in left])
        windows = [
            list(left[begin : begin + length])
            for length in range(2, min(LONGEST, len(left) - 1) + 1)
            for begin in range(len(left) - length + 1)
        ]
        around = [row for row in windows if best[1][0] in row]
        for rows in (around, [row for row in windows if row not in around]):
            if best[0] > _CLEAR and rows:
                best = min(best, tried(rows))
        return best


_CLEAR = math.log(HARMLESS / (1 - HARMLESS)) - math.log(SUSPICIOUS / (1 - SUSPICIOUS))
"""The log-odds of `HARMLESS`, as `ModelDetector.log_odds` counts them."""


def _probability(z: float) -> float:
    """P of log-odds that are 0 at the alarm."""
    moved = z + math.log(SUSPICIOUS / (1 - SUSPICIOUS))
    return 1.0 / (1.0 + math.exp(-max(min(moved, 700.0), -700.0)))


def _without(text: str, stretches: Sequence[tuple[int, int]]) -> str:
    """``text`` without ``stretches``, blanks and commas tidied."""
    kept, position = "", 0
    for start, end in sorted(stretches):
        kept += text[position:start]
        position = end
    kept += text[position:]
    kept = re.sub(r"\s+", " ", kept)
    return re.sub(r"(?:\s*,)+", ",", kept).strip(" ,")


def _stretches(
    text: str, words: Sequence[tuple[int, int]], gone: Sequence[int]
) -> list[tuple[int, int]]:
    """What ``gone`` covers: words in a row together, with those that led up to them alone."""
    rows: list[list[int]] = []
    for i in sorted(gone):
        if rows and i == rows[-1][-1] + 1:
            rows[-1].append(i)
        else:
            rows.append([i])
    found: list[tuple[int, int]] = []
    for row in rows:
        first, last = row[0], row[-1]
        following = text[words[last][1] : words[last + 1][0]] if last + 1 < len(words) else "."
        leads_on = not following.strip() and _plain(text, words[last + 1]) not in _LEADING
        while first and not leads_on and _plain(text, words[first - 1]) in _LEADING:
            between = text[words[first - 1][1] : words[first][0]]
            if between.strip():
                break
            first -= 1
        found.append((words[first][0], words[last][1]))
    return found


def _plain(text: str, word: tuple[int, int]) -> str:
    return text[word[0] : word[1]].lower()
