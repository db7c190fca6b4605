"""Callbacks of extensions. Whatever one raises is printed, and the host carries on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modules import errors


@dataclass
class ScriptCallback:
    script: str
    callback: Callable[..., Any]


class CFGDenoiserParams:
    """Before a model call; every field is read back."""

    def __init__(
        self,
        x: Any,
        image_cond: Any,
        sigma: Any,
        sampling_step: int,
        total_sampling_steps: int,
        text_cond: Any,
        text_uncond: Any,
        denoiser: Any = None,
    ) -> None:
        self.x, self.image_cond, self.sigma = x, image_cond, sigma
        self.sampling_step, self.total_sampling_steps = sampling_step, total_sampling_steps
        self.text_cond, self.text_uncond, self.denoiser = text_cond, text_uncond, denoiser


class CFGDenoisedParams:
    """After a model call; ``x`` is the host's own tensor and is not read back."""

    def __init__(self, x: Any, sampling_step: int, total_sampling_steps: int, inner_model: Any):
        self.x, self.inner_model = x, inner_model
        self.sampling_step, self.total_sampling_steps = sampling_step, total_sampling_steps


class AfterCFGCallbackParams:
    """After guidance; ``x`` is read back."""

    def __init__(self, x: Any, sampling_step: int, total_sampling_steps: int) -> None:
        self.x = x
        self.sampling_step, self.total_sampling_steps = sampling_step, total_sampling_steps


callback_map: dict[str, list[ScriptCallback]] = {
    f"callbacks_{name}": []
    for name in (
        "after_component",
        "app_started",
        "before_ui",
        "cfg_after_cfg",
        "cfg_denoised",
        "cfg_denoiser",
        "infotext_pasted",
        "script_unloaded",
        "ui_settings",
        "ui_tabs",
    )
}


def _registrar(name: str) -> Callable[[Callable[..., Any]], None]:
    def on(callback: Callable[..., Any]) -> None:
        script = inspect.stack()[1].filename
        callback_map[f"callbacks_{name}"].append(ScriptCallback(script, callback))

    return on


on_after_component = _registrar("after_component")
on_app_started = _registrar("app_started")
on_before_ui = _registrar("before_ui")
on_cfg_after_cfg = _registrar("cfg_after_cfg")
on_cfg_denoised = _registrar("cfg_denoised")
on_cfg_denoiser = _registrar("cfg_denoiser")
on_infotext_pasted = _registrar("infotext_pasted")
on_script_unloaded = _registrar("script_unloaded")
on_ui_settings = _registrar("ui_settings")
on_ui_tabs = _registrar("ui_tabs")


def call(name: str, *args: Any, **kwargs: Any) -> list[Any]:
    """What the callbacks return, one after the other."""
    results: list[Any] = []
    for entry in list(callback_map[f"callbacks_{name}"]):
        try:
            results += entry.callback(*args, **kwargs) or []
        except Exception:
            errors.report(f"Error executing callback {name} for {entry.script}", exc_info=True)
    return results


def cfg_denoiser_callback(params: CFGDenoiserParams) -> None:
    call("cfg_denoiser", params)


def cfg_denoised_callback(params: CFGDenoisedParams) -> None:
    call("cfg_denoised", params)


def cfg_after_cfg_callback(params: AfterCFGCallbackParams) -> None:
    call("cfg_after_cfg", params)


def remove_callbacks_for_function(function: Callable[..., Any]) -> None:
    for entries in callback_map.values():
        entries[:] = [entry for entry in entries if entry.callback != function]


def clear_callbacks() -> None:
    """What "Reload UI" does, after ``script_unloaded``."""
    for entries in callback_map.values():
        entries.clear()
