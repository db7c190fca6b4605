"""The guard of one sampling run: a UNet ``forward`` that blends the cond rows of every call.

For the length of one pipeline call the UNet *instance*'s ``forward`` is replaced; scheduler,
guidance, callbacks and everything else of the pipeline stay in use. Guidance is an affine
function of the cond rows, so it works with every scheduler and prediction type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from safegen.hosts.diffusers.encoding import Encoding
from safegen.hosts.diffusers.noise import noise_at, sigma_at
from safegen.hosts.diffusers.rows import join_rows, sample_of, select_rows, with_sample
from safegen.hosts.diffusers.streams import Streams
from safegen.method.noise_level import progress_at
from safegen.method.session import Call, Session

SAFE, UNSAFE, UNCOND = "safe", "unsafe", "uncond"
"""Kinds of extra rows, as `Streams` names them."""
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
        streams: What the extra rows see, one entry per image.
        forward: The UNet's own ``forward``.
    """

    def __init__(self, pipe: Any, session: Session, streams: Streams, forward: Forward) -> None:
        self.pipe, self.session, self.forward, self.streams = pipe, session, forward, streams
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
        call = self._begin(sigma_at(self.pipe.scheduler, timestep))
        if len(sample) not in (self.images, 2 * self.images):
            self.session.fail(
                f"{len(sample)} UNet rows for {self.images} images: neither one row (cond) nor "
                "two (uncond, cond) per image"
            )
        self._check_prompt(Encoding.of_inputs(inputs)[-self.images :])
        if not call.active:
            output = self.forward(timestep=timestep, **inputs)
            self.session.combine(call, sample_of(output)[-self.images :])
            return output
        if self.session.independent:
            return self._independent(call, timestep, inputs)
        return self._shared(call, timestep, inputs)

    def _begin(self, sigma: float) -> Call:
        total = self.pipe.num_timesteps
        if not self.calls:
            order = getattr(self.pipe.scheduler, "order", 1)
            self.session.expect(total, -(-total // order))
        if self.calls >= total:
            self.session.fail(f"the pipeline announced {total} UNet calls and makes more")
        call = self.session.begin(progress_at(sigma))
        self.calls += 1
        return call

    def _check_prompt(self, now: Encoding) -> None:
        """Fail if a callback has put another prompt in the place of the one that was read."""
        if self._prompt is None:
            pooled = None if now.pooled is None else now.pooled.clone()
            self._prompt = Encoding(now.states.clone(), pooled)
        elif not self._prompt.equals(now):
            self.session.fail("the prompt's encoding was changed during the run")

    def _shared(self, call: Call, timestep: Any, inputs: dict[str, Any]) -> Any:
        """The UNet's output with the cond rows of both streams blended at one latent."""
        guided = len(inputs["sample"]) == 2 * self.images
        due: dict[str, list[int]] = {}
        if call.evaluate:
            due[SAFE] = [i for i in _acting(call.weights) if not self.streams.own[i]]
        if call.push:
            due[UNSAFE] = _acting(call.pushes)
            due[UNCOND] = [] if guided else due[UNSAFE]
        parts = [
            self._row_inputs(call, inputs, name, images) for name, images in due.items() if images
        ]
        output, predicted, extra = self._evaluate(call, timestep, inputs, parts)
        uncond, cond = self._own_rows(predicted)
        rows = _filled(due, extra, cond)
        if SAFE in rows:
            self.session.observe(call, cond, rows[SAFE], uncond)
        pushing: dict[str, Any] = {}
        if call.push:
            base = rows[UNCOND] if uncond is None else uncond
            scale = float(self.pipe.guidance_scale) if guided else 1.0
            pushing = {"unsafe": rows[UNSAFE], "uncond": base, "scale": scale}
        new = self.session.combine(call, cond, rows.get(SAFE), **pushing)
        return self._with_cond(call, output, predicted, new)

    def _independent(self, call: Call, timestep: Any, inputs: dict[str, Any]) -> Any:
        """The same where the safe stream has a latent of its own.

        The new cond rows are those which, after the pipeline's own guidance, give the blend of
        the two guided x0.
        """
        noise = noise_at(self.pipe.scheduler, float(timestep))
        channels = self.pipe.unet.config.out_channels
        guided = len(inputs["sample"]) == 2 * self.images
        scale = float(self.pipe.guidance_scale) if guided else 1.0
        x = inputs["sample"][-self.images :, :channels]
        moved = self.session.safe_latent(call, x.float() / noise.alpha, noise.karras_sigma)
        safe_x = (moved * noise.alpha).to(x.dtype)

        due: dict[str, list[int]] = {}
        if call.evaluate:
            due[SAFE] = _acting(call.weights)
            # The safe stream's guidance, and the push, have uncond rows at its own latent.
            due[UNCOND] = due[SAFE] if guided else _acting(call.pushes)
            due[UNSAFE] = _acting(call.pushes)
        parts = []
        for name, images in due.items():
            if images:
                part = self._row_inputs(call, inputs, name, images, own=guided and name == UNCOND)
                part["sample"] = torch.cat([safe_x[images], part["sample"][:, channels:]], 1)
                parts.append(part)
        output, predicted, extra = self._evaluate(call, timestep, inputs, parts)
        uncond, cond = self._own_rows(predicted)

        def to_x0(at: Tensor, cond: Tensor, uncond: Tensor | None) -> Tensor:
            x0 = noise.to_x0(at, cond)
            if uncond is None:
                return x0
            base = noise.to_x0(at, uncond)
            return base + scale * (x0 - base)

        original, safe, pushing = to_x0(x, cond, uncond), None, {}
        if call.evaluate:
            rows = _filled(due, extra, cond)
            of_safe = to_x0(safe_x, rows[SAFE], rows[UNCOND] if guided else None)
            acting = due[SAFE]
            safe = original.clone()
            safe[acting] = of_safe[acting]
            base = None if uncond is None else noise.to_x0(x, uncond)
            self.session.observe(call, original, safe, base)
            if call.push:
                pushing = {name: noise.to_x0(safe_x, rows[name]) for name in (UNSAFE, UNCOND)}
        wanted = noise.from_x0(x, self.session.combine(call, original, safe, **pushing))
        if uncond is not None:
            wanted = uncond.float() + (wanted - uncond.float()) / scale
        return self._with_cond(call, output, predicted, wanted.to(cond.dtype))

    def _row_inputs(
        self,
        call: Call,
        inputs: dict[str, Any],
        name: str,
        images: list[int],
        own: bool = False,
    ) -> dict[str, Any]:
        """UNet inputs of extra rows: the images' cond rows with another text.

        With ``own`` the images' own uncond rows as they are.
        """
        index = torch.tensor(images, device=inputs["sample"].device)
        rows = len(inputs["sample"])
        part: dict[str, Any] = select_rows(
            inputs, rows, index if own else index + rows - self.images
        )
        if not own:
            encoding = getattr(self.streams, name)
            if encoding is None:
                self.session.fail(f"there is no encoding of the {name} text")
            encoding = encoding[index.to(encoding.states.device)]
            if name == SAFE:
                encoding = encoding.between(Encoding.of_inputs(part), call.share)
            encoding.put_into(part)
        return part

    def _evaluate(
        self, call: Call, timestep: Any, inputs: dict[str, Any], parts: list[dict[str, Any]]
    ) -> tuple[Any, Tensor, Tensor]:
        """The UNet's output, its own rows' prediction, and that of the parts' rows together.

        With benign images in the batch the extra rows go alone: a batch of another size may
        round differently, and those images must be what they are without SafeGen.
        """
        together = len(_acting(call.weights)) == self.images
        batches = [inputs]
        for part in parts:
            last = batches[-1]
            alike = part["encoder_hidden_states"].shape[1] == last["encoder_hidden_states"].shape[1]
            if alike and (together or len(batches) > 1):
                batches[-1] = join_rows(last, part, len(last["sample"]))
            else:
                batches.append(part)
        outputs = [self.forward(timestep=timestep, **batch) for batch in batches]
        for output, batch in zip(outputs, batches, strict=True):
            wanted = len(batch["sample"])
            if len(sample_of(output)) != wanted:
                self.session.fail(f"the UNet answered {wanted} rows with {len(sample_of(output))}")
        predicted = torch.cat([sample_of(output) for output in outputs])
        rows = len(inputs["sample"])
        return outputs[0], predicted[:rows], predicted[rows:]

    def _own_rows(self, predicted: Tensor) -> tuple[Tensor | None, Tensor]:
        """The uncond rows, if there are any, and the cond rows."""
        uncond = predicted[: self.images] if len(predicted) == 2 * self.images else None
        return uncond, predicted[-self.images :]

    def _with_cond(self, call: Call, output: Any, predicted: Tensor, cond: Tensor) -> Any:
        """The UNet's output with the guarded images' cond rows replaced."""
        acting = torch.tensor(_acting(call.weights), device=predicted.device)
        blended = predicted.clone()
        blended[len(blended) - self.images + acting] = cond[acting]
        return with_sample(output, blended)


def _acting(shares: Sequence[float]) -> list[int]:
    """The images whose share is above 0."""
    return [i for i, share in enumerate(shares) if share > 0]


def _filled(due: dict[str, list[int]], extra: Tensor, cond: Tensor) -> dict[str, Tensor]:
    """By name one row for each image: its extra row if it has one, else its cond row."""
    found, start = {}, 0
    for name, images in due.items():
        rows = cond.clone()
        if images:
            rows[images] = extra[start : start + len(images)]
        found[name] = rows
        start += len(images)
    return found
