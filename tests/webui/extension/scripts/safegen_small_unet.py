"""Test only: on Forge and reForge, with ``SAFEGEN_SMALL_UNET=1``, a UNet of a few numbers.

Their loader takes nothing smaller than SD1.5, with which a thousand pictures take hours on a
processor. Text encoder, autoencoder, samplers, patcher and page are the host's own; what the
pictures look like is of no use.
"""

import os

import torch
from modules import scripts


class SmallUnet(torch.nn.Module):
    """Answers with something of the latents, of the text, and of the place."""

    def __init__(self):
        super().__init__()
        numbers = torch.Generator().manual_seed(0)
        self.dtype = torch.float32

        def made(*shape):
            value = 0.5 * torch.randn(*shape, generator=numbers)
            return torch.nn.Parameter(value, requires_grad=False)

        self.words, self.colours = made(2048, 16), made(16, 4)
        self.near, self.places = made(4, 4, 3, 3), made(16, 64, 64)

    def forward(self, x, timesteps=None, context=None, y=None, control=None, **_more):
        latents = x[:, :4].float()
        said = torch.tanh(context.float() @ self.words[: context.shape[-1]]).pow(3).mean(1) * 40
        where = torch.nn.functional.interpolate(
            self.places[None], size=x.shape[2:], mode="bilinear"
        )[0]
        text = torch.einsum("bk,kc,khw->bchw", said, self.colours, where)
        near = torch.nn.functional.conv2d(torch.tanh(latents), self.near, padding=1)
        vector = 0 if y is None else 0.01 * y.float().mean(1).view(-1, 1, 1, 1)
        steered = 0 if control is None else 0.1
        return (0.3 * near + 0.3 * text + 0.5 * latents + vector + steered).to(x.dtype)


class SmallUnetScript(scripts.Script):
    def title(self):
        return "Small UNet"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def process(self, p, *args):
        objects = getattr(p.sd_model, "forge_objects", None)
        if objects is None or not os.environ.get("SAFEGEN_SMALL_UNET"):
            return
        model = objects.unet.model
        if not isinstance(model.diffusion_model, SmallUnet):
            small = SmallUnet()
            for name, value in vars(model.diffusion_model).items():
                if not name.startswith("_") and name not in ("dtype", "training"):
                    vars(small).setdefault(name, value)
            model.diffusion_model = small
