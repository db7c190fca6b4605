"""A sweep's folder, scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safegen.lab.scorers import Item, Options, Scorer, Scores, load, score
from safegen.lab.sweep.manifest import FILE, Finished, Manifest, ManifestError


def scored(
    folder: Path,
    *,
    scorers: Sequence[str] | None = None,
    options: Options | None = None,
    more: Sequence[str] = (),
    progress: bool = True,
) -> tuple[Manifest, list[Scorer], dict[str, Finished], dict[str, dict[str, Scores]]]:
    """A sweep's pictures with what every scorer says of them.

    Args:
        folder: A sweep's folder, complete or not.
        scorers: Names, or ``None`` for all that are installed and fit.
        options: What scorers need of the user.
        more: Scorers beside those, such as the second judge.
        progress: Whether to draw progress bars.

    Raises:
        SafeGenError: The folder is no sweep, or a scorer that was asked for can't be had.
    """
    if not (folder / FILE).exists():
        raise ManifestError(f"{folder} is no sweep's folder: it has no {FILE}")
    manifest = Manifest(folder)
    header = manifest.header()
    if header is None:
        raise ManifestError(f"{folder} has an empty {FILE}: nothing was made")
    finished = manifest.finished()
    if not finished:
        raise ManifestError(f"{folder} has no picture yet")
    options = options or Options()
    used = load(scorers, options, model=header["model"])
    used += load([n for n in (*more, "pixels") if n not in [s.name for s in used]], options)
    items = {}
    for key, made in finished.items():
        plain = finished.get(made.cell.plain_key)
        items[key] = Item(
            made.path, made.sha256, made.cell.prompt.text,
            plain.path if plain else None, plain.sha256 if plain else "",
        )  # fmt: skip
    scores = {s.name: score(s, items, folder / "scores", progress=progress) for s in used}
    return manifest, used, finished, scores
