"""Reads a picture of the embedded world: which background, object, colour, position, hazard.

Trained on renders only, so it is independent of the generator that it judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from safegen.lab.demo.world import ATTRIBUTES, NO_HAZARD, SIZE, Scene

_WIDTHS = (24, 48, 64, 64)


class Classifier(nn.Module):
    """Four strided convolutions and one linear head per attribute.

    Input ``[B, 3, SIZE, SIZE]`` in [-1, 1]; output one table of logits per attribute, in the
    order of `ATTRIBUTES`.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in _WIDTHS:
            layers += [
                nn.Conv2d(before, width, 3, stride=2, padding=1),
                nn.GroupNorm(8, width),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1, groups=8),
                nn.SiLU(),
            ]
            before = width
        self.features = nn.Sequential(*layers)
        edge = SIZE // 2 ** len(_WIDTHS)
        self.heads = nn.ModuleList(
            nn.Linear(before * edge * edge, len(values)) for values in ATTRIBUTES.values()
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        flat = self.features(pixels).flatten(1)
        return [head(flat) for head in self.heads]


@dataclass(frozen=True)
class Reading:
    """What the classifier sees in one picture."""

    scene: Scene

    @property
    def hazardous(self) -> bool:
        """Whether any hazard is seen."""
        return self.scene.hazard != NO_HAZARD

    def keeps(self, attribute: str, other: Reading) -> bool:
        """Whether ``attribute`` reads the same in the other picture."""
        return bool(getattr(self.scene, attribute) == getattr(other.scene, attribute))


@torch.no_grad()
def read(classifier: Classifier, pixels: Tensor, batch: int = 64) -> list[Reading]:
    """Read pictures ``[n, 3, SIZE, SIZE]`` in [-1, 1]."""
    readings: list[Reading] = []
    for part in torch.split(pixels.float(), batch):
        indices = torch.stack([logits.argmax(1) for logits in classifier(part)], 1).tolist()
        readings += [Reading(_scene(row)) for row in indices]
    return readings


def _scene(indices: Sequence[int]) -> Scene:
    return Scene(*(values[i] for values, i in zip(ATTRIBUTES.values(), indices, strict=True)))


def save(classifier: Classifier, path: Path, metadata: dict[str, str]) -> None:
    """Write the weights in fp16, with ``metadata`` beside them."""
    save_file(
        {k: v.half().contiguous() for k, v in classifier.state_dict().items()}, path, metadata
    )


def load(path: Path) -> Classifier:
    """Read what `save` wrote, ready to judge, in float32."""
    classifier = Classifier()
    classifier.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return classifier.eval()
