"""Model calls of SafeGen's own, made by the host's own means."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import CodeType
from typing import Any

from torch import Tensor

from safegen.hosts.a1111.conds import length
from safegen.hosts.forge.entries import Entry, text_of, with_texts

CALC = "calc_cond_uncond_batch"
UNCOND = "uncond"
"""The kind of texts that negative prompts are."""
ARGUMENTS = ["model", "cond", "uncond", "x_in", "timestep", "model_options"]
_SAMPLING = ("backend.sampling.sampling_function", "ldm_patched.modules.samplers")
"""Where Forge and reForge have it."""
_PATCHER = ("backend.patcher.unet", "modules_forge.unet_patcher")
_METHODS = ("clone", "add_conditioning_modifier", "set_model_sampler_post_cfg_function")


def _import(names: Sequence[str]) -> Any:
    """The first of these modules that is here, or ``None``."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    return None


@cache
def calc() -> Callable[..., Any] | None:
    """The host's function that evaluates texts at latents, or ``None`` if it has none."""
    found = getattr(_import(_SAMPLING), CALC, None)
    if found is None or list(inspect.signature(found).parameters) != ARGUMENTS:
        return None
    return found  # type: ignore[no-any-return]


def why_not(denoiser: Any) -> str:
    """What SafeGen needs and does not find here; ``""`` if all is there.

    Args:
        denoiser: The host's class of CFG denoisers.
    """
    patcher = getattr(_import(_PATCHER), "UnetPatcher", None)
    lacking = [name for name in _METHODS if not hasattr(patcher, name)]
    if lacking:
        return f"its model patcher has no {lacking[0]}"
    if calc() is None:
        return f"it has no {CALC} with the arguments {', '.join(ARGUMENTS)}"
    sampling = _import(_SAMPLING)
    functions = [getattr(denoiser, "forward", None)]
    functions += [value for value in vars(sampling).values() if inspect.isfunction(value)]
    words = {word for one in functions for word in _words(getattr(one, "__code__", None))}
    for word in ("cfg_denoiser_callback", "conditioning_modifiers", "sampler_post_cfg_function"):
        if word not in words:
            return f"its denoiser makes no use of {word}"
    return ""


def _words(code: CodeType | None) -> Iterator[str]:
    if code is not None:
        yield from code.co_names
        yield from (value for value in code.co_consts if isinstance(value, str))


@dataclass(frozen=True)
class Evaluation:
    """How to evaluate texts of our own in one of the host's calls.

    Args:
        model: The host's model.
        sigma: The call's noise levels, one for each image.
        options: The model's options as they are without SafeGen.
        show: Shows other extensions that are at work in the model a call's latents, noise levels,
            negative and other texts, before it is made.
    """

    model: Any
    sigma: Tensor
    options: dict[str, Any]
    show: Callable[..., None] | None = None

    def of(self, x: Tensor, kinds: Mapping[str, Sequence[Entry]]) -> dict[str, Tensor]:
        """What the model reconstructs at ``x`` for each of these ``kinds`` of texts.

        Args:
            x: Noisy latents ``[B, C, H, W]``.
            kinds: Each a list of entries, which are summed by their weights as the host does.
                Those under `UNCOND` are negative prompts, and never alone: the host tells the
                model which rows are theirs, and ControlNet's control modes, for one, ask for it.

        Returns:
            x0 ``[B, C, H, W]`` of each kind. Kinds of a single entry and one length share a call
            of the model, unless another extension is at work in it, which may keep something for
            as many rows as the host's own call has.
        """
        found, rest = {}, dict(kinds)
        uncond = rest.pop(UNCOND, None)
        if uncond is not None:
            name = next(iter(rest))
            found[name], found[UNCOND] = self._call(x, rest.pop(name), self.sigma, uncond)
        if len(rest) > 1 and not self._is_patched() and _can_share([*rest.values()]):
            entry = _below_each_other([kind[0] for kind in rest.values()], len(x))
            times = len(rest)
            together, _ = self._call(x.repeat(times, 1, 1, 1), [entry], self.sigma.repeat(times))
            return found | dict(zip(rest, together.chunk(times), strict=True))
        return found | {name: self._call(x, kind, self.sigma)[0] for name, kind in rest.items()}

    def _is_patched(self) -> bool:
        """Whether another extension has functions in the model."""
        inside = self.options.get("transformer_options") or {}
        return "model_function_wrapper" in self.options or any(map(bool, inside.values()))

    def _call(
        self,
        x: Tensor,
        entries: Sequence[Entry],
        sigma: Tensor,
        uncond: Sequence[Entry] | None = None,
    ) -> tuple[Tensor, Tensor]:
        function = calc()
        assert function is not None
        beside = None if uncond is None else list(uncond)
        if self.show is not None and self._is_patched():
            self.show(x, sigma, beside, entries)
        found: tuple[Tensor, Tensor] = function(
            self.model, list(entries), beside, x, sigma, self.options
        )
        for rows in found if beside else found[:1]:
            if rows.shape != x.shape:
                raise ValueError(
                    f"the model predicted rows of shape {tuple(rows.shape)} for latents of shape "
                    f"{tuple(x.shape)}"
                )
        return found


def _can_share(kinds: Sequence[Sequence[Entry]]) -> bool:
    if any(len(kind) != 1 for kind in kinds):
        return False
    return len({length(kind[0]["model_conds"]["c_crossattn"].cond) for kind in kinds}) == 1


def _below_each_other(entries: Sequence[Entry], images: int) -> Entry:
    """One entry for the latents of all ``entries``; what isn't text the host repeats itself."""
    texts = [text_of(entry, image) for entry in entries for image in range(images)]
    return {**with_texts(entries[0], texts), "strength": 1.0}
