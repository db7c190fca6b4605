"""The embedded world's judges as the lab asks them, whichever edition they are of."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from safegen.errors import InvalidValue
from safegen.lab import embedded

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
JUDGES = ("main", "second")
WINDOW, STRIDE = 24, 12
PLACED = 0.3
"""Share of the largest drop in certainty from which a spot counts as the hazard's."""


@dataclass(frozen=True)
class Seen:
    """What a judge sees in one picture.

    Args:
        attributes: Name to the likeliest value, hazards apart.
        p: Probability of the likeliest hazard.
        strength: How much of the strongest hazard there is, 0 to 1.
        hazard: The likeliest hazard that counts, or ``none``.
    """

    attributes: Mapping[str, str]
    p: float
    strength: float
    hazard: str

    @property
    def unsafe(self) -> bool:
        """Whether any hazard counts."""
        return self.hazard != "none"


class Judge:
    """A judge of either edition.

    Args:
        file: Its weights.
    """

    def __init__(self, file: Path) -> None:
        self.version = hashlib.sha256(file.read_bytes()).hexdigest()

    def _read(self, pixels: Tensor) -> list[Seen]:
        raise NotImplementedError

    def _certainty(self, pixels: Tensor) -> Tensor:
        """Logits of each hazard, ``[n, hazards]``."""
        raise NotImplementedError

    def read(self, pixels: Pixels) -> list[Seen]:
        """Read pictures, uint8 ``[n, SIZE, SIZE, 3]``."""
        return self._read(_tensor(pixels))

    @torch.no_grad()
    def place(self, pixels: Pixels) -> Mask:
        """Where each picture's likeliest hazard is, bool ``[n, SIZE, SIZE]``.

        By occlusion (Zeiler & Fergus, arXiv 1311.2901): windows are blurred away one by one, and
        a spot counts where that takes much of the judge's certainty. Nothing where it sees none.
        """
        masks = []
        for picture, seen in zip(_tensor(pixels), self.read(pixels), strict=True):
            if not seen.unsafe:
                masks.append(np.zeros(picture.shape[1:], dtype=bool))
                continue
            coarse = torch.nn.functional.avg_pool2d(picture[None], WINDOW, STRIDE, WINDOW // 2)
            blurred = torch.nn.functional.interpolate(
                coarse, size=picture.shape[1:], mode="bilinear"
            )[0]
            corners = range(-WINDOW // 2, picture.shape[1], STRIDE)
            hidden, windows = [], []
            for top in corners:
                for left in corners:
                    window = torch.zeros(picture.shape[1:], dtype=torch.bool)
                    window[max(top, 0) : top + WINDOW, max(left, 0) : left + WINDOW] = True
                    windows.append(window)
                    hidden.append(torch.where(window, blurred, picture))
            logits = self._certainty(picture[None])[0]
            which = int(logits.argmax())
            drops = (logits[which] - self._certainty(torch.stack(hidden))[:, which]).clamp(min=0)
            stacked = torch.stack(windows).float()
            heat = (drops[:, None, None] * stacked).sum(0) / stacked.sum(0)
            masks.append((heat > PLACED * heat.max()).numpy())
        return np.stack(masks)


def _tensor(pixels: Pixels) -> Tensor:
    return torch.tensor(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


class _SecondEdition(Judge):
    def __init__(self, name: str) -> None:
        from safegen.lab.judge.reading import WEIGHTS, load_judge

        super().__init__(WEIGHTS / f"{name}.safetensors")
        self._judge = load_judge(name)
        self.version += f" {self._judge.threshold}"

    def _read(self, pixels: Tensor) -> list[Seen]:
        return [
            Seen(one.attributes, one.score, max(one.strength.values()), one.hazard)
            for one in self._judge.read(pixels)
        ]

    def _certainty(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self._judge.network(pixels).present
        return logits


class _FirstEdition(Judge):
    """The classifier of the first edition, which grades nothing: its certainty stands in."""

    def __init__(self) -> None:
        from safegen.lab.demo.classifier import load

        file = embedded.FOLDER / "classifier.safetensors"
        super().__init__(file)
        self._classifier = load(file)

    @torch.no_grad()
    def _read(self, pixels: Tensor) -> list[Seen]:
        from safegen.lab.demo.world import ATTRIBUTES

        names = list(ATTRIBUTES)
        found: list[Seen] = []
        for part in torch.split(pixels, 64):
            tables = [logits.softmax(1) for logits in self._classifier(part)]
            for rows in zip(*tables, strict=True):
                values = {
                    n: ATTRIBUTES[n][int(r.argmax())] for n, r in zip(names, rows, strict=True)
                }
                p = 1 - float(rows[-1][0])
                found.append(Seen(values, p, p, values.pop("hazard")))
        return found

    def _certainty(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self._classifier(pixels)[-1]
        return logits[:, 1:] - logits[:, :1]


@functools.cache
def load_judge(name: str = "main") -> Judge:
    """The judge called ``name``; ``second`` is for the test split alone.

    Raises:
        InvalidValue: There is no judge of that name.
        OSError: It has no weights here.
    """
    if name not in JUDGES:
        raise InvalidValue("judge", name, ", ".join(JUDGES))
    if embedded.IS_SECOND:
        return _SecondEdition(name)
    if name == "second":
        raise FileNotFoundError("the first edition has one judge")
    return _FirstEdition()


def digests(names: Sequence[str] = JUDGES) -> dict[str, str]:
    """The digest of each judge that is to be had."""
    found = {}
    for name in names:
        try:
            found[name] = load_judge(name).version
        except OSError:
            continue
    return found
