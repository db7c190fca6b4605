"""The safe stream from call to call: a latent of its own, and the reuse of its difference."""

from __future__ import annotations

import math

from torch import Tensor

from safegen.method.blend import wide


def euler_step(
    latent: Tensor, denoised: Tensor, sigma: float | Tensor, next_sigma: float | Tensor
) -> Tensor:
    """One deterministic Euler step of the probability-flow ODE, in variance-exploding form.

    x(σ') = x̂ + (σ'/σ) · (x(σ) - x̂), with x = x0 + σ·ε (Karras et al., arXiv 2206.00364,
    eq. 3 and Alg. 1, rearranged). ``latent`` and ``denoised`` are ``[B, ...]``.
    The result is in float32 or wider. ``next_sigma`` may exceed ``sigma``: that retraces the
    ODE upward, which multiplies the error of ``denoised`` by their ratio.

    Raises:
        ValueError: ``sigma`` is not positive, ``next_sigma`` is negative, one is not finite.
    """
    sigma, next_sigma = float(sigma), float(next_sigma)
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma: {sigma} is not allowed; allowed: finite numbers above 0")
    if not 0 <= next_sigma < math.inf:
        raise ValueError(f"next_sigma: {next_sigma} is not allowed; allowed: finite numbers from 0")
    x, x0 = wide(latent), wide(denoised)
    return x0 + (next_sigma / sigma) * (x - x0)


class SafeStream:
    """The safe stream's own latent, for ``independent`` streams.

    It forks from the sampler's latent at the first guarded call and is carried to every later
    call's noise level by its own Euler step, from the reconstruction seen last; a call at the
    same level (the second half of a Heun step) finds it where it is. The steps are
    deterministic whatever the sampler does: noise that an ancestral sampler adds to its own
    latent is not added here. Latents are in variance-exploding form (x0 + σ·ε), kept in
    float32 or wider.
    """

    def __init__(self) -> None:
        self._latent: Tensor | None = None
        self._denoised: Tensor | None = None
        self._sigma = 0.0

    def latent_at(self, sigma: float | Tensor, sampler_latent: Tensor) -> Tensor:
        """A copy of the safe latent at noise level ``sigma``; the first time, a fork of
        ``sampler_latent``, whose dtype it always has."""
        sigma = float(sigma)
        if self._latent is None:
            self._latent = wide(sampler_latent).clone()
        elif self._latent.shape != sampler_latent.shape:
            raise ValueError(
                f"latent: shape {tuple(sampler_latent.shape)} is not allowed; "
                f"allowed: the stream's, {tuple(self._latent.shape)}"
            )
        elif sigma != self._sigma:
            if self._denoised is None:
                raise ValueError("the safe stream moved on before its reconstruction was seen")
            self._latent = euler_step(self._latent, self._denoised, self._sigma, sigma)
        self._sigma = sigma
        return self._latent.to(sampler_latent.dtype, copy=True)

    def saw(self, denoised: Tensor) -> None:
        """Take the safe stream's guided reconstruction at the level last asked for."""
        self._denoised = wide(denoised).clone()


class Reuse:
    """Evaluate the safe row every ``interval``-th call and reuse its difference between.

    The reused quantity is safe - original in the rows' own space (x0 or eps).
    """

    def __init__(self, interval: int) -> None:
        if interval < 1:
            raise ValueError(f"interval: {interval} is not allowed; allowed: 1 and more")
        self.interval = interval
        self._since = 0
        self._difference: Tensor | None = None

    @property
    def due(self) -> bool:
        """Whether the next call must evaluate the safe row."""
        return self._difference is None or self._since >= self.interval

    def safe_row(self, original: Tensor, evaluated: Tensor | None) -> Tensor:
        """The safe row of this call: ``evaluated`` if given, else from the last difference.

        A reused row is in float32 or wider: ``original``'s dtype may not hold it.
        """
        if evaluated is not None:
            self._since = 1
            if self.interval > 1:
                self._difference = wide(evaluated) - wide(original)
            return evaluated
        if self.due or self._difference is None:
            raise ValueError("the safe row was due in this call and was not evaluated")
        if original.shape != self._difference.shape:
            raise ValueError(
                f"original: shape {tuple(original.shape)} is not allowed; "
                f"allowed: that of the last difference, {tuple(self._difference.shape)}"
            )
        self._since += 1
        return wide(original) + self._difference
