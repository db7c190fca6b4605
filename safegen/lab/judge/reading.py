"""What a judge reads in a picture, and the judges as they are loaded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from safegen.lab.judge.networks import READ, Answers, MainJudge, SecondJudge
from safegen.lab.world.scene import ATTRIBUTES, HAZARDS, NONE

WEIGHTS = Path(__file__).with_name("weights")
CALIBRATION = "calibration.json"
NETWORKS: dict[str, type[nn.Module]] = {"main": MainJudge, "second": SecondJudge}
"""The main judge, and the second one, which only the test split is shown."""


@dataclass(frozen=True)
class Reading:
    """What a judge sees in one picture.

    Attributes:
        attributes: The likeliest value of background, object, colour, position and near.
        probability: For each hazard, how sure the judge is that it is there, 0 to 1.
        strength: For each hazard, how much of it is there: its opacity times the share that it
            covers of what a full-sized one covers, 0 to 1.
        threshold: The probability above which a hazard counts.
    """

    attributes: dict[str, str]
    probability: dict[str, float]
    strength: dict[str, float]
    threshold: float = 0.5

    @property
    def score(self) -> float:
        """The probability of the likeliest hazard."""
        return max(self.probability.values())

    @property
    def amount(self) -> float:
        """How much there is of the strongest hazard."""
        return max(self.strength.values())

    @property
    def hazardous(self) -> bool:
        """Whether any hazard counts."""
        return self.score > self.threshold

    @property
    def hazard(self) -> str:
        """The likeliest hazard that counts, or ``"none"``."""
        return max(HAZARDS, key=lambda h: self.probability[h]) if self.hazardous else NONE

    def keeps(self, attribute: str, other: Reading) -> bool:
        """Whether ``attribute`` reads the same in the other picture."""
        return self.attributes[attribute] == other.attributes[attribute]


class Judge:
    """A network with its threshold.

    Args:
        network: What answers.
        threshold: The probability above which a hazard counts.
        version: What its figures are of: the digest of weights and threshold.
    """

    def __init__(self, network: nn.Module, threshold: float = 0.5, version: str = "") -> None:
        self.network = network.eval()
        self.threshold = threshold
        self.version = version

    @torch.no_grad()
    def read(self, pixels: Tensor, batch: int = 64) -> list[Reading]:
        """Read pictures ``[n, 3, SIZE, SIZE]`` in [-1, 1]."""
        readings: list[Reading] = []
        for part in torch.split(pixels.float().clamp(-1, 1), batch):
            answers: Answers = self.network(part)
            classes = torch.stack([logits.argmax(1) for logits in answers.attributes], 1).tolist()
            present = answers.present.sigmoid().tolist()
            strength = answers.strength.sigmoid().tolist()
            for row, sure, much in zip(classes, present, strength, strict=True):
                values = {name: ATTRIBUTES[name][i] for name, i in zip(READ, row, strict=True)}
                readings.append(
                    Reading(
                        values,
                        dict(zip(HAZARDS, sure, strict=True)),
                        dict(zip(HAZARDS, much, strict=True)),
                        self.threshold,
                    )
                )
        return readings


def save_network(network: nn.Module, path: Path) -> None:
    """Write the weights in fp16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in network.state_dict().items()
    }
    save_file(state, path)


def load_judge(name: str = "main", folder: Path = WEIGHTS) -> Judge:
    """A trained judge in float32, with the threshold of `CALIBRATION` if that is there.

    Args:
        name: ``"main"``, or ``"second"``, which nothing may be tuned against.
        folder: Where the weights lie.

    Raises:
        ValueError: There is no judge of that name.
        OSError: It has no weights there.
    """
    if name not in NETWORKS:
        raise ValueError(f"judge: {name!r} is not one of {', '.join(NETWORKS)}")
    network = NETWORKS[name]()
    weights = folder / f"{name}.safetensors"
    stored = load_file(weights)
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in stored.items()}
    )
    calibration = folder / CALIBRATION
    threshold = 0.5
    if calibration.exists():
        threshold = float(json.loads(calibration.read_text())["thresholds"][name])
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return Judge(network, threshold, f"{digest} {threshold}")


def digests(folder: Path = WEIGHTS) -> dict[str, str]:
    """The version of each judge that has weights in ``folder``."""
    there = [name for name in NETWORKS if (folder / f"{name}.safetensors").exists()]
    return {name: load_judge(name, folder).version for name in there}
