"""What SafeGen has registered with the host, exactly once, through every kind of reload.

"Reload UI" clears the host's callbacks but keeps this package; "Reload custom script bodies"
runs the script file again and clears nothing. So the functions live here, under one identity,
and each is taken off before it is put on.
"""

from __future__ import annotations

from typing import Any

from safegen.webui import api, host, runtime, settings, tab, ui, xyz


def _before_ui() -> None:
    ui.context_controls.clear()
    tab.compare.forget()
    xyz.register(lambda: ui.context_choices(runtime.chooser()))


def _guarded_inner(original: Any) -> Any:
    def process_images_inner(p: Any) -> Any:
        runtime.guard_inner(p)
        return original(p)

    process_images_inner.safegen_original = original  # type: ignore[attr-defined]
    return process_images_inner


def release() -> None:
    """The ``on_script_unloaded`` callback: leave nothing of ours in the host's modules."""
    current = host.processing.process_images_inner
    original = getattr(current, "safegen_original", None)
    if original is not None:
        host.processing.process_images_inner = original


def _seize() -> None:
    """Arm every run from within the host; only where something is enforced."""
    release()
    if runtime.enforcing():
        host.processing.process_images_inner = _guarded_inner(host.processing.process_images_inner)


def _settings() -> None:
    settings.register(_seize)


def _started(demo: Any, app: Any) -> None:
    _seize()
    api.register(demo, app)


def register() -> None:
    """Called whenever the script file is run."""
    callbacks = host.script_callbacks
    table = (
        (callbacks.on_cfg_denoiser, runtime.on_cfg_denoiser),
        (callbacks.on_cfg_denoised, runtime.on_cfg_denoised),
        (callbacks.on_ui_settings, _settings),
        (callbacks.on_before_ui, _before_ui),
        (callbacks.on_after_component, tab.compare.notice),
        (callbacks.on_ui_tabs, tab.build),
        (callbacks.on_app_started, _started),
        (callbacks.on_script_unloaded, release),
    )
    for on, function in table:
        callbacks.remove_callbacks_for_function(function)
        on(function)
    _seize()
    reason = host.why_unsupported()
    if reason is not None:
        more = "; since it is enforced, nothing is generated" if runtime.enforcing() else ""
        print(f"SafeGen: {reason}{more}")  # noqa: T201  the host's log
