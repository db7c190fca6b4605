"""The guard of one sampling run: a UNet ``forward`` that blends the cond rows of every call.

For the length of one pipeline call the UNet *instance*'s ``forward`` is replaced; scheduler,
guidance, callbacks and everything else of the pipeline stay in use. Guidance is an affine
function of the cond rows, so it works with every scheduler and prediction type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from safegen.hosts.diffusers.encoding import Encoding
from safegen.hosts.diffusers.noise import Noise, noise_at
from safegen.hosts.diffusers.rows import join_rows, sample_of, select_rows, with_sample
from safegen.method.schedule import check_reach
from safegen.method.session import Call, Session

Forward = Callable[..., Any]
"""A UNet's ``forward``: ``(sample, timestep, encoder_hidden_states, ...)`` to its output."""


@contextmanager
def replaced_forward(unet: Any, make: Callable[[Forward], Forward]) -> Iterator[None]:
    """Within the block ``unet.forward`` is ``make(the former forward)``; then it is as before."""
    had_own = "forward" in vars(unet)
    former = unet.forward
    unet.forward = make(former)
    try:
        yield
    finally:
        if had_own:
            unet.forward = former
        else:
            vars(unet).pop("forward", None)


@contextmanager
def counted_calls(unet: Any) -> Iterator[list[int]]:
    """The number of calls of ``unet`` within the block, in a list of one.

    A hook counts them, whatever has become of the ``forward`` that was put there.
    """
    calls = [0]

    def count(*_: Any) -> None:
        calls[0] += 1

    handle = unet.register_forward_pre_hook(count)
    try:
        yield calls
    finally:
        handle.remove()


class UNetGuard:
    """A UNet ``forward`` that does what a `Session` says.

    Args:
        pipe: The pipeline that calls it, for its guidance scale, scheduler and step count.
        session: The run's guard; one entry per image of the pipeline's batch.
        safe: What the safe stream sees, one row per image.
        forward: The UNet's own ``forward``.
    """

    def __init__(self, pipe: Any, session: Session, safe: Encoding, forward: Forward) -> None:
        self.pipe, self.session, self.forward, self.safe = pipe, session, forward, safe
        self.images = len(session.guarded)
        self.calls = 0
        self._prompt: Encoding | None = None

    def __call__(
        self,
        sample: Tensor,
        timestep: Any,
        encoder_hidden_states: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        if args:
            self.session.fail(
                "the pipeline passes the UNet positional arguments unknown to SafeGen"
            )
        inputs = {**kwargs, "sample": sample, "encoder_hidden_states": encoder_hidden_states}
        call = self._begin()
        rows = len(sample)
        if rows not in (self.images, 2 * self.images):
            self.session.fail(
                f"{rows} UNet rows for {self.images} images: neither one row (cond) nor two "
                "(uncond, cond) per image"
            )
        self._check_prompt(Encoding.of_inputs(inputs)[-self.images :])
        if not call.active:
            output = self.forward(timestep=timestep, **inputs)
            self.session.combine(call, sample_of(output)[-self.images :])
            return output
        chosen = torch.tensor(
            [i for i, weight in enumerate(call.weights) if weight > 0], device=sample.device
        )
        if self.session.independent:
            noise = noise_at(self.pipe.scheduler, float(timestep))
            return self._independent(call, noise, timestep, inputs, chosen)
        return self._shared(call, timestep, inputs, chosen)

    def _begin(self) -> Call:
        total = self.pipe.num_timesteps
        if not self.calls:
            with self.session.failing_closed():
                if any(self.session.guarded):
                    check_reach(self.session.plan, total)
        if self.calls >= total:
            self.session.fail(f"the pipeline announced {total} UNet calls and makes more")
        call = self.session.begin(self.calls / total)
        self.calls += 1
        return call

    def _check_prompt(self, now: Encoding) -> None:
        """Fail if a callback has put another prompt in the place of the one that was read."""
        if self._prompt is None:
            pooled = None if now.pooled is None else now.pooled.clone()
            self._prompt = Encoding(now.states.clone(), pooled)
        elif not self._prompt.equals(now):
            self.session.fail("the prompt's encoding was changed during the run")

    def _shared(self, call: Call, timestep: Any, inputs: dict[str, Any], chosen: Tensor) -> Any:
        """The UNet's output with the cond rows of both streams blended at one latent."""
        extra = None
        if call.evaluate:
            extra = self._safe_inputs(inputs, chosen)
        output, predicted, safe_rows = self._evaluate(timestep, inputs, extra, chosen)
        uncond, cond = self._streams(predicted)
        safe = None
        if safe_rows is not None:
            safe = cond.clone()
            safe[chosen] = safe_rows
            self.session.observe(call, cond, safe, uncond)
        return self._with_cond(output, predicted, self.session.combine(call, cond, safe), chosen)

    def _independent(
        self, call: Call, noise: Noise, timestep: Any, inputs: dict[str, Any], chosen: Tensor
    ) -> Any:
        """The same where the safe stream has a latent of its own.

        The new cond rows are those which, after the pipeline's own guidance, give the blend of
        the two guided x0.
        """
        channels = self.pipe.unet.config.out_channels
        x = inputs["sample"][-self.images :, :channels]
        moved = self.session.safe_latent(call, x.float() / noise.alpha, noise.karras_sigma)
        safe_x = (moved * noise.alpha).to(x.dtype)
        extra = None
        if call.evaluate:
            extra = self._safe_inputs(inputs, chosen)
            extra["sample"] = torch.cat([safe_x[chosen], extra["sample"][:, channels:]], 1)
            if len(inputs["sample"]) == 2 * self.images:
                # The safe stream's guidance has an uncond row at its own latent.
                base = select_rows(inputs, len(inputs["sample"]), chosen)
                base["sample"] = extra["sample"]
                extra = join_rows(base, extra, len(chosen))
        output, predicted, safe_rows = self._evaluate(timestep, inputs, extra, chosen)
        uncond, cond = self._streams(predicted)
        scale = 1.0 if uncond is None else float(self.pipe.guidance_scale)

        def guided(x: Tensor, cond: Tensor, uncond: Tensor | None) -> Tensor:
            x0 = noise.to_x0(x, cond)
            if uncond is None:
                return x0
            base = noise.to_x0(x, uncond)
            return base + scale * (x0 - base)

        original, safe = guided(x, cond, uncond), None
        if safe_rows is not None:
            safe = original.clone()
            safe_uncond, safe_cond = (None, safe_rows) if uncond is None else safe_rows.chunk(2)
            safe[chosen] = guided(safe_x[chosen], safe_cond, safe_uncond)
            base = None if uncond is None else noise.to_x0(x, uncond)
            self.session.observe(call, original, safe, base)
        wanted = noise.from_x0(x, self.session.combine(call, original, safe))
        if uncond is not None:
            wanted = uncond.float() + (wanted - uncond.float()) / scale
        return self._with_cond(output, predicted, wanted.to(cond.dtype), chosen)

    def _safe_inputs(self, inputs: dict[str, Any], chosen: Tensor) -> dict[str, Any]:
        """UNet inputs of the safe rows: the chosen images' cond rows with the safe text."""
        rows = len(inputs["sample"])
        extra: dict[str, Any] = select_rows(inputs, rows, chosen + rows - self.images)
        self.safe[chosen].put_into(extra)
        return extra

    def _evaluate(
        self,
        timestep: Any,
        inputs: dict[str, Any],
        extra: dict[str, Any] | None,
        chosen: Tensor,
    ) -> tuple[Any, Tensor, Tensor | None]:
        """The UNet's output, its own rows' prediction and the extra rows', if any are due."""
        if extra is None:
            output = self.forward(timestep=timestep, **inputs)
            return output, sample_of(output), None
        rows, more = len(inputs["sample"]), len(extra["sample"])
        same_length = (
            extra["encoder_hidden_states"].shape[1] == inputs["encoder_hidden_states"].shape[1]
        )
        if len(chosen) == self.images and same_length:
            output = self.forward(timestep=timestep, **join_rows(inputs, extra, rows))
            prediction = sample_of(output)
            self._check_rows(prediction, rows + more)
            return output, prediction[:rows], prediction[rows:]
        # With benign images in the batch the safe rows go alone: a batch of another size may
        # round differently, and those images must be what they are without SafeGen.
        output = self.forward(timestep=timestep, **inputs)
        safe_rows = sample_of(self.forward(timestep=timestep, **extra))
        self._check_rows(safe_rows, more)
        return output, sample_of(output), safe_rows

    def _check_rows(self, prediction: Tensor, wanted: int) -> None:
        if len(prediction) != wanted:
            self.session.fail(f"the UNet answered {wanted} rows with {len(prediction)}")

    def _streams(self, predicted: Tensor) -> tuple[Tensor | None, Tensor]:
        """The uncond rows, if there are any, and the cond rows."""
        uncond = predicted[: self.images] if len(predicted) == 2 * self.images else None
        return uncond, predicted[-self.images :]

    def _with_cond(self, output: Any, predicted: Tensor, cond: Tensor, chosen: Tensor) -> Any:
        """The UNet's output with the chosen images' cond rows replaced."""
        blended = predicted.clone()
        blended[len(blended) - self.images + chosen] = cond[chosen]
        return with_sample(output, blended)
