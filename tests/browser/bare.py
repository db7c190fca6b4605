"""A bare page for the browser: SafeGen's accordions and tab beside a small form, and no WebUI.

``python tests/browser/bare.py PORT FOLDER [flags]`` serves it. The host's stand-in makes the
pictures; the page has the names by which SafeGen finds its way on a WebUI's page, and looks like
none.
"""

from __future__ import annotations

import argparse
import html
import json
import runpy
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "host")]

import standin  # noqa: E402

SCRIPTS = (HERE / "bare.js", *sorted((ROOT / "javascript").glob("*.js")))
FIRST_TAB = "(...given) => { document.querySelector('#tabs > .tab-nav > button').click(); "
FIRST_TAB += "return given; }"
shared = standin.settings.shared


def generate(id_task: str, *values: Any) -> list[Any]:
    """A click on Generate: the picture, what repeats it, and what else there is to say."""
    processing = sys.modules["modules.processing"]
    with closing(standin.page.create_processing(id_task, None, *values)) as p:
        made = processing.process_images(p)
    texts = [html.escape(text).replace("\n", "<br>") for text in (*made.infotexts, made.comments)]
    return [made.images[0], texts[0], texts[-1]]


def build_tab(tab: str) -> gr.Blocks:
    """A tab with the accordion; in txt2img with a form before it."""
    runner = standin.scripting.RUNNERS[tab]
    fields: list[Any] = []
    with gr.Blocks() as blocks:
        task, chosen = gr.Textbox(visible=False), gr.Number(0, visible=False)
        for name, value in standin.page.FORM.items() if tab == "txt2img" else ():
            common = {"label": name, "elem_id": f"{tab}_{name}"}
            if isinstance(value, str):
                fields.append(gr.Textbox(value, lines=2, **common))
            else:
                whole = 0 if isinstance(value, int) else None
                fields.append(gr.Number(value, precision=whole, **common))
        with gr.Column(elem_id=f"{tab}_generate_box"):
            button = gr.Button("Generate", elem_id=f"{tab}_generate")
        standin.scripting.fire("after_component", button, elem_id=f"{tab}_generate")
        runner.build()
        log, info = gr.HTML(elem_id=f"html_log_{tab}"), gr.HTML(elem_id=f"html_info_{tab}")
        picture = gr.Image(interactive=False)
        if not fields:
            return blocks
        inputs = [task, *fields, chosen, *runner.inputs[1:]]
        run = standin.page.queued(generate, [None, ""])
        button.click(run, inputs, [picture, info, log], _js="submit")
        paste = gr.Button("Paste", elem_id="paste")
        connect_paste(paste, fields[0], fields)
    return blocks


def connect_paste(button: Any, source: Any, fields: list[Any], js: str | None = None) -> None:
    """Let ``button`` read the infotext in ``source`` into txt2img's fields and SafeGen's."""
    own = standin.scripting.RUNNERS["txt2img"].infotext_fields
    parse = standin.infotext.parse_generation_parameters

    def read(text: str) -> list[Any]:
        found = parse(text)
        values = [found["Prompt"], int(found.get("Seed", -1))]
        values += [target(found) if callable(target) else found.get(target) for _, target in own]
        return [gr.update() if value is None else value for value in values]

    targets = [fields[0], fields[-1], *(component for component, _ in own)]
    button.click(read, source, targets, _js=js)


def build() -> gr.Blocks:
    """The whole page."""
    standin.page.bindings.clear()
    tabs = {tab: build_tab(tab) for tab in standin.scripting.RUNNERS}
    (pages,) = standin.scripting.fire("ui_tabs")
    with gr.Blocks(css=(ROOT / "style.css").read_text(), analytics_enabled=False) as demo:
        with gr.Tabs(elem_id="tabs"):
            for tab, blocks in tabs.items():
                with gr.Tab(tab, elem_id=f"tab_{tab}"):
                    blocks.render()
            for page, label, elem_id in pages:
                with gr.Tab(label, elem_id=f"tab_{elem_id}"):
                    page.render()
        form = {getattr(block, "elem_id", None): block for block in demo.blocks.values()}
        fields = [form[f"txt2img_{name}"] for name in standin.page.FORM]
        for binding in standin.page.bindings:
            source = binding.source_text_component
            connect_paste(binding.paste_button, source, fields, FIRST_TAB)
        # One after the other: SafeGen's script calls what is in the first.
        urls = json.dumps([f"file={path}" for path in SCRIPTS])
        load = "document.head.append(Object.assign(document.createElement('script'), "
        load += "{src, async: false}))"
        demo.load(None, None, None, _js=f"() => {{ {urls}.forEach(src => {load}); }}")
    return demo


def progress(task: str) -> dict[str, Any]:
    """How far a job has come."""
    return {"over": task in standin.page.finished, "text": shared.state.textinfo or "working"}


def main() -> None:
    """Serve the page until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("folder")
    runpy.run_path(str(ROOT / "preload.py"))["preload"](parser)
    given = parser.parse_args()
    standin.install()
    sys.modules["modules.paths"].data_path = given.folder
    vars(shared.cmd_opts).update(vars(given))
    shared.opts.data.update(json.loads((Path(given.folder) / "config.json").read_text()))
    standin.load_scripts()
    from safegen.webui import jobs

    jobs.PATIENCE = 0.0  # the small model is quick, and progress is to be seen
    demo = build().queue()
    allowed = [str(path) for path in SCRIPTS]
    app, _, _ = demo.launch(
        server_name="127.0.0.1",
        server_port=given.port,
        prevent_thread_lock=True,
        allowed_paths=allowed,
        quiet=True,
    )
    app.add_api_route("/bare/progress", progress)
    standin.scripting.fire("app_started", demo, app)
    sys.stdout.write(f"Running on http://127.0.0.1:{given.port}\n")
    sys.stdout.flush()
    demo.block_thread()


if __name__ == "__main__":
    main()
