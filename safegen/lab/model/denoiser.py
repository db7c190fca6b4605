"""Training the UNet and the text encoder on the autoencoder's latents."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from safegen.lab.model import runs
from safegen.lab.model.architecture import NOISE_CONFIG, TEXT_CONFIG, TOKENS, UNET_CONFIG
from safegen.lab.model.data import FIRST, SEED, sample_of
from safegen.lab.world.captions import training_caption
from safegen.lab.world.scene import ATTRIBUTES

LAYOUT_WEIGHT = 0.05
WORDS_WEIGHT = 0.02
PLACE_WEIGHT = 0.06
"""`WORDS_WEIGHT` for the background, in the second part."""
RATE, SECOND_RATE = 1e-3, 5e-4
WORDS_FROM = 4062 / 13_000
"""The share of the steps after which `WordsHead` joins."""
SECOND_FROM = 9145 / 13_000
"""The share of the steps after which the second part begins: a second cosine, and an eye to the
background, which only the very noisiest steps have to learn from words."""
FIRST_COSINE = 12_000 / 13_000
"""The share of the steps at which the first cosine would reach 0."""
NOISY_SHARE = 0.25
"""Of each batch, what is drawn from the noisier half of the steps only; in the second part, from
the noisiest fifth."""


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


class WordsHead(nn.Module):
    """Reads from the UNet's coarsest level what the picture will show: every attribute but the
    position, which `LayoutHead` has.

    In the noisiest steps only the words can tell, so the UNet has a reason to listen to all of
    them. Without it, 4,000 steps taught the model the side and hardly a colour or a thing. Used
    in training only, and from a share `WORDS_FROM` of the steps on.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        width = UNET_CONFIG["block_out_channels"][-1]
        self.names = [name for name in ATTRIBUTES if name != "position"]
        self.read = nn.ModuleList(nn.Linear(width, len(ATTRIBUTES[name])) for name in self.names)
        self._seen: Tensor | None = None
        unet.mid_block.register_forward_hook(self._see)

    def _see(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        self._seen = output

    def losses(self, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each attribute's cross-entropy at the UNet's last call; each of ``labels`` ``[B]``."""
        assert self._seen is not None
        pooled = self._seen.mean((2, 3))
        return {
            name: F.cross_entropy(head(pooled), labels[name])
            for name, head in zip(self.names, self.read, strict=True)
        }


def noise_weights(alphas: Tensor) -> Tensor:
    """The loss weight of each noise level: clamp(SNR, 1/4, 5) / SNR, at most 8, mean 1.

    Above as Hang et al. do (min-SNR, arXiv 2303.09556), since a small model had better learn
    what is where than fine grain; below so that what is where, which is decided in the noisiest
    steps, is not drowned (their errors count in x0, not in eps).
    """
    snr = alphas / (1 - alphas)
    weight = (snr.clamp(0.25, 5.0) / snr).clamp(max=8.0)
    return weight / weight.mean()


def denoiser_rate(step: int, steps: int) -> float:
    """The learning rate: a cosine that is left at `SECOND_FROM` for a second one."""
    second = round(SECOND_FROM * steps)
    if step < second:
        return runs.cosine(step, round(FIRST_COSINE * steps), RATE)
    return runs.cosine(step - second, steps - second, SECOND_RATE)


def train_denoiser(
    folder: Path, latents: Tensor, scale: float, *, steps: int, batch: int = 32
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Train the UNet and the text encoder together, predicting eps on SD1's noise schedule;
    returns their moving averages."""
    torch.manual_seed(SEED)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    unet = UNet2DConditionModel(**UNET_CONFIG)
    text = make_text_encoder(len(tokenizer))
    averages = {"unet_ema": copy.deepcopy(unet), "text_ema": copy.deepcopy(text)}
    for module in averages.values():
        module.requires_grad_(False)
    layout = LayoutHead(unet)
    words = WordsHead(unet)
    modules = {"unet": unet, "text": text, **averages, "layout": layout, "words": words}
    run = runs.Run(
        folder,
        "denoiser",
        modules,
        steps=steps,
        rate=RATE,
        fused=True,
        schedule=lambda step: denoiser_rate(step, steps),
    )
    pairs = [(unet, averages["unet_ema"]), (text, averages["text_ema"])]
    samples = [sample_of(FIRST["model"] + i) for i in range(len(latents))]
    schedule = DDIMScheduler(**NOISE_CONFIG)
    alphas = schedule.alphas_cumprod
    weights = noise_weights(alphas)
    for step in run:
        chosen = run.random_indices(len(latents), batch // runs.processes())
        captions = [training_caption(samples[i], run.captions) for i in chosen.tolist()]
        tokens = tokenizer(
            captions, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
        ).input_ids
        x0 = latents[chosen] * scale
        eps = torch.randn(x0.shape, generator=run.generator)
        t = run.random_indices(len(alphas), len(x0))
        noisier = round(NOISY_SHARE * len(t))
        second = step >= round(SECOND_FROM * steps)
        part = 5 if second else 2
        t[:noisier] = t[:noisier] // part + len(alphas) * (part - 1) // part
        noisy = schedule.add_noise(x0, eps, t)
        predicted = unet(noisy, t, text(tokens).last_hidden_state).sample
        error = (predicted - eps).square().mean((1, 2, 3))
        rows = torch.tensor([samples[i].scene.labels() for i in chosen.tolist()])
        labels = dict(zip(ATTRIBUTES, rows.T, strict=True))
        lost = layout.loss(labels["position"])
        loss = (weights[t] * error).mean() + LAYOUT_WEIGHT * lost
        if step >= round(WORDS_FROM * steps):
            unread = words.losses(labels)
            loss = loss + WORDS_WEIGHT * torch.stack(list(unread.values())).sum()
            if second:
                loss = loss + (PLACE_WEIGHT - WORDS_WEIGHT) * unread["background"]
            run.note(**{name: part_loss.detach() for name, part_loss in unread.items()})
        run.descend(loss)
        run.note(loss=error.detach().mean(), layout=lost.detach())
        decay = min(0.999, (1 + step) / (10 + step))
        with torch.no_grad():
            for live, average in pairs:
                for p, q in zip(live.parameters(), average.parameters(), strict=True):
                    q.lerp_(p, 1 - decay)
    return averages["unet_ema"].eval(), averages["text_ema"].eval()
