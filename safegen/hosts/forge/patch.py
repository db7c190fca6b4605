"""SafeGen's place in the patcher of the host's UNet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MODIFIERS = "conditioning_modifiers"
AFTER, GUIDANCE = "sampler_post_cfg_function", "sampler_cfg_function"

Modifier = Callable[..., tuple[Any, ...]]
"""Takes and returns model, x, sigma, uncond, cond, CFG scale, options, seed."""


class Patch:
    """A conditioning modifier in whatever patcher the host uses, for as long as a pass goes on.

    The host copies a patcher's options deeply; functions are not copied, so the modifier stays
    the same one in every copy that other extensions make.

    Args:
        modifier: Is called in each denoiser call.
    """

    def __init__(self, modifier: Modifier) -> None:
        self.is_on = True

        def conditioning_modifier(*arguments: Any) -> tuple[Any, ...]:
            return modifier(*arguments) if self.is_on else arguments

        self._modifier = conditioning_modifier

    def put_in(self, denoiser: Any) -> None:
        """See to it that the modifier is in the patcher that ``denoiser`` is about to use."""
        engine = denoiser.inner_model.inner_model
        unet = engine.forge_objects.unet
        if self._modifier in unet.model_options.get(MODIFIERS, []):
            return
        unet = unet.clone()
        unet.add_conditioning_modifier(self._modifier)
        engine.forge_objects.unet = unet

    def others(self, denoiser: Any) -> list[Modifier]:
        """The modifiers that ``denoiser`` will call beside ours."""
        options = denoiser.inner_model.inner_model.forge_objects.unet.model_options
        return [one for one in options[MODIFIERS] if one is not self._modifier]

    def off(self) -> None:
        """From now on do nothing, in every copy."""
        self.is_on = False


def stop(denoiser: Any, error: Exception, cause: BaseException | None) -> None:
    """Let the call that ``denoiser`` has begun raise ``error``."""

    def modifier(*_arguments: Any) -> tuple[Any, ...]:
        patch.off()
        raise error from cause

    patch = Patch(modifier)
    patch.put_in(denoiser)
