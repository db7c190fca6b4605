"""Test only: breaks SafeGen on purpose within the real WebUI, and tells what the model was asked.

``POST /faults`` with ``{"kind": …, "at": n}`` breaks the n-th denoiser call (from 0, through all
passes and batches) of every generation from now on; ``DELETE /faults`` mends everything.
``GET /faults`` is the log of calls, ``GET /faults/previews`` names every latent that was handed
to the live preview.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

import torch
from modules import processing, script_callbacks, scripts, sd_samplers_common, shared

LOG = []
PREVIEWS = []
FAULT = {}
CALLS = {"denoiser": 0, "denoised": 0}
PATCHED = []


def _is_forge():
    """Whether the host is Forge or reForge, which never call ``cfg_denoised``."""
    from safegen.webui import host  # SafeGen must be there

    return host.is_forge()


def _due(name):
    """Whether the fault is for this call."""
    CALLS[name] += 1
    return bool(FAULT) and CALLS[name] - 1 == FAULT["at"]


def _denoiser(params):
    denoiser = params.denoiser
    p = denoiser.p
    if denoiser.step == 0 and p.iteration == 0 and not getattr(p, "is_hr_pass", False):
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
    elif kind == "wrong shape":
        params.x = params.x[..., :-1]
    elif kind in ("NaN", "infinity") and _is_forge():
        for name in ("text_cond", "text_uncond"):
            setattr(params, name, getattr(params, name) * float(kind[:3]))
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
    elif kind == "NaN in the safe row":
        params.x[1] = float("nan")


def _store_latent(decoded):
    """The host's, with a note of what it was given; all blank ones are alike."""
    if bool(decoded.any()):
        data = decoded.detach().float().cpu().contiguous().numpy().tobytes()
        PREVIEWS.append(hashlib.sha256(data).hexdigest())
    else:
        PREVIEWS.append("blank")
    return _store_latent.original(decoded)


_store_latent.original = getattr(
    sd_samplers_common.store_latent, "original", sd_samplers_common.store_latent
)
sd_samplers_common.store_latent = _store_latent


def _patch(owner, name, value):
    PATCHED.append((owner, name, getattr(owner, name)))
    setattr(owner, name, value)


def _failing(owner, name, change=None):
    """Let the due call of a method raise, or give a changed answer."""
    original = getattr(owner, name)
    count = [0]

    def broken(*args, **kwargs):
        count[0] += 1
        if count[0] - 1 == FAULT.get("at", 0):
            if change is None:
                raise RuntimeError("broken on purpose by the test")
            return change(original(*args, **kwargs))
        return original(*args, **kwargs)

    _patch(owner, name, broken)


def _own_script():
    return type(next(s for s in scripts.scripts_txt2img.scripts if s.title() == "SafeGen"))


def _missing(*_args, **_kwargs):
    """A hook or callback that never comes."""


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
        from safegen.conditioning.strategies import SafeConditioning  # noqa: F401  SafeGen must be there
        from safegen.method.session import Session
        from safegen.webui import batch, deciding, host, lifecycle

        if name.startswith("hook "):
            _failing(_own_script(), name.removeprefix("hook "))
        else:
            guard = host.adapter().PassGuard
            owners = {
                "before": guard,
                "after": guard,
                "_after_guidance": guard,
                "combine": Session,
                "begin": Session,
                "finish": Session,
                "encode": host,
                "cond_at": host,
                "chooser": deciding,
                "attach": batch.Batch,
                "resolve": lifecycle,
            }
            if name == "after" and _is_forge():
                name = "_after_guidance"
            _failing(owners[name], name)
    elif what == "wrong shape" and name == "encoding":
        from safegen.webui import host

        _failing(host, "cond_at", lambda cond: cond[..., : cond.shape[-1] // 2])
    elif what == "NaN" and name == "encoding":
        from safegen.webui import host

        _failing(host, "cond_at", lambda cond: cond * float("nan"))
    elif what == "wrong shape" and name == "blend":
        from safegen.method.session import Session

        _failing(Session, "combine", lambda rows: rows[..., :-1])
    elif kind == "stale cond":
        from safegen.hosts.a1111.safe_conds import SafeConds
        from safegen.webui import host

        # Another one at every look: none of them has been encoded for.
        _patch(host, "checkpoint", object)
        _patch(SafeConds, "encode", _encode_once(SafeConds.encode))
    elif what == "missing" and name.startswith("hook "):
        _patch(_own_script(), name.removeprefix("hook "), _missing)
    elif what == "missing":
        entries = script_callbacks.callback_map[f"callbacks_{name}"]
        own = [entry for entry in entries if entry.callback.__module__.startswith("safegen.")]
        assert own, "SafeGen has registered nothing"
        for entry in own:
            _patch(entry, "callback", _from_on(at, entry.callback))


def _from_on(at, callback):
    """A callback that never comes from its ``at``-th time on."""
    count = [0]

    def missing(params):
        count[0] += 1
        if count[0] <= at:
            callback(params)

    missing.__module__ = callback.__module__
    return missing


def _encode_once(encode):
    done = []

    def once(conds):
        if conds not in done:
            done.append(conds)
            encode(conds)

    return once


def _order():
    """Our ``cfg_denoised`` before SafeGen's, our ``cfg_denoiser``, which counts rows, after it.

    SafeGen's callbacks go to the end of the list whenever they are registered anew.
    """
    entries = script_callbacks.callback_map["callbacks_cfg_denoised"]
    entries.sort(key=lambda entry: entry.callback is not _early)
    entries = script_callbacks.callback_map["callbacks_cfg_denoiser"]
    entries.sort(key=lambda entry: entry.callback is _denoiser)
    script_callbacks.ordered_callbacks_map.clear()


def _registrations():
    found = {}
    for name, entries in script_callbacks.callback_map.items():
        own = [e for e in entries if e.callback.__module__.startswith("safegen.")]
        if own:
            found[name.removeprefix("callbacks_")] = len(own)
    inner, depth = processing.process_images_inner, 0
    while hasattr(inner, "safegen_original"):
        inner, depth = inner.safegen_original, depth + 1
    return found if not depth else {**found, "process_images_inner": depth}


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
        _order()
        LOG.clear()
        PREVIEWS.clear()
        return {}

    def delete_log():
        LOG.clear()
        PREVIEWS.clear()
        return {}

    def previews():
        return PREVIEWS

    def option(body: dict):
        """What the settings page does, which may more than the API."""
        shared.opts.set(body["name"], body["value"])
        return {}

    def small_decoder():
        """A TAESD decoder of random weights, which the host else downloads.

        Its answers are spread over the colours: as they come they are all below black.
        """
        from modules import paths, sd_vae_taesd

        torch.manual_seed(1)
        decoder = sd_vae_taesd.decoder()
        with torch.no_grad():
            answers = decoder(torch.randn(4, 4, 12, 12)).transpose(0, 1).flatten(1)
            last, spread = decoder[-1], 5 * answers.std(1)
            last.weight /= spread[:, None, None, None]
            last.bias.copy_((last.bias - answers.mean(1)) / spread + 0.5)
        folder = Path(paths.models_path) / "VAE-taesd"
        folder.mkdir(exist_ok=True)
        # The older layout: the host's check of pickled files knows no entry of newer versions.
        torch.save(
            decoder.state_dict(),
            folder / "taesd_decoder.pth",
            _use_new_zipfile_serialization=False,
        )
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
        ("/faults/log", delete_log, "DELETE"),
        ("/faults/previews", previews, "GET"),
        ("/faults/option", option, "POST"),
        ("/faults/small-decoder", small_decoder, "POST"),
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


_denoiser.safegen_rows = _early.safegen_rows = True
script_callbacks.on_cfg_denoiser(_denoiser)
script_callbacks.on_cfg_denoised(_early)
script_callbacks.on_app_started(_routes)
