"""What is shown of an unfinished picture: the guided result, where the host shows another row.

The host shows the first ``AND`` part's row, be its weight 0, in previews and in the picture of an
interrupted run; with *Negative prompt* as live preview it shows the uncond row. Neither need be
what the picture is moved towards, so neither need have been judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from safegen.hosts.a1111.seal import same
from safegen.hosts.a1111.wrapping import Wrapping

CONTENT, NEGATIVE = "live_preview_content", "Negative prompt"


class Shown:
    """What a pass shows.

    Args:
        host: `safegen.webui.host`.
        denoiser: The pass's CFG denoiser.
    """

    def __init__(self, host: Any, denoiser: Any) -> None:
        self.host, self.denoiser = host, denoiser
        self.guided: Tensor | None = None
        self._uncond: Tensor | None = None

    def forget(self) -> None:
        """A new call: nothing is guided yet."""
        self.guided = self._uncond = None

    def keep(self, rows: Tensor, guided: Tensor) -> None:
        """The rows of a call, the uncond rows last, and what the host guided them to."""
        self.guided, self._uncond = guided, rows[-len(guided) :]

    def instead(
        self, shown: Tensor, replaced: Sequence[bool] = (), *, guided: Tensor | None = None
    ) -> Tensor:
        """``shown``, with the guided result in place of what must not be seen.

        Blank where nothing has been guided yet.

        Args:
            shown: What the host shows, a row for each image.
            replaced: For each image whether it is replaced whatever the row; in any case those
                are whose first part the picture is not moved towards.
            guided: What the rows will be guided to, where the host shows them first.
        """
        away = self._away()
        if len(shown) != len(away):
            return shown.new_zeros(shown.shape)
        guided = self.guided if guided is None else guided
        wanted = [a or b for a, b in zip(away, replaced or away, strict=True)]
        if self._is_negative(shown):
            wanted = [True] * len(away)
        if not any(wanted):
            return shown
        shown = shown.clone()
        shown[wanted] = 0 if guided is None else guided[wanted].to(shown)
        return shown

    def _away(self) -> list[bool]:
        """For each image whether its first part has no weight above 0 in the picture."""
        given = self.denoiser.sampler.sampler_extra_args
        return [not of[0].weight * given["cond_scale"] > 0 for of in given["cond"].batch]

    def _is_negative(self, shown: Tensor) -> bool:
        if self.host.option(CONTENT, "") != NEGATIVE:
            return False
        return self._uncond is None or same(shown, self._uncond)


class UnguardedShown:
    """`Shown` for a pass in which nothing is guarded; the picture itself stays as it is."""

    def __init__(self, host: Any, denoiser: Any) -> None:
        self.denoiser = denoiser
        self._shown = Shown(host, denoiser)
        self._wrapping = Wrapping(denoiser)
        self._wrapping.put("combine_denoised", self._combine_denoised)
        self._wrapping.put("get_pred_x0", self._get_pred_x0)

    def detach(self) -> None:
        """Leave the denoiser as it was found."""
        self._wrapping.off()

    def _combine_denoised(self, original: Any, x_out: Tensor, *args: Any, **kwargs: Any) -> Any:
        result = original(x_out, *args, **kwargs)
        self._shown.keep(x_out, result)
        return result

    def _get_pred_x0(self, original: Any, x_in: Tensor, x_out: Tensor, sigma: Tensor) -> Any:
        return original(x_in, self._shown.instead(x_out), sigma)
