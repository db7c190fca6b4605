"""A stand-in for the WebUI: what SafeGen and its tests ask of ``modules``, and nothing else.

It was written from the behaviours that the tests assert and from notes of what the host does,
never from the host's source. `NAMES` is all that can be imported; the tests of the contract run
on the real host too, and say where the two differ.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gradio as gr

from standin import infotext, page, prompts, run, sampling, scripting, settings
from standin.model import CHUNK, Model

ROOT = Path(__file__).resolve().parents[3]

NAMES: dict[str, dict[str, Any]] = {
    "call_queue": {"queue_lock": settings.queue, "wrap_gradio_gpu_call": page.queued},
    "devices": {"autocast": nullcontext},
    "errors": {"report": settings.report},
    "extensions": {"extensions": []},
    "infotext_utils": {
        "ParamBinding": page.ParamBinding,
        "parse_generation_parameters": infotext.parse_generation_parameters,
        "register_paste_params_button": page.bindings.append,
    },
    "paths": {"data_path": tempfile.gettempdir()},
    "processing": {
        "DecodedSamples": run.DecodedSamples,
        "StableDiffusionProcessingImg2Img": run.Img2Img,
        "StableDiffusionProcessingTxt2Img": run.Txt2Img,
        "fix_seed": run.fix_seed,
        "process_images": run.process_images,
        "process_images_inner": run.process_images_inner,
        "program_version": lambda: "v1.10.1",
    },
    "prompt_parser": {
        "SdConditioning": prompts.SdConditioning,
        "get_learned_conditioning": prompts.get_learned_conditioning,
        "reconstruct_cond_batch": prompts.reconstruct_cond_batch,
    },
    "script_callbacks": {
        **scripting.REGISTERING,
        "callback_map": scripting.callback_map,
        "remove_callbacks_for_function": scripting.forget,
    },
    "scripts": {
        "AlwaysVisible": scripting.AlwaysVisible,
        "Script": scripting.Script,
        "ScriptRunner": scripting.ScriptRunner,
        "scripts_data": scripting.scripts_data,
        **{f"scripts_{tab}": runner for tab, runner in scripting.RUNNERS.items()},
    },
    "sd_hijack": {
        "model_hijack": SimpleNamespace(
            get_prompt_lengths=lambda text: (len(prompts.words_of(text)), CHUNK - 2)
        )
    },
    "sd_models": {"model_data": settings.ModelData()},
    "sd_samplers": {
        "all_samplers": sampling.RECIPES,
        "find_sampler_config": sampling.find_sampler_config,
    },
    "sd_samplers_cfg_denoiser": {"CFGDenoiser": sampling.Denoiser},
    "sd_samplers_common": {},
    "txt2img": {"txt2img_create_processing": page.create_processing},
    "ui_components": {"InputAccordion": page.InputAccordion},
}


def _learned(model: Model, texts: list[str]) -> Any:
    return prompts.reconstruct_cond_batch(prompts.get_learned_conditioning(model, texts, 1), 0)


Model.get_learned_conditioning = _learned  # type: ignore[attr-defined]


def install() -> None:
    """Let ``modules`` and what is in it be imported."""
    package = ModuleType("modules")
    package.__path__ = []
    found = {"modules": package, "modules.shared": settings.shared}
    for name, names in NAMES.items():
        found[f"modules.{name}"] = ModuleType(f"modules.{name}")
        vars(found[f"modules.{name}"]).update(names)
    for name, module in found.items():
        sys.modules[name] = module
        if name != "modules":
            setattr(package, name.removeprefix("modules."), module)


def load_scripts() -> None:
    """Load SafeGen's script and the X/Y/Z plot, as at the start and after "Reload UI"."""
    scripting.scripts_data.clear()
    scripting.load_axes()
    scripting.load(ROOT / "scripts" / "safegen.py", ROOT)
    scripting.fire("before_ui")
    scripting.fire("ui_settings")


def build_tabs() -> list[Any]:
    """The scripts' controls of both tabs, each in blocks of its own."""
    made = []
    for runner in scripting.RUNNERS.values():
        with gr.Blocks() as blocks:
            runner.build()
        made.append(blocks)
    return made


def reload() -> None:
    """What "Reload UI" does: the host forgets every callback, and packages stay imported."""
    scripting.fire("script_unloaded")
    for entries in scripting.callback_map.values():
        entries.clear()
    load_scripts()
    build_tabs()


def reset() -> None:
    """No setting, flag or model of an earlier test is left."""
    settings.shared.opts.data.clear()
    vars(settings.shared.cmd_opts).update(settings.FLAGS)
    settings.CHECKPOINTS.clear()
    settings.shared.sd_model = settings.checkpoint("toy-world")
