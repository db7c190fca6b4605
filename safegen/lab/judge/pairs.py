"""Matched pairs to train and test judges on: hazards at every opacity, and none.

A pair is one scene with its hazard and without, in one layout. What is between the two is
blended; some blends also pass through the autoencoder, in pixels before it or in its latents,
as the method itself blends.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from safegen.files import write_atomically
from safegen.lab.judge.networks import READ
from safegen.lab.model.data import picture_seed
from safegen.lab.world.picture import matched, pixels
from safegen.lab.world.scene import ATTRIBUTES, HAZARDS, NEARS, NONE, Scene, random_scene

FULL_AREA = {"bloody": 1000.0, "burning": 1400.0, "skull": 700.0}
"""How many pixels a hazard of amount 1 covers, about."""
SURE_OPACITY = 0.12
"""From this opacity on a hazard counts as there; below, in proportion."""


def judged_scene(index: int) -> Scene:
    """The scene of pair ``index``: near concepts are as common beside hazards as without."""
    rng = random.Random(picture_seed(index))
    scene = random_scene(rng, hazard_rate=0.65)
    return replace(scene, near=rng.choice(NEARS) if rng.random() < 0.5 else NONE)


@dataclass(frozen=True)
class Pairs:
    """Matched pairs as tensors.

    Attributes:
        shown, hidden: The pictures, uint8 ``[n, 3, h, w]``.
        labels: The class of each attribute of `READ`, ``[n, 5]``.
        kind: The hazard's number, -1 without one, ``[n]``.
        area: What the hazard covers, as a share of `FULL_AREA`, at most 1, ``[n]``.
    """

    shown: Tensor
    hidden: Tensor
    labels: Tensor
    kind: Tensor
    area: Tensor

    def __len__(self) -> int:
        return len(self.kind)

    def blend(self, chosen: Tensor, opacity: Tensor) -> Tensor:
        """Pictures ``chosen`` with the hazard at ``opacity`` ``[B]``, float in [-1, 1]."""
        shown, hidden = _to_float(self.shown[chosen]), _to_float(self.hidden[chosen])
        return hidden + opacity[:, None, None, None] * (shown - hidden)

    def truth(self, chosen: Tensor, opacity: Tensor) -> tuple[Tensor, Tensor]:
        """Presence and strength of each hazard, both ``[B, 3]`` in [0, 1]."""
        kind = self.kind[chosen]
        there = F.one_hot(kind.clamp_min(0), len(HAZARDS)) * (kind >= 0)[:, None]
        present = there * (opacity / SURE_OPACITY).clamp(max=1)[:, None]
        return present, there * (opacity * self.area[chosen])[:, None]


def _to_float(pictures: Tensor) -> Tensor:
    return pictures / 127.5 - 1.0


def make_pairs(first: int, count: int, folder: Path | None = None) -> Pairs:
    """Pairs ``first`` to ``first + count``, kept in ``folder`` if there is one."""
    path = folder / f"pairs-{first}-{count}.safetensors" if folder is not None else None
    if path is not None and path.exists():
        return Pairs(**load_file(path))
    shown, hidden, labels, kinds, areas = [], [], [], [], []
    for index in tqdm(range(first, first + count), desc="pairs", unit="pair", disable=count < 500):
        scene = judged_scene(index)
        with_it, without = (pixels(p) for p in matched(scene, picture_seed(index)))
        shown.append(with_it)
        hidden.append(without)
        values = zip(ATTRIBUTES, scene.labels(), strict=True)
        labels.append([label for name, label in values if name in READ])
        kinds.append(HAZARDS.index(scene.hazard) if scene.hazard != NONE else -1)
        covered = float((with_it != without).any(2).sum())
        areas.append(min(covered / FULL_AREA.get(scene.hazard, 1.0), 1.0))
    pairs = Pairs(
        _stacked(shown),
        _stacked(hidden),
        torch.tensor(labels),
        torch.tensor(kinds),
        torch.tensor(areas),
    )
    if path is not None:
        write_atomically(path, save(vars(pairs)))
    return pairs


def _stacked(pictures: list[np.ndarray[Any, np.dtype[np.uint8]]]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def opacities(count: int, generator: torch.Generator) -> Tensor:
    """Opacities to learn from: a quarter full, a sixth none, the rest between, the faint more."""
    draw = torch.rand(count, generator=generator)
    between = 0.04 + 0.96 * torch.rand(count, generator=generator) ** 1.5
    return torch.where(draw < 0.25, 1.0, torch.where(draw < 0.42, 0.0, between))


@torch.no_grad()
def passed(
    pairs: Pairs, vae: Any, chosen: Tensor, opacity: Tensor, generator: torch.Generator
) -> Tensor:
    """Pictures ``chosen`` at ``opacity``, through the autoencoder with a little noise on the
    latents; every other one is blended in the latents instead. Float in [-1, 1]."""
    results = []
    for part, faint in zip(torch.split(chosen, 16), torch.split(opacity, 16), strict=True):
        latent = vae.encode(pairs.blend(part, faint)).latent_dist.mean
        odd = part[1::2]
        full = vae.encode(pairs.blend(odd, torch.ones(len(odd)))).latent_dist.mean
        none = vae.encode(pairs.blend(odd, torch.zeros(len(odd)))).latent_dist.mean
        latent[1::2] = none + faint[1::2, None, None, None] * (full - none)
        spread = latent.std((0, 2, 3), keepdim=True)
        amount = 0.2 * torch.rand((len(part), 1, 1, 1), generator=generator)
        latent = latent + amount * spread * torch.randn(latent.shape, generator=generator)
        results.append(vae.decode(latent).sample.clamp(-1, 1))
    return torch.cat(results)


def roughen(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures as a generator might spoil them: some blur, noise and a shift of brightness."""
    n = len(pictures)
    amount = torch.rand((n, 1, 1, 1), generator=generator)
    soft = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    pictures = pictures + amount * (soft - pictures)
    pictures = pictures + 0.06 * torch.randn(pictures.shape, generator=generator) * amount.flip(0)
    pictures = pictures * (1 + 0.08 * torch.randn((n, 1, 1, 1), generator=generator))
    return (pictures + 0.05 * torch.randn((n, 3, 1, 1), generator=generator)).clamp(-1, 1)
