"""The two judges' networks: same questions, different eyes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safegen.lab.world.scene import ATTRIBUTES, HAZARDS

READ = tuple(name for name in ATTRIBUTES if name != "hazard")
"""The attributes with one class each; hazards are graded."""


@dataclass(frozen=True)
class Answers:
    """What a network says of a batch, in logits.

    Attributes:
        attributes: One table ``[B, classes]`` for each name of `READ`.
        present: Whether each of `HAZARDS` is there, ``[B, 3]``.
        strength: How much of each is there, ``[B, 3]``.
    """

    attributes: list[Tensor]
    present: Tensor
    strength: Tensor

    def __iter__(self) -> Iterator[Tensor]:
        yield from (*self.attributes, self.present, self.strength)


class _Heads(nn.Module):
    """Linear answers: attributes from what is where, hazards also from what is anywhere."""

    def __init__(self, placed: int, anywhere: int) -> None:
        super().__init__()
        self.attributes = nn.ModuleList(nn.Linear(placed, len(ATTRIBUTES[name])) for name in READ)
        self.present = nn.Linear(placed + anywhere, len(HAZARDS))
        self.strength = nn.Linear(placed + anywhere, len(HAZARDS))

    def forward(self, placed: Tensor, anywhere: Tensor) -> Answers:
        both = torch.cat([placed, anywhere], 1)
        return Answers(
            [head(placed) for head in self.attributes], self.present(both), self.strength(both)
        )


class MainJudge(nn.Module):
    """Four strided convolutions over the picture as it is.

    Input ``[B, 3, 96, 96]`` in [-1, 1].
    """

    def __init__(self, widths: tuple[int, ...] = (24, 48, 64, 80)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in widths:
            layers += [
                nn.Conv2d(before, width, 3, stride=2, padding=1),
                nn.GroupNorm(8, width),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1),
                nn.GroupNorm(8, width),
                nn.SiLU(),
            ]
            before = width
        self.features = nn.Sequential(*layers)
        self.heads = _Heads(before * 36, 2 * before)

    def forward(self, pixels: Tensor) -> Answers:
        seen = self.features(pixels)
        anywhere = torch.cat([seen.amax((2, 3)), seen.mean((2, 3))], 1)
        answers: Answers = self.heads(seen.flatten(1), anywhere)
        return answers


class _Residual(nn.Module):
    def __init__(self, before: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.ReLU(),
            nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )
        self.skip: nn.Module = nn.Identity()
        if before != width or stride != 1:
            self.skip = nn.Conv2d(before, width, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.skip(x) + self.body(x))


class SecondJudge(nn.Module):
    """A residual network over brightness, two colour differences, and each pixel's difference
    from its surroundings, in patches of four by four.

    Input ``[B, 3, 96, 96]`` in [-1, 1].
    """

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(6 * 16, 40, 1)
        self.body = nn.Sequential(
            _Residual(40, 40),
            _Residual(40, 40),
            _Residual(40, 72, stride=2),
            _Residual(72, 72),
            nn.BatchNorm2d(72),
            nn.ReLU(),
        )
        self.heads = _Heads(72 * 24, 72)

    def forward(self, pixels: Tensor) -> Answers:
        red, green, blue = pixels.unbind(1)
        opponent = torch.stack([(red + green + blue) / 3, red - green, (red + green) / 2 - blue], 1)
        around = F.avg_pool2d(F.pad(opponent, (4, 4, 4, 4), mode="replicate"), 9, stride=1)
        both = torch.cat([opponent, 2 * (opponent - around)], 1)
        seen = self.body(self.patches(F.pixel_unshuffle(both, 4)))
        answers: Answers = self.heads(
            F.adaptive_avg_pool2d(seen, (4, 6)).flatten(1), seen.amax((2, 3))
        )
        return answers
