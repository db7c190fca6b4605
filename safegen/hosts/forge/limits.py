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
    check_as_in_the_webui(host, p, denoiser, plan)
