"""A click on Generate."""

from __future__ import annotations

import html
from contextlib import closing
from typing import Any

from modules import processing, scripts, shared


def txt2img_create_processing(
    id_task: Any,
    request: Any,
    prompt: str,
    negative_prompt: str,
    n_iter: int,
    batch_size: int,
    cfg_scale: float,
    height: int,
    width: int,
    steps: int,
    seed: int,
    *args: Any,
) -> Any:
    p = processing.StableDiffusionProcessingTxt2Img(
        sd_model=shared.sd_model,
        prompt=prompt,
        negative_prompt=negative_prompt,
        seed=int(seed),
        sampler_name="Euler",
        steps=int(steps),
        cfg_scale=cfg_scale,
        batch_size=int(batch_size),
        n_iter=int(n_iter),
        width=int(width),
        height=int(height),
    )
    p.scripts, p.script_args = scripts.scripts_txt2img, args
    return p


def _paragraph(text: str, name: str = "") -> str:
    lines = "<br>\n".join(html.escape(line) for line in text.split("\n"))
    return f"<p class='{name}'>{lines}</p>" if name else f"<p>{lines}</p>"


def shown(processed: Any) -> tuple[Any, ...]:
    """A generation's four outputs on the page."""
    return (
        processed.images,
        processed.js(),
        _paragraph(processed.infotexts[0]),
        _paragraph(processed.comments, "comments"),
    )


def txt2img(id_task: str, *args: Any) -> tuple[Any, ...]:
    with closing(txt2img_create_processing(id_task, None, *args)) as p:
        return shown(processing.process_images(p))
