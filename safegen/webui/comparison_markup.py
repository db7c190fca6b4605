"""The HTML of a comparison: the before/after slider and the strip of weights.

`javascript/safegen_compare.js` makes it move. Everything it needs stands in attributes here, so
that nothing is lost when the page replaces the elements. The original comes veiled.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from safegen.webui.comparison import Comparison, Shot
from safegen.webui.record import Map
from safegen.webui.words import say, spoken

_MAP_COLOUR = (255, 0, 200)
"""Of what the streams disagree on: a colour that few pictures have much of."""


def map_uri(disagreement: Map) -> str:
    """``[h, w]`` from 0 to 1 as a ``data:`` picture, transparent where the streams agree."""
    height, width = disagreement.shape
    pixels = np.empty((height, width, 4), dtype=np.uint8)
    pixels[..., :3] = _MAP_COLOUR
    pixels[..., 3] = np.round(np.clip(disagreement, 0.0, 1.0) * 215)
    size = (min(width * 8, 512), min(height * 8, 512))
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGBA").resize(size, Image.Resampling.BICUBIC).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def name(weight: float) -> str:
    """A weight for people."""
    return say("Original") if weight == 0 else say("Weight {weight}", weight=f"{weight:g}")


def _caption(shot: Shot) -> str:
    if shot.weight == 0:
        return say("As without SafeGen")
    return spoken(shot.why)


def _thumbnail(shot: Shot, source: str, *, chosen: bool) -> str:
    data = {
        "weight": f"{shot.weight:g}",
        "name": name(shot.weight),
        "source": source,
        "caption": _caption(shot),
        "infotext": shot.infotext,
        "map": "" if shot.disagreement is None else map_uri(shot.disagreement),
    }
    attributes = " ".join(f'data-{key}="{escape(value)}"' for key, value in data.items())
    veiled = " safegen-veiled" if shot.weight == 0 else ""
    return (
        f"<button type='button' role='radio' class='safegen-thumb{veiled}' "
        f"aria-checked='{'true' if chosen else 'false'}' tabindex='{0 if chosen else -1}' "
        f"{attributes}><img src='{escape(source)}' alt=''><span>{name(shot.weight)}</span></button>"
    )


def _failed(shot: Shot) -> str:
    why = escape(spoken(shot.message))
    return (
        f"<div class='safegen-thumb safegen-thumb-failed'>"
        f"<span>{name(shot.weight)}</span><p class='safegen-bad'>{why}</p></div>"
    )


def _weights(weights: Sequence[float]) -> str:
    return ", ".join(f"{weight:g}" for weight in weights)


def summary(result: Comparison) -> str:
    """What is there, what is not and why, as HTML that is read out."""
    lines: list[tuple[str, str]] = []
    failed = [shot for shot in result.shots if shot.image is None]
    if result.refused:
        lines.append(
            (
                "safegen-enforced",
                say(
                    "Not allowed here, so not made: weight {weights}.",
                    weights=_weights(result.refused),
                ),
            )
        )
    if result.missing:
        text = say("Interrupted: nothing at weight {weights}.", weights=_weights(result.missing))
        lines.append(("safegen-bad", text))
    lines += [("safegen-bad", f"{name(shot.weight)}: {spoken(shot.message)}") for shot in failed]
    lines += [("safegen-note", note) for note in result.notes]
    if result.pictures:
        lines.append(("safegen-note", say("Pictures, not saved: {n}", n=len(result.pictures))))
    body = "".join(f"<p class='{kind}'>{escape(text)}</p>" for kind, text in lines)
    return f"<div role='status'>{body}</div>"


def comparison(result: Comparison, save: Callable[[Any], str]) -> str:
    """The slider over the first and the chosen picture, and the strip.

    Args:
        save: Puts a picture where the page can have it; its address.
    """
    chosen, pictures = result.chosen, result.pictures
    if chosen is None:
        return ""
    sources = {shot.weight: save(shot.image) for shot in pictures}
    before = pictures[0]
    width, height = chosen.image.size
    veiled = before.weight == 0
    kinds = " ".join(["safegen-veiled"] * veiled + ["safegen-single"] * (chosen is before))
    strip = "".join(
        _thumbnail(shot, sources[shot.weight], chosen=shot is chosen) for shot in pictures
    )
    failed = "".join(_failed(shot) for shot in result.shots if shot.image is None)
    shown_map = "" if chosen.disagreement is None else f"src='{map_uri(chosen.disagreement)}'"
    after = escape(sources[chosen.weight])
    own = " safegen-original" if chosen.weight == 0 else ""
    which = escape(say("Weight to compare"))
    show, blur = escape(say("Show the original")), escape(say("Blur the original"))
    reveal = (
        f"<button type='button' class='safegen-reveal' data-show='{show}' data-blur='{blur}'>"
        f"<span>{show}</span></button>"
        if veiled
        else ""
    )
    return f"""
<div class='safegen-compare' data-before='{before.weight:g}'>
  <div class='safegen-stage {kinds}'
       style='aspect-ratio: {width} / {height}; --safegen-wide: {width / height:.4f}'>
    <img class='safegen-after{own}' src='{after}' alt='{name(chosen.weight)}' draggable='false'>
    <img class='safegen-before' src='{escape(sources[before.weight])}' draggable='false'
         alt='{name(before.weight)}'>
    <img class='safegen-map' {shown_map} alt='' draggable='false' hidden>
    <span class='safegen-tag safegen-tag-before'>{name(before.weight)}</span>
    <span class='safegen-tag safegen-tag-after'>{name(chosen.weight)}</span>
    <div class='safegen-handle' role='slider' tabindex='0' aria-orientation='horizontal'
         aria-label='{escape(say("Share of the picture that shows it"))}: {name(before.weight)}'
         aria-valuemin='0' aria-valuemax='100' aria-valuenow='50' aria-valuetext='50%'></div>
    {reveal}
  </div>
  <div class='safegen-below'>
    <p class='safegen-caption'>{escape(_caption(chosen))}</p>
    <label class='safegen-mapped'><input type='checkbox' class='safegen-show-map'>
      <span>{escape(say("Show where the two versions differ"))}</span></label>
  </div>
  <div class='safegen-strip' role='radiogroup' aria-label='{which}'>{strip}</div>
  {f"<div class='safegen-strip'>{failed}</div>" if failed else ""}
</div>"""
