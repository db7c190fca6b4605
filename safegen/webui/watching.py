"""The loaded checkpoint itself, asked what it would draw for a text."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from safegen.detectors.model import ModelDetector
from safegen.errors import Unsupported
from safegen.learned import denoiser
from safegen.learned.encoder import Progress
from safegen.learned.pairs import Pair
from safegen.learned.probe import WATCH, Probe, ProbeStore
from safegen.sentence import told
from safegen.webui import drawing, host, settings

TIMESTEPS = 1000
_known: dict[str, ModelDetector | None] = {}
"""What watches the loaded checkpoint, if anything was fitted there: it remembers its answers."""


class HostDenoiser:
    """The loaded checkpoint's UNet as an `Encoder`: a text is what stands in its middle.

    Its identity is the checkpoint's file and the clip skip. A LoRA changes what the model draws,
    so what is seen with one is not what it was fitted to; that is near enough to be of use.

    Raises:
        Unsupported: The loaded model has no UNet that can be asked.
    """

    def __init__(self) -> None:
        family = host.model_family()
        if drawing.middle() is None or host.is_flow_model():
            raise Unsupported(
                told(
                    "A model of this kind ({family}) can't be asked what it would draw. Use Auto, "
                    "or Always with a context.",
                    family=family or "?",
                )
            )
        self.identity = f"{drawing.checkpoint_digest()}/{denoiser.LAYER}/skip{host.clip_skip()}"
        self.width = 0  # known once it was asked

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See `Encoder.encode`: ``[texts, 1, channels]``."""
        x = denoiser.noise(*drawing.latent_shape()).expand(len(texts), -1, -1, -1)
        when = denoiser.timestep(TIMESTEPS)
        states, mask = denoiser.read(
            drawing.middle(), lambda: drawing.draw(x.contiguous(), when, list(texts)), len(texts)
        )
        self.width = int(states.shape[-1])
        return states, mask


def is_fitted() -> bool:
    """Whether what watches was fitted to the loaded checkpoint; asks nothing of the model.

    Raises:
        Unsupported: It can't be.
    """
    return ProbeStore(settings.contexts_folder(), WATCH).has(HostDenoiser().identity)


def detector() -> ModelDetector | None:
    """What watches the loaded checkpoint; ``None`` if nothing was fitted there.

    Whoever asks must have the model to themselves.

    Raises:
        SafeGenError: What was fitted can't be read.
    """
    key = f"{host.loaded()} {host.clip_skip()}"
    if key not in _known:
        _known.clear()
        try:
            own = HostDenoiser()
        except Unsupported:
            _known[key] = None
            return None
        store = ProbeStore(settings.contexts_folder(), WATCH)
        fitted = store.has(own.identity)
        _known[key] = ModelDetector(store.get(own.identity), own) if fitted else None
    found = _known[key]
    if found is not None:
        found.forget()  # LoRAs may have come or gone since
    return found


def fit(pairs: Sequence[Pair] | None = None, progress: Progress | None = None) -> Probe:
    """Fit what watches the loaded checkpoint, to ``pairs`` or to the built-in ones.

    Whoever asks must have the model to themselves.

    Raises:
        SafeGenError: The model can't be asked, or the pairs are of no use.
    """
    store = ProbeStore(settings.contexts_folder(), WATCH)
    own = HostDenoiser()
    fitted = store.fit(own, pairs, progress=progress)
    _known.clear()
    return fitted
