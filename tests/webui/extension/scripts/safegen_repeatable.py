"""Test only: seeds what the host leaves to chance when it encodes a picture."""

import gradio as gr
import torch
from modules import scripts


class RepeatableScript(scripts.Script):
    def title(self):
        return "Repeatable"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        return [gr.Checkbox(False, label="Repeatable", elem_id=self.elem_id("on"))]

    def process(self, p, on, *args):  # after another checkpoint was loaded, which draws numbers too
        if on:
            torch.manual_seed(1)
