"""The guard of one sampling pass: the host's denoiser calls as a session's calls."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from safegen.conditioning.strategies import SafeConditioning
from safegen.hosts import a1111
from safegen.hosts.a1111.beside import changed_behind_us
from safegen.hosts.a1111.seal import is_result, same
from safegen.hosts.a1111.towards import hires_cfg
from safegen.hosts.a1111.wrapping import Wrapping
from safegen.hosts.forge.evaluation import Evaluation
from safegen.hosts.forge.keeping import Keepers
from safegen.hosts.forge.limits import check_pass
from safegen.hosts.forge.patch import AFTER, GUIDANCE, Patch
from safegen.hosts.forge.streams import IndependentStreams, OpenCall, SharedStreams
from safegen.plan import SafetyPlan


class PassGuard(a1111.PassGuard):
    """The guard of one sampling pass. See `safegen.hosts.a1111.PassGuard`; counts, floor and
    verdict are the same."""

    check = staticmethod(check_pass)

    @staticmethod
    def texts_beside(p: Any, plan: SafetyPlan, *, hires: bool) -> list[SafeConditioning]:
        """The negative prompts, where the host leaves them out and the push needs them."""
        cfg = hires_cfg(p) if hires else p.cfg_scale
        if not plan.push > 0 or not math.isclose(cfg, 1.0):
            return []
        texts = p.hr_negative_prompts if hires else p.negative_prompts
        return [SafeConditioning("negative", text) for text in texts]

    @staticmethod
    def kind_of_streams(plan: SafetyPlan) -> type[Any]:
        return IndependentStreams if plan.streams == "independent" else SharedStreams

    def _attach(self) -> None:
        self._patch = Patch(self._modify)
        self._inside, self._shape = False, torch.Size()
        self._wrapping.put("forward", self._forward, stops=True)
        self._previews = Wrapping(self.host.previews())
        self._previews.put("store_latent", self._store_latent, stops=True)

    def detach(self) -> None:
        super().detach()
        self._previews.off()
        self._patch.off()

    # ------------------------------------------------------------------ one call of the denoiser

    def before(self, params: Any) -> None:
        """The ``cfg_denoiser`` callback: the modifier has to be where the host will look."""
        with self.session.failing_closed():
            self._patch.put_in(params.denoiser)
            self._keepers = Keepers(self._patch.others(params.denoiser))

    def after(self, _params: Any) -> None:
        """The ``cfg_denoised`` callback, which these hosts never call."""

    def _modify(
        self,
        model: Any,
        x: Tensor,
        sigma: Tensor,
        uncond: Any,
        cond: Any,
        cfg: float,
        options: dict[str, Any],
        seed: Any,
    ) -> tuple[Any, ...]:
        """The conditioning modifier: what this call needs, and a place after its guidance."""
        if not self._inside:
            return model, x, sigma, uncond, cond, cfg, options, seed
        with self.session.failing_closed():
            if self._open is not None:
                self.session.fail("one denoiser call asked for its texts twice")
            call = self._begin(float(sigma.flatten()[0]))

            without = options

            def show(x: Tensor, sigma: Tensor, beside: Any, texts: Any) -> None:
                negative = uncond if beside is None else beside
                self._keepers.show(model, x, sigma, negative, texts, cfg, without, seed)

            evaluation = Evaluation(model, sigma, options, show)
            current = OpenCall(call, x, cond, uncond, float(cfg), evaluation)
            self._open = current
            if call.active or call.evaluate:
                options = self._with_our_own(current, options)
        return model, x, sigma, uncond, cond, cfg, options, seed

    def _with_our_own(self, current: OpenCall, options: dict[str, Any]) -> dict[str, Any]:
        """``options`` for this call alone: ours is the last function after guidance."""
        others = list(options.get(AFTER, []))

        def after(args: dict[str, Any]) -> Tensor:
            return self._after_guidance(current, args, others)

        made = {**options, AFTER: [*others, after]}
        instead = options.get(GUIDANCE)
        if instead is not None:
            current.linear = False

            def guidance(args: dict[str, Any]) -> Tensor:
                return self._guided_by_another(current, args, instead)

            made[GUIDANCE] = guidance
        return made

    def _guided_by_another(
        self, current: OpenCall, args: dict[str, Any], instead: Callable[..., Tensor]
    ) -> Tensor:
        """Another extension guides in the host's place: it is given the blended rows."""
        result: Tensor = instead(args)
        current.plain = args["input"] - result
        if self.session.independent:
            return result
        with self.session.failing_closed():
            blended = self.streams.blend(current, *self._rows(current, args))
            x = args["input"]
            guided = instead({**args, "cond": x - blended, "cond_denoised": blended})
            result, chosen = result.clone(), current.call.chosen
            result[chosen] = guided[chosen]
            current.plain = x - result
        return result

    def _after_guidance(self, current: OpenCall, args: dict[str, Any], others: list[Any]) -> Tensor:
        """The last function after guidance: what it returns leaves the denoiser."""
        with self.session.failing_closed():
            if current is not self._open or current.finished:
                self.session.fail("the guard came out of turn in a denoiser call")
            parts = min(self.layout.parts)
            if len(args["cond"]) != parts:
                self.session.fail(
                    f"another extension gives the model {len(args['cond'])} texts for prompts of "
                    f"{parts} parts; switch that extension off"
                )
            current.cond = args["cond"]
            cond, uncond = self._rows(current, args)
            denoised, chosen = args["denoised"], current.call.chosen
            if current.linear:
                current.plain = current.guide(cond, args["uncond_denoised"])
            plain = current.plain
            if plain is None:
                self.session.fail("another extension guides in the host's place, without a word")
            if not same(denoised[chosen], plain[chosen]):
                self.session.fail(
                    f"{_names(others)} changes the guided result, which SafeGen can't guard here; "
                    "switch it off for guarded pictures"
                )
            if self.session.independent:
                guided = self.streams.blend(current, denoised, self._guide(current))
            elif current.linear:
                blended = self.streams.blend(current, cond, uncond)
                guided = current.guide(blended, args["uncond_denoised"])
            else:
                guided = plain
            result: Tensor = denoised.clone()
            result[chosen] = guided[chosen].to(denoised)
            if not bool(torch.isfinite(result[chosen]).all()):
                self.session.fail("the guided result holds values that are not finite")
            current.guided, current.finished = result, True
            self._counts.own_rows += current.own_rows
            return result

    def _rows(self, current: OpenCall, args: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """The cond and the uncond rows; ``None`` where the host left these out: it gives zeros.

        Other extensions' functions may come after the modifier; what counts is what they left.
        """
        x, cond, uncond = args["input"], args["cond_denoised"], args["uncond_denoised"]
        for name, rows in (("latents", x), ("predictions", cond)):
            if rows.shape != self._shape or len(rows) != self.layout.images:
                self.session.fail(
                    f"another extension changed the {name}: they are of shape "
                    f"{tuple(rows.shape)} for {self.layout.images} images of shape "
                    f"{tuple(self._shape[1:])}"
                )
        current.x = x
        # reForge says here that it left the uncond rows out.
        current.cfg = float(args.get("cond_scale", current.cfg))
        return cond, None if uncond is None or not bool(uncond.any()) else uncond

    def _guide(self, current: OpenCall) -> Callable[..., Tensor]:
        """The call's guidance, for rows at other latents."""
        if current.linear:
            return current.guide
        raise ValueError(
            "independent streams can't be guided by another extension (it replaces the CFG "
            "function); use shared streams"
        )

    def _forward(self, original: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """One whole call: what leaves it is what was made in it."""
        self._open, self._inside = None, True
        self._shape = (args[0] if args else kwargs["x"]).shape
        try:
            result = original(*args, **kwargs)
        finally:
            self._inside = False
        if self.session.reason is not None:
            self.session.fail(self.session.reason)
        current = self._open
        if current is None:
            self.session.fail("a denoiser call never reached SafeGen's conditioning modifier")
        if (current.call.active or current.call.evaluate) and not current.finished:
            self.session.fail("a denoiser call never reached SafeGen's function after guidance")
        if current.guided is not None and not self._is_result(result, current):
            self.session.fail(changed_behind_us(self.host, "cfg_after_cfg", "the guided result"))
        self._counts.combined += 1
        self._open = None
        return result

    def _is_result(self, result: Tensor, current: OpenCall) -> bool:
        guided, x = current.guided, current.x
        assert guided is not None
        if self.host.option("epsilon_scaling_enabled", False):  # reForge, after every function
            factor = self.host.option("epsilon_scaling_factor", 1.005) or 1e-9
            guided = x - (x - guided) / factor

        def leaving(x0: Tensor) -> Tensor:
            """What the denoiser returns for ``x0``: samplers by timesteps want the noise."""
            if not getattr(self.denoiser, "classic_ddim_eps_estimation", False):
                return x0
            noise: Tensor = (x - x0) / current.evaluation.sigma[:, None, None, None]
            return noise

        return is_result(self.denoiser, result, guided, self.images, leaving)

    # ------------------------------------------------------------------ what is shown

    def _store_latent(self, original: Callable[..., Any], decoded: Tensor) -> Any:
        """What live previews show; blank for what is not guarded yet."""
        if self._inside and not self._presentable:
            decoded = decoded.clone()
            decoded[self.images] = 0
        return original(decoded)


class UnguardedShown:
    """What is shown of a pass in which nothing is guarded: these hosts show the guided result."""

    def __init__(self, _host: Any, denoiser: Any) -> None:
        self.denoiser = denoiser

    def detach(self) -> None:
        """There is nothing to take off."""


def _names(others: list[Any]) -> str:
    names = dict.fromkeys(
        f"{getattr(one, '__module__', '')}.{getattr(one, '__qualname__', one)}" for one in others
    )
    return " or ".join(names) or "another extension"
