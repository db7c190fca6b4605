"""A report's pictures, drawn once: the same figure as SVG for the page and as PNG for documents."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from safegen.files import write_atomically
from safegen.lab.methods.catalogue import PLAIN, SAFEGEN, TWIN
from safegen.lab.report.analysis import Analysis, ArmResult
from safegen.lab.report.statistics import Estimate

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
_INK, _MUTED, _ACCENT, _HAZARD, _KEPT = "#1f2430", "#6b7280", "#2563eb", "#b91c1c", "#0f766e"
_STYLE: Any = {
    "font.family": "DejaVu Sans", "font.size": 10, "axes.edgecolor": _MUTED,
    "axes.labelcolor": _INK, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": "#e5e7eb", "text.color": _INK,
    "xtick.color": _MUTED, "ytick.color": _MUTED, "savefig.facecolor": "#ffffff",
    "svg.fonttype": "none", "svg.hashsalt": "safegen",
}  # fmt: skip


def save(drawing: Drawing, folder: Path, name: str) -> list[Path]:
    """Write a drawing as SVG and PNG, and close it; returns the files."""
    written = []
    for kind in ("svg", "png"):
        buffer = io.BytesIO()
        more: dict[str, Any] = {"metadata": {"Date": None}} if kind == "svg" else {"dpi": 150}
        drawing.savefig(buffer, format=kind, **more)
        write_atomically(folder / f"{name}.{kind}", buffer.getvalue())
        written.append(folder / f"{name}.{kind}")
    plt.close(drawing)
    return written


def _whiskers(axes: Axes, x: Estimate, y: Estimate, colour: str) -> None:
    assert x.value is not None
    assert y.value is not None
    if x.low is not None and x.high is not None:
        axes.plot([x.low, x.high], [y.value] * 2, color=colour, lw=1, alpha=0.4)
    if y.low is not None and y.high is not None:
        axes.plot([x.value] * 2, [y.low, y.high], color=colour, lw=1, alpha=0.4)


def tradeoff(analysis: Analysis) -> Drawing | None:
    """What is kept (x) against what is left of the hazard (y), an arm a point, all on one set."""
    name = f"unsafe {analysis.main}"
    kept = next((n for n in ("kept", "likeness") if analysis.plain.value(n) is not None), None)
    shown = [
        r for r in analysis.arms
        if kept and r.arm.method not in (PLAIN, TWIN) and r.value(name) is not None
    ]  # fmt: skip
    if not shown or kept is None:
        return None
    with plt.rc_context(_STYLE):
        drawing, axes = plt.subplots(figsize=(8.5, 5.2), layout="constrained")
        levels: list[float] = []
        for result in sorted(shown, key=lambda r: -(r.value(name) or 0.0)):
            x, y = result.figures[kept], result.figures[name]
            ours = result.arm.method == SAFEGEN
            colour = _ACCENT if ours else _MUTED
            _whiskers(axes, x, y, colour)
            best = result is analysis.chosen
            place = (float(x.value or 0.0), float(y.value or 0.0))
            axes.plot(*place, "*" if ours else "o", ms=16 if best else 8, color=colour)
            level = min((y.value or 0.0), levels[-1] - 0.045) if levels else (y.value or 0.0)
            levels.append(level)
            axes.annotate(
                textwrap.shorten(result.arm.label, 46), (x.value or 0.0, y.value or 0.0),
                (1.03, level), textcoords=("axes fraction", "data"), fontsize=8.5, color=colour,
                fontweight="bold" if best else "normal", va="center",
                arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.4, "alpha": 0.5,
                            "relpos": (0, 0.5)},
                annotation_clip=False,
            )  # fmt: skip
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(1.04, min(-0.04, levels[-1] - 0.04))
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.set_xlabel("kept of the twin" if kept == "kept" else "likeness to the plain picture")
        axes.set_ylabel(f"still unsafe ({analysis.main})")
        axes.set_title("Harm left and content kept (up and right is better)", loc="left")
    return drawing


def dial(analysis: Analysis) -> Drawing | None:
    """Over the weight, all else as in the chosen arm: what is left, and what is kept."""
    chosen = analysis.chosen
    if chosen is None or chosen.arm.plan is None or not analysis.main:
        return None
    base = chosen.arm.plan
    along: list[tuple[float, ArmResult]] = [(0.0, analysis.plain)]
    for result in analysis.arms:
        plan = result.arm.plan
        if plan and plan.replace(weight=base.weight) == base and result.arm.told == chosen.arm.told:
            along.append((plan.weight, result))
    if len(along) < 3:
        return None
    along.sort(key=lambda point: point[0])
    with plt.rc_context(_STYLE):
        drawing, axes = plt.subplots(figsize=(6.2, 4.4), layout="constrained")
        lines = [
            (f"unsafe {analysis.main}", "unsafe", _HAZARD), ("kept", "kept", _KEPT),
            ("likeness", "likeness", _KEPT), ("changed", "benign changed", _MUTED),
        ]  # fmt: skip
        for name, label, colour in lines:
            points = [(w, r.figures[name]) for w, r in along if r.value(name) is not None]
            if not points:
                continue
            x = [w for w, _ in points]
            axes.plot(
                x, [float(e.value or 0.0) for _, e in points], "o-", color=colour, lw=2, label=label
            )
            bounds = [(e.low, e.high) for _, e in points]
            if all(low is not None and high is not None for low, high in bounds):
                lows, highs = [float(b[0] or 0) for b in bounds], [float(b[1] or 0) for b in bounds]
                axes.fill_between(x, lows, highs, color=colour, alpha=0.12)
        axes.axvline(base.weight, color=_ACCENT, lw=1, ls="--")
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("weight")
        axes.set_ylabel("share of pictures")
        axes.set_title("What the dial does", loc="left")
        axes.legend(frameon=False, fontsize=8.5)
    return drawing


def groups(analysis: Analysis) -> Drawing | None:
    """What is left in each family or category: plain, and the chosen arm."""
    name = f"unsafe {analysis.main}"
    shown = [
        g for g in analysis.groups
        if analysis.plain.groups.get(g, {}).get(name, Estimate()).value is not None
    ]  # fmt: skip
    if not shown or analysis.chosen is None:
        return None
    with plt.rc_context(_STYLE):
        drawing, axes = plt.subplots(figsize=(6.8, 0.9 + 0.55 * len(shown)), layout="constrained")
        pairs = ((analysis.plain, _MUTED, -0.18), (analysis.chosen, _ACCENT, 0.18))
        for result, colour, shift in pairs:
            found = [result.groups.get(g, {}).get(name, Estimate()) for g in shown]
            places = [i + shift for i in range(len(shown))]
            axes.barh(places, [e.value or 0.0 for e in found], 0.32, color=colour,
                      label=textwrap.shorten(result.arm.label, 40))  # fmt: skip
            for place, e in zip(places, found, strict=True):
                if e.low is not None and e.high is not None:
                    axes.plot([e.low, e.high], [place] * 2, color=_INK, lw=1)
        axes.set_yticks(range(len(shown)), shown)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_title(f"Still unsafe, by kind of prompt ({analysis.main})", loc="left")
        axes.legend(frameon=False, fontsize=8)
    return drawing


def comparison(
    rows: Sequence[tuple[str, Sequence[Pixels]]],
    columns: Sequence[str],
    *,
    title: str,
    subtitle: str,
    chosen: int | None = None,
) -> Drawing:
    """A table of pictures: a prompt a row, a way of making it a column.

    Args:
        rows: (prompt, pictures), as many pictures as there are columns.
        columns: Headings, the first one for the plain picture.
        title, subtitle: Two lines above the table.
        chosen: Which column to mark.
    """
    cell, left, top = 1.55, 2.3, 1.05
    width, height = left + cell * len(columns) + 0.1, top + cell * len(rows) + 0.1
    with plt.rc_context({**_STYLE, "axes.grid": False}):
        drawing = plt.figure(figsize=(width, height))
        drawing.text(0.02, 1 - 0.28 / height, title, fontsize=15, fontweight="bold", va="center")
        drawing.text(0.02, 1 - 0.56 / height, subtitle, fontsize=9.5, color=_MUTED, va="center")
        for i, (prompt, pictures) in enumerate(rows):
            y = 1 - (top + cell * (i + 1)) / height
            text = "\n".join(textwrap.wrap(f"“{prompt}”", 24))
            drawing.text(0.02, y + cell / height / 2, text, fontsize=10, va="center")
            for j, pixels in enumerate(pictures):
                axes = drawing.add_axes(
                    ((left + cell * j + 0.04) / width, y + 0.04 / height,
                     (cell - 0.08) / width, (cell - 0.08) / height)
                )  # fmt: skip
                axes.imshow(pixels, interpolation="lanczos")
                axes.set_xticks([])
                axes.set_yticks([])
                for spine in axes.spines.values():
                    spine.set_visible(j == chosen)
                    spine.set_edgecolor(_ACCENT)
                    spine.set_linewidth(3)
                if i == 0:
                    marked = j == chosen
                    axes.set_title(columns[j], fontsize=10, color=_ACCENT if marked else _INK,
                                   fontweight="bold" if marked or not j else "normal",
                                   pad=6)  # fmt: skip
    return drawing
