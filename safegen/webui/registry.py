"""What SafeGen has registered with the host, exactly once, through every kind of reload.

"Reload UI" clears the host's callbacks but keeps this package; "Reload custom script bodies"
runs the script file again and clears nothing. So the functions live here, under one identity,
and each is taken off before it is put on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safegen.webui import (
    accordion,
    api,
    arrival,
    host,
    lifecycle,
    monitoring,
    settings,
    tab,
    words,
    xyz,
)
from safegen.webui.tab import routes


def _before_ui() -> None:
    accordion.begin_page()
    tab.compare.forget()
    xyz.register(accordion.context_choices)


def _app_started(demo: Any, app: Any) -> None:
    monitoring.begin()
    api.register(demo, app)
    arrival.register(app)
    routes.register(app)


_T2I_ZERO = "sd-webui-incantations/t2i_zero.py/cfg_denoiser"
"""It changes the texts, twice: SafeGen adds its rows to what comes of them."""


def _order() -> None:
    """Come after these callbacks. ``metadata.ini`` could say so for one name of our folder only:
    the host goes by that name, and prints a line for each callback where it is another."""
    find = getattr(host.extensions, "find_extension", None)
    own: Any = find and find(__file__)
    config = getattr(getattr(own, "metadata", None), "config", None)
    if config is not None:
        section = f"callbacks/{own.canonical_name}/{Path(__file__).name}/cfg_denoiser"
        config[section] = {"After": f"{_T2I_ZERO}, {_T2I_ZERO}-1"}


def register() -> None:
    """Called whenever the script file is run."""
    _order()
    callbacks = host.script_callbacks
    table = (
        (callbacks.on_cfg_denoiser, lifecycle.on_cfg_denoiser),
        (callbacks.on_cfg_denoised, lifecycle.on_cfg_denoised),
        (callbacks.on_ui_settings, settings.register),
        (callbacks.on_before_ui, _before_ui),
        (callbacks.on_after_component, tab.compare.notice),
        (callbacks.on_ui_tabs, tab.build),
        (callbacks.on_app_started, _app_started),
        (callbacks.on_script_unloaded, lifecycle.remove),
    )
    for on, function in table:
        callbacks.remove_callbacks_for_function(function)
        on(function)
    words.ask(settings.language, settings.refusal)
    lifecycle.install()
