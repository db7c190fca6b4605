"""All that SafeGen asks of the WebUI's own modules, in one place.

No other file of the package imports ``modules``. In tests a stand-in provides these few names.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from modules import call_queue as call_queue
from modules import devices as devices
from modules import (
    errors,
    infotext_utils,
    paths,
    sd_hijack,
    sd_models,
    sd_samplers_cfg_denoiser,
    sd_samplers_common,
)
from modules import extensions as extensions
from modules import processing as processing
from modules import prompt_parser as prompt_parser
from modules import script_callbacks as script_callbacks
from modules import sd_samplers as sd_samplers
from modules import shared as shared

from safegen.hosts import a1111, forge
from safegen.hosts.a1111 import beside
from safegen.hosts.forge import engine
from safegen.sentence import told

KNOWN_VERSION = "1.10"
"""The WebUI that SafeGen is made for and tested on: 1.10.x, in fact 1.10.1."""


def data_path() -> Path:
    """Where the user keeps what is theirs."""
    return Path(paths.data_path)


def version() -> str:
    """The host's version, such as ``1.10.1``; empty if it doesn't know."""
    try:
        found = str(processing.program_version() or "")
    except Exception:
        return ""
    return found.removeprefix("v").split("-")[0]


@cache
def is_forge() -> bool:
    """Whether this is Forge, reForge or one of their kin, told by a package of theirs."""
    return importlib.util.find_spec("modules_forge") is not None


def name() -> str:
    """What this host is called, as far as it tells."""
    if not is_forge():
        return "the WebUI"
    return "reForge" if importlib.util.find_spec("backend") is None else "Forge"


def adapter() -> Any:
    """How sampling is guarded on this host: `safegen.hosts.a1111` or `safegen.hosts.forge`."""
    return forge if is_forge() else a1111


@cache
def _lacking() -> str:
    """What SafeGen needs and does not find: a version says little about a fork."""
    return str(adapter().why_not(getattr(sd_samplers_cfg_denoiser, "CFGDenoiser", None)))


def why_unsupported() -> str | None:
    """Why SafeGen can't guard this host, in one line, or ``None``."""
    lacking = _lacking()
    if lacking:
        return told(
            "SafeGen guards AUTOMATIC1111 WebUI 1.10.1, Forge and reForge; here {lacking}",
            lacking=lacking,
        )
    found = "" if is_forge() else version()
    if found and not (found == KNOWN_VERSION or found.startswith(KNOWN_VERSION + ".")):
        return told(
            "SafeGen guards AUTOMATIC1111 WebUI 1.10.1, Forge and reForge; this is version "
            "{version} of a WebUI",
            version=found,
        )
    return None


def option(name: str, default: Any) -> Any:
    """The value of a setting on the host's settings page."""
    value = getattr(shared.opts, name, default)
    return default if value is None else value


def add_option(
    name: str,
    default: Any,
    label: str,
    component: Any,
    arguments: Any,
    *,
    section: tuple[str | None, str],
    restrict_api: bool = False,
    info: str = "",
) -> None:
    """Put a setting on the host's settings page."""
    option_info = shared.OptionInfo(
        default,
        label,
        component,
        arguments,
        section=section,
        category_id="sd",
        restrict_api=restrict_api,
    )
    if info:
        option_info.info(info)
    shared.opts.add_option(name, option_info)


def keep_options(values: dict[str, Any]) -> None:
    """Change settings for good. Raises `AssertionError` where the host has them frozen."""
    for name in values:
        shared.opts.set(name, values[name])
    shared.opts.save(shared.config_filename)


def on_option(name: str, function: Callable[[], Any]) -> None:
    """Call ``function`` whenever a setting is changed."""
    shared.opts.data_labels[name].onchange = function


def restrict_option(name: str, *, restricted: bool) -> None:
    """Whether the host's API may not change one of its settings."""
    if name in shared.opts.data_labels:
        shared.opts.data_labels[name].restrict_api = restricted


def flag(name: str, default: Any = None) -> Any:
    """The value of a command line flag."""
    return getattr(shared.cmd_opts, name, default)


def tab_of(p: Any) -> str:
    """Which tab makes such a picture: ``txt2img``, ``img2img`` or ``other``."""
    for tab in ("Txt2Img", "Img2Img"):
        kind = getattr(processing, f"StableDiffusionProcessing{tab}", None)
        if kind is not None and isinstance(p, kind):
            return tab.lower()
    return "other"


def latent_size(p: Any) -> tuple[int, int]:
    """Height and width of the finished picture's latent, eight pixels to a place."""
    hires = bool(getattr(p, "enable_hr", False))
    width = p.hr_upscale_to_x if hires else p.width
    height = p.hr_upscale_to_y if hires else p.height
    return height // 8, width // 8


def black_pictures(p: Any) -> Any:
    """As many black pictures as the batch has, in place of its latents.

    Also puts back what an error in the middle of a second pass leaves behind.
    """
    height, width = (8 * places for places in latent_size(p))
    p.is_hr_pass = False
    return processing.DecodedSamples([torch.full((3, height, width), -1.0) for _ in p.prompts])


def stopping() -> bool:
    """Whether the user has asked to interrupt or to skip."""
    return bool(shared.state.interrupted or shared.state.skipped)


def checkpoint() -> Any:
    """Identity of the loaded checkpoint."""
    return shared.sd_model.sd_checkpoint_info


def is_loaded() -> bool:
    """Whether a checkpoint is loaded; asking does not load one."""
    return getattr(sd_models.model_data.sd_model, "sd_checkpoint_info", None) is not None


def is_own_denoiser(denoiser: Any) -> bool:
    """Whether a CFG denoiser is the host's own and not one that an extension brings."""
    if is_forge():
        return isinstance(denoiser, sd_samplers_cfg_denoiser.CFGDenoiser)
    own = sd_samplers_cfg_denoiser.CFGDenoiser.combine_denoised
    return getattr(type(denoiser), "combine_denoised", None) is own


def previews() -> Any:
    """The module whose ``store_latent`` a denoiser hands what live previews show."""
    return sd_samplers_common


def loaded() -> str:
    """Names what is loaded now: the checkpoint's file, and which time it was loaded."""
    info = shared.sd_model.sd_checkpoint_info
    return f"{getattr(info, 'filename', info)} {id(shared.sd_model)}"


def checkpoint_name() -> str:
    """The loaded checkpoint's name for people."""
    info = checkpoint()
    return str(getattr(info, "short_title", None) or getattr(info, "title", info))


def model_family() -> str:
    """``sd1``, ``sd2``, ``sdxl``, ``ssd`` or ``sd3``; ``flow`` on Forge; else empty."""
    if is_forge() and is_flow_model():
        return "flow"
    for family in ("ssd", "sdxl", "sd3", "sd2", "sd1"):
        if getattr(shared.sd_model, f"is_{family}", False):
            return family
    return ""


def prediction() -> str:
    """What the loaded model predicts, such as ``eps`` or ``v``."""
    if is_forge():
        return engine.prediction(shared.sd_model)
    return str(getattr(shared.sd_model, "parameterization", "") or "noise")


def is_edit_model() -> bool:
    """Whether the loaded model is InstructPix2Pix."""
    return bool(getattr(shared.sd_model, "cond_stage_key", "") == "edit")


def is_flow_model() -> bool:
    """Whether the loaded model is a flow (SD3, Flux), whose latents mix noise otherwise."""
    if is_forge():
        return engine.is_flow(shared.sd_model)
    return bool(getattr(shared.sd_model, "is_sd3", False))


def empty_prompt() -> Any:
    """The token embeddings ``[1, 77, width]`` of an empty prompt, with which the host pads."""
    return shared.sd_model.cond_stage_model_empty_prompt


def unet_is_hooked(model: Any) -> bool:
    """Whether another extension has hooks in ``model`` or the loaded UNet; see `beside`."""
    unet = getattr(getattr(shared.sd_model, "model", None), "diffusion_model", None)
    return any(map(beside.is_hooked, [model, *(unet.modules() if unet is not None else ())]))


def extension_of(file: str) -> str:
    """The extension that ``file`` belongs to; ``""`` if none, or one that the host brings."""
    return beside.owner_of(file, extensions.extensions)


def callbacks(category: str) -> list[Any]:
    """The entries of ``category``, such as ``cfg_denoiser``, in the order of their calls."""
    ordered = getattr(script_callbacks, "ordered_callbacks", None)
    entries = script_callbacks.callback_map[f"callbacks_{category}"]
    return list(entries if ordered is None else ordered(category))


def conditioning_key() -> str | None:
    """How the loaded model takes its image condition."""
    key = getattr(getattr(shared.sd_model, "model", None), "conditioning_key", None)
    return None if key is None else str(key)


def _total_steps(sampler: str, steps: int) -> int:
    config = sd_samplers.find_sampler_config(sampler)
    return int(config.total_steps(steps)) if config else steps


def calls_per_step(p: Any, *, hires: bool) -> int:
    """Denoiser calls that a pass's sampler is expected to make in each step, 1 or 2."""
    sampler = (getattr(p, "hr_sampler_name", None) if hires else None) or p.sampler_name
    return max(_total_steps(sampler, 1), 1)


def encode(p: Any, texts: list[str], cache: list[Any], *, hires: bool) -> list[Any]:
    """Each text's schedule of encodings, as the host encodes its own prompts in this pass.

    ``cache`` is two fields, ``[None, None]`` at first; use one for each pass of a run.
    """
    first = getattr(p, "firstpass_steps", None) or _total_steps(p.sampler_name, p.steps)
    if hires:
        size = {"width": p.hr_upscale_to_x, "height": p.hr_upscale_to_y}
        networks = p.hr_extra_network_data
        second: int | None = _total_steps(
            p.hr_sampler_name or p.sampler_name, p.hr_second_pass_steps or p.steps
        )
    else:
        size = {"width": p.width, "height": p.height}
        networks, second = p.extra_network_data, None
    prompts = prompt_parser.SdConditioning(texts, **size)
    schedules = p.get_conds_with_caching(
        prompt_parser.get_learned_conditioning, prompts, first, [cache], networks, second
    )
    return list(schedules)


def cond_at(schedule: Any, step: int) -> Any:
    """One schedule's encoding at ``step``: a tensor ``[1, tokens, width]`` or a dict of such."""
    return prompt_parser.reconstruct_cond_batch([schedule], step)


def scripts_data() -> list[Any]:
    """The classes of every script that the host has loaded, with their modules."""
    from modules import scripts  # the host loads scripts from within this module

    return list(scripts.scripts_data)


def clip_skip() -> int:
    """How many of the text encoder's last layers are left out."""
    return max(int(shared.opts.CLIP_stop_at_last_layers) - 1, 0)


_TEXT_MODELS = ("CLIPTextModel", "CLIP")
"""Classes of transformers and open_clip that hold a text encoder's weights."""


def text_modules() -> list[Any]:
    """The modules that hold the loaded model's text encoders, one or SDXL's two."""
    encoder = shared.sd_model.cond_stage_model or engine.text_encoder(shared.sd_model)
    found = [module for module in encoder.modules() if type(module).__name__ in _TEXT_MODELS]
    return found or [encoder]


def embed(texts: list[str]) -> Any:
    """The token embeddings of ``texts`` as the denoiser receives them."""
    with devices.autocast():
        cond = shared.sd_model.get_learned_conditioning(prompt_parser.SdConditioning(texts))
    return cond["crossattn"] if isinstance(cond, dict) else cond


def token_count(text: str) -> int:
    """Tokens of ``text``, without start and end marks."""
    model = shared.sd_model
    ask = getattr(model, "get_prompt_lengths_on_ui", None)  # Forge
    if ask is not None:
        return int(ask(text)[0])
    lengths = sd_hijack.model_hijack.get_prompt_lengths
    asks_whom = "cond_stage_model" in inspect.signature(lengths).parameters  # reForge
    return int((lengths(text, model.cond_stage_model) if asks_whom else lengths(text))[0])


def exclusively() -> Any:
    """A context in which nothing else uses the model; generations wait in the same queue."""
    return call_queue.queue_lock


@contextmanager
def exclusively_at_once() -> Iterator[bool]:
    """Like `exclusively` without waiting: whether the model is free to be used."""
    free = bool(call_queue.queue_lock.acquire(blocking=False))
    try:
        yield free
    finally:
        if free:
            call_queue.queue_lock.release()


def txt2img(id_task: Any, request: Any, *values: Any) -> Any:
    """The processing object that a click on Generate in txt2img makes; ``closing`` ends it."""
    from modules import txt2img as tab  # it imports the whole page

    return tab.txt2img_create_processing(id_task, request, *values)


def interrupt() -> None:
    """Stop what is under way."""
    shared.state.interrupt()


def report(text: str) -> None:
    """Print the exception that is being handled to the host's log."""
    errors.report(text, exc_info=True)


def paste_button(button: Any, text: Any) -> None:
    """Let ``button`` send the infotext in the textbox ``text`` to txt2img, and show that tab."""
    binding = {"paste_button": button, "tabname": "txt2img", "source_text_component": text}
    infotext_utils.register_paste_params_button(infotext_utils.ParamBinding(**binding))


def hides_tab(label: str) -> bool:
    """Whether the user has hidden one of the host's tabs; it is then not on the page at all."""
    return label in option("hidden_tabs", [])
