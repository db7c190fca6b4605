"""Make the embedded model from nothing: ``python -m safegen.lab.demo.train``.

Stages, in order, each resumable from its checkpoint and none needing a download:

``classifier``   reads every attribute from a picture; trained on renders only.
``autoencoder``  pictures to latents and back (f = 8, 4 channels).
``denoiser``     the UNet and the text encoder, together, on the autoencoder's latents.
``export``       one SD1-layout checkpoint in fp16, the tokenizer, the classifier.

Kill it whenever you like; the same command goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import Pool, parent_process
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from safegen.lab.demo.architecture import (
    NOISE_CONFIG,
    TEXT_CONFIG,
    TOKENS,
    UNET_CONFIG,
    VAE_CONFIG,
)
from safegen.lab.demo.classifier import Classifier, read
from safegen.lab.demo.classifier import save as save_classifier
from safegen.lab.demo.layout import to_sd1
from safegen.lab.demo.model import MODEL_FOLDER, MODEL_NAME
from safegen.lab.demo.tokenizer import write as write_tokenizer
from safegen.lab.demo.world import (
    ATTRIBUTES,
    POSITIONS,
    SIZE,
    Scene,
    caption,
    random_scene,
    render,
    to_array,
    vocabulary,
)

SEED = 20411
HELD_OUT = 10_000_000
"""Pictures from this index on are never trained on."""
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
    return cast("np.ndarray[Any, np.dtype[np.uint8]]", np.load(path, mmap_mode="r"))


def to_tensor(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """uint8 ``[n, h, w, 3]`` to float ``[n, 3, h, w]`` in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2) / 127.5 - 1.0


# --------------------------------------------------------------------------- a resumable loop


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


class Run:
    """Progress, learning rate and checkpoints of one stage.

    Iterating yields step numbers from the last checkpoint to ``steps``; the state saved is
    every module's and the optimizer's. Random numbers depend on the seed, the step and the
    process only. With several processes each takes its share of the batch, and ``descend``
    averages the gradients, so all of them hold the same weights.
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
        self.generator = torch.Generator()
        self.captions = random.Random()
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
        state["step"] = torch.tensor(self.step)
        return state

    def save(self) -> None:
        if _rank() != 0:
            return
        partial = self.path.with_suffix(".partial")
        save_file(self._state(), partial)
        partial.replace(self.path)

    def _restore(self) -> None:
        if not self.path.exists():
            return
        state = load_file(self.path)
        for name, module in self.modules.items():
            prefix = f"module.{name}."
            found = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
            if found:
                module.load_state_dict(found)
        self.step = int(state["step"])
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
        if _processes() > 1:
            gradients = [p.grad for p in self.parameters if p.grad is not None]
            flat = torch.cat([g.flatten() for g in gradients])
            dist.all_reduce(flat)
            parts = torch.split(flat.div_(_processes()), [g.numel() for g in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()

    def __iter__(self) -> Iterator[int]:
        saved = time.monotonic()
        bar = tqdm(
            total=self.steps,
            initial=self.step,
            desc=self.name,
            unit="it",
            disable=_rank() != 0,
            mininterval=1,
        )
        with bar:
            while self.step < self.steps:
                parent = parent_process()
                if parent is not None and not parent.is_alive():
                    raise SystemExit("the training command was killed")
                seed = (SEED + self.step) * 1024 + _rank()
                self.generator.manual_seed(seed)
                self.captions.seed(seed)
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
    """Absolute error of pixels and of their differences (sharpness), and squared error of
    pixels and of coarse averages (an object's colour must not be a compromise)."""
    loss = F.l1_loss(decoded, pixels) + 2 * F.mse_loss(decoded, pixels)
    loss = loss + 4 * F.mse_loss(F.avg_pool2d(decoded, 4), F.avg_pool2d(pixels, 4))
    for a, b in zip(_edges(decoded), _edges(pixels), strict=True):
        loss = loss + F.l1_loss(a, b)
    return loss


def _random_crop(pixels: Tensor, size: int, generator: torch.Generator) -> Tensor:
    top, left = torch.randint(pixels.shape[-1] - size + 1, (2,), generator=generator).tolist()
    return pixels[..., top : top + size, left : left + size].contiguous()


def train_autoencoder(folder: Path, *, steps: int, pictures: int, batch: int = 8) -> AutoencoderKL:
    """Train, or go on training, the autoencoder; returns it in evaluation mode.

    The first nine tenths of the steps see crops, which cost less than half and are filled more by
    what is hard to learn, the objects; the rest see whole pictures.
    """
    torch.manual_seed(SEED)
    vae = AutoencoderKL(**VAE_CONFIG)
    run = Run(folder, "autoencoder", {"vae": vae}, steps=steps, rate=1e-3)
    data = rendered(folder, 0, pictures) if run.step < steps else None
    for step in run:
        assert data is not None
        chosen = run.random_indices(len(data), batch // _processes()).numpy()
        pixels = to_tensor(data[chosen]).contiguous()
        if step < 0.9 * steps:
            pixels = _random_crop(pixels, 64, run.generator)
        posterior = vae.encode(pixels).latent_dist
        mean, logvar = posterior.mean, posterior.logvar
        noise = torch.randn(mean.shape, generator=run.generator)
        # At least 0.05 of noise: the decoder learns to forgive the denoiser's small errors.
        latent = mean + (0.5 * logvar).exp().clamp_min(0.05) * noise
        decoded = vae.decode(latent).sample
        kl = 0.5 * (mean**2 + logvar.exp() - 1.0 - logvar).mean()
        loss = reconstruction_loss(decoded, pixels)
        run.descend(loss + 1e-4 * kl)
        run.note(loss=loss.detach(), kl=kl.detach(), std=mean.detach().std())
    return vae.eval()


# --------------------------------------------------------------------------- classifier


def _roughen(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Renders as a generator might spoil them: some blur, noise and a shift of brightness."""
    n = len(pixels)
    amount = torch.rand((n, 1, 1, 1), generator=generator)
    soft = F.avg_pool2d(F.pad(pixels, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    pixels = pixels + amount * (soft - pixels)
    pixels = pixels + 0.08 * torch.randn(pixels.shape, generator=generator) * amount.flip(0)
    pixels = pixels * (1 + 0.1 * torch.randn((n, 1, 1, 1), generator=generator))
    return (pixels + 0.06 * torch.randn((n, 3, 1, 1), generator=generator)).clamp(-1, 1)


def labels_of(first: int, count: int) -> Tensor:
    """The attributes of pictures ``first`` to ``first + count``, ``[count, attributes]``."""
    return torch.tensor([training_scene(i)[0].labels() for i in range(first, first + count)])


def train_classifier(folder: Path, *, steps: int, pictures: int, batch: int = 64) -> Classifier:
    """Train the judge on renders, none of which the held-out measurement uses."""
    torch.manual_seed(SEED)
    classifier = Classifier()
    run = Run(folder, "classifier", {"classifier": classifier}, steps=steps, rate=3e-3)
    data, labels = rendered(folder, 0, pictures), labels_of(0, pictures)
    for _ in run:
        chosen = run.random_indices(len(data), batch // _processes())
        pixels = _roughen(to_tensor(data[chosen.numpy()]), run.generator)
        loss = torch.zeros(())
        for logits, truth in zip(classifier(pixels), labels[chosen].T, strict=True):
            loss = loss + F.cross_entropy(logits, truth)
        run.descend(loss)
        run.note(loss=loss.detach())
    return classifier.eval()


def held_out_accuracy(classifier: Classifier, count: int = 2000) -> dict[str, float]:
    """Share of right readings per attribute on fresh renders."""
    right = dict.fromkeys(ATTRIBUTES, 0)
    for index in range(HELD_OUT, HELD_OUT + count):
        scene, rng = training_scene(index)
        pixels = torch.from_numpy(to_array(render(scene, rng)))[None]
        seen = read(classifier, pixels)[0].scene
        for name in ATTRIBUTES:
            right[name] += getattr(seen, name) == getattr(scene, name)
    return {name: hits / count for name, hits in right.items()}


# --------------------------------------------------------------------------- denoiser


@torch.no_grad()
def encoded(folder: Path, vae: AutoencoderKL, pictures: int) -> Tensor:
    """The latents of all training pictures, ``[pictures, 4, h, w]`` in fp16, kept on disk."""
    path = folder / f"latents-{pictures}.safetensors"
    if not path.exists():
        data = rendered(folder, 0, pictures)
        parts = []
        for start in tqdm(range(0, pictures, 64), desc="encode", unit="batch"):
            parts.append(vae.encode(to_tensor(data[start : start + 64])).latent_dist.mean)
        partial = path.with_suffix(".partial")
        save_file({"latents": torch.cat(parts).half().contiguous()}, partial)
        partial.replace(path)
    return load_file(path)["latents"].float()


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


def _nonsense(rng: random.Random) -> str:
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 8)))


def training_caption(scene: Scene, rng: random.Random) -> str:
    """A caption to learn from: now and then empty, now and then with words that mean nothing.

    The nonsense teaches the model to pass over words that it does not know.
    """
    if rng.random() < 0.1:
        return ""
    text = caption(scene, rng, drop=0.04)
    if rng.random() < 0.15:
        words = text.split(" ")
        for _ in range(rng.randint(1, 6)):
            words.insert(rng.randint(0, len(words)), _nonsense(rng))
        text = " ".join(words)
    return text


def make_text_encoder(vocabulary: int) -> CLIPTextModel:
    """An untrained text encoder whose specials are the last two tokens of the vocabulary."""
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
        **TEXT_CONFIG,
    )
    text = CLIPTextModel(config)
    # A WebUI divides every encoding by its mean ("emphasis: original"), which a fresh layer
    # norm would leave near zero.
    nn.init.constant_(text.text_model.final_layer_norm.bias, 0.3)
    return text


LAYOUT_WEIGHT = 0.05
NOISY_SHARE = 0.25
"""Of each batch, what is drawn from the noisier half of the steps only."""


class LayoutHead(nn.Module):
    """Reads from the UNet's coarsest level (3x3) in which column the object will be.

    Where an object stands is a product of a word and a place. The denoising loss alone found
    colours, shapes and backgrounds within 3,000 steps and nothing at all of the side; asked for
    it directly at its coarsest level, the UNet has a reason to bring the two together. Used in
    training only.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.read = nn.Conv2d(UNET_CONFIG["block_out_channels"][-1], 1, 1)
        self._seen: Tensor | None = None
        unet.mid_block.register_forward_hook(self._see)

    def _see(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        self._seen = output

    def loss(self, sides: Tensor) -> Tensor:
        """Cross-entropy of the columns at the UNet's last call; ``sides`` ``[B]``, 0 to 2."""
        assert self._seen is not None
        columns = self.read(self._seen).mean((1, 2))
        return F.cross_entropy(columns, sides)


def train_denoiser(
    folder: Path, latents: Tensor, scale: float, *, steps: int, batch: int = 32
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Train the UNet and the text encoder together; returns their moving averages.

    Predicts eps on SD1's noise schedule. The loss is weighted by clamp(SNR, 1/4, 5) / SNR, at
    most 8: above as Hang et al. do (min-SNR, arXiv 2303.09556), since a small model had better
    learn what is where than fine grain; below so that what is where, which is decided in the
    noisiest steps, is not drowned (their errors count in x0, not in eps).
    """
    torch.manual_seed(SEED)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    unet = UNet2DConditionModel(**UNET_CONFIG)
    text = make_text_encoder(len(tokenizer))
    averages = {"unet_ema": copy.deepcopy(unet), "text_ema": copy.deepcopy(text)}
    for module in averages.values():
        module.requires_grad_(False)
    layout = LayoutHead(unet)
    modules = {"unet": unet, "text": text, **averages, "layout": layout}
    run = Run(folder, "denoiser", modules, steps=steps, rate=1e-3)
    pairs = [(unet, averages["unet_ema"]), (text, averages["text_ema"])]
    scenes = [training_scene(i)[0] for i in range(len(latents))]
    schedule = DDIMScheduler(**NOISE_CONFIG)
    alphas = schedule.alphas_cumprod
    snr = alphas / (1 - alphas)
    snr_weight = (snr.clamp(0.25, 5.0) / snr).clamp(max=8.0)
    snr_weight /= snr_weight.mean()
    for step in run:
        chosen = run.random_indices(len(latents), batch // _processes())
        captions = [training_caption(scenes[i], run.captions) for i in chosen.tolist()]
        tokens = tokenizer(
            captions, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
        ).input_ids
        x0 = latents[chosen] * scale
        eps = torch.randn(x0.shape, generator=run.generator)
        t = run.random_indices(len(alphas), len(x0))
        noisier = round(NOISY_SHARE * len(t))
        t[:noisier] = t[:noisier] // 2 + len(alphas) // 2
        noisy = schedule.add_noise(x0, eps, t)
        predicted = unet(noisy, t, text(tokens).last_hidden_state).sample
        error = (predicted - eps).square().mean((1, 2, 3))
        sides = torch.tensor([POSITIONS.index(scenes[i].position) for i in chosen.tolist()])
        lost = layout.loss(sides)
        run.descend((snr_weight[t] * error).mean() + LAYOUT_WEIGHT * lost)
        run.note(loss=error.detach().mean(), layout=lost.detach())
        decay = min(0.999, (1 + step) / (10 + step))
        with torch.no_grad():
            for live, average in pairs:
                for p, q in zip(live.parameters(), average.parameters(), strict=True):
                    q.lerp_(p, 1 - decay)
    return averages["unet_ema"].eval(), averages["text_ema"].eval()


# --------------------------------------------------------------------------- export


def export(
    folder: Path,
    target: Path,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    text: CLIPTextModel,
    scale: float,
    classifier: Classifier,
) -> None:
    """Write checkpoint, configurations, tokenizer and classifier to ``target``."""
    (target / "tokenizer").mkdir(parents=True, exist_ok=True)
    weights = to_sd1(vae.state_dict(), unet.state_dict(), text.state_dict())
    save_file(weights, target / f"{MODEL_NAME}.safetensors", {"format": "pt"})
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(folder / "tokenizer" / name, target / "tokenizer" / name)
    text.config.save_pretrained(target / "text_encoder")
    unet.save_config(target / "unet")
    vae.register_to_config(scaling_factor=scale)
    vae.save_config(target / "vae")
    save_classifier(
        classifier,
        target / "classifier.safetensors",
        {"accuracy": json.dumps(held_out_accuracy(classifier))},
    )


def _alone_first() -> Iterator[None]:
    """Two rounds, the first process's before the others': what it writes, they find."""
    own_threads = torch.get_num_threads()
    for rank in range(2):
        if min(_rank(), 1) == rank:
            torch.set_num_threads(os.cpu_count() or 1)  # the others wait
            yield
            torch.set_num_threads(own_threads)
        if dist.is_initialized():
            dist.barrier()


def _stages(args: argparse.Namespace) -> None:
    for _ in _alone_first():
        rendered(args.work, 0, args.pictures)
    classifier = vae = None
    if args.only != "autoencoder":
        classifier = train_classifier(
            args.work, steps=args.classifier_steps, pictures=args.pictures
        )
    if args.only != "classifier":
        vae = train_autoencoder(args.work, steps=args.autoencoder_steps, pictures=args.pictures)
    if classifier is None or vae is None:
        return
    for _ in _alone_first():
        encoded(args.work, vae, args.pictures)
        write_tokenizer(vocabulary(), args.work / "tokenizer")
    latents, scale = flatten_latents(vae, encoded(args.work, vae, args.pictures))
    unet, text = train_denoiser(args.work, latents, scale, steps=args.denoiser_steps)
    if _rank() == 0:
        export(args.work, args.export, vae, unet, text, scale, classifier)


def _process(rank: int, processes: int, meeting: str, args: argparse.Namespace) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes
    )
    try:
        _stages(args)
    finally:
        dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("out/train"))
    parser.add_argument("--export", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--pictures", type=int, default=24_000)
    parser.add_argument("--classifier-steps", type=int, default=1500)
    parser.add_argument("--autoencoder-steps", type=int, default=5600)
    parser.add_argument("--denoiser-steps", type=int, default=14_000)
    parser.add_argument("--only", choices=("classifier", "autoencoder"), help="that stage alone")
    parser.add_argument(
        "--processes",
        type=int,
        default=2 if (os.cpu_count() or 1) > 1 else 1,
        help="share each batch among so many (a divisor of 8)",
    )
    args = parser.parse_args()
    if args.processes < 1 or 8 % args.processes:
        parser.error(f"--processes: {args.processes} is not allowed; allowed: 1, 2, 4, 8")
    args.work.mkdir(parents=True, exist_ok=True)
    if args.processes == 1:
        _stages(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_process, (args.processes, f"{folder}/meeting", args), nprocs=args.processes)  # type: ignore[attr-defined,no-untyped-call]


if __name__ == "__main__":
    main()
