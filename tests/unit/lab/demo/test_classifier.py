"""The judge, on renders it has never seen."""

from __future__ import annotations

import json
import random

import pytest
import torch

pytest.importorskip("diffusers")

from safetensors import safe_open

from safegen.lab.demo.classifier import load, read
from safegen.lab.demo.model import MODEL_FOLDER
from safegen.lab.demo.world import ATTRIBUTES, random_scene, render, to_array


def test_its_stored_accuracy_is_over_the_bar() -> None:
    with safe_open(MODEL_FOLDER / "classifier.safetensors", framework="numpy") as file:
        stored = json.loads(file.metadata()["accuracy"])
    assert stored.keys() == ATTRIBUTES.keys()
    assert min(stored.values()) >= 0.98, stored


def test_a_reading_does_not_depend_on_the_batch() -> None:
    classifier = load(MODEL_FOLDER / "classifier.safetensors")
    rng = random.Random(1)
    scenes = [random_scene(rng) for _ in range(6)]
    pixels = torch.stack([torch.from_numpy(to_array(render(scene, rng))) for scene in scenes])
    together = read(classifier, pixels)
    assert together == [read(classifier, row[None])[0] for row in pixels]
    assert together == read(classifier, pixels, batch=2)
