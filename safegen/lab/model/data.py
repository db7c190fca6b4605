"""Pictures to train on: numbered, drawn once, kept on disk.

The number of a picture settles its scene, its phrase and its pixels. Ranges of numbers are
never shared: see `FIRST`.
"""

from __future__ import annotations

import os
import random
from multiprocessing import Pool
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from safegen.lab.world.picture import render
from safegen.lab.world.scene import SIZE, Sample, random_sample

SEED = 20411
FIRST: dict[str, int] = {
    "model": 0,
    "judge": 10_000_000,
    "second judge": 20_000_000,
    "held out": 30_000_000,
    "calibration": 40_000_000,
}
"""The first number of each use's own range: what trains one thing never trains another, and
what measures was never trained on."""

Pictures = np.ndarray[Any, np.dtype[np.uint8]]


def picture_seed(index: int) -> int:
    """The seed that draws picture ``index``."""
    return SEED * 1_000_003 + index


def sample_of(index: int) -> Sample:
    """The scene of picture ``index``, and its implicit phrase, if any."""
    return random_sample(random.Random(picture_seed(index)))


def _draw(index: int) -> Pictures:
    return np.asarray(render(sample_of(index).scene, picture_seed(index)), dtype=np.uint8)


def rendered(folder: Path, first: int, count: int) -> Pictures:
    """Pictures ``first`` to ``first + count`` as uint8 ``[count, SIZE, SIZE, 3]``."""
    path = folder / f"renders-{first}-{count}.npy"
    if not path.exists():
        pixels = np.empty((count, SIZE, SIZE, 3), dtype=np.uint8)
        with Pool(os.cpu_count()) as pool:
            drawn = pool.imap(_draw, range(first, first + count), chunksize=64)
            for i, picture in enumerate(tqdm(drawn, total=count, desc="render", unit="img")):
                pixels[i] = picture
        partial = path.with_suffix(".partial.npy")
        np.save(partial, pixels)
        partial.replace(path)
    return cast("Pictures", np.load(path, mmap_mode="r"))


def to_tensor(pixels: Pictures) -> Tensor:
    """uint8 ``[n, h, w, 3]`` to float ``[n, 3, h, w]`` in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2) / 127.5 - 1.0
