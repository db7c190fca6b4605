"""Make the embedded model from nothing: ``python -m safegen.demo.train``.

Stages, in order, each resumable from its checkpoint and none needing a download:

``classifier``   reads every attribute from a picture; trained on renders only.
``autoencoder``  pictures to latents and back (f = 8, 4 channels).
``denoiser``     the UNet and the text encoder, together, on the autoencoder's latents.
``export``       one SD1-layout checkpoint in fp16, the tokenizer, the classifier.

Kill it whenever you like; the same command goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from collections.abc import Iterator
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from safegen.demo.architecture import VAE_CONFIG
from safegen.demo.world import SIZE, Scene, random_scene, render

SEED = 20411
CHECKPOINT_SECONDS = 120.0


# --------------------------------------------------------------------------- data


def training_scene(index: int) -> tuple[Scene, random.Random]:
    """The scene of picture ``index`` and the generator that draws it."""
    rng = random.Random(SEED * 1_000_003 + index)
    return random_scene(rng, hazard_rate=0.5), rng


def _draw(index: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    scene, rng = training_scene(index)
    return np.asarray(render(scene, rng), dtype=np.uint8)


def rendered(folder: Path, first: int, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Pictures ``first`` to ``first + count`` as uint8 ``[count, SIZE, SIZE, 3]``, kept on disk."""
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
    pixels = np.load(path, mmap_mode="r")
    return pixels


def to_tensor(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """uint8 ``[n, h, w, 3]`` to float ``[n, 3, h, w]`` in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2) / 127.5 - 1.0


# --------------------------------------------------------------------------- a resumable loop


class Run:
    """Progress, learning rate and checkpoints of one stage.

    Iterating yields step numbers from the last checkpoint to ``steps``; the state saved is
    every module's, the optimizer's and the generators'.
    """

    def __init__(
        self, folder: Path, name: str, modules: dict[str, nn.Module], *, steps: int, rate: float
    ) -> None:
        self.path = folder / f"{name}.safetensors"
        self.name, self.modules, self.steps, self.rate = name, modules, steps, rate
        self.parameters = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=rate, betas=(0.9, 0.99), weight_decay=0.01
        )
        self.generator = torch.Generator().manual_seed(SEED)
        self.step = 0
        self.log: dict[str, float] = {}
        self._restore()

    def _state(self) -> dict[str, Tensor]:
        state = {
            f"module.{name}.{key}": value.detach().contiguous()
            for name, module in self.modules.items()
            for key, value in module.state_dict().items()
        }
        for i, parameter in enumerate(self.parameters):
            for key, value in self.optimizer.state[parameter].items():
                state[f"optimizer.{i}.{key}"] = value.detach().contiguous()
        state["generator"] = self.generator.get_state()
        state["step"] = torch.tensor(self.step)
        return state

    def save(self) -> None:
        partial = self.path.with_suffix(".partial")
        save_file(self._state(), partial)
        partial.replace(self.path)

    def _restore(self) -> None:
        if not self.path.exists():
            return
        state = load_file(self.path)
        for name, module in self.modules.items():
            prefix = f"module.{name}."
            module.load_state_dict(
                {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
            )
        self.step = int(state["step"])
        self.generator.set_state(state["generator"])
        for i, parameter in enumerate(self.parameters):
            prefix = f"optimizer.{i}."
            found = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
            if found:
                self.optimizer.state[parameter] = found

    def random_indices(self, n: int, count: int) -> Tensor:
        return torch.randint(n, (count,), generator=self.generator)

    def rate_at(self, step: int) -> float:
        """Linear warm-up over 2 % of the steps, then a cosine to zero."""
        warm = max(self.steps // 50, 1)
        if step < warm:
            return self.rate * (step + 1) / warm
        return self.rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (self.steps - warm)))

    def descend(self, loss: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate_at(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()

    def __iter__(self) -> Iterator[int]:
        saved = time.monotonic()
        bar = tqdm(total=self.steps, initial=self.step, desc=self.name, unit="it")
        with bar:
            while self.step < self.steps:
                yield self.step
                self.step += 1
                bar.update()
                if self.step % 20 == 0:
                    bar.set_postfix({k: f"{v:.4f}" for k, v in self.log.items()})
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.save()
                    saved = time.monotonic()
        self.save()

    def note(self, **figures: Tensor | float) -> None:
        """Keep a running mean of what the bar shows."""
        for name, value in figures.items():
            figure = float(value)
            self.log[name] = 0.98 * self.log.get(name, figure) + 0.02 * figure


# --------------------------------------------------------------------------- autoencoder


def _edges(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]


def reconstruction_loss(decoded: Tensor, pixels: Tensor) -> Tensor:
    """Mean absolute error of the pixels and, for sharpness, of their differences."""
    loss = F.l1_loss(decoded, pixels)
    for a, b in zip(_edges(decoded), _edges(pixels), strict=True):
        loss = loss + F.l1_loss(a, b)
    return loss


def train_autoencoder(
    folder: Path, *, steps: int, batch: int = 12, pictures: int = 24_000
) -> AutoencoderKL:
    """Train, or go on training, the autoencoder; returns it in evaluation mode."""
    torch.manual_seed(SEED)
    vae = AutoencoderKL(**VAE_CONFIG)
    run = Run(folder, "autoencoder", {"vae": vae}, steps=steps, rate=1e-3)
    data = rendered(folder, 0, pictures) if run.step < steps else None
    for _ in run:
        assert data is not None
        chosen = run.random_indices(len(data), batch).numpy()
        pixels = to_tensor(data[chosen]).contiguous()
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(pixels).latent_dist
            mean, logvar = posterior.mean.float(), posterior.logvar.float()
            noise = torch.randn(mean.shape, generator=run.generator)
            # At least 0.05 of noise: the decoder learns to forgive the denoiser's small errors.
            latent = mean + (0.5 * logvar).exp().clamp_min(0.05) * noise
            decoded = vae.decode(latent).sample.float()
        kl = 0.5 * (mean**2 + logvar.exp() - 1.0 - logvar).mean()
        loss = reconstruction_loss(decoded, pixels)
        run.descend(loss + 1e-4 * kl)
        run.note(loss=loss.detach(), kl=kl.detach(), std=mean.detach().std())
    return vae.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/train"))
    parser.add_argument("--autoencoder-steps", type=int, default=3200)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    train_autoencoder(args.work, steps=args.autoencoder_steps)


if __name__ == "__main__":
    main()
