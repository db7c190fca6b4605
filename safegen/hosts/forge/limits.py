"""What can't be guarded on these hosts."""

from __future__ import annotations

from typing import Any

from safegen.errors import Unsupported
from safegen.hosts.a1111.limits import check_pass as check_as_in_the_webui
from safegen.plan import SafetyPlan
from safegen.sentence import told


def check_pass(host: Any, p: Any, denoiser: Any, plan: SafetyPlan) -> None:
    """Raise `Unsupported` for what cannot be guarded, before anything is sampled."""
    if host.is_flow_model():
        raise Unsupported(
            told(
                "Flow models (Flux, SD3, Chroma) can't be guarded on this host. Choose a "
                "checkpoint of the SD1, SD2 or SDXL family."
            )
        )
    if getattr(p, "dynamic_clip_skip_sets", None) and _has_hires_prompts(p):
        raise Unsupported(
            told(
                "With dynamic clip skip this host makes the hires pass of the first pass's prompts "
                "and not of its own, so it can't be guarded. Leave the hires prompts empty, or "
                "switch dynamic clip skip off."
            )
        )
    check_as_in_the_webui(host, p, denoiser, plan)


def _has_hires_prompts(p: Any) -> bool:
    """Whether the hires pass was given prompts of its own."""
    if not getattr(p, "enable_hr", False):
        return False
    return (p.hr_prompts, p.hr_negative_prompts) != (p.prompts, p.negative_prompts)
