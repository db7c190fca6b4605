"""What the loaded model is, on hosts that have it in a patcher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def _sampling(model: Any) -> Any:
    """What turns the model's answers into reconstructions."""
    inner = model.forge_objects.unet.model
    return getattr(inner, "predictor", None) or inner.model_sampling


def prediction(model: Any) -> str:
    """What the model predicts, such as ``epsilon`` or ``v_prediction``."""
    sampling = _sampling(model)
    found = getattr(sampling, "prediction_type", None)
    if found is None:
        found = next(
            (kind.__name__ for kind in type(sampling).__mro__ if kind.__name__ in _KINDS), ""
        )
    return _KINDS.get(str(found), str(found) or "noise")


_KINDS = {
    "epsilon": "eps",
    "v_prediction": "v",
    "EPS": "eps",
    "V_PREDICTION": "v",
    "EDM": "edm",
    "CONST": "flow",
    "const": "flow",
}


def is_flow(model: Any) -> bool:
    """Whether the model is a flow, whose latents mix noise and picture by 1 - σ."""
    names = {kind.__name__ for kind in type(_sampling(model)).__mro__}
    if names & {"CONST", "PredictionFlow", "FlowMatchEulerPrediction", "PredictionFlux"}:
        return True
    return prediction(model) == "flow" or bool(getattr(model, "is_sd3", False))


def middle(model: Any) -> Any:
    """The last module of the middle of the model's UNet; ``None`` for models without one.

    reForge calls the middle's layers one by one, and never the middle itself.
    """
    found = getattr(model.forge_objects.unet.model.diffusion_model, "middle_block", None)
    return found[-1] if isinstance(found, torch.nn.Sequential) else found


def draw(model: Any, x: Any, timestep: int, text: Any, load: Callable[[list[Any]], Any]) -> None:
    """Let the model's UNet see the encoded ``text`` at latents ``x``, one row each.

    Args:
        load: Brings patchers' models to where they compute.
    """
    patcher = model.forge_objects.unet
    load([patcher])
    unet = patcher.model.diffusion_model
    more = getattr(unet, "in_channels", x.shape[1]) - x.shape[1]
    if more > 0:  # a mask and the like: nothing there
        x = torch.cat([x, x.new_zeros(len(x), more, *x.shape[2:])], 1)
    weight = next(unet.parameters())
    x = x.to(weight.device, weight.dtype)
    seen = text["crossattn"] if isinstance(text, dict) else text
    how = {"context": seen.to(x)}
    if isinstance(text, dict) and "vector" in text:
        how["y"] = text["vector"].to(x)
    unet(x, torch.full((len(x),), timestep, device=x.device), **how)


def text_encoder(model: Any) -> Any:
    """The module that holds the model's text encoders."""
    return model.forge_objects.clip.cond_stage_model
