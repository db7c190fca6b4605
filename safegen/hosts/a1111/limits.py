"""What can't be guarded on this host."""

from __future__ import annotations

from typing import Any

from safegen.errors import Unsupported
from safegen.hosts.a1111.beside import owner_of_function
from safegen.plan import SETTINGS, SafetyPlan
from safegen.sentence import told


def check_pass(host: Any, p: Any, denoiser: Any, plan: SafetyPlan) -> None:
    """Raise `Unsupported` for what cannot be guarded, before anything is sampled."""
    scale = getattr(p, "image_cfg_scale", None)
    if host.is_edit_model() and scale is not None and scale != 1.0:
        raise Unsupported(
            told(
                "InstructPix2Pix with image CFG scale {scale} can't be guarded. Set the image CFG "
                "scale to 1.",
                scale=f"{scale:g}",
            )
        )
    cfg = getattr(p, "cfg_scale", 1.0)
    if plan.push > 0 and not cfg > 0:
        raise Unsupported(
            told(
                "{push} needs a CFG scale above 0. Raise it, or set {push} to 0.",
                push=told(SETTINGS["push"].label),
            )
        )
    if plan.streams != "independent":
        return
    if host.is_flow_model():
        raise Unsupported(
            told("Independent streams can't be used with SD3. Choose shared streams.")
        )
    if getattr(p, "mask", None) is not None:
        raise Unsupported(
            told("Independent streams can't be used for inpainting. Choose shared streams.")
        )
    if p.sampler_name == "DDIM CFG++" or (
        getattr(p, "is_hr_pass", False) and p.hr_sampler_name == "DDIM CFG++"
    ):
        raise Unsupported(
            told("Independent streams can't be used with DDIM CFG++. Choose shared streams.")
        )
    if denoiser is not None and not host.is_own_denoiser(denoiser):
        who = owner_of_function(type(denoiser).combine_denoised, host.extension_of)
        raise Unsupported(
            told(
                "Independent streams can't be used beside the guidance of {extension}. Choose "
                "shared streams, or switch that extension off.",
                extension=who,
            )
        )


NEEDED = ("cfg_denoiser", "cfg_denoised", "combine_denoised")


def why_not(denoiser: Any) -> str:
    """What SafeGen needs and does not find on this host; ``""`` if all is there.

    A host may have the callbacks' names and never call them: then a guard would never act.

    Args:
        denoiser: The host's class of CFG denoisers.
    """
    code = getattr(getattr(denoiser, "forward", None), "__code__", None)
    words = [*getattr(code, "co_names", ()), *getattr(code, "co_consts", ())]
    for name in NEEDED:
        if not any(isinstance(word, str) and name in word for word in words):
            return f"the denoiser never calls {name}"
    return ""


def stop(denoiser: Any, error: Exception, cause: BaseException | None) -> None:
    """Let the next thing that the host calls directly raise ``error``."""

    def combine_denoised(*_args: Any, **_kwargs: Any) -> Any:
        vars(denoiser).pop("combine_denoised", None)
        raise error from cause

    denoiser.combine_denoised = combine_denoised
