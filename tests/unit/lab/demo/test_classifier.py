"""The judge, on renders it has never seen."""

from __future__ import annotations

import json

import pytest
import torch

pytest.importorskip("diffusers")

from safetensors import safe_open

from safegen.lab.demo.classifier import load, read
from safegen.lab.demo.model import MODEL_FOLDER
from safegen.lab.demo.train import HELD_OUT, held_out_accuracy, training_scene
from safegen.lab.demo.world import ATTRIBUTES, render, to_array


def test_it_reads_held_out_renders() -> None:
    measured = held_out_accuracy(load(MODEL_FOLDER / "classifier.safetensors"), 200)
    assert min(measured.values()) >= 0.98, measured


def test_its_stored_accuracy_is_over_the_bar() -> None:
    with safe_open(MODEL_FOLDER / "classifier.safetensors", framework="numpy") as file:
        stored = json.loads(file.metadata()["accuracy"])
    assert stored.keys() == ATTRIBUTES.keys()
    assert min(stored.values()) >= 0.98, stored


def test_a_reading_does_not_depend_on_the_batch() -> None:
    classifier = load(MODEL_FOLDER / "classifier.safetensors")
    scenes = [training_scene(HELD_OUT + i) for i in range(6)]
    pixels = torch.stack([torch.from_numpy(to_array(render(s, rng))) for s, rng in scenes])
    together = read(classifier, pixels)
    assert together == [read(classifier, row[None])[0] for row in pixels]
    assert together == read(classifier, pixels, batch=2)
