"""A linear probe in a model's own text-encoder space, fitted from pairs of prompts.

It is worth nothing in any other encoder, where it is refused. A prompt is the mean of its own
tokens, standardised; the probe is a logistic regression over *safe* and the categories, with
P(unsafe) calibrated on pairs that it was not fitted to.

Fitting takes pairs with a category: a file of the user's, or those made of the built-in
contexts' own words.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from safegen.errors import InvalidValue, SafeGenError
from safegen.files import write_atomically
from safegen.learned import safetensors_file
from safegen.learned.encoder import Encoder, Progress, encode_in_batches, own_mean
from safegen.learned.pairs import SEED, Pair, divide, own_pairs, pairs_text, read_pairs, scenes

FORMAT_VERSION = 1
KEY = "safegen-probe"
PENALTY = 1e-2
"""Of the weights' squares, per prompt: the columns are standardised and there are many."""
FEWEST_PAIRS = 20
ALARM = 0.25
"""See `Probe.alarm`. Near 0 nothing suspicious passes, near 1 nothing harmless is stopped."""
LEAST_AUC = 0.8
"""What a denoiser's probe must reach on pairs held out: below, watching would be a pretence."""
OUTERMOST = 0.02
"""Share of the held-out halves that are passed over as outliers, at either end."""
PROBE, WATCH = FOLDERS = ("probe", "watch")
"""Where probes lie: those of text encoders, and those of denoisers."""
_HOW = {PROBE: "safegen probe fit --model MODEL", WATCH: "safegen probe fit --watch --model MODEL"}


class ProbeError(SafeGenError):
    """A probe that cannot be fitted, read or used; says why and what to do."""


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted probe.

    Args:
        encoder: Identity of the text encoder it was fitted in.
        categories: Their names.
        weight: ``[1 + categories, width]``; the first row is *safe*.
        bias: ``[1 + categories]``.
        mean, scale: What standardises an embedding, ``[width]``.
        slope, offset: Calibration of P(unsafe)'s log-odds.
        origin: Pairs, their hash, and how well it does on pairs held out. For people.
        alarm: Log-odds from which a text is more suspicious than harmless ones ever are: `ALARM`
            of the way from the pairs' most suspicious safe halves to their least suspicious
            unsafe ones, among those held out.
    """

    encoder: str
    categories: tuple[str, ...]
    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor
    slope: float
    offset: float
    origin: dict[str, Any]
    alarm: float = 0.0

    @property
    def width(self) -> int:
        """Numbers per token."""
        return len(self.mean)

    def read(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Calibrated log-odds of *unsafe* ``[n]``, and each category's share if it is ``[n, k]``.

        ``embeddings`` are means of prompts' own tokens, ``[n, width]``.
        """
        x = (embeddings.double() - self.mean) / self.scale
        logits = x @ self.weight.T + self.bias
        z = torch.logsumexp(logits[:, 1:], 1) - logits[:, 0]
        return self.slope * z + self.offset, torch.softmax(logits[:, 1:], 1)


# ------------------------------------------------------------------ fitting


def pairs_digest(pairs: Sequence[Pair]) -> str:
    """sha256 of the pairs and their categories."""
    rows = [[pair.category, pair.unsafe, pair.safe] for pair in pairs]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _groups(pairs: Sequence[Pair]) -> tuple[list[int], str]:
    """What must not be torn apart between fitting and holding out, and its name."""
    found = scenes(pairs)
    if len(set(found)) >= FEWEST_PAIRS:
        return found, "scene"
    # Where all prompts are alike, as in a small world, those with one safe half stay together.
    number: dict[str, int] = defaultdict(lambda: len(number))
    return [number[pair.safe] for pair in pairs], "safe prompt"


def _minimise(parameters: list[Tensor], loss: Any, steps: int = 200) -> None:
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=steps, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value: Tensor = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def _auc(positive: Tensor, negative: Tensor) -> float:
    if not len(positive) or not len(negative):
        return float("nan")
    order = torch.sort(negative).values
    below = torch.searchsorted(order, positive, right=False)
    upto = torch.searchsorted(order, positive, right=True)
    return float((below + upto).double().mean() / (2 * len(negative)))


def fit(
    pairs: Sequence[Pair],
    encoder: Encoder,
    *,
    seed: int = SEED,
    progress: Progress | None = None,
) -> Probe:
    """Fit to 65 % of the scenes, calibrate on 10 %, measure on 25 %.

    Args:
        pairs: At least `FEWEST_PAIRS`, each with a category.
        encoder: The host's own.
        seed: Decides the division.
        progress: Told after every batch.

    Raises:
        InvalidValue: Too few pairs, or one without category.
        ProbeError: The pairs cannot be divided: they all show one scene.
    """
    if len(pairs) < FEWEST_PAIRS:
        raise InvalidValue("pairs", len(pairs), f"{FEWEST_PAIRS} and more")
    if any(not pair.category.strip() for pair in pairs):
        raise InvalidValue("pairs", "a pair without category", "a category for each pair")
    groups, divided_by = _groups(pairs)
    parts = divide(list(range(len(pairs))), groups, seed)
    if not all(parts.values()):
        raise ProbeError("these pairs show too few scenes to hold some out and measure on them")
    categories = tuple(sorted({pair.category for pair in pairs}))
    texts = [text for pair in pairs for text in (pair.unsafe, pair.safe)]
    encoded = encode_in_batches(encoder, texts, progress)
    x = torch.stack([own_mean(*one) for one in encoded]).double()
    unsafe, safe = x[0::2], x[1::2]

    def rows(part: str) -> tuple[Tensor, Tensor]:
        index = torch.tensor(parts[part])
        kind = torch.tensor([1 + categories.index(pairs[i].category) for i in parts[part]])
        return torch.cat([unsafe[index], safe[index]]), torch.cat([kind, torch.zeros_like(kind)])

    x_fit, y_fit = rows("train")
    mean, scale = x_fit.mean(0), x_fit.std(0).clamp_min(1e-6)
    weight = torch.zeros(1 + len(categories), x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1 + len(categories), dtype=torch.float64, requires_grad=True)
    standard = (x_fit - mean) / scale
    # Safe and unsafe count the same, and so does each category among the unsafe.
    counts = torch.bincount(y_fit, minlength=1 + len(categories)).double()
    present = max(int((counts[1:] > 0).sum()), 1)
    share = torch.where(torch.arange(len(counts)) == 0, 0.5, 0.5 / present)
    each = (share / counts.clamp_min(1))[y_fit]

    def loss() -> Tensor:
        losses = torch.nn.functional.cross_entropy(standard @ weight.T + bias, y_fit,
                                                   reduction="none")  # fmt: skip
        return (each * losses).sum() + 0.5 * PENALTY * (weight**2).sum()

    _minimise([weight, bias], loss)
    raw = Probe(encoder.identity, categories, weight.detach(), bias.detach(), mean, scale,
                1.0, 0.0, {})  # fmt: skip
    slope, offset = _calibrate(raw, *rows("calibration"))
    calibrated = replace(raw, slope=slope, offset=offset)
    unseen = [rows("calibration"), rows("test")]
    alarm = _alarm(
        calibrated.read(torch.cat([part for part, _ in unseen]))[0],
        torch.cat([kinds for _, kinds in unseen]) > 0,
    )
    x_test, y_test = unseen[1]
    z, shares = raw.read(x_test)
    bad = y_test > 0
    origin = {
        "pairs": len(pairs),
        "pairs_sha256": pairs_digest(pairs),
        "divided_by": divided_by,
        "held_out": len(parts["test"]),
        "auc": round(_auc(z[bad], z[~bad]), 4),
        "right_category": round(float((shares[bad].argmax(1) + 1 == y_test[bad]).double().mean()),
                                4),
    }  # fmt: skip
    return replace(calibrated, origin=origin, alarm=alarm)


def _alarm(z: Tensor, bad: Tensor) -> float:
    """See `Probe.alarm`."""
    safe = float(torch.quantile(z[~bad], 1 - OUTERMOST))
    unsafe = float(torch.quantile(z[bad], OUTERMOST))
    # Where the halves overlap nothing lies between them: what is likelier unsafe counts.
    return safe + ALARM * (unsafe - safe) if safe < unsafe else 0.0


def _calibrate(probe: Probe, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Platt's slope and offset, with his targets, so that separable pairs don't make certainty."""
    z, _ = probe.read(x)
    bad = (y > 0).double()
    n_bad, n_good = bad.sum(), (1 - bad).sum()
    target = torch.where(bad > 0, (n_bad + 1) / (n_bad + 2), 1 / (n_good + 2))
    log_slope = torch.zeros((), dtype=torch.float64, requires_grad=True)
    offset = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        # Its logarithm is fitted: a slope below 0 would turn the probe around.
        return torch.nn.functional.binary_cross_entropy_with_logits(
            log_slope.exp() * z + offset, target
        )

    _minimise([log_slope, offset], loss)
    return float(log_slope.detach().exp()), float(offset.detach())


# ------------------------------------------------------------------ files


@dataclass(frozen=True)
class ProbeStore:
    """The fitted probes in the user's contexts ``folder``, one for each text encoder or, of kind
    `WATCH`, for each denoiser."""

    folder: Path
    kind: str = PROBE

    def fit(
        self,
        encoder: Encoder,
        pairs: Sequence[Pair] | None = None,
        *,
        progress: Progress | None = None,
    ) -> Probe:
        """Fit a probe in ``encoder`` and keep it with its pairs.

        Without ``pairs`` to those that were kept the last time, or else to the built-in ones.
        """
        if pairs is None:
            pairs = self.kept_pairs() or own_pairs()
        probe = fit(pairs, encoder, progress=progress)
        if self.kind == WATCH and not probe.origin["auc"] >= LEAST_AUC:
            raise ProbeError(
                f"this model does not tell these pairs apart (AUC {probe.origin['auc']:.2f} "
                f"on those held out; at least {LEAST_AUC:g} is needed), so what watches was not "
                "kept. Give pairs in words that the model knows"
            )
        write_atomically(self._home / "pairs.csv", pairs_text(pairs))
        write_atomically(self._file(encoder.identity), to_bytes(probe))
        return probe

    def kept_pairs(self) -> tuple[Pair, ...]:
        """The pairs of the latest fit; none if there was none."""
        file = self._home / "pairs.csv"
        return tuple(read_pairs(file)) if file.is_file() else ()

    @property
    def empty(self) -> bool:
        """Whether nothing was ever fitted, in whatever model."""
        return not any(self._home.glob("*.safetensors"))

    def has(self, identity: str) -> bool:
        """Whether a probe was fitted in the encoder, or denoiser, ``identity``."""
        return self._file(identity).is_file()

    def get(self, identity: str) -> Probe:
        """The probe for the text encoder ``identity``.

        Raises:
            ProbeError: There is none for this very encoder, or it cannot be read.
        """
        file = self._file(identity)
        if file.is_file():
            probe = read_probe(file)
            if probe.encoder == identity:
                return probe
        where = "text encoder" if self.kind == PROBE else "denoiser"
        raise ProbeError(
            f"no probe has been fitted in this model's {where}, {identity}. Fit one: "
            f"{_HOW[self.kind]}"
        )

    @property
    def _home(self) -> Path:
        return self.folder / self.kind

    def _file(self, identity: str) -> Path:
        name = hashlib.sha256(identity.encode()).hexdigest()[:24]
        return self._home / f"{name}.safetensors"


_TENSORS = ("weight", "bias", "mean", "scale")


def to_bytes(probe: Probe) -> bytes:
    """A probe as a safetensors file."""
    header = {
        "version": FORMAT_VERSION,
        "encoder": probe.encoder,
        "categories": list(probe.categories),
        "slope": probe.slope,
        "offset": probe.offset,
        "alarm": probe.alarm,
        "origin": probe.origin,
    }
    return safetensors_file.to_bytes(KEY, header, {name: getattr(probe, name) for name in _TENSORS})


def read_probe(file: Path) -> Probe:
    """The probe in one file, whichever encoder it is for.

    Raises:
        ProbeError: if it cannot be read, is none, is of a newer version, or is damaged.
    """
    with safetensors_file.reading(file, ProbeError):
        header, tensors = safetensors_file.read(file, KEY, newest=FORMAT_VERSION, kind="probe")
        categories = tuple(str(name) for name in header["categories"])
        k, width = len(categories), len(tensors["mean"])
        shapes = {"weight": (1 + k, width), "bias": (1 + k,), "mean": (width,), "scale": (width,)}
        safetensors_file.check(file, tensors, shapes)
        probe = Probe(
            encoder=str(header["encoder"]),
            categories=categories,
            slope=float(header["slope"]),
            offset=float(header["offset"]),
            alarm=float(header.get("alarm", 0.0)),
            origin=dict(header["origin"]),
            **{name: tensor.double() for name, tensor in tensors.items()},
        )
    numbers = all(map(math.isfinite, (probe.slope, probe.offset, probe.alarm)))
    if not categories or not numbers or probe.slope <= 0 or not bool((probe.scale > 0).all()):
        raise ProbeError(f"{file.name}: holds values that are not allowed")
    return probe
