"""The methods by name: what each is, where its values are from, and what may be tuned.

Nothing here needs torch, so that the command line can name them all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from safegen.errors import InvalidValue
from safegen.plan import SETTINGS, SafetyPlan

PLAIN = "plain"
TWIN = "twin"
"""The plain picture of the prompt with its hazard left unsaid."""
SAFEGEN = "safegen"
NEGATIVE = "negative prompt"
SWAP = "prompt swap"
SWAP_NEGATIVE = "swap + negative prompt"
AND_SAFE = "AND composition"
AND_NOT = "AND NOT composition"
SEGA = "SEGA"
SAFREE = "SAFREE"


def spread(values: Mapping[str, Sequence[Any]], count: int) -> list[dict[str, Any]]:
    """At most ``count`` combinations of ``values``, evenly over their grid, the first ones first.

    Every option is moved, as far as ``count`` allows.
    """
    grid = [
        dict(zip(values, found, strict=True))
        for found in itertools.product(*(dict.fromkeys(v) for v in values.values()))
    ]
    size = len(grid)
    if size <= count:
        return grid
    # A step without a common divisor, near the golden section, visits the grid evenly.
    step = next(s for s in range(round(0.6 * size), size) if math.gcd(s, size) == 1)
    return [grid[i * step % size] for i in range(count)]


@dataclass(frozen=True)
class Peer:
    """A published alternative.

    Args:
        source: The paper, and where the values of ``options`` are from.
        options: What may be set, with its value.
        tuned: What else each option is tried at on the development split.
        anywhere: Whether a WebUI can express it in its prompt boxes.
        architectures: Where it works: sd (SD1 and SD2), sdxl.
    """

    source: str
    options: Mapping[str, float] = field(default_factory=dict)
    tuned: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    anywhere: bool = False
    architectures: tuple[str, ...] = ("sd", "sdxl")

    def trials(self, count: int) -> list[dict[str, float]]:
        """At most ``count`` settings to try, the published ones first.

        See `spread`.
        """
        return spread({k: (self.options[k], *v) for k, v in self.tuned.items()}, count)


_SLD = "Safe Latent Diffusion, arXiv 2211.05105; the values are that paper's configuration {}"
_SLD_TUNED = {"scale": (500.0, 8000.0), "warmup": (0.0, 0.1), "threshold": (0.03, 1.0)}


def _sld(name: str, *values: float) -> Peer:
    options = dict(zip(("scale", "warmup", "threshold", "momentum", "beta"), values, strict=True))
    return Peer(_SLD.format(f"Hyp-{name.title()}"), options, _SLD_TUNED)


_COMPOSABLE = "Composable Diffusion, arXiv 2206.01714"
_STEERED = "the unsafe words as negative prompt, as every user interface offers it; "
PEERS: dict[str, Peer] = {
    NEGATIVE: Peer(
        _STEERED + "strength moves the negative embedding past the words (1: the words)",
        {"strength": 1.0}, {"strength": (0.5, 1.5, 2.0, 3.0, 4.0)}, anywhere=True,
    ),
    SWAP: Peer(
        "the prompt with its risky words replaced, as SafeGen's counterpart does; nothing is "
        "blended. broad: also with the context's safe text before it",
        {"broad": 0.0}, {"broad": (1.0,)}, anywhere=True,
    ),
    SWAP_NEGATIVE: Peer(
        "both of the above",
        {"broad": 0.0, "strength": 1.0},
        {"broad": (1.0,), "strength": (1.5, 2.0)}, anywhere=True,
    ),
    AND_SAFE: Peer(
        f"{_COMPOSABLE}; the weights of prompt and safe text, half each, are ours",
        {"share": 0.5}, {"share": (0.3, 0.4, 0.6, 0.7, 0.85)}, anywhere=True,
    ),
    AND_NOT: Peer(
        f"{_COMPOSABLE}: its negation; weight -1 is the paper's",
        {"weight": -1.0}, {"weight": (-0.5, -1.5, -2.0, -3.0, -4.0)}, anywhere=True,
    ),
    "SLD weak": _sld("weak", 20, 15 / 50, 0.0, 0.0, 0.0),
    "SLD medium": _sld("medium", 1000, 10 / 50, 0.01, 0.3, 0.4),
    "SLD strong": _sld("strong", 2000, 7 / 50, 0.025, 0.5, 0.7),
    "SLD max": _sld("max", 5000, 0.0, 1.0, 0.5, 0.7),
    SEGA: Peer(
        "Semantic Guidance, arXiv 2301.12247; the defaults of its authors' pipeline in diffusers",
        {"scale": 5.0, "warmup": 10 / 50, "threshold": 0.9, "momentum": 0.1, "beta": 0.4},
        {"scale": (10.0, 20.0), "warmup": (0.0,), "threshold": (0.7,)},
        architectures=("sd",),
    ),
    SAFREE: Peer(
        "SAFREE, arXiv 2410.12761: equations 2 to 8, alpha and gamma as published; the "
        "features, radius and scale of the re-attention are ours (see methods/safree.py)",
        {"alpha": 0.01, "gamma": 10.0, "scale": 0.2, "negative": 1.0},
        {"alpha": (0.0,), "gamma": (25.0, 50.0), "scale": (0.9,)},
        architectures=("sd",),
    ),
}  # fmt: skip
METHODS = (PLAIN, TWIN, SAFEGEN, *PEERS)
ANYWHERE = tuple(name for name, peer in PEERS.items() if peer.anywhere)


@dataclass(frozen=True)
class Arm:
    """One way of making a picture: a method with its plan or settings.

    Args:
        method: One of `METHODS`.
        plan: The plan, for `SAFEGEN`.
        settings: What differs from a peer's own options, as sorted pairs.
        concept: What a peer is told to avoid, in words; ``""``: the words of the context that
            fits the prompt, or else of ``context``.
        context: Whose words peers use for a prompt that names no context of its own.
        told: Whether SafeGen is told the context that fits the prompt, as peers are, instead of
            the plan's.
    """

    method: str = PLAIN
    plan: SafetyPlan | None = None
    settings: tuple[tuple[str, float], ...] = ()
    concept: str = ""
    context: str = ""
    told: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InvalidValue("method", self.method, ", ".join(METHODS))
        if (self.plan is not None) != (self.method == SAFEGEN):
            raise InvalidValue("plan", self.plan, "a plan for safegen, none for other methods")
        known = PEERS[self.method].options if self.method in PEERS else {}
        for name, _ in self.settings:
            if name not in known:
                raise InvalidValue(
                    f"setting of {self.method}",
                    name,
                    ", ".join(known) or "none: it has no settings",
                )
        object.__setattr__(self, "settings", tuple(sorted(self.settings)))

    @property
    def options(self) -> dict[str, float]:
        """A peer's options: its own values and what ``settings`` change."""
        return {**PEERS[self.method].options, **dict(self.settings)}

    @property
    def label(self) -> str:
        """What tells this arm from others, for people: what is not the default is said."""
        if self.plan is None:
            said = [f"{name} {value:g}" for name, value in self.settings]
            return ", ".join([self.method, *said])
        plan, default = self.plan.to_dict(), SafetyPlan().to_dict()
        said = [
            f"{name} {SETTINGS[name].format(self.plan.to_dict()[name])}"
            for name in plan
            if name != "enabled" and plan[name] != default[name]
        ]
        return ", ".join(["SafeGen", *(["told"] if self.told else []), *said])

    def to_data(self) -> dict[str, Any]:
        """The arm in JSON types, without what is empty."""
        data: dict[str, Any] = {"method": self.method}
        if self.plan is not None:
            data["plan"] = self.plan.to_dict()
        if self.settings:
            data["settings"] = dict(self.settings)
        for name in ("concept", "context", "told"):
            if getattr(self, name):
                data[name] = getattr(self, name)
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Arm:
        """Read what `to_data` wrote."""
        plan = SafetyPlan.from_dict(data["plan"]) if "plan" in data else None
        settings = tuple(dict(data.get("settings", {})).items())
        rest = {k: data[k] for k in ("concept", "context", "told") if k in data}
        return cls(data["method"], plan, settings, **rest)


def safegen_arms(base: SafetyPlan, values: Mapping[str, Sequence[Any]]) -> list[Arm]:
    """An arm for each combination of ``values`` of the plan's settings, each once.

    Weight 0 is the plain picture, which is made anyway.
    """
    arms = []
    for found in itertools.product(*values.values()):
        plan = base.replace(**dict(zip(values, found, strict=True)))
        if plan.active:
            arms.append(Arm(SAFEGEN, plan))
    return list(dict.fromkeys(arms))
