"""Test only: breaks SafeGen on purpose within the real WebUI, and tells what the model was asked.

``POST /faults`` with ``{"kind": …, "at": n}`` breaks the n-th denoiser call (from 0) of every
generation from now on; ``DELETE /faults`` mends everything. ``GET /faults`` is the log of calls.
"""

from contextlib import suppress

import torch
from modules import script_callbacks, scripts, shared

LOG = []
FAULT = {}
CALLS = {"denoiser": 0, "denoised": 0}
PATCHED = []


def _due(name):
    """Whether the fault is for this call."""
    CALLS[name] += 1
    return bool(FAULT) and CALLS[name] - 1 == FAULT["at"]


def _denoiser(params):
    denoiser = params.denoiser
    if denoiser.step == 0:
        CALLS.update(denoiser=0, denoised=0)
    LOG.append(
        {
            "rows": len(params.x),
            "step": denoiser.step,
            "hires": bool(getattr(denoiser.p, "is_hr_pass", False)),
            "size": list(params.x.shape[-2:]),
        }
    )
    if not _due("denoiser"):
        return
    kind = FAULT["kind"]
    if kind == "dropped rows":
        uncond = len(params.text_uncond)
        for name in ("x", "sigma", "image_cond"):
            value = getattr(params, name)
            keep = len(params.text_cond) // 2 or 1
            setattr(params, name, torch.cat([value[:keep], value[-uncond:]]))
        params.text_cond = params.text_cond[: len(params.text_cond) // 2 or 1]
    elif kind == "interrupt":
        shared.state.interrupt()
    elif kind == "skip":
        shared.state.skip()


def _early(params):
    """Runs before SafeGen's own ``cfg_denoised``: what the model is made to answer."""
    if not _due("denoised"):
        return
    kind = FAULT["kind"]
    if kind == "NaN":
        params.x[:] = float("nan")
    elif kind == "infinity":
        params.x[:] = float("inf")


def _patch(owner, name, value):
    PATCHED.append((owner, name, getattr(owner, name)))
    setattr(owner, name, value)


def _failing(owner, name):
    """Let the due call of a method raise."""
    original = getattr(owner, name)
    count = [0]

    def broken(*args, **kwargs):
        count[0] += 1
        if count[0] - 1 == FAULT.get("at", 0):
            raise RuntimeError("broken on purpose by the test")
        return original(*args, **kwargs)

    _patch(owner, name, broken)


def _mend():
    for owner, name, value in reversed(PATCHED):
        setattr(owner, name, value)
    PATCHED.clear()
    FAULT.clear()
    script_callbacks.ordered_callbacks_map.clear()


def _break(kind, at):
    _mend()
    FAULT.update(kind=kind, at=at)
    what, _, name = kind.partition(" in ")
    if what == "exception":
        from safegen.conditioning import SafeConditioning  # noqa: F401  SafeGen must be there
        from safegen.hosts import a1111
        from safegen.session import Session
        from safegen.webui import host, runtime

        if name.startswith("hook "):
            for runner in (scripts.scripts_txt2img, scripts.scripts_img2img):
                script = next(s for s in runner.alwayson_scripts if s.title() == "SafeGen")
                _failing(type(script), name.removeprefix("hook "))
                break
        else:
            owners = {
                "before": a1111.PassGuard,
                "after": a1111.PassGuard,
                "combine": Session,
                "begin": Session,
                "finish": Session,
                "encode": host,
                "chooser": runtime,
                "attach": runtime.Run,
            }
            _failing(owners[name], name)
    elif what == "missing":
        entries = script_callbacks.callback_map[f"callbacks_{name}"]
        own = [entry for entry in entries if entry.callback.__module__.startswith("safegen.")]
        assert own, "SafeGen has registered nothing"
        for entry in own:
            _patch(entry, "callback", lambda *_: None)


def _order():
    """Our ``cfg_denoised`` before SafeGen's."""
    entries = script_callbacks.callback_map["callbacks_cfg_denoised"]
    mine = [entry for entry in entries if entry.callback is _early]
    entries[:] = mine + [entry for entry in entries if entry.callback is not _early]
    script_callbacks.ordered_callbacks_map.clear()


def _registrations():
    found = {}
    for name, entries in script_callbacks.callback_map.items():
        own = [e for e in entries if e.callback.__module__.startswith("safegen.")]
        if own:
            found[name.removeprefix("callbacks_")] = len(own)
    return found


def _routes(_demo, app):
    _order()

    def get():
        return LOG

    def post(body: dict):
        from fastapi import HTTPException

        try:
            _order()
            _break(body["kind"], body.get("at", 0))
        except Exception as error:
            raise HTTPException(status_code=400, detail=repr(error)) from error
        return {}

    def delete():
        _mend()
        LOG.clear()
        return {}

    def reload_ui():
        shared.state.request_restart()
        return {}

    def reload_scripts():
        scripts.reload_script_body_only()
        return {}

    def read(body: dict):
        """What pasting an infotext does to SafeGen's controls."""
        from modules import infotext_utils

        parameters = infotext_utils.parse_generation_parameters(body["infotext"], [])
        script = next(s for s in scripts.scripts_txt2img.alwayson_scripts if s.title() == "SafeGen")
        fields = scripts.scripts_txt2img.infotext_fields
        targets = {id(component): target for component, target in fields}
        values = []
        for control in script.controls:
            target = targets[id(control)]
            value = target(parameters) if callable(target) else parameters.get(target)
            values.append({"label": control.label, "value": value})
        return values

    def axes():
        script = next(
            s for s in scripts.scripts_txt2img.selectable_scripts if s.title() == "X/Y/Z plot"
        )
        return [option.label for option in script.current_axis_options]

    for path, endpoint, method in (
        ("/faults/axes", axes, "GET"),
        ("/faults", get, "GET"),
        ("/faults", post, "POST"),
        ("/faults", delete, "DELETE"),
        ("/faults/reload-ui", reload_ui, "POST"),
        ("/faults/reload-scripts", reload_scripts, "POST"),
        ("/faults/registrations", _registrations, "GET"),
        ("/faults/paste", read, "POST"),
    ):
        with suppress(ValueError):
            app.add_api_route(path, endpoint, methods=[method])


script_callbacks.on_cfg_denoiser(_denoiser)
script_callbacks.on_cfg_denoised(_early)
script_callbacks.on_app_started(_routes)
