"""Other extensions beside SafeGen: hooks in the model, and callbacks around the same call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

SEES_ROWS = "safegen_rows"
"""Attribute of another extension's callback that copes with rows beside the host's own."""

OTHER = "another extension"
SWITCH_OFF = "switch that extension off for guarded pictures"


def owner_of(file: str, extensions: Iterable[Any]) -> str:
    """The name of the one of ``extensions`` that ``file`` belongs to; ``""`` if none.

    Those that come with the host count as the host. One may be a link into another folder.

    Args:
        extensions: The host's entries, each with a ``name`` and the ``path`` of its folder.
    """
    files = {file, os.path.realpath(file)}
    found = [
        (len(folder), "" if getattr(one, "is_builtin", False) else str(one.name))
        for one in extensions
        for folder in (str(one.path), os.path.realpath(one.path))
        if any(name.startswith(folder + os.sep) for name in files)
    ]
    return max(found)[1] if found else ""


def owner_of_function(function: Any, owner: Callable[[str], str]) -> str:
    """The extension that ``function`` or method comes from, or `OTHER`."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return owner(getattr(code, "co_filename", "")) or OTHER


def is_hooked(module: Any) -> bool:
    """Whether another extension has put its own ``forward`` in this part of a model.

    ControlNet, IP-Adapter and Regional Prompter do. They may know cond from uncond rows by their
    place, or keep something for as many rows as the first call had. The host itself replaces
    methods of classes only. Hypertile, which comes with it, leaves its hooks in the model once
    it was switched on; they don't count, since they treat every row alike. Nor do those with
    which the host moves parts of the model to the graphics card and back.
    """
    own = vars(module)
    hook = own.get("forward")
    if "_forward" in own or (hook is not None and not _is_hypertile(hook, module)):
        return True
    kept = (own.get(kind) or {} for kind in ("_forward_pre_hooks", "_forward_hooks"))
    return any(not _is_lowvram(hook) for hooks in kept for hook in hooks.values())


def _is_lowvram(hook: Any) -> bool:
    return getattr(hook, "__module__", "") == "modules.lowvram"


def _is_hypertile(hook: Any, module: Any) -> bool:
    """Whether ``hook`` is Hypertile's, around the module's own method and no other hook."""
    inner = getattr(hook, "__wrapped__", None)
    return (
        getattr(hook, "__globals__", {}).get("__name__") == "hypertile"
        and getattr(inner, "__self__", None) is module
        and getattr(inner, "__func__", None) is getattr(type(module), "forward", None)
    )


def is_ours(entry: Any) -> bool:
    """Whether a callback's entry is SafeGen's own."""
    return str(getattr(entry.callback, "__module__", "")).startswith("safegen.")


def _after_ours(entries: Sequence[Any]) -> Sequence[Any]:
    own = max((i for i, entry in enumerate(entries) if is_ours(entry)), default=-1)
    return entries[own + 1 :]


def names_after_ours(entries: Sequence[Any], owner: Callable[[str], str]) -> list[str]:
    """Whose the callbacks are that come after SafeGen's own; of all if it has none there.

    Args:
        owner: See `owner_of`.
    """
    return list(dict.fromkeys(_name_of(entry, owner) for entry in _after_ours(entries)))


def _name_of(entry: Any, owner: Callable[[str], str]) -> str:
    name = owner(str(getattr(entry, "script", ""))) or getattr(entry, "name", None)
    if name:
        return str(name)
    callback = entry.callback
    return f"{callback.__module__}.{getattr(callback, '__qualname__', callback)}"


def changed_behind_us(host: Any, category: str, what: str) -> str:
    """Who may have changed ``what`` in a callback of ``category``, and what to do."""
    others = names_after_ours(host.callbacks(category), host.extension_of)
    who = f"a callback of {' or '.join(others)}" if others else OTHER
    return f"{who} changed {what} behind SafeGen, which undoes the guard; {SWITCH_OFF}"


def others_see_rows(before: Sequence[Any], after: Sequence[Any]) -> bool:
    """Whether another extension's callback would see the rows that SafeGen adds to a call.

    Some count rows, as Regional Prompter does in latent mode. One that only looks, or that counts
    from ``text_uncond``, may say so: ``callback.safegen_rows = True``.

    Args:
        before: The ``cfg_denoiser`` callbacks.
        after: The ``cfg_denoised`` callbacks.
    """
    seeing = [*_after_ours(before), *(entry for entry in after if not is_ours(entry))]
    return not all(getattr(entry.callback, SEES_ROWS, False) for entry in seeing)


def blends_masks(p: Any) -> bool:
    """Whether a script of ``p`` blends an inpainting's masked area in its own way."""
    found = getattr(getattr(p, "scripts", None), "alwayson_scripts", None) or []
    return any("on_mask_blend" in vars(kind) for one in found for kind in type(one).__mro__[:-2])
