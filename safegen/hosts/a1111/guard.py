"""SafeGen on AUTOMATIC1111 WebUI 1.10.1: one sampling pass of the host under guard.

The host's CFG denoiser evaluates, in one UNet call, N cond rows (the ``AND`` parts of image 0,
of image 1, …) and then one uncond row per image. Two callbacks surround that call:

- ``cfg_denoiser``, before: `PassGuard.before` asks the session what is due and puts the safe
  rows between the cond and the uncond rows, where the host's own guidance passes over them.
- ``cfg_denoised``, after: `PassGuard.after` blends the cond rows in place. Guidance is affine in
  them, and everything that leaves the denoiser (the guided result, ``last_latent``, every kind
  of preview) is computed from them afterwards.

The host prints and forgets what a callback raises. So the guard also wraps two methods of the
denoiser *instance*, which the host calls directly: ``combine_denoised`` raises unless both
callbacks have done their work in this very call, and ``get_pred_x0``, from which previews and
the latent of an interrupted run are made, blanks guarded images until the first blend.

Nothing here imports the host; what is needed of it comes in as ``host``
(`safegen.webui.host`) and as the objects that its callbacks hand over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safegen.conditioning.strategies import SafeConditioning
from safegen.errors import Unsupported
from safegen.method.evidence import Disagreement
from safegen.method.schedule import check_reach
from safegen.method.session import Call, Session, Verdict
from safegen.plan import LEARNED_STRATEGIES, SafetyPlan

PRESENTABLE = 0.5
"""Share of its full weight that the guard must have reached before an unfinished picture is
shown: below it, early on a rising curve, such a picture is mostly the original stream's."""
CONTROLNET_MARK = 1000.0
"""ControlNet puts a row of ±1024 before the tokens, to tell cond from uncond rows."""


PAD_OPTIONS = ("pad_cond_uncond", "pad_cond_uncond_v0")
"""Settings with which the host makes cond and uncond rows of one token length."""


def rows_of(cond: Any, index: Tensor) -> Any:
    """Rows ``index`` of a tensor, or of every tensor in a dict, whose type is kept."""
    if isinstance(cond, dict):
        return _like(cond, {key: value[index] for key, value in cond.items()})
    return cond[index]


def join(conds: Sequence[Any]) -> Any:
    """Conds below each other, in the type, dtype and device of the first."""
    first = conds[0]
    if isinstance(first, dict):
        return _like(
            first,
            {key: torch.cat([c[key].to(first[key]) for c in conds]) for key in first},
        )
    return torch.cat([c.to(first) for c in conds])


def cast(cond: Any, like: Any) -> Any:
    """``cond`` in the dtype and on the device of the cond ``like``."""
    if isinstance(cond, dict):
        return _like(cond, {key: value.to(like[key]) for key, value in cond.items()})
    return cond.to(like)


def _like(cond: Any, values: dict[str, Any]) -> Any:
    """``values`` in ``cond``'s own dict type (the host's has a ``shape``)."""
    return values if type(cond) is dict else type(cond)(values)


def tokens(cond: Any) -> Tensor:
    """The token embeddings ``[rows, tokens, width]`` of a cond."""
    found: Tensor = cond["crossattn"] if isinstance(cond, dict) else cond
    return found


def with_tokens(cond: Any, value: Tensor) -> Any:
    """``cond`` with other token embeddings."""
    return _like(cond, {**cond, "crossattn": value}) if isinstance(cond, dict) else value


def with_vector_of(cond: Any, other: Any) -> Any:
    """``cond`` with the pooled vector of ``other``, where the model has one (SDXL)."""
    if not isinstance(cond, dict) or "vector" not in cond:
        return cond
    return _like(cond, {**cond, "vector": other["vector"]})


def is_timestep_sampler(denoiser: Any) -> bool:
    """Whether rows are eps and sigma is a timestep (DDIM, PLMS, UniPC), not x0 and a sigma."""
    return getattr(denoiser, "alphas", None) is not None


class Noise:
    """Conversions between a denoiser call's own space and variance-exploding form.

    k-diffusion samplers are in that form already: rows are x0. For the timestep samplers
    x = a·x0 + s·eps with a² + s² = 1, and rows are eps; fractional timesteps (UniPC has them)
    interpolate log a, as UniPC does.
    """

    def __init__(self, denoiser: Any, sigma: Tensor) -> None:
        level = float(sigma.flatten()[0])
        self.eps = is_timestep_sampler(denoiser)
        if not self.eps:
            self.scale, self.sigma = 1.0, level
            return
        log_alpha = 0.5 * denoiser.alphas.double().log()
        low = min(max(int(level), 0), len(log_alpha) - 1)
        high = min(low + 1, len(log_alpha) - 1)
        share = min(max(level - low, 0.0), 1.0)
        self.scale = math.exp(float(torch.lerp(log_alpha[low], log_alpha[high], share)))
        self.sigma = math.sqrt(max(1.0 - self.scale**2, 0.0)) / self.scale

    def exploded(self, x: Tensor) -> Tensor:
        """The sampler's latent in variance-exploding form."""
        return x.float() / self.scale if self.eps else x

    def imploded(self, x: Tensor) -> Tensor:
        """The inverse of `exploded`."""
        return x * self.scale if self.eps else x

    def to_x0(self, x: Tensor, row: Tensor) -> Tensor:
        """What ``row`` reconstructs at the sampler's latent ``x``."""
        if not self.eps:
            return row
        return x.float() / self.scale - self.sigma * row.float()

    def from_x0(self, x: Tensor, x0: Tensor) -> Tensor:
        """The inverse of `to_x0`."""
        if not self.eps:
            return x0
        return (x.float() / self.scale - x0.float()) / self.sigma


class SafeConds:
    """The safe stream's encodings for one pass, by row of the host's cond batch.

    Encoded by the host's own text encoder, with its clip skip, LoRA, size and schedules; again
    whenever another checkpoint is loaded (a refiner swaps it in the middle of a run).

    Args:
        host: `safegen.webui.host`.
        p: The host's processing object.
        conditionings: What each row's safe stream sees, or ``None``.
        hires: Whether this is the second pass.
        cache: ``[None, None]``, kept for the run's passes of this kind.
    """

    def __init__(
        self,
        host: Any,
        p: Any,
        conditionings: Sequence[SafeConditioning | None],
        *,
        hires: bool,
        cache: list[Any],
    ) -> None:
        self.host, self.p, self.hires, self.cache = host, p, hires, cache
        self.conditionings = tuple(conditionings)
        self._checkpoint: Any = None
        self._schedules: dict[int, Any] = {}
        self._pooled: dict[int, Any] = {}
        self.encode()

    def encode(self) -> None:
        """Encode every text with the model that is loaded now."""
        wanted = {row: c for row, c in enumerate(self.conditionings) if c is not None}
        pooled = [c.pooled for c in wanted.values() if c.pooled]
        texts = list(dict.fromkeys([*(c.text for c in wanted.values()), *pooled]))
        swapped = self._checkpoint is not None
        if swapped and any(c.edit is not None for c in wanted.values()):
            raise Unsupported(
                "strategies direction and projection can't follow a change of checkpoint in the "
                "middle of a run (refiner); choose counterpart, prepend, append or context"
            )
        checkpoint = self.host.checkpoint()
        with torch.no_grad():
            schedules = self.host.encode(self.p, texts, self.cache, hires=self.hires)
        if len(schedules) != len(texts):
            raise RuntimeError(f"{len(texts)} safe texts gave {len(schedules)} encodings")
        by_text = dict(zip(texts, schedules, strict=True))
        self._schedules = {row: by_text[c.text] for row, c in wanted.items()}
        self._pooled = {row: by_text[c.pooled] for row, c in wanted.items() if c.pooled}
        self._checkpoint = checkpoint

    def at(self, rows: Sequence[int], step: int) -> list[Any]:
        """The encoding ``[1, tokens, width]`` of each of ``rows`` at ``step``."""
        if self.host.checkpoint() != self._checkpoint:
            self.encode()
            if self.host.checkpoint() != self._checkpoint:
                raise RuntimeError("the safe texts' encoding is that of another checkpoint")
        found = []
        for row in rows:
            cond = self.host.cond_at(self._schedules[row], step)
            conditioning = self.conditionings[row]
            if conditioning is not None and conditioning.edit is not None:
                cond = with_tokens(cond, conditioning.apply(tokens(cond)))
                if row in self._pooled:
                    cond = with_vector_of(cond, self.host.cond_at(self._pooled[row], step))
            found.append(cond)
        return found


class PassGuard:
    """The guard of one sampling pass: the host's denoiser calls as a session's calls.

    Shared streams: every guarded ``AND`` part has a safe row of its own and is one "image" of
    the session, so that the guided result is that of the blended parts,
    uncond + Σ wᵢ·cfg·((1 - w)·condᵢ + w·safeᵢ - uncond), which is the blend of the two guided
    reconstructions. Independent streams: the session blends each image's guided x0.

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
        check_pass(host, p, denoiser, plan)
        self.host, self.denoiser, self.plan, self.hires = host, denoiser, plan, hires
        self.layout = [len(of_image) for of_image in parts]
        self.first = [sum(self.layout[:i]) for i in range(len(parts))]
        flat = [conditioning for of_image in parts for conditioning in of_image]
        self.images = [any(c is not None for c in of_image) for of_image in parts]
        self.image_of = [i for i, count in enumerate(self.layout) for _ in range(count)]
        self.conds = SafeConds(host, p, flat, hires=hires, cache=cache)
        independent = plan.streams == "independent"
        self.session = Session(plan, self.images if independent else [c is not None for c in flat])
        self.floor = max(floor, PRESENTABLE * plan.weight)
        self.completed: bool | None = None
        self.combined = 0
        self.own_rows = 0
        self._disagreement = Disagreement() if maps else None
        self.verdict: Verdict | None = None
        self._reset()
        self._wrapped: list[str] = []
        self._wrap("combine_denoised", self._combine_denoised)
        self._wrap("get_pred_x0", self._get_pred_x0)

    # ------------------------------------------------------------------ wrapping

    def _wrap(self, name: str, method: Callable[..., Any]) -> None:
        original = getattr(self.denoiser, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return method(original, *args, **kwargs)

        setattr(self.denoiser, name, wrapper)
        self._wrapped.append(name)

    def detach(self) -> None:
        """Leave the denoiser as it was found."""
        for name in self._wrapped:
            vars(self.denoiser).pop(name, None)
        self._wrapped = []

    def _reset(self) -> None:
        self._call: Call | None = None
        self._blended = False
        self._x: Tensor = torch.empty(0)
        self._sigma: Tensor = torch.empty(0)
        self._image_cond: Tensor = torch.empty(0)
        self._text_cond: Any = None
        self._text_uncond: Any = None
        self._chosen: list[int] = []
        self._safe_conds: list[Any] = []
        self._inserted = 0
        self._hooked = self._without_uncond = False
        self._uncond_before: Tensor | None = None

    # ------------------------------------------------------------------ before the UNet

    def before(self, params: Any) -> None:
        """The ``cfg_denoiser`` callback: what this call needs, and the safe rows if they fit.

        Raises `GuardFailure`; then, and in every later call, `combine_denoised` raises too.
        """
        with self.session.failing_closed():
            self._reset()
            cond_rows, images = sum(self.layout), len(self.layout)
            self._check_rows("x", params.x, cond_rows + images)
            self._check_rows("text_cond", tokens(params.text_cond), cond_rows)
            self._check_rows("text_uncond", tokens(params.text_uncond), images)
            total = self.denoiser.total_steps or 1
            if self.denoiser.step == 0:
                check_reach(self.plan, total)
            call = self.session.begin(min(self.denoiser.step / total, 1.0))
            self._call = call
            self._x, self._sigma = params.x, params.sigma
            self._image_cond = params.image_cond
            self._text_cond, self._text_uncond = params.text_cond, params.text_uncond
            self._chosen = [i for i, weight in enumerate(call.weights) if weight > 0]
            self._hooked = call.evaluate and self.host.unet_is_hooked()
            if not call.evaluate or self.session.independent:
                return
            self._safe_conds = self._marked(self.conds.at(self._chosen, self.denoiser.step))
            if self._fits():
                self._insert(params)

    def _check_rows(self, name: str, value: Any, wanted: int) -> None:
        if len(value) != wanted:
            self.session.fail(
                f"the host's {name} has {len(value)} rows where the prompts call for {wanted}"
            )

    def _marked(self, conds: list[Any]) -> list[Any]:
        """``conds``, each with the mark that ControlNet has put before the host's tokens."""
        host_tokens = tokens(self._text_cond)
        mark = host_tokens[:1, :1]
        if host_tokens.shape[1] % 77 != 1 or not bool((mark.abs() > CONTROLNET_MARK).all()):
            return conds
        return [
            with_tokens(cond, torch.cat([mark.to(tokens(cond)), tokens(cond)], dim=1))
            for cond in conds
        ]

    def _fits(self) -> bool:
        """Whether the safe rows may travel in the host's own UNet call.

        Only with the cond rows' own token length: padding would change a picture. And only if
        every image is guarded: a batch of another size may round differently, and benign images
        must be what they are without SafeGen. Nor where another extension has hooks in the UNet,
        which counts rows; see `_evaluate_in_place`.
        """
        if self._hooked:
            return False
        length = tokens(self._text_cond).shape[1]
        return all(self.images) and all(tokens(c).shape[1] == length for c in self._safe_conds)

    def _insert(self, params: Any) -> None:
        count, index = sum(self.layout), torch.tensor(self._chosen, device=params.x.device)

        def inserted(value: Tensor) -> Tensor:
            return torch.cat([value[:count], value[index.to(value.device)], value[count:]])

        x, sigma = inserted(params.x), inserted(params.sigma)
        image_cond = inserted(params.image_cond)
        text_cond = join([params.text_cond, *self._safe_conds])
        # All are built before the first is assigned: an error on the way must change nothing.
        params.x, params.sigma = x, sigma
        params.image_cond, params.text_cond = image_cond, text_cond
        self._inserted = len(self._chosen)
        self.own_rows += self._inserted

    # ------------------------------------------------------------------ after the UNet

    def after(self, params: Any) -> None:
        """The ``cfg_denoised`` callback: blends the cond rows of ``params.x`` in place."""
        with self.session.failing_closed():
            call = self._call
            if call is None:
                self.session.fail("cfg_denoised came without cfg_denoiser")
            rows: Tensor = params.x
            cond_rows, images = sum(self.layout), len(self.layout)
            self._check_rows("prediction", rows, cond_rows + self._inserted + images)
            if rows.shape[1:] != self._x.shape[1:]:
                self.session.fail(
                    f"the model predicted rows of shape {tuple(rows.shape[1:])} "
                    f"for latents of shape {tuple(self._x.shape[1:])}"
                )
            # Before anything is written; where nothing is blended nobody asks.
            if call.active or self.session.independent:
                self._without_uncond = self._skipped(rows)
            if self.session.independent:
                self._blend_guided(call, rows, params.inner_model)
            else:
                self._blend_rows(call, rows, params.inner_model)
            self._blended = True

    def _skipped(self, rows: Tensor) -> bool:
        """Whether the host left the uncond rows out and put copies of cond rows there."""
        return bool(torch.equal(rows[-len(self.layout) :], rows[self.first]))

    def _blend_rows(self, call: Call, rows: Tensor, inner_model: Any) -> None:
        count = sum(self.layout)
        cond = rows[:count]
        if not call.active:
            self.session.combine(call, cond)
            return
        safe = None
        if call.evaluate:
            if self._inserted:
                predicted = rows[count : count + self._inserted]
            else:
                predicted = self._evaluate(
                    inner_model, self._x, self._chosen, self._safe_conds, self._chosen
                )
            safe = cond.clone()
            safe[self._chosen] = predicted.to(safe)
            self._watch_rows(call, rows, safe)
        blended = self.session.combine(call, cond, safe)
        rows[self._chosen] = blended[self._chosen]
        if self._without_uncond:
            self._uncond_before = rows[-len(self.layout) :].clone()
            for image in {self.image_of[row] for row in self._chosen}:
                rows[len(rows) - len(self.layout) + image] = rows[self.first[image]]

    def _watch_rows(self, call: Call, rows: Tensor, safe: Tensor) -> None:
        """Look at the host's rows and the safe ones, if anybody asked for what that shows."""
        cond = rows[: len(safe)]
        if self.session.observing:
            uncond = None if self._without_uncond else rows[-len(self.layout) :][self.image_of]
            self.session.observe(call, cond, safe, uncond)
        if self._disagreement is None:
            return
        noise = Noise(self.denoiser, self._sigma)
        # At one latent x0 is eps times -sigma and a constant.
        difference = (safe - cond).float() * (noise.sigma if noise.eps else 1.0)
        whole = difference.new_zeros((len(self.layout), *difference.shape[1:]))
        for row, image in enumerate(self.image_of):
            whole[image] += self._weights[row] * difference[row]
        self._disagreement.add(whole)

    def _evaluate(
        self,
        inner_model: Any,
        x: Tensor,
        x_rows: Sequence[int],
        conds: Sequence[Any],
        condition_rows: Sequence[int],
    ) -> Tensor:
        """The model's rows for ``conds`` in calls of our own, one for each token length.

        Args:
            x: Latents, of which row ``x_rows[i]`` goes with ``conds[i]``.
            condition_rows: The host's rows that sigma and image condition are taken from.
        """
        out = x.new_empty((len(conds), *x.shape[1:]))
        conds = [self._padded(cond, row) for cond, row in zip(conds, condition_rows, strict=True)]
        lengths = [tokens(c).shape[1] for c in conds]
        for length in sorted(set(lengths)):
            group = [i for i, own in enumerate(lengths) if own == length]
            rows = [condition_rows[i] for i in group]
            latents, texts = x[[x_rows[i] for i in group]], [conds[i] for i in group]
            if self._hooked:
                predicted = self._evaluate_in_place(inner_model, latents, texts, rows)
            else:
                cond = self._condition(join(texts), self._image_cond[rows])
                predicted = inner_model(latents, self._sigma[rows], cond=cond)
            self._check_rows("answer to the safe rows", predicted, len(group))
            self.own_rows += len(group)
            out[group] = predicted.to(out)
        return out

    def _padded(self, cond: Any, row: int) -> Any:
        """``cond`` as long as the host's setting would make it in place of its own ``row``."""
        if not self.host.option("pad_cond_uncond", False) or self.host.option(
            "pad_cond_uncond_v0", False
        ):
            return cond
        other = self._text_uncond if row < sum(self.layout) else self._text_cond
        own, empty = tokens(cond), self.host.empty_prompt()
        times = (tokens(other).shape[1] - own.shape[1]) // empty.shape[1]
        if times <= 0:
            return cond
        return with_tokens(cond, torch.cat([own, empty.to(own).repeat(len(own), times, 1)], dim=1))

    def _evaluate_in_place(
        self, inner_model: Any, latents: Tensor, conds: Sequence[Any], rows: Sequence[int]
    ) -> Tensor:
        """The model's rows for ``conds`` in calls of the very shape of the host's own.

        Another extension's hooks in the UNet may tell rows by their place, or keep something for
        as many rows as the first call had (ControlNet keeps its picture's latents so). Therefore
        the host's call is made once more, with these conds of one token length in the places of
        ``rows``.
        """
        count, images = sum(self.layout), len(self.layout)
        own, length = tokens(self._text_cond).shape[1], tokens(conds[0]).shape[1]
        uncond = tokens(self._text_uncond).shape[1]
        padded = any(self.host.option(name, False) for name in PAD_OPTIONS)
        together = (own == uncond or padded) and not self._without_uncond
        if together:
            first, last = 0, count + images
        else:
            first, last = (count, count + images) if min(rows) >= count else (0, count)
        fill = join([rows_of(conds[0], torch.tensor([0]))] * (last - first))
        if together and own == uncond == length:
            fill = join([self._text_cond, self._text_uncond])
        elif not together and length == (uncond if first else own):
            fill = self._text_uncond if first else self._text_cond
        texts = [rows_of(fill, torch.tensor([row])) for row in range(last - first)]
        x = self._x.clone()
        for latent, cond, row in zip(latents, conds, rows, strict=True):
            x[row], texts[row - first] = latent, cond
        size = last - first
        if not self.host.option("batch_cond_uncond", True):
            size = images
        elif not together and not self._without_uncond:
            size = 2 * images
        found = []
        for begin in range(first, last, size):
            part = slice(begin, min(begin + size, last))
            cond = self._condition(
                join(texts[begin - first : part.stop - first]), self._image_cond[part]
            )
            found.append(inner_model(x[part], self._sigma[part], cond=cond))
        predicted = torch.cat(found)
        self._check_rows("answer to the safe rows", predicted, last - first)
        return predicted[[row - first for row in rows]]

    def _condition(self, text: Any, image: Tensor) -> dict[str, Any]:
        """The cond dict in the shape that the host gives the loaded model."""
        text = cast(text, self._text_cond)
        if self.host.conditioning_key() == "crossattn-adm":
            return {"c_crossattn": [text], "c_adm": image}
        if isinstance(text, dict):
            return {**text, "c_concat": [image]}
        return {"c_crossattn": [text], "c_concat": [image]}

    # ------------------------------------------------------------------ independent streams

    def _blend_guided(self, call: Call, rows: Tensor, inner_model: Any) -> None:
        """Blend guided x0 and write cond rows that guidance turns into the result."""
        count, images = sum(self.layout), len(self.layout)
        uncond, skipped = rows[-images:], self._without_uncond
        scale = self._guidance(skipped)
        x = self._x[count:]
        noise = Noise(self.denoiser, self._sigma)

        def guided(at: Tensor, cond: Tensor, base: Tensor) -> Tensor:
            """The guided x0 of every image, ``[B, C, H, W]``, from its parts' rows."""
            result = base.clone()
            for row, image in enumerate(self.image_of):
                result[image] += self._weights[row] * scale * (cond[row] - base[image])
            return noise.to_x0(at, result)

        original = guided(x, rows[:count], uncond)
        safe = None
        if call.active:
            latent = noise.exploded(x)
            safe_x = noise.imploded(self.session.safe_latent(call, latent, noise.sigma)).to(x)
            if call.evaluate:
                safe = original.clone()
                own = self._evaluate_stream(inner_model, safe_x, skipped)
                own_guided = guided(safe_x, own[:count], own[count:])
                safe[self._chosen] = own_guided[self._chosen].to(safe)
                if self.session.observing:
                    base = None if skipped else noise.to_x0(x, uncond)
                    self.session.observe(call, original, safe, base)
                if self._disagreement is not None:
                    self._disagreement.add(safe - original)
        wanted = noise.from_x0(x, self.session.combine(call, original, safe)).to(rows)
        for image in self._chosen:
            if skipped:
                rows[len(rows) - images + image] = wanted[image]
                value = wanted[image]
            else:
                total = scale * sum(
                    self._weights[row] for row, of in enumerate(self.image_of) if of == image
                )
                if not abs(total) > 1e-6:
                    self.session.fail(
                        "with independent streams the CFG scale times the AND weights must not be 0"
                    )
                value = uncond[image] + (wanted[image] - uncond[image]) / total
            for row, of in enumerate(self.image_of):
                if of == image:
                    rows[row] = value

    def _guidance(self, skipped: bool) -> float:
        """The scale with which the host will combine this call's rows."""
        if skipped:
            return 1.0
        arguments = self.denoiser.sampler.sampler_extra_args
        return float(arguments["cond_scale"] * self.denoiser.cond_scale_miltiplier)

    @property
    def _weights(self) -> list[float]:
        """The host's ``AND`` weight of each cond row."""
        batch = self.denoiser.sampler.sampler_extra_args["cond"].batch
        return [float(part.weight) for of_image in batch for part in of_image]

    def _evaluate_stream(self, inner_model: Any, safe_x: Tensor, skipped: bool) -> Tensor:
        """The safe stream's cond rows and uncond rows at its own latent, for chosen images.

        Other rows are zeros: nothing reads them.
        """
        count, images = sum(self.layout), len(self.layout)
        rows = [row for row, image in enumerate(self.image_of) if image in self._chosen]
        guarded = [row for row in rows if self.conds.conditionings[row] is not None]
        safe = dict(
            zip(
                guarded,
                self._marked(self.conds.at(guarded, self.denoiser.step)),
                strict=True,
            )
        )
        conds = [
            safe[row] if row in safe else rows_of(self._text_cond, torch.tensor([row]))
            for row in rows
        ]
        out = safe_x.new_zeros((count + images, *safe_x.shape[1:]))
        x_rows = [self.image_of[row] for row in rows]
        out[rows] = self._evaluate(inner_model, safe_x, x_rows, conds, rows)
        if skipped:
            for image in self._chosen:
                out[count + image] = out[self.first[image]]
            return out
        unconds = [rows_of(self._text_uncond, torch.tensor([image])) for image in self._chosen]
        uncond_rows = [count + image for image in self._chosen]
        out[uncond_rows] = self._evaluate(inner_model, safe_x, self._chosen, unconds, uncond_rows)
        return out

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
        if self._call is None:
            self.session.fail("a denoiser call never reached the cfg_denoiser callback")
        if not self._blended:
            self.session.fail("a denoiser call never reached the cfg_denoised callback")
        if [len(parts) for parts in conds_list] != self.layout:
            self.session.fail("the host splits the prompts into other AND parts than the guard")
        if self._uncond_before is not None and cond_scale != 1.0:
            # The uncond rows equalled the cond rows by themselves: the host skipped nothing.
            x_out[-len(self.layout) :] = self._uncond_before
        result = original(x_out, conds_list, uncond, cond_scale)
        if self._call.active and not bool(torch.isfinite(result[self.images]).all()):
            self.session.fail("the guided result holds values that are not finite")
        self.combined += 1
        self._reset()
        return result

    def _get_pred_x0(
        self, original: Callable[..., Tensor], x_in: Tensor, x_out: Tensor, sigma: Tensor
    ) -> Tensor:
        """What previews and an interrupted run show; blank for what is not guarded yet."""
        result = original(x_in, x_out, sigma)
        if self._presentable:
            return result
        if len(result) != len(self.images):
            return torch.zeros_like(result)
        result = result.clone()
        result[[i for i, guarded in enumerate(self.images) if guarded]] = 0
        return result

    # ------------------------------------------------------------------ what was seen

    def evidence(self) -> tuple[str, ...]:
        """The image-time check of each image; ``""`` for one that has none."""
        found = self.session.evidence
        if found is None:
            return ("",) * len(self.images)
        if self.session.independent:
            of_image = [[image] if guarded else [] for image, guarded in enumerate(self.images)]
        else:
            of_image = [
                [
                    row
                    for row, of in enumerate(self.image_of)
                    if of == image and self.session.guarded[row]
                ]
                for image in range(len(self.images))
            ]
        return tuple(found.image(rows) if rows else "" for rows in of_image)

    def maps(self) -> tuple[NDArray[np.float32], ...]:
        """For each image where the streams disagreed; see `Disagreement.maps`."""
        return () if self._disagreement is None else self._disagreement.maps()

    # ------------------------------------------------------------------ the end

    @property
    def _presentable(self) -> bool:
        """Whether what there is of an unfinished picture may be shown."""
        return self.session.begun and self.session.reached >= self.floor

    def watching(self, sampling: Callable[[], Any]) -> Callable[[], Any]:
        """``sampling``, seen to its end: when it is stopped the host takes ``last_latent``."""
        self.completed = False

        def watched() -> Any:
            samples = sampling()
            self.completed = True
            return samples

        return watched

    def _cut_short(self) -> bool:
        return self.host.stopping() if self.completed is None else not self.completed

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
        if self.combined != self.denoiser.step and self.session.reason is None:
            self.session.fail(
                f"the model was called {self.denoiser.step} times, the guard saw {self.combined}"
            )
        self.verdict = self.session.finish(self.combined)
        return self.verdict


def check_pass(host: Any, p: Any, denoiser: Any, plan: SafetyPlan) -> None:
    """Raise `Unsupported` for what cannot be guarded, before anything is sampled."""
    scale = getattr(p, "image_cfg_scale", None)
    if host.is_edit_model() and scale is not None and scale != 1.0:
        raise Unsupported(
            f"InstructPix2Pix with image CFG scale {scale:g} can't be guarded: its three-way "
            "guidance has no place for a safe row; set the image CFG scale to 1"
        )
    other = [
        name
        for name in ("refiner_checkpoint_info", "hr_checkpoint_info")
        if getattr(p, name, None) is not None
    ]
    if other and plan.strategy in LEARNED_STRATEGIES:
        raise Unsupported(
            f"strategy {plan.strategy} works in the text encoder it was learned in, and this run "
            "changes the checkpoint (refiner or hires pass); choose counterpart, prepend, append "
            "or context"
        )
    if plan.streams != "independent":
        return
    if host.is_flow_model():
        raise Unsupported("independent streams don't know SD3's way of adding noise; use shared")
    if getattr(p, "mask", None) is not None:
        raise Unsupported(
            "independent streams can't keep the masked area of an inpainting; use shared streams"
        )
    if p.sampler_name == "DDIM CFG++" or (
        getattr(p, "is_hr_pass", False) and p.hr_sampler_name == "DDIM CFG++"
    ):
        raise Unsupported(
            "independent streams don't follow the steps of DDIM CFG++; use shared streams"
        )
    if denoiser is not None and not hasattr(denoiser, "cond_scale_miltiplier"):
        raise Unsupported("independent streams need the host's own CFG denoiser")
