"""What differs between gradio 3, which the WebUI and reForge have, and Forge's gradio 4."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

IS_4 = int(gr.__version__.split(".")[0]) >= 4


def js(code: str) -> dict[str, str]:
    """The argument of an event that runs ``code`` in the browser."""
    return {"js" if IS_4 else "_js": code}


def inputs_of_click(button: Any, code: str) -> list[Any] | None:
    """The components whose values a click on ``button`` sends, after ``code`` in the browser.

    ``None`` if there is no such click.
    """
    root = button
    while getattr(root, "parent", None) is not None:
        root = root.parent
    clicks = _clicks_4(root) if IS_4 else _clicks_3(root)
    for targets, found, inputs in clicks:
        if (button._id, "click") in targets and found == code:
            return inputs
    return None


def _clicks_3(root: Any) -> list[tuple[list[tuple[Any, str]], Any, list[Any]]]:
    return [
        (
            [(target, one["trigger"]) for target in one["targets"]],
            one["js"],
            [root.blocks[number] for number in one["inputs"]],
        )
        for one in getattr(root, "dependencies", [])
    ]


def _clicks_4(root: Any) -> list[tuple[list[tuple[Any, str]], Any, list[Any]]]:
    return [
        ([tuple(target) for target in one.targets], one.js, list(one.inputs))
        for one in root.fns.values()
    ]


def url_of(image: Any, component: Any) -> str:
    """Where the browser finds ``image``, which is kept where ``component`` keeps its own."""
    if IS_4:
        from gradio import processing_utils  # Forge puts its own function there later

        path = processing_utils.save_pil_to_cache(image, component.GRADIO_CACHE, format="png")
        component.temp_files.add(gr.utils.abspath(path))
    else:
        path = component.pil_to_temp_file(image, dir=component.DEFAULT_TEMP_DIR, format="png")
        component.temp_files.add(str(Path(path).resolve()))
    return f"./file={quote(str(path))}"
