"""What SafeGen gave the model and made of its answer, compared with what came of it.

Other extensions have callbacks around the same call. One that comes after SafeGen's can undo it:
put back the text, or the rows, or guide anew. The host would not notice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from safegen.hosts.a1111.beside import blends_masks, changed_behind_us
from safegen.hosts.a1111.conds import length, padded, tokens, with_tokens
from safegen.hosts.a1111.evaluation import PAD_OPTIONS

GIVEN = {
    "x": "the latents",
    "sigma": "the noise levels",
    "image_cond": "the image condition",
    "text_cond": "the texts",
    "text_uncond": "the negative texts",
}
"""Fields of the ``cfg_denoiser`` callback, in words."""
TEXTS = ("text_cond", "text_uncond")
PAD, PAD_V0 = PAD_OPTIONS


def same(one: Any, other: Any) -> bool:
    """Whether two tensors, or dicts of such, are equal in every value; NaN is equal to NaN."""
    if isinstance(one, dict) or isinstance(other, dict):
        return (
            isinstance(one, dict)
            and isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(one[key], other[key]) for key in one)
        )
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return one is other
    if one is other:
        return True
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return value.clone() if isinstance(value, Tensor) else value


def is_result(
    denoiser: Any,
    result: Tensor,
    guided: Tensor,
    images: Sequence[bool],
    leaving: Callable[[Tensor], Tensor] = lambda x0: x0,
) -> bool:
    """Whether the ``denoiser``'s ``result`` is the ``guided`` x0, under its mask if it has one.

    Args:
        images: Which images are compared.
        leaving: What the denoiser returns for an x0.
    """
    mask = getattr(denoiser, "mask", None)
    blends = mask is not None and not getattr(denoiser, "mask_before_denoising", False)
    kept = guided * denoiser.nmask + denoiser.init_latent * mask if blends else guided
    if same(result[images], leaving(kept).to(result)[images]):
        return True
    if not blends or not blends_masks(denoiser.p):
        return False
    # Soft inpainting blends in its own way where the mask is soft.
    painted = (denoiser.nmask >= 1.0).expand_as(guided)[images]
    wanted = leaving(guided).to(result)
    return torch.allclose(result[images][painted], wanted[images][painted], rtol=1e-3, atol=1e-3)


class Seal:
    """The comparison for one denoiser call after the other.

    Each method that compares answers with a reason, or with ``""`` if all is as it was left.

    Args:
        host: `safegen.webui.host`.
        denoiser: The pass's CFG denoiser.
    """

    def __init__(self, host: Any, denoiser: Any) -> None:
        self.host, self.denoiser = host, denoiser
        self._params: Any = None
        self._given: dict[str, Any] = {}
        self._rows: Tensor | None = None
        self._guided: Tensor | None = None
        self._images: Sequence[bool] = ()

    def open(self) -> None:
        """A new call: forget the last one."""
        self._params = self._rows = self._guided = None

    def gave(self, params: Any) -> None:
        """This is what the model shall see."""
        self._params = params
        self._given = {name: _copied(getattr(params, name)) for name in GIVEN}

    def broken_before(self) -> str:
        """Whether the model saw what it was given."""
        params, self._params = self._params, None
        if params is None:
            return ""
        changed = [
            said
            for name, said in GIVEN.items()
            if not same(getattr(params, name), self._given[name])
            and not (name in TEXTS and same(getattr(params, name), self._fitted(name)))
        ]
        return changed_behind_us(self.host, "cfg_denoiser", ", ".join(changed)) if changed else ""

    def _fitted(self, name: str) -> Any:
        """A text as long as the other one: the host pads a dict's tokens in that very dict."""
        own = self._given[name]
        if not isinstance(own, dict):
            return own
        wanted = length(self._given[TEXTS[1 - TEXTS.index(name)]])
        if self.host.option(PAD_V0, False):
            if name == "text_cond":
                return own
            known = tokens(own)
            places = torch.arange(wanted, device=known.device).clamp(max=known.shape[1] - 1)
            return with_tokens(own, known[:, places])
        if self.host.option(PAD, False):
            return padded(own, wanted, self.host.empty_prompt())
        return own

    def made(self, rows: Tensor) -> None:
        """These rows shall be guided."""
        self._rows = rows.clone()

    def broken_rows(self, rows: Tensor) -> str:
        """Whether the rows that the host guides are those that were made."""
        made, self._rows = self._rows, None
        if made is None or same(rows, made):
            return ""
        return changed_behind_us(self.host, "cfg_denoised", "the model's answer")

    def guided(self, result: Tensor, images: Sequence[bool]) -> None:
        """This is the result of guidance, of which ``images`` are guarded."""
        self._guided, self._images = result.clone(), images

    def broken_result(self, result: Any) -> str:
        """Whether what leaves the denoiser is the guided result."""
        guided, self._guided = self._guided, None
        if guided is None or is_result(self.denoiser, result, guided, list(self._images)):
            return ""
        return changed_behind_us(self.host, "cfg_after_cfg", "the guided result")
