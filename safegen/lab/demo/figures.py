"""The demo's two pictures: what the dial does, and what it costs."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from safegen.lab.report.metrics import wilson

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

_INK, _MUTED, _PAPER, _ACCENT = "#1f2430", "#6b7280", "#ffffff", "#2563eb"
_HAZARD = "#b91c1c"
KEPT_COLOURS = {
    "background": "#0f766e",
    "position": "#7c3aed",
    "object": "#2563eb",
    "colour": "#d97706",
}
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": _INK,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "figure.facecolor": _PAPER,
    "savefig.facecolor": _PAPER,
}


def _picture(axes: Axes, pixels: Pixels, edge: str | None = None) -> None:
    axes.imshow(pixels, interpolation="lanczos")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(edge is not None)
        spine.set_edgecolor(edge or _PAPER)
        spine.set_linewidth(3)


def comparison(
    path: Path,
    rows: Sequence[tuple[str, Sequence[Pixels]]],
    columns: Sequence[str],
    *,
    title: str,
    subtitle: str,
    chosen: int | None = None,
) -> None:
    """Draw a table of pictures: a prompt a row, a weight a column.

    Args:
        path: The PNG to write.
        rows: (prompt, pictures), as many pictures as there are columns.
        columns: Headings, the first one for the plain picture.
        title, subtitle: Two lines above the table.
        chosen: Which column to mark, the default weight's.
    """
    cell, left, top = 1.55, 2.3, 1.05
    width, height = left + cell * len(columns) + 0.1, top + cell * len(rows) + 0.1
    with plt.rc_context(_STYLE):
        figure = plt.figure(figsize=(width, height), dpi=150)
        figure.text(0.02, 1 - 0.28 / height, title, fontsize=15, fontweight="bold", va="center")
        figure.text(0.02, 1 - 0.56 / height, subtitle, fontsize=9.5, color=_MUTED, va="center")
        for i, (prompt, pictures) in enumerate(rows):
            y = 1 - (top + cell * (i + 1)) / height
            figure.text(
                0.02,
                y + cell / height / 2,
                "\n".join(textwrap.wrap(f"“{prompt}”", 24)),
                fontsize=10,
                va="center",
            )
            for j, pixels in enumerate(pictures):
                axes = figure.add_axes(
                    (
                        (left + cell * j + 0.04) / width,
                        y + 0.04 / height,
                        (cell - 0.08) / width,
                        (cell - 0.08) / height,
                    )
                )
                _picture(axes, pixels, _ACCENT if j == chosen else None)
                if i == 0:
                    axes.set_title(
                        columns[j],
                        fontsize=10,
                        color=_ACCENT if j == chosen else _INK,
                        fontweight="bold" if j in (0, chosen) else "normal",
                        pad=6,
                    )
        figure.savefig(path)
        plt.close(figure)


def _interval(rate: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate."""
    return wilson(round(rate * n), n)


def _curves(axes: Axes, points: Sequence[Mapping[str, Any]], key: str, label: str) -> None:
    points = sorted(points, key=lambda p: float(p[key]))
    x = [p[key] for p in points]
    bands = [_interval(p["hazard_rate"], p["n"]) for p in points]
    axes.fill_between(x, [b[0] for b in bands], [b[1] for b in bands], color=_HAZARD, alpha=0.12)
    axes.plot(x, [p["hazard_rate"] for p in points], "o-", color=_HAZARD, lw=2.5, label="hazard")
    for name, colour in KEPT_COLOURS.items():
        axes.plot(
            x, [p["kept"][name] for p in points], "o-", color=colour, lw=1.5, ms=4,
            label=f"{name} kept",
        )  # fmt: skip
    axes.set_xlabel(label)
    axes.set_ylim(-0.03, 1.03)
    axes.grid(axis="y", color="#e5e7eb", lw=0.8)
    axes.set_axisbelow(True)


def tradeoff(path: Path, report: Mapping[str, Any]) -> None:
    """Draw hazard rate against what is kept: over the weight, over tau, and beside the peers."""
    default = report["default"]
    sweep = report["sweep"]
    with plt.rc_context(_STYLE):
        figure, (by_weight, by_tau, peers) = plt.subplots(
            1, 3, figsize=(14, 4.6), dpi=150, width_ratios=(1.1, 1, 1.15)
        )
        _curves(by_weight, [p for p in sweep if p["tau"] == default["tau"]], "weight", "weight")
        by_weight.axvline(default["weight"], color=_ACCENT, lw=1, ls="--")
        by_weight.set_ylabel("share of pictures")
        by_weight.set_title(f"The dial (τ = {default['tau']:g})", loc="left", fontweight="bold")
        by_weight.legend(frameon=False, fontsize=8.5, loc="center right", bbox_to_anchor=(1, 0.6))
        _curves(
            by_tau, [p for p in sweep if p["weight"] == default["weight"]], "tau", "threshold τ"
        )
        by_tau.axvline(default["tau"], color=_ACCENT, lw=1, ls="--")
        by_tau.set_title(
            f"The threshold (weight = {default['weight']:g})", loc="left", fontweight="bold"
        )
        guarded = {**report["guarded"], "name": "SafeGen (default)"}
        lowest = -1.0  # labels keep their distance, from the bottom up
        for peer in sorted([*report["peers"], guarded], key=lambda p: -float(p["hazard_rate"])):
            ours = peer is guarded
            x, y = min(peer["kept"].values()), 1 - peer["hazard_rate"]
            peers.plot(x, y, "*" if ours else "o", ms=15 if ours else 7,
                       color=_ACCENT if ours else _MUTED)  # fmt: skip
            lowest = max(y, lowest + 0.055)
            peers.text(
                x - 0.04, lowest, peer["name"], ha="right", va="center", fontsize=8.5,
                fontweight="bold" if ours else "normal", color=_ACCENT if ours else _INK,
            )  # fmt: skip
        peers.set_xlim(-0.03, 1.03)
        peers.set_ylim(-0.03, 1.09)
        peers.set_xlabel("worst of the four things kept")
        peers.set_ylabel("hazards removed")
        peers.set_title("Beside its peers (up and right is better)", loc="left", fontweight="bold")
        peers.grid(color="#e5e7eb", lw=0.8)
        peers.set_axisbelow(True)
        figure.tight_layout()
        figure.savefig(path)
        plt.close(figure)
