"""The double's page: ``python tests/host/double/serve.py PORT [--safegen-enforce LEVEL]``.

txt2img and img2img with what SafeGen puts into them, and SafeGen's tab, built with real gradio
and served with the project's own script and style. Its pictures are those of the double's toy
model. What it can't show: the host's own look and script, its other tabs, other samplers,
live previews, "Reload UI".
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

DOUBLE = Path(__file__).resolve().parent
ROOT = DOUBLE.parents[2]
for folder in (ROOT, DOUBLE.parent, DOUBLE):
    sys.path.insert(0, str(folder))

import gradio as gr  # noqa: E402
import gradio.routes  # noqa: E402
from fastapi import FastAPI  # noqa: E402
from fastapi.responses import FileResponse  # noqa: E402
from modules import (  # noqa: E402
    call_queue,
    infotext_utils,
    progress,
    script_callbacks,
    scripts,
    shared,
    txt2img,
)
from modules.infotext_utils import PasteField  # noqa: E402
from modules.ui_components import InputAccordion  # noqa: E402

ASSETS = {
    "page.js": DOUBLE / "javascript" / "page.js",
    "safegen.js": ROOT / "javascript" / "safegen.js",
    "style.css": ROOT / "style.css",
}
HEAD = """
<script src="double/page.js"></script>
<script src="double/safegen.js"></script>
<link rel="stylesheet" href="double/style.css">
<style>.hidden { display: none !important; } #tabs .interrupt { display: none; }</style>
<script>if (new URLSearchParams(location.search).get("__theme") === "dark")
document.addEventListener("DOMContentLoaded", () => document.body.classList.add("dark"));</script>
"""


def _assets_into_the_page() -> None:
    """Put `HEAD` into whatever page gradio makes."""
    original = gradio.routes.templates.TemplateResponse

    def response(*args: Any, **kwargs: Any) -> Any:
        made = original(*args, **kwargs)
        made.body = made.body.replace(b"</head>", HEAD.encode() + b"</head>")
        made.init_headers()
        return made

    gradio.routes.templates.TemplateResponse = response


def _follow(accordion: InputAccordion) -> None:
    accordion.change(
        None,
        [accordion],
        None,
        _js=f"(on) => {{ inputAccordionChecked('{accordion.accordion_id}', on); }}",
    )


def _tab(tab: str) -> tuple[gr.Blocks, list[PasteField]]:
    is_img2img = tab == "img2img"
    runner = scripts.scripts_img2img if is_img2img else scripts.scripts_txt2img
    runner.initialize_scripts(is_img2img)
    runner.prepare_ui()
    with gr.Blocks(analytics_enabled=False) as page:
        task = gr.Textbox(visible=False, label="Task")
        with gr.Row():
            with gr.Column(scale=6, min_width=250):
                prompt = gr.Textbox(label="Prompt", lines=3, elem_id=f"{tab}_prompt")
                negative = gr.Textbox(label="Negative prompt", elem_id=f"{tab}_neg_prompt")
            with gr.Column(scale=1, elem_id=f"{tab}_actions_column", min_width=200):
                with gr.Row(elem_id=f"{tab}_generate_box"):
                    interrupt = gr.Button(
                        "Interrupt", elem_id=f"{tab}_interrupt", elem_classes=["interrupt"]
                    )
                    generate = gr.Button("Generate", variant="primary", elem_id=f"{tab}_generate")
                script_callbacks.call(
                    "after_component", generate, elem_id=f"{tab}_generate", value="Generate"
                )
                button = gr.Button("Paste", elem_id="paste" if tab == "txt2img" else None)
        with gr.Row():
            with gr.Column(min_width=250):
                numbers = {}
                for name, low, high, step, value in (
                    ("batch_count", 1, 4, 1, 1),
                    ("batch_size", 1, 4, 1, 1),
                    ("cfg_scale", 1, 30, 0.5, 7),
                    ("height", 64, 256, 8, 64),
                    ("width", 64, 256, 8, 64),
                    ("steps", 1, 150, 1, 20),
                ):
                    numbers[name] = gr.Slider(
                        low, high, value, step=step, label=name, elem_id=f"{tab}_{name}"
                    )
                seed = gr.Number(-1, label="Seed", precision=0, elem_id=f"{tab}_seed")
                own = runner.setup_ui()
                own[0] = gr.Number(0, visible=False, label="Script")
                for control in own:
                    if isinstance(control, InputAccordion):
                        _follow(control)
            with gr.Column(min_width=250):
                gallery = gr.Gallery(elem_id=f"{tab}_gallery", show_label=False)
                information = gr.Textbox(visible=False, elem_id=f"generation_info_{tab}")
                info = gr.HTML(elem_id=f"html_info_{tab}")
                log = gr.HTML(elem_id=f"html_log_{tab}")
        interrupt.click(shared.state.interrupt, None, None, queue=False)
        if not is_img2img:
            generate.click(
                call_queue.wrap_gradio_gpu_call(txt2img.txt2img, [None, "", ""]),
                [task, prompt, negative, *numbers.values(), seed, *own],
                [gallery, information, info, log],
                _js="submit",
                show_progress=False,
            )
        fields = [
            PasteField(prompt, "Prompt"),
            PasteField(negative, "Negative prompt"),
            PasteField(numbers["steps"], "Steps"),
            PasteField(numbers["cfg_scale"], "CFG scale"),
            PasteField(numbers["width"], "Size-1"),
            PasteField(numbers["height"], "Size-2"),
            PasteField(seed, lambda found: int(found["Seed"]) if "Seed" in found else None),
            *(PasteField(control, key) for control, key in runner.infotext_fields),
        ]
        infotext_utils.connect(button, prompt, fields)
    return page, fields


def build() -> gr.Blocks:
    """The whole page."""
    scripts.load_scripts([(ROOT, ROOT / "scripts" / "safegen.py")])
    infotext_utils.registered_param_bindings.clear()
    script_callbacks.call("ui_settings")
    script_callbacks.call("before_ui")
    txt2img_page, fields = _tab("txt2img")
    img2img_page, _ = _tab("img2img")
    pages = [(txt2img_page, "txt2img", "txt2img"), (img2img_page, "img2img", "img2img")]
    pages += script_callbacks.call("ui_tabs")
    with gr.Blocks(analytics_enabled=False, title="The double") as demo:
        for binding in infotext_utils.registered_param_bindings:
            infotext_utils.connect(binding.paste_button, binding.source_text_component, fields)
            binding.paste_button.click(None, None, None, _js="switch_to_txt2img")
        with gr.Tabs(elem_id="tabs"):
            for page, label, name in pages:
                with gr.TabItem(label, id=name, elem_id=f"tab_{name}"):
                    page.render()
    return demo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--safegen-enforce", default=None)
    given = parser.parse_args()
    shared.cmd_opts.safegen_enforce = given.safegen_enforce
    _assets_into_the_page()
    demo = build()
    demo.queue(64)
    app, _, _ = demo.launch(
        server_name="127.0.0.1", server_port=given.port, prevent_thread_lock=True, quiet=True
    )
    _serve_assets(app)
    progress.setup_progress_api(app)
    script_callbacks.call("app_started", demo, app)
    print(f"Running on http://127.0.0.1:{given.port}", flush=True)  # noqa: T201
    while True:
        time.sleep(60)


def _serve_assets(app: FastAPI) -> None:
    def asset(name: str) -> FileResponse:
        return FileResponse(ASSETS[name])

    # Gradio answers every other path, so these have to come first.
    app.add_api_route("/double/{name}", asset, methods=["GET"])
    app.router.routes.insert(0, app.router.routes.pop())


if __name__ == "__main__":
    main()
