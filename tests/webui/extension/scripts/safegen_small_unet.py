"""Test only: on Forge and reForge, with ``SAFEGEN_SMALL_UNET=1``, a UNet of a few numbers.

Their loaders take nothing smaller than SD1.5, with which a thousand pictures take hours on a
processor. They make this UNet in place of their own, whatever family they recognise, an
autoencoder to match, and large text encoders of three layers. The rest is the host's own: samplers,
patcher, tokenizers, the way of a text into the model. What the pictures look like is of no use.
"""

import os
from contextlib import suppress

import torch
from transformers import CLIPTextModel

LAYERS = 3
CLIP_L = 768
"""How wide CLIP's own encoder is, of which SDXL asks for its eleventh layer."""


def _numbers(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [0.5 * torch.randn(*shape, generator=generator) for shape in shapes]


class SmallUnet(torch.nn.Module):
    """Answers with something of the latents, of whatever stands beside them, of the text, and of
    the place."""

    def __init__(self, **config):
        super().__init__()
        vars(self).update({"dtype": torch.float32, **config})
        names = "words", "colours", "near", "places"
        made = _numbers((2048, 16), (16, 4), (4, 4, 3, 3), (16, 64, 64))
        for name, value in zip(names, made, strict=True):
            setattr(self, name, torch.nn.Parameter(value, requires_grad=False))

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def forward(self, x, timesteps=None, context=None, y=None, control=None, **_more):
        latents, beside = x[:, :4].float(), x[:, 4:].float()
        said = torch.tanh(context.float() @ self.words[: context.shape[-1]]).pow(3).mean(1) * 40
        where = torch.nn.functional.interpolate(
            self.places[None], size=x.shape[2:], mode="bilinear"
        )[0]
        text = torch.einsum("bk,kc,khw->bchw", said, self.colours, where)
        near = torch.nn.functional.conv2d(torch.tanh(latents), self.near, padding=1)
        masked = 0.1 * beside.mean(1, keepdim=True) if beside.shape[1] else 0
        vector = 0 if y is None else y.float().mean(1).view(-1, 1, 1, 1)
        steered = 0 if control is None else 0.1
        return (0.3 * near + 0.3 * text + 0.5 * latents + masked + vector + steered).to(x.dtype)


(_COLOURS,) = _numbers((4, 3))
_SPREAD = 0.003


def _decode(_vae, latents):
    """Each latent is a square of its own, and no value, however large, is black or white."""
    seen = _SPREAD * torch.einsum("bchw,cp->bphw", latents.float(), _COLOURS)
    pixels = 0.5 + 0.5 * seen / (1 + seen.abs())
    return pixels.repeat_interleave(8, 2).repeat_interleave(8, 3).movedim(1, -1)


def _encode(_vae, pixels):
    small = torch.nn.functional.avg_pool2d(pixels[..., :3].float().movedim(-1, 1), 8)
    shown = (2 * small - 1).clamp(-0.99, 0.99)
    seen = shown / (1 - shown.abs()) / _SPREAD
    return torch.einsum("bphw,pc->bchw", seen, torch.linalg.pinv(_COLOURS))


def _on_forge():
    from backend import loader
    from backend.patcher.vae import VAE

    loader.IntegratedUNet2DConditionModel = SmallUnet
    VAE.decode_inner, VAE.encode_inner = _decode, _encode


def _on_reforge():
    from ldm_patched.modules.model_base import BaseModel
    from ldm_patched.modules.sd import VAE

    *others, _ = BaseModel.__init__.__defaults__
    BaseModel.__init__.__defaults__ = (*others, SmallUnet)
    VAE.decode, VAE.encode = _decode, _encode


def _text_encoders():
    make = CLIPTextModel.__init__

    def small(self, config, *args, **kwargs):
        if config.hidden_size > CLIP_L:
            config.num_hidden_layers = LAYERS
        make(self, config, *args, **kwargs)

    CLIPTextModel.__init__ = small


if os.environ.get("SAFEGEN_SMALL_UNET"):
    _text_encoders()
    for put in (_on_forge, _on_reforge):
        with suppress(ImportError):
            put()
