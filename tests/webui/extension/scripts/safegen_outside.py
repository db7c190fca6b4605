"""Test only: a picture from outside for the second pass, as the button below the gallery gives."""

import gradio as gr
from modules import scripts
from modules.api.api import decode_base64_to_image


class OutsideScript(scripts.Script):
    def title(self):
        return "Picture from outside"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        return [gr.Textbox("", label="Picture as base64", elem_id=self.elem_id("image"))]

    def before_process(self, p, encoded, *args):
        if encoded:
            p.firstpass_image = decode_base64_to_image(encoded)
            p.txt2img_upscale = True
