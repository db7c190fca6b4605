"""The guard of one sampling pass: the host's two callbacks, the counts and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safegen.conditioning.strategies import SafeConditioning
from safegen.hosts.a1111.beside import SWITCH_OFF, others_see_rows, owner_of_function
from safegen.hosts.a1111.conds import length
from safegen.hosts.a1111.evaluation import OwnCalls
from safegen.hosts.a1111.independent import IndependentStreams
from safegen.hosts.a1111.limits import check_pass as check_pass
from safegen.hosts.a1111.rows import HostCall, RowLayout, check_rows
from safegen.hosts.a1111.safe_conds import SafeConds
from safegen.hosts.a1111.seal import Seal
from safegen.hosts.a1111.shared import SharedStreams
from safegen.hosts.a1111.shown import Shown
from safegen.hosts.a1111.streams import OpenCall, Streams
from safegen.hosts.a1111.wrapping import Wrapping
from safegen.method.noise_level import progress_at
from safegen.method.session import Call, Session, Verdict
from safegen.plan import SafetyPlan

PRESENTABLE = 0.5
"""Share of its full weight that the guard must have reached before an unfinished picture is
shown: below it, early on a rising curve, such a picture is mostly the original stream's."""


@dataclass
class Counts:
    """What a guard counts.

    Args:
        combined: Calls that the host guided after they were blended.
        own_rows: Rows that the model evaluated for the guard.
        completed: Whether sampling came to its end, where that is watched.
    """

    combined: int = 0
    own_rows: int = 0
    completed: bool | None = None


class PassGuard:
    """The guard of one sampling pass: the host's denoiser calls as a session's calls.

    Args:
        host: `safegen.webui.host`.
        p: The host's processing object.
        denoiser: The pass's CFG denoiser.
        plan: The settings.
        parts: For each image, for each of its ``AND`` parts, what its safe stream sees.
        hires: Whether this is the second pass.
        cache: See `SafeConds`.
        maps: Whether to keep where the streams disagree, for `maps`.
        floor: The weight, 0 to 1, below which nothing may be shown, also not unfinished.
    """

    def __init__(
        self,
        host: Any,
        p: Any,
        denoiser: Any,
        plan: SafetyPlan,
        parts: Sequence[Sequence[SafeConditioning | None]],
        *,
        hires: bool,
        cache: list[Any],
        maps: bool = False,
        floor: float = 0.0,
    ) -> None:
        self.check(host, p, denoiser, plan)
        self.host, self.denoiser = host, denoiser
        layout = RowLayout(tuple(len(of_image) for of_image in parts))
        flat = [conditioning for of_image in parts for conditioning in of_image]
        texts = [*flat, *self.texts_beside(p, plan, hires=hires)]
        self.conds = SafeConds(host, p, texts, hires=hires, cache=cache)
        kind = self.kind_of_streams(plan)
        guarded, unsafe = (
            [c is not None for c in flat],
            [c is not None and bool(c.unsafe) for c in flat],
        )
        if kind.by_image:
            guarded, unsafe = map(layout.any_of_image, (guarded, unsafe))
        self.session = Session(plan, guarded, unsafe)
        self.floor = max(floor, PRESENTABLE * plan.weight)
        self.verdict: Verdict | None = None
        self.streams: Any = kind(self.session, layout, self.conds, denoiser, maps=maps)
        self._counts = Counts()
        self._open: Any = None
        self._wrapping = Wrapping(denoiser)
        self._attach()

    check = staticmethod(check_pass)
    """Raises `Unsupported` for what can't be guarded on this host."""

    @staticmethod
    def texts_beside(_p: Any, _plan: SafetyPlan, *, hires: bool) -> list[SafeConditioning]:
        """What has to be encoded beside the safe texts; ``hires`` for the second pass."""
        del hires
        return []

    @staticmethod
    def kind_of_streams(plan: SafetyPlan) -> type[Streams]:
        """How the two streams of a pass are carried on this host."""
        return IndependentStreams if plan.streams == "independent" else SharedStreams

    def _attach(self) -> None:
        """Put the second line around the denoiser's own methods."""
        self._seal, self._shown = Seal(self.host, self.denoiser), Shown(self.host, self.denoiser)
        self._wrapping.put("combine_denoised", self._combine_denoised)
        self._wrapping.put("get_pred_x0", self._get_pred_x0)
        self._wrapping.put("forward", self._forward, stops=True)

    @property
    def layout(self) -> RowLayout:
        """Whose the rows of a call are."""
        layout: RowLayout = self.streams.layout
        return layout

    @property
    def hires(self) -> bool:
        """Whether this is the second pass."""
        return self.conds.hires

    @property
    def images(self) -> list[bool]:
        """For each image, whether it is guarded."""
        return self.layout.any_of_image([one is not None for one in self.conds.conditionings])

    @property
    def own_rows(self) -> int:
        """Rows that the model evaluated for the guard so far."""
        return self._counts.own_rows

    def detach(self) -> None:
        """Leave the denoiser as it was found."""
        self._wrapping.off()

    # ------------------------------------------------------------------ before the UNet

    def before(self, params: Any) -> None:
        """The ``cfg_denoiser`` callback: what this call needs, and the safe rows if they fit.

        Raises `GuardFailure`; then, and in every later call, `combine_denoised` raises too.
        """
        with self.session.failing_closed():
            self._open = None
            self._seal.open()
            self._shown.forget()
            given = HostCall.read(params, self.layout)
            call = self._begin(self.streams.levels.at(given.sigma).sigma)
            self._open = OpenCall(call, given)
            if call.evaluate:
                self._open.hooked = self.host.unet_is_hooked(self.denoiser.inner_model)
                self._open.extra = self.streams.extra(self._open)
                self._insert(params)
            if call.active or call.evaluate:
                self._seal.gave(params)

    def _begin(self, sigma: float) -> Call:
        """What the call at noise level ``sigma`` needs; the first tells the session how many."""
        total = self.denoiser.total_steps or 1
        if self.denoiser.step == 0:
            steps = total // self.host.calls_per_step(self.conds.p, hires=self.hires)
            self.session.expect(total, steps)
        return self.session.begin(progress_at(sigma))

    def _insert(self, params: Any) -> None:
        """Let the extra rows that fit travel in the host's own UNet call.

        Those are the ones with the cond rows' own token length: padding would change a picture.
        And only if every image is guarded: a batch of another size may round differently, and
        benign images must be what they are without SafeGen. Nor where another extension has
        hooks in the UNet or callbacks that would see them, and may count rows; see `OwnCalls`.
        """
        current = self._open
        if current is None or current.hooked or not all(self.images):
            return
        callbacks = self.host.callbacks
        if others_see_rows(callbacks("cfg_denoiser"), callbacks("cfg_denoised")):
            return
        own = length(current.given.text_cond)
        current.inserted = [one for one in current.extra if length(one.text) == own]
        if current.inserted:
            current.given.with_rows(current.inserted, self.layout).write(params)

    # ------------------------------------------------------------------ after the UNet

    def after(self, params: Any) -> None:
        """The ``cfg_denoised`` callback: blends the cond rows of ``params.x`` in place."""
        with self.session.failing_closed():
            current = self._open
            if current is None:
                self.session.fail("cfg_denoised came without cfg_denoiser")
            self._unless(self._seal.broken_before())
            rows: Tensor = params.x
            check_rows("prediction", rows, self.layout.rows + len(current.inserted))
            if rows.shape[1:] != current.given.x.shape[1:]:
                self.session.fail(
                    f"the model predicted rows of shape {tuple(rows.shape[1:])} "
                    f"for latents of shape {tuple(current.given.x.shape[1:])}"
                )
            # Before anything is written; where nothing is blended nobody asks.
            if current.call.active or self.session.independent:
                current.without_uncond = self.layout.lacks_uncond(rows)
            calls = OwnCalls(
                self.host,
                self.layout,
                current.given,
                params.inner_model,
                hooked=current.hooked,
                without_uncond=current.without_uncond,
            )
            self.streams.blend(current, rows, calls)
            self._counts.own_rows += current.own_rows
            current.rows = rows
            current.blended = True
            if current.call.active:
                self._seal.made(rows)

    def _unless(self, broken: str) -> None:
        """Fail for this reason, if there is one."""
        if broken:
            self.session.fail(broken)

    # ------------------------------------------------------------------ the second line

    def _combine_denoised(
        self,
        original: Callable[..., Tensor],
        x_out: Tensor,
        conds_list: Any,
        uncond: Any,
        cond_scale: float,
    ) -> Tensor:
        """The host's own guidance, if this call's rows were really blended."""
        if self.session.reason is not None:
            self.session.fail(self.session.reason)
        current = self._open
        if current is None:
            self.session.fail("a denoiser call never reached the cfg_denoiser callback")
        if not current.blended:
            self.session.fail("a denoiser call never reached the cfg_denoised callback")
        if tuple(len(parts) for parts in conds_list) != self.layout.parts:
            self.session.fail("the host splits the prompts into other AND parts than the guard")
        self._unless(self._seal.broken_rows(x_out))
        if current.uncond_before is not None and cond_scale != 1.0:
            # The uncond rows equalled the cond rows by themselves: the host skipped nothing.
            self.layout.uncond(x_out)[:] = current.uncond_before
        # Another extension's guidance may take every row that is no uncond row for a prompt's.
        result = original(self.layout.own(x_out), conds_list, uncond, cond_scale)
        if current.call.active and not bool(torch.isfinite(result[self.images]).all()):
            self.session.fail("the guided result holds values that are not finite")
        if current.call.active:
            self._seal.guided(result, self.images)
        self._counts.combined += 1
        self._open = None
        self._shown.keep(x_out, result)
        return result

    def _forward(self, original: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """One whole call: what leaves it is what was guided in it."""
        result = original(*args, **kwargs)
        if self._open is not None and self._open.blended:
            who = owner_of_function(self.denoiser.combine_denoised, self.host.extension_of)
            self.session.fail(f"{who} guides in its own way, past SafeGen; {SWITCH_OFF}")
        self._unless(self._seal.broken_result(result))
        return result

    def _get_pred_x0(
        self, original: Callable[..., Tensor], x_in: Tensor, x_out: Tensor, sigma: Tensor
    ) -> Tensor:
        """What previews and an interrupted run show; blank for what is not guarded yet."""
        result = original(x_in, self._of_all_parts(x_out), sigma)
        if self._presentable:
            return result
        images = self.images
        if len(result) != len(images):
            return torch.zeros_like(result)
        result = result.clone()
        result[images] = 0
        return result

    def _of_all_parts(self, shown: Tensor) -> Tensor:
        """``shown``, but of an image with several ``AND`` parts the guided result of them all.

        The host shows the first part's row: what another part, or the guard of another part,
        does to the picture would not be seen.
        """
        current, guided = self._open, None
        if current is not None and current.rows is not None:  # it is shown before it is guided
            guided = self.streams.guidance(current).guided(
                current.rows[: self.layout.cond_rows], self.layout.uncond(current.rows)
            )
        several = [parts > 1 for parts in self.layout.parts]
        return self._shown.instead(shown, several, guided=guided)

    # ------------------------------------------------------------------ what was seen

    def evidence(self) -> tuple[str, ...]:
        """The image-time check of each image; ``""`` for one that has none."""
        lines: tuple[str, ...] = self.streams.evidence()
        return lines

    def maps(self) -> tuple[NDArray[np.float32], ...]:
        """For each image where the streams disagreed; see `Disagreement.maps`."""
        found = self.streams.disagreement
        return () if found is None else found.maps()

    # ------------------------------------------------------------------ the end

    @property
    def _presentable(self) -> bool:
        """Whether what there is of an unfinished picture may be shown."""
        return self.session.begun and self.session.reached >= self.floor

    def watching(self, sampling: Callable[[], Any]) -> Callable[[], Any]:
        """``sampling``, seen to its end: when it is stopped the host takes ``last_latent``."""
        self._counts.completed = False

        def watched() -> Any:
            samples = sampling()
            self._counts.completed = True
            return samples

        return watched

    def _cut_short(self) -> bool:
        completed = self._counts.completed
        return self.host.stopping() if completed is None else not completed

    def finish(self, *, verified_input: bool = False) -> Verdict | None:
        """Close the pass: every call of the denoiser was guarded that had to be.

        Args:
            verified_input: The pass began from a picture that was guarded itself, as a second
                pass does. If it was stopped before its first call, that picture stands.

        Raises:
            GuardFailure: Otherwise.
        """
        self.detach()
        untouched = self.denoiser.step == 0 and self.session.calls == 0
        if untouched and verified_input and self.host.stopping() and self.session.reason is None:
            return None
        if self.session.reason is None and not self.session.begun and self.host.stopping():
            self.session.fail(
                "it was stopped before the guard had begun (at the global-context threshold), "
                "when only the unguarded picture was there"
            )
        if self.session.reason is None and self._cut_short() and not self._presentable:
            self.session.fail(
                f"it was stopped when the guard's weight had come to {self.session.reached:.2g} "
                f"only, and an unfinished picture needs {self.floor:.2g}"
            )
        made, seen = self.denoiser.step, self._counts.combined
        if made != seen and self.session.reason is None:
            self.session.fail(f"the model was called {made} times, the guard saw {seen}")
        self.verdict = self.session.finish(seen)
        return self.verdict
