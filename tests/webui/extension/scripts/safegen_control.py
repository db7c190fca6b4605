"""Test only: hooks the model as ControlNet does, and is as particular about rows.

Written from what its source does (version 1.1.455): once for a generation, it puts a method of its
own before ``p.sample``, which marks every cond with a token of +1024 and every uncond with one of
-1024, and a ``forward`` of its own in the UNet, which takes the marks off again. If one row has no
mark, none counts as marked. It steers cond rows alone ("ControlNet is more important"), and keeps
something for as many rows as the first call had (its picture's latents).
"""

from contextlib import suppress

import gradio as gr
import torch
from modules import processing, prompt_parser, script_callbacks, scripts

MARK = 1024.0
LOG = []


def _marked(value, sign):
    """Whatever holds conds, each with its mark before its tokens."""
    if isinstance(value, list):
        value[:] = [_marked(part, sign) for part in value]
    elif isinstance(value, prompt_parser.MulticondLearnedConditioning):
        value.batch = _marked(value.batch, sign)
    elif isinstance(value, prompt_parser.ComposableScheduledPromptConditioning):
        value.schedules = _marked(value.schedules, sign)
    elif isinstance(value, prompt_parser.ScheduledPromptConditioning):
        cond = value.cond
        tokens = cond["crossattn"] if isinstance(cond, dict) else cond
        if not bool((tokens[0].abs() == MARK).all()):
            tokens = torch.cat([torch.full_like(tokens[:1], sign * MARK), tokens])
            cond = {**cond, "crossattn": tokens} if isinstance(cond, dict) else tokens
            return prompt_parser.ScheduledPromptConditioning(value.end_at_step, cond)
    return value


class Hook:
    def __init__(self, unet):
        self.unet, self.original, self.kept = unet, unet.forward, None
        unet.forward = self.forward

    def forward(self, x, timesteps=None, context=None, *args, **kwargs):
        first = context[:, 0]
        if bool((first.abs().mean(-1) - MARK).abs().mean() < 1e-3):
            is_cond = (first.mean(-1) > 0).to(x).view(-1, 1, 1, 1)
            context = context[:, 1:]
        else:
            is_cond = None
        LOG.append(
            {
                "rows": len(x),
                "tokens": context.shape[1],
                "cond": None if is_cond is None else [int(mark) for mark in is_cond.flatten()],
            }
        )
        processing.StableDiffusionProcessing.cached_c = [None, None]
        processing.StableDiffusionProcessing.cached_uc = [None, None]
        if self.kept is None or self.kept.shape[-2:] != x.shape[-2:]:
            ramp = torch.linspace(-1, 1, x.shape[-1]).to(x)
            self.kept = 0.3 * ramp.expand(len(x), 4, *x.shape[-2:])
        control = self.kept + torch.zeros_like(x[:, :4])
        x = torch.cat([x[:, :4] + control * (1 if is_cond is None else is_cond), x[:, 4:]], 1)
        return self.original(x, timesteps, context, *args, **kwargs)

    def restore(self):
        vars(self.unet).pop("forward", None)


class ControlScript(scripts.Script):
    hook = None

    def title(self):
        return "Control"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        return [gr.Checkbox(False, label="Control", elem_id=self.elem_id("on"))]

    def process(self, p, on, *args):
        if ControlScript.hook is not None:
            ControlScript.hook.restore()
            ControlScript.hook = None
        if not on:
            return
        ControlScript.hook = Hook(p.sd_model.model.diffusion_model)
        if getattr(p, "sample_before_control", None) is None:
            p.sample_before_control = p.sample

        def sample(*given, **named):
            _marked(named.get("conditioning", []), 1)
            _marked(named.get("unconditional_conditioning", []), -1)
            _marked(getattr(p, "hr_c", None) or [], 1)
            _marked(getattr(p, "hr_uc", None) or [], -1)
            return p.sample_before_control(*given, **named)

        p.sample = sample

    def postprocess(self, p, processed, *args):
        if ControlScript.hook is not None:
            ControlScript.hook.restore()
            ControlScript.hook = None


def _routes(_demo, app):
    def log():
        found = list(LOG)
        LOG.clear()
        return found

    with suppress(ValueError):
        app.add_api_route("/control", log, methods=["GET"])


script_callbacks.on_app_started(_routes)
