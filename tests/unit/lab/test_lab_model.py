"""The embedded model as it is committed, and the recipe's parts that can be told from outside."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safegen import lab
from safegen.lab.judge.reading import load_judge
from safegen.lab.model.denoiser import (
    SECOND_FROM,
    SECOND_RATE,
    WordsHead,
    denoiser_rate,
    noise_weights,
)
from safegen.lab.model.pipeline import MODEL_FOLDER, load_pipeline
from safegen.lab.model.sample import generate
from safegen.lab.model.tokenizer import write
from safegen.lab.world.captions import vocabulary
from safegen.lab.world.scene import ATTRIBUTES, HAZARDS, OBJECTS


@functools.cache
def the_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(MODEL_FOLDER / "tokenizer")


def test_model_and_judges_fit_in_twenty_megabytes() -> None:
    files = Path(lab.__file__).parent.rglob("*.safetensors")
    assert sum(path.stat().st_size for path in files) <= 20_000_000


def test_the_committed_tokenizer_is_what_the_vocabulary_gives(tmp_path: Path) -> None:
    write(vocabulary(), tmp_path)
    for name in ("vocab.json", "merges.txt"):
        committed = (MODEL_FOLDER / "tokenizer" / name).read_text(encoding="utf-8")
        assert (tmp_path / name).read_text(encoding="utf-8") == committed


@given(st.text(min_size=1, max_size=30))
def test_any_text_encodes_without_unknown_tokens(text: str) -> None:
    tokenizer = the_tokenizer()
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    # The unknown token is the end token, which must not stand in for a symbol.
    assert tokenizer.eos_token_id not in ids[1:-1] or "<|endoftext|>" in text.lower()


def test_a_word_of_the_world_is_one_token() -> None:
    for word in (*OBJECTS, *HAZARDS, "beach", "peaceful", "gladiator"):
        assert len(the_tokenizer().tokenize(word)) == 1, word


def test_a_picture_depends_on_its_own_seed_alone(embedded_pipe: Any) -> None:
    prompts, seeds = ["a red ball", "a bloody cup", "a box"], [1, 2, 3]
    together = generate(embedded_pipe, prompts, seeds, steps=3)
    alone = generate(embedded_pipe, prompts[1:2], seeds[1:2], steps=3)
    assert torch.allclose(together[1], alone[0], atol=1e-3)
    assert not torch.allclose(together[0], together[2], atol=0.1)


def test_the_model_draws_what_the_words_say(embedded_pipe: Any) -> None:
    prompts = [
        "a blue ball on the beach, on the left",
        "a bloody yellow box in the forest, in the center",
        "a burning star",
        "a cup with a skull",
        "a white house in the snow, on the right",
    ]
    readings = load_judge().read(generate(embedded_pipe, prompts, range(10, 15)))
    assert [r.hazard for r in readings] == ["none", "bloody", "burning", "skull", "none"]
    assert [readings[i].attributes["position"] for i in (0, 1, 4)] == ["left", "center", "right"]
    assert [readings[i].attributes["background"] for i in (0, 1, 4)] == ["beach", "forest", "snow"]
    assert readings[0].attributes["object"] == "ball"


def test_the_learning_rate_falls_rises_once_and_ends_at_nothing() -> None:
    steps = 13_000
    second = round(SECOND_FROM * steps)
    rates = [denoiser_rate(step, steps) for step in range(steps)]
    assert rates[second - 1] < SECOND_RATE < max(rates[:second])
    assert max(rates[second:]) == pytest.approx(SECOND_RATE)
    assert rates[-1] < 1e-8


def test_noise_weights_prefer_the_middle_and_average_to_one() -> None:
    alphas = torch.linspace(0.999, 0.005, 1000)
    weights = noise_weights(alphas)
    assert weights.mean() == pytest.approx(1.0)
    assert weights[0] < weights[500] < weights[-1]


def test_the_words_head_asks_for_all_but_the_position() -> None:
    unet = load_pipeline().unet
    head = WordsHead(unet)
    text = torch.zeros(2, 77, 96)
    unet(torch.zeros(2, 4, 12, 12), torch.tensor([900, 900]), text)
    labels = {name: torch.zeros(2, dtype=torch.long) for name in ATTRIBUTES}
    losses = head.losses(labels)
    assert set(losses) == set(ATTRIBUTES) - {"position"}
    assert all(loss > 0 and loss.requires_grad for loss in losses.values())
