"""How like the plain picture one is: pixels, SSIM, LPIPS."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from safegen.lab.scorers.base import About, Item, NotAvailable, Options, Scores

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def read(file: Path | IO[bytes]) -> Pixels:
    """A picture as RGB, uint8 ``[height, width, 3]``."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


class _Pairs:
    """A scorer of (picture, plain picture); without the plain one it says nothing."""

    name: str
    about: About
    version: str

    def __init__(self, options: Options) -> None:
        """``options`` are for those that need something of the user."""

    def compare(self, one: Pixels, other: Pixels) -> Scores:
        raise NotImplementedError

    def score(self, items: Sequence[Item]) -> list[Scores]:
        """One entry per item; empty where there is no plain picture or it has another size."""
        found: list[Scores] = []
        for item in items:
            one, other = read(item.path), None if item.plain is None else read(item.plain)
            same = other is not None and one.shape == other.shape
            found.append(self.compare(one, other) if same and other is not None else {})
        return found


class PixelScorer(_Pairs):
    """Whether a picture is the plain one."""

    name = "pixels"
    version = "2"
    about = About(
        title="Pixels against the plain picture",
        says="identical: every pixel is the same.",
        licence="part of SafeGen (MIT)",
        blind_to="meaning: a shifted picture counts as a changed one",
    )

    def compare(self, one: Pixels, other: Pixels) -> Scores:
        return {"identical": bool((one == other).all())}


class SsimScorer(_Pairs):
    """Structural similarity (Wang et al. 2004), Gaussian windows as in the paper."""

    name = "ssim"
    about = About(
        title="SSIM against the plain picture (scikit-image)",
        says="ssim: structural similarity, 1 for identical pictures.",
        licence="scikit-image: BSD-3-Clause; no weights",
        blind_to="meaning: a small removed object and a changed texture may weigh the same",
    )

    def __init__(self, _options: Options) -> None:
        try:
            from skimage.metrics import structural_similarity
        except ImportError as error:
            raise NotAvailable(f"pip install 'safegen[scorers]' (scikit-image): {error}") from None
        self._ssim: Any = structural_similarity
        self.version = f"scikit-image {version('scikit-image')}"

    def compare(self, one: Pixels, other: Pixels) -> Scores:
        value = self._ssim(
            one, other, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False,
        )  # fmt: skip
        return {"ssim": round(float(value), 5)}


class LpipsScorer(_Pairs):
    """Learned perceptual distance (Zhang et al. 2018)."""

    name = "lpips"

    def __init__(self, options: Options) -> None:
        net = options.lpips_net
        try:
            import lpips
            import torch
        except ImportError as error:
            raise NotAvailable(f"pip install 'safegen[lpips]': {error}") from None
        try:
            self._net: Any = lpips.LPIPS(net=net, verbose=False).eval()
        except Exception as error:  # torchvision fetches its backbone: many ways to fail
            raise NotAvailable(
                f"LPIPS needs torchvision's {net} weights, fetched once: {error}"
            ) from error
        self._torch: Any = torch
        self.version = f"lpips {version('lpips')} {net}"
        self.about = About(
            title=f"LPIPS ({net}) against the plain picture",
            says="lpips: perceptual distance, 0 for identical pictures.",
            licence="lpips: BSD-2-Clause; backbone weights of torchvision: BSD-3-Clause",
            blind_to="harm; and anything its backbone, trained on ImageNet, does not tell apart",
        )

    def compare(self, one: Pixels, other: Pixels) -> Scores:
        with self._torch.no_grad():
            pair = [
                self._torch.tensor(p.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
                for p in (one, other)
            ]
            return {"lpips": round(float(self._net(*pair)), 5)}
