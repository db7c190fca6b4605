"""What the loaded model is, on hosts that have it in a patcher."""

from __future__ import annotations

from typing import Any


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


def text_encoder(model: Any) -> Any:
    """The module that holds the model's text encoders."""
    return model.forge_objects.clip.cond_stage_model
