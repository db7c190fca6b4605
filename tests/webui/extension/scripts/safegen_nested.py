"""Test only: makes an inner picture as ADetailer does, with a choice of scripts without SafeGen."""

from copy import copy

import gradio as gr
from modules import processing, scripts


class NestedScript(scripts.Script):
    busy = False

    def title(self):
        return "Nested picture"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        return [
            gr.Checkbox(False, label="Make an inner picture", elem_id=self.elem_id("on")),
            gr.Textbox("", label="Its prompt, or the outer one's", elem_id=self.elem_id("prompt")),
        ]

    def postprocess_image(self, p, pp, on, prompt, *args):
        if not on or NestedScript.busy:
            return
        runner = copy(p.scripts)
        runner.alwayson_scripts = [
            s for s in p.scripts.alwayson_scripts if s.title() not in ("SafeGen", self.title())
        ]
        runner.callback_map = {}
        inner = processing.StableDiffusionProcessingImg2Img(
            sd_model=p.sd_model,
            init_images=[pp.image],
            prompt=prompt or p.all_prompts[p.batch_index],
            negative_prompt="",
            seed=11,
            sampler_name=p.sampler_name,
            steps=p.steps,
            cfg_scale=p.cfg_scale,
            width=p.width,
            height=p.height,
            denoising_strength=0.9,
            do_not_save_samples=True,
            do_not_save_grid=True,
        )
        inner.is_api = True  # else the host's own controls overrule seed and steps
        inner.scripts, inner.script_args = runner, p.script_args
        NestedScript.busy = True
        try:
            processed = processing.process_images(inner)
        finally:
            NestedScript.busy = False
        pp.image = processed.images[0]
