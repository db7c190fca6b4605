"""The settings of one generation, validated once and never changed.

`SafetyPlan` is the only place where a setting's name, label, range, default and infotext key
are written. The UI, the infotext, the XYZ axes, the API and the command line read `SETTINGS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from safegen.errors import InvalidValue
from safegen.sentence import told
from safegen.setting import Setting as Setting

AUTO = "auto"
CUSTOM = "custom"
CURVES = ("constant", "linear", "cosine")
STREAMS = ("shared", "independent")
AWAY = "away"
TEXTUAL_STRATEGIES = ("counterpart", "prepend", "append", "context", AWAY)
"""The safe stream sees a text: another than the prompt or, with `AWAY`, the prompt's own."""
LEARNED_STRATEGIES = ("direction", "projection")
"""The prompt's embedding is changed by what was learned in its text encoder."""
STRATEGIES = TEXTUAL_STRATEGIES + LEARNED_STRATEGIES
RECONSTRUCTION, CONDITIONING = DIALS = ("reconstruction", "conditioning")
"""What the weight moves: the sum of the two pictures, or the text that the safe stream sees."""
REGIONS = ("everywhere", "disagreement")
DETECTORS = ("lexicon", "ngram", "probe", "sentences")
WORDS, WATCH, ALWAYS = MODES = ("auto", "watch", "always")
"""When the guard acts: on what the words say, also on what the model would draw, or always."""
NEEDED, PUSH_ALL = PUSHED = ("needed", "always")
"""Which safe streams are pushed: those for which no word could be replaced, or all."""


def _setting(default: Any, **texts: Any) -> Any:
    return dataclasses.field(default=default, metadata={"setting": Setting(**texts)})


@dataclass(frozen=True)
class SafetyPlan:
    """Every setting of one guarded generation.

    Raises `InvalidValue` naming the field, the value and what is allowed. The defaults are
    ours, found by measurement on the embedded model (``docs/results.md``).

    Example:
        >>> import safegen
        >>> plan = safegen.SafetyPlan(weight=0.5, context="violence")
        >>> plan.replace(weight=0.9).to_dict()["weight"]
        0.9
        >>> safegen.SafetyPlan.from_infotext({"SafeGen weight": "0.5"}).weight
        0.5
    """

    # Larger than usual: one field for each setting, in the one table of settings.
    enabled: bool = _setting(
        True,
        label="Enable SafeGen",
        help="Off means off: pictures are those of a host without SafeGen, bit for bit.",
        infotext="SafeGen enabled",
        advanced=False,
    )
    context: str = _setting(
        AUTO,
        label="Safety context",
        help="What to keep away from. Auto reads the prompt and picks one context or none.",
        infotext="SafeGen context",
        advanced=False,
    )
    weight: float = _setting(
        1.0,
        label="Safety weight",
        help="From 0, your prompt's own picture, to 1, the safe version.",
        infotext="SafeGen weight",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        advanced=False,
    )
    tau: float = _setting(
        0.0,
        label="Global-context threshold",
        help="Share of the denoising, by noise level, in which your prompt alone lays out the "
        "scene; in up to 8 steps none.",
        infotext="SafeGen tau",
        minimum=0.0,
        maximum=0.95,
        step=0.05,
    )
    end: float = _setting(
        1.0,
        label="Guard until",
        help="Share of the denoising, by noise level, after which your prompt alone finishes the "
        "picture.",
        infotext="SafeGen end",
        minimum=0.05,
        maximum=1.0,
        step=0.05,
    )
    curve: str = _setting(
        "constant",
        label="Weight curve",
        help="How the weight grows once the guard has begun.",
        infotext="SafeGen curve",
        choices=CURVES,
    )
    streams: str = _setting(
        "shared",
        label="Latent streams",
        help="Shared: both reconstructions start from one latent. Independent: the safe stream "
        "carries a latent of its own, one more model row per picture.",
        infotext="SafeGen streams",
        choices=STREAMS,
    )
    strategy: str = _setting(
        "counterpart",
        label="Safe stream",
        help="What the safe stream sees: your prompt with its risky words replaced "
        "(counterpart), your prompt as it is, pushed away from the context's unsafe text (away), "
        "your prompt with the context's text before or after it, the context alone, or its "
        "embedding moved along a learned direction or out of a learned subspace.",
        infotext="SafeGen strategy",
        choices=STRATEGIES,
    )
    strength: float = _setting(
        1.0,
        label="Embedding strength",
        help="How far 'direction' and 'projection' move the prompt's embedding.",
        infotext="SafeGen strength",
        minimum=0.0,
        maximum=10.0,
        step=0.1,
    )
    dial: str = _setting(
        CONDITIONING,
        label="What the weight moves",
        help="Reconstruction: how far the picture is mixed with the safe one. Conditioning: how "
        "far the safe stream's text lies from your prompt towards the safe text; that stream "
        "then counts in full.",
        infotext="SafeGen dial",
        choices=DIALS,
    )
    push: float = _setting(
        2.0,
        label="Push away",
        help="How hard the safe stream is guided away from the context's unsafe text; 0 is not at "
        "all.",
        infotext="SafeGen push",
        minimum=0.0,
        maximum=4.0,
        step=0.25,
    )
    region: str = _setting(
        "disagreement",
        label="Blend region",
        help="Blend everywhere, or only where the two streams disagree.",
        infotext="SafeGen region",
        choices=REGIONS,
    )
    refresh: int = _setting(
        1,
        label="Refresh interval",
        help="Evaluate the safe stream at every n-th step and reuse its difference in between.",
        infotext="SafeGen refresh",
        minimum=1,
        maximum=10,
        step=1,
    )
    hires: bool = _setting(
        True,
        label="Guard the hires pass",
        help="Also guard the second, high-resolution pass.",
        infotext="SafeGen hires",
    )
    detectors: tuple[str, ...] = _setting(
        ("lexicon", "ngram"),
        label="Detectors",
        help="Who reads the prompt for Auto and for the risky words of 'counterpart'.",
        infotext="SafeGen detectors",
        choices=DETECTORS,
    )
    threshold: float = _setting(
        0.6,
        label="Counts as unsafe from",
        help="How sure the detectors must be, from 0.01 (acts often) to 1 (hardly ever).",
        infotext="SafeGen threshold",
        minimum=0.01,
        maximum=1.0,
        step=0.01,
    )
    safe_text: str = _setting(
        "",
        label="Custom safe text",
        help="With context 'custom': what the picture should be like.",
        infotext="SafeGen safe text",
    )
    unsafe_text: str = _setting(
        "",
        label="Custom unsafe words",
        help="With context 'custom': words that the safe version leaves out, separated by commas. "
        "'Push away' moves away from them too.",
        infotext="SafeGen unsafe text",
    )
    evidence: bool = _setting(
        False,
        label="Image-time check",
        help="Also tell for each picture how far and where the two streams disagreed when the "
        "guard began. Information only.",
        infotext="SafeGen image check",
    )
    mode: str = _setting(
        "",
        label="When it acts",
        help="Auto: when the prompt's words are unsafe. Watch: also when the model itself would "
        "draw something unsafe for it. Always: on every picture, with a context of your choice.",
        infotext="SafeGen mode",
        choices=MODES,
        advanced=False,
    )
    pushed: str = _setting(
        NEEDED,
        label="Push away when",
        help="Needed: where no word could be replaced. Always: one more model row per picture.",
        infotext="SafeGen pushed",
        choices=PUSHED,
    )

    def __post_init__(self) -> None:
        if self.mode == "":  # as before there were modes: a named context guards every picture
            object.__setattr__(self, "mode", WORDS if self.context == AUTO else ALWAYS)
        for name, setting in SETTINGS.items():
            object.__setattr__(self, name, setting.check(getattr(self, name)))
        if self.tau >= self.end:
            raise InvalidValue(
                "tau",
                self.tau,
                f"less than end, which is {self.end:g}",
                plain=told(
                    "{tau} ({start}) must be below {end} ({stop}).",
                    tau=told(SETTINGS["tau"].label),
                    start=f"{self.tau:g}",
                    end=told(SETTINGS["end"].label),
                    stop=f"{self.end:g}",
                ),
            )
        if not self.context.strip():
            raise InvalidValue("context", self.context, "auto, custom or a context's name")
        if self.enabled and self.mode == ALWAYS and self.context == AUTO:
            raise InvalidValue(
                "mode",
                self.mode,
                f"{WORDS} or {WATCH}, since no context is named",
                plain=told(
                    "'always' needs a {context} of your choice.",
                    context=told(SETTINGS["context"].label),
                ),
            )
        # A plan that is off may be half filled in: it is what a form holds until it is switched on.
        if self.enabled and self.context == CUSTOM and not self.safe_text.strip():
            raise InvalidValue(
                "safe_text",
                self.safe_text,
                "a text, since context is custom",
                plain=told(
                    "Fill in {field}, or choose another context.",
                    field=told(SETTINGS["safe_text"].label),
                ),
            )
        if self.enabled and self.strategy == AWAY and not self.push:
            raise InvalidValue(
                "push",
                self.push,
                f"above 0, since strategy is {AWAY}",
                plain=told(
                    "{strategy} 'away' needs {push} above 0.",
                    strategy=told(SETTINGS["strategy"].label),
                    push=told(SETTINGS["push"].label),
                ),
            )

    @property
    def active(self) -> bool:
        """Whether the plan can change a picture at all."""
        return self.enabled and self.weight != 0.0  # what is no number counts as one

    def replace(self, **changes: Any) -> SafetyPlan:
        """A copy with ``changes``; unknown names are refused.

        With another context and no mode, the mode is that context's own again.
        """
        values = self.to_dict()
        if changes.get("context", self.context) != self.context:
            del values["mode"]
        return SafetyPlan.from_dict({**values, **changes})

    def to_dict(self) -> dict[str, Any]:
        """Every setting by name, in plain JSON types."""
        values = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SafetyPlan:
        """The plan that ``values`` describe; what they leave out has its default."""
        for name in values:
            if name not in SETTINGS:
                raise InvalidValue("setting", name, ", ".join(SETTINGS))
        return cls(**values)

    def to_infotext(self) -> dict[str, str]:
        """Infotext keys and values that repeat this plan; empty texts are left out."""
        return {
            setting.infotext: setting.format(getattr(self, name))
            for name, setting in SETTINGS.items()
            if getattr(self, name) != ""
        }

    @classmethod
    def from_infotext(cls, infotext: Mapping[str, Any]) -> SafetyPlan:
        """The plan that `to_infotext` wrote; keys of others are passed over."""
        return cls(
            **{
                name: setting.parse(str(infotext[setting.infotext]))
                for name, setting in SETTINGS.items()
                if setting.infotext in infotext
            }
        )


def _collect() -> Mapping[str, Setting]:
    return MappingProxyType(
        {
            field.name: dataclasses.replace(
                field.metadata["setting"],
                name=field.name,
                kind=type(field.default),
                default=field.default or MODES[0] if field.name == "mode" else field.default,
            )
            for field in dataclasses.fields(SafetyPlan)
        }
    )


SETTINGS: Mapping[str, Setting] = _collect()
"""Every setting by name, in the order in which a user meets them."""
