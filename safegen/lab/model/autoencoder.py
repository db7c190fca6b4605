"""Training the autoencoder, and the latents that the denoiser learns from."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from safegen.files import write_atomically
from safegen.lab.model import runs
from safegen.lab.model.architecture import VAE_CONFIG
from safegen.lab.model.data import FIRST, SEED, rendered, to_tensor


def _edges(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]


def reconstruction_loss(decoded: Tensor, pixels: Tensor) -> Tensor:
    """Absolute error of pixels and of their differences (sharpness), and squared error of
    pixels and of coarse averages (an object's colour must not be a compromise)."""
    loss = F.l1_loss(decoded, pixels) + 2 * F.mse_loss(decoded, pixels)
    loss = loss + 4 * F.mse_loss(F.avg_pool2d(decoded, 4), F.avg_pool2d(pixels, 4))
    for a, b in zip(_edges(decoded), _edges(pixels), strict=True):
        loss = loss + F.l1_loss(a, b)
    return loss


def _crop(pixels: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A square at a random place, in the lower two thirds more often: that is where things are."""
    rows, columns = pixels.shape[-2] - size + 1, pixels.shape[-1] - size + 1
    draw = torch.randint(rows, (2,), generator=generator)
    left = torch.randint(columns, (1,), generator=generator)
    top = int(draw.max())
    return pixels[..., top : top + size, int(left) : int(left) + size].contiguous()


def train_autoencoder(folder: Path, *, steps: int, pictures: int, batch: int = 8) -> AutoencoderKL:
    """Train, or go on training, the autoencoder; returns it in evaluation mode.

    The first nine tenths of the steps see crops, which cost less than half and are filled more by
    what is hard to learn, the objects; the rest see whole pictures.
    """
    torch.manual_seed(SEED)
    vae = AutoencoderKL(**VAE_CONFIG)
    run = runs.Run(folder, "autoencoder", {"vae": vae}, steps=steps, rate=1e-3)
    data = rendered(folder, FIRST["model"], pictures) if run.step < steps else None
    for step in run:
        assert data is not None
        chosen = run.random_indices(len(data), batch // runs.processes()).numpy()
        pixels = to_tensor(data[chosen]).contiguous()
        crops = step < 0.9 * steps
        if crops:
            pixels = _crop(pixels, 64, run.generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=crops):
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


@torch.no_grad()
def encoded(folder: Path, vae: AutoencoderKL, pictures: int) -> Tensor:
    """The latents of all training pictures, ``[pictures, 4, h, w]``, kept on disk in fp16.

    Each process encodes its share.
    """
    share = pictures // runs.processes()
    paths = [folder / f"latents-{pictures}-{i}.safetensors" for i in range(runs.processes())]
    path = paths[runs.rank()]
    if not path.exists():
        first = share * runs.rank()
        last = pictures if runs.rank() == runs.processes() - 1 else first + share
        data = rendered(folder, FIRST["model"], pictures)
        starts = range(first, last, 32)
        parts = []
        for start in tqdm(starts, desc="encode", unit="batch", disable=runs.rank() != 0):
            batch = to_tensor(data[start : min(start + 32, last)])
            parts.append(vae.encode(batch).latent_dist.mean)
        write_atomically(path, save({"latents": torch.cat(parts).half().contiguous()}))
    runs.wait_for_all()
    return torch.cat([load_file(p)["latents"] for p in paths]).float()


@torch.no_grad()
def flatten_latents(vae: AutoencoderKL, latents: Tensor) -> tuple[Tensor, float]:
    """Centre the latent channels and bring their deviations halfway together.

    The change is folded into the autoencoder's two 1x1 convolutions, so pictures stay as they
    were. Halfway, not all the way: fully whitened latents turn faint detail into loud noise.

    Returns:
        The latents after the change, and the scale factor that gives them unit deviation.
    """
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    gain = (deviation / deviation.log().mean().exp()) ** -0.5
    n = len(mean)
    vae.quant_conv.weight[:n] *= gain[:, None, None, None]
    vae.quant_conv.bias[:n] = (vae.quant_conv.bias[:n] - mean) * gain
    vae.quant_conv.bias[n:] += 2 * gain.log()  # the log variance
    weight = vae.post_quant_conv.weight
    vae.post_quant_conv.bias += (weight[:, :, 0, 0] * mean).sum(1)
    weight /= gain[None, :, None, None]
    latents = (latents - mean[:, None, None]) * gain[:, None, None]
    return latents, float(1 / latents.std())
