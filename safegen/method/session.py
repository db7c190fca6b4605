"""One guarded generation: what was planned, what ran, and the verdict. Fails closed.

A host's adapter opens one `Session` per sampling run and, at every denoiser call,

1. asks `Session.begin` what this call needs,
2. evaluates the model, with the safe rows where they are due,
3. gives the sampler what `Session.combine` returns.

At the end `Session.finish` compares the calls that had to be guarded with those that were.
Whatever goes wrong, even an error of ours, raises `GuardFailure`: at once, at every later call
and at `finish`. A host that swallows the first exception meets the last before a picture is
decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from safegen.errors import GuardFailure, SafeGenError
from safegen.method.blend import blend
from safegen.method.evidence import Evidence, observe
from safegen.method.push import pushed
from safegen.method.region import disagreement_mask
from safegen.method.schedule import check_start, weight_at, within
from safegen.method.streams import Reuse, SafeStream
from safegen.plan import CONDITIONING, SafetyPlan


@dataclass(frozen=True)
class Call:
    """What one denoiser call needs.

    Args:
        index: 0, 1, 2 … over the calls of the run.
        progress: Sampling progress in [0, 1].
        weights: The blend weight of each image; 0 leaves the image as it is.
        evaluate: Whether the model must evaluate the safe rows in this call, and the unsafe
            ones of the images that are pushed.
        pushes: How hard each image's safe stream is guided away from the unsafe text, r; 0
            where it is not, and no unsafe row is needed.
        share: How far the safe stream's conditioning lies from the prompt's, 0, towards the safe
            text's, 1 (`safegen.method.mixing.mixed`). 1 unless the plan's dial is conditioning.
    """

    index: int
    progress: float
    weights: tuple[float, ...]
    evaluate: bool
    pushes: tuple[float, ...] = ()
    share: float = 1.0

    @property
    def active(self) -> bool:
        """Whether any image is blended in this call."""
        return any(w > 0 for w in self.weights)

    @property
    def chosen(self) -> list[int]:
        """The images that are blended."""
        return [image for image, weight in enumerate(self.weights) if weight > 0]

    @property
    def push(self) -> bool:
        """Whether the model must evaluate unsafe rows, and uncond rows, in this call."""
        return self.evaluate and any(r > 0 for r in self.pushes)


@dataclass(frozen=True)
class Verdict:
    """What a finished run can show for itself.

    Args:
        calls: Denoiser calls of the run.
        needed: Calls that had to be blended.
        guarded: Calls that were.
        evaluated: Calls in which the model evaluated safe rows.
        images: Images of the run, and of those the ``guarded_images``.
        evidence: The image-time check, one entry for each of ``images``, if it was asked for.

    Example:
        >>> import safegen
        >>> made = safegen.generate(pipe, "a bloody ball", num_inference_steps=5)
        >>> made.verdict.calls, made.verdict.needed, made.verdict.guarded
        (5, 5, 5)
    """

    calls: int
    needed: int
    guarded: int
    evaluated: int
    images: int
    guarded_images: int
    evidence: Evidence | None = None

    def __str__(self) -> str:
        if not self.needed:
            return f"nothing to guard in {self.calls} calls"
        return (
            f"guarded {self.guarded} of {self.needed} calls that needed it, "
            f"for {self.guarded_images} of {self.images} images"
        )


@dataclass
class _Counts:
    """What `Verdict` counts, and the highest weight reached, while the run goes on."""

    calls: int = 0
    needed: int = 0
    guarded: int = 0
    evaluated: int = 0
    reached: float = 0.0


class Session:
    """The guard of one sampling run over a batch of images.

    Args:
        plan: The settings.
        guarded: For each image of the batch, whether a context applies to it. A benign image
            keeps its own rows bit for bit.
        has_unsafe: For each image, whether its context has an unsafe text to be pushed away
            from; by default none has.
    """

    def __init__(
        self,
        plan: SafetyPlan,
        guarded: Sequence[bool],
        has_unsafe: Sequence[bool] | None = None,
    ) -> None:
        if not guarded:
            raise ValueError("guarded: an empty batch is not allowed; allowed: 1 image and more")
        if has_unsafe is not None and len(has_unsafe) != len(guarded):
            raise ValueError(
                f"has_unsafe: {len(has_unsafe)} images are not allowed; "
                f"allowed: as many as guarded, {len(guarded)}"
            )
        self.plan = plan
        self.guarded = tuple(bool(g) for g in guarded)
        texts = has_unsafe or (False,) * len(self.guarded)
        self._pushes = tuple(
            plan.push if own and text else 0.0
            for own, text in zip(self.guarded, texts, strict=True)
        )
        self.reason: str | None = None
        self.evidence: Evidence | None = None
        self._stream = SafeStream()
        self._reuse = Reuse(plan.refresh)
        self._open: Call | None = None
        self._latent_given = False
        self._finished = False
        self._counts = _Counts()

    @property
    def independent(self) -> bool:
        """Whether the safe stream carries its own latent: `combine` then takes guided x0."""
        return self.plan.streams == "independent"

    @property
    def begun(self) -> bool:
        """Whether any call of the run has been blended yet."""
        return self._counts.guarded > 0

    @property
    def reached(self) -> float:
        """The highest weight that a call was blended with so far, 0 to 1."""
        return self._counts.reached

    @property
    def calls(self) -> int:
        """Denoiser calls seen so far."""
        return self._counts.calls

    def so_far(self) -> Verdict:
        """The counts as they stand. Only `finish` says whether they suffice."""
        return Verdict(
            calls=self._counts.calls,
            needed=self._counts.needed,
            guarded=self._counts.guarded,
            evaluated=self._counts.evaluated,
            images=len(self.guarded),
            guarded_images=sum(self.guarded),
            evidence=self.evidence,
        )

    def fail(self, reason: str, cause: BaseException | None = None) -> NoReturn:
        """Mark the run as failed for good and raise `GuardFailure`."""
        self.reason = self.reason or reason
        raise GuardFailure(
            f"SafeGen stopped this picture because it could not guard it: {self.reason}"
        ) from cause

    @contextmanager
    def failing_closed(self) -> Iterator[None]:
        """Turn any exception in the block into a failed run."""
        try:
            yield
        except GuardFailure:
            raise
        except SafeGenError as error:
            self.reason = self.reason or str(error)
            raise
        except Exception as error:
            self.fail(str(error) or type(error).__name__, error)

    def _check_alive(self) -> None:
        if self.reason is not None:
            self.fail(self.reason)
        if self._finished:
            self.fail("the model was called again after the run had ended")

    def expect(self, calls: int, steps: int | None = None) -> None:
        """Before the first call: how many there will be, in how many steps.

        In few steps the plan acts from the first call on; see `schedule.within`.

        Raises:
            InvalidValue: The plan would blend none of them.
        """
        with self.failing_closed():
            if any(self.guarded):
                self.plan = within(self.plan, calls, steps)

    def begin(self, progress: float) -> Call:
        """Open the next denoiser call, at sampling progress ``progress`` in [0, 1].

        Raises `GuardFailure` if the call before was not blended, the run has ended or failed, or
        ``progress`` or its weight is not allowed; `InvalidValue` if it begins after the plan's end.
        """
        self._check_alive()
        if self._open is not None and self._open.active:
            self.fail(f"denoiser call {self._open.index} was never blended")
        with self.failing_closed():
            weight = weight_at(self.plan, progress := float(progress))
            if not self._counts.calls and any(self.guarded):
                check_start(self.plan, progress)
            if not 0.0 <= weight <= self.plan.weight:  # nor is NaN
                self.fail(f"the weight at progress {progress:g} came out as {weight!r}")
        active = weight > 0 and any(self.guarded)
        on_text = active and self.plan.dial == CONDITIONING
        share, weight = (weight, 1.0) if on_text else (1.0, weight)
        call = Call(
            self._counts.calls,
            progress,
            weights=tuple(weight if guarded else 0.0 for guarded in self.guarded),
            evaluate=active and self._reuse.due,
            pushes=tuple(share * r if active else 0.0 for r in self._pushes),
            share=share,
        )
        self._counts.calls += 1
        self._counts.needed += active
        self._open = call
        self._latent_given = False
        return call

    def safe_latent(self, call: Call, latent: Tensor, sigma: float) -> Tensor:
        """The latent at which the safe rows of ``call`` are evaluated, like ``latent``.

        ``latent`` is the sampler's, in variance-exploding form (x0 + σ·ε). With shared streams,
        or in a call that is not ``active``, it is returned as it is. Independent streams with
        a refresh interval: ask at every active call, and the safe latent follows the reused
        reconstructions too; ask only where ``call.evaluate``, and it leaps between those.
        """
        self._check_alive()
        with self.failing_closed():
            if call is not self._open:
                self.fail(f"the safe latent of denoiser call {call.index} came out of turn")
            if not self.independent or not call.active:
                return latent
            moved = self._stream.latent_at(sigma, latent)
            self._latent_given = True
            return moved

    @property
    def observing(self) -> bool:
        """Whether `observe` has still something to keep; a host need not gather rows if not."""
        return self.plan.evidence and self.evidence is None

    def observe(
        self, call: Call, original: Tensor, safe: Tensor, uncond: Tensor | None = None
    ) -> None:
        """Keep what the streams' disagreement says, as ``evidence``, at the first guarded call.

        Does nothing unless `observing`. The rows are those of one noisy latent: the cond rows,
        the safe rows and, where the host has them, the uncond rows, each ``[B, C, H, W]``; or
        the guided reconstructions, for which the figures are the same (independent streams
        still share their latent at that call). Never raises and never fails the run.
        """
        if call.active and self.observing:
            with suppress(Exception):
                self.evidence = observe(call.progress, original, safe, uncond)

    def combine(
        self,
        call: Call,
        original: Tensor,
        safe: Tensor | None = None,
        *,
        unsafe: Tensor | None = None,
        uncond: Tensor | None = None,
        scale: float | Tensor = 1.0,
    ) -> Tensor:
        """What the sampler receives for ``call``.

        Args:
            call: What `begin` returned last.
            original: ``[B, C, H, W]``. Shared streams: the cond rows, x0, eps or v.
                Independent streams: the guided x0 reconstruction.
            safe: The same of the safe stream; given exactly where ``call.evaluate``. Of an image
                whose safe text is the prompt's own, its row of ``original``.
            unsafe, uncond: The rows of the unsafe text and those without a prompt, at the safe
                stream's latent; given exactly where ``call.push``. Of an image that is not
                pushed any finite row will do.
            scale: The CFG scale with which the host guides the result, above 0: one number, or
                one per image. For independent streams 1.

        Raises:
            GuardFailure: Anything is missing, misshapen or not finite.
        """
        self._check_alive()
        with self.failing_closed():
            self._check_due("unsafe", call.push, unsafe is not None and uncond is not None)
            if safe is not None and unsafe is not None and uncond is not None:
                strengths = torch.tensor(call.pushes, dtype=torch.float64, device="cpu")
                safe = pushed(safe, unsafe, uncond, strengths, scale)
            return self._combine(call, original, safe)

    def _combine(self, call: Call, original: Tensor, safe: Tensor | None) -> Tensor:
        if call is not self._open:
            self.fail(f"denoiser call {call.index} was blended out of turn")
        if self.plan.active and len(original) != len(self.guarded):
            self.fail(f"{len(original)} images in the batch where {len(self.guarded)} were planned")
        if any(w > 0 and image not in call.chosen for image, w in enumerate(call.weights)):
            self.fail("a picture that is to be blended is not among those that are")
        if not call.active:
            self._open = None
            return original
        self._check_due("safe", call.evaluate, safe is not None)
        if call.evaluate and self.independent and not self._latent_given:
            self.fail("the safe stream's own latent was not asked for")
        if safe is not None and safe.shape != original.shape:
            self.fail(
                f"the safe reconstruction has shape {tuple(safe.shape)}, "
                f"the original {tuple(original.shape)}"
            )
        row = self._reuse.safe_row(original, safe)
        mask = disagreement_mask(original, row) if self.plan.region != "everywhere" else None
        weights = torch.tensor(call.weights, dtype=torch.float64, device="cpu")
        result = blend(original, row, weights, mask)
        self._check_finite(result, row)
        if self._latent_given:
            self._stream.saw(row)
        self._counts.guarded += 1
        self._counts.reached = max(self._counts.reached, call.share * max(call.weights))
        self._counts.evaluated += call.evaluate
        self._open = None
        return result

    def _check_due(self, kind: str, due: bool, given: bool) -> None:
        if due != given:
            self.fail(f"the {kind} reconstruction {'is missing' if due else 'came; none is due'}")

    def _check_finite(self, result: Tensor, row: Tensor) -> None:
        """Fail if a guarded image's values are not finite; the one wait for a GPU per call."""
        finite = (torch.isfinite(result) & torch.isfinite(row)).flatten(1).all(dim=1).tolist()
        if not all(ok for ok, guarded in zip(finite, self.guarded, strict=True) if guarded):
            self.fail("the reconstruction holds values that are not finite (NaN or infinity)")

    def finish(self, calls_made: int | None = None) -> Verdict:
        """Close the run and return its verdict, or raise `GuardFailure`.

        ``calls_made`` is the host's own count of denoiser calls, where it keeps one: a call
        that never reached `begin` is thereby found. A run with a picture to guard and no call
        that was blended fails too, whatever the reason: such a picture is the plain one.
        """
        if self.reason is not None:
            self.fail(self.reason)
        if self._open is not None and self._open.active:
            self.fail(f"denoiser call {self._open.index} was never blended")
        if calls_made is not None and calls_made != self.calls:
            self.fail(f"the model was called {calls_made} times, the guard saw {self.calls}")
        if self._counts.guarded != self._counts.needed:
            self.fail(f"{self._counts.guarded} of {self._counts.needed} calls were guarded")
        if self.plan.active and any(self.guarded) and not self._counts.guarded:
            self.fail(
                f"of its {self.calls} calls none came within the guarded span, from progress "
                f"{self.plan.tau:g} to {self.plan.end:g}: the run was interrupted before it, or "
                "needs more steps, a lower tau or a later end"
                if self.calls
                else "the guard was never called"
            )
        self._finished = True
        return self.so_far()
