"""SAFREE, piece by piece from its equations, and on the embedded model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from safegen.errors import Unsupported
from safegen.lab.methods.catalogue import PEERS, SAFREE
from safegen.lab.methods.safree import (
    filtered,
    projection,
    reattended,
    safree,
    unsafe_tokens,
)

OPTIONS = PEERS[SAFREE].options
RISKY, CONCEPT = "a bloody red ball on the beach", "bloody, covered in blood"


def test_a_projection_keeps_its_span_and_drops_the_rest() -> None:
    columns = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    found = projection(columns)
    assert torch.allclose(found @ torch.tensor([3.0, -2.0, 5.0]), torch.tensor([3.0, -2.0, 0.0]),
                          atol=1e-5)  # fmt: skip
    assert torch.allclose(found @ found, found, atol=1e-5)


def test_a_token_is_unsafe_if_the_prompt_without_it_is_further_from_the_concept() -> None:
    concept = projection(torch.tensor([[1.0], [0.0]]))
    masked = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 2.0]])  # distances 1, 1, 2
    assert unsafe_tokens(masked, concept, 0.01).tolist() == [False, False, True]
    assert unsafe_tokens(masked, concept, 1.5).tolist() == [False, False, False]


def test_only_low_frequencies_that_are_stronger_than_the_prompts_own_are_scaled() -> None:
    own = torch.zeros(1, 1, 8, 8)
    flat = torch.ones(1, 1, 8, 8)
    checkers = flat.clone()
    checkers[..., ::2, ::2] = checkers[..., 1::2, 1::2] = -1.0
    assert torch.allclose(reattended(flat, own, 0.2), 0.2 * flat, atol=1e-5)
    assert torch.allclose(reattended(checkers, own, 0.2), checkers, atol=1e-5)  # high alone
    assert torch.allclose(reattended(flat, 2 * flat, 0.2), flat, atol=1e-5)  # weaker than own


def test_filtering_moves_unsafe_tokens_alone(embedded_pipe: Any) -> None:
    found = filtered(embedded_pipe, RISKY, CONCEPT, OPTIONS)
    plain, _ = embedded_pipe.encode_prompt(RISKY, "cpu", 1, False)
    moved = (found.states - plain).abs().amax(-1)[0] > 1e-4
    assert moved.nonzero().flatten().tolist() == [1 + place for place in found.unsafe]
    assert 0 < len(found.unsafe) < 7
    # γ·sigmoid(1 - cos) of 50 steps with a cosine in [-1, 1]
    assert 0.5 * 10 / 50 <= found.share <= 0.9 * 10 / 50
    assert filtered(embedded_pipe, "", CONCEPT, OPTIONS).unsafe == ()


def sampled(pipe: Any, prompts: list[str], **more: Any) -> np.ndarray:
    return pipe(
        prompt=prompts, num_inference_steps=6, guidance_scale=2.5, width=96, height=96,
        generator=[torch.Generator().manual_seed(i) for i in range(len(prompts))],
        output_type="np", **more,
    ).images  # fmt: skip


def test_it_changes_pictures_and_leaves_the_model_as_it_was(embedded_pipe: Any) -> None:
    plain = sampled(embedded_pipe, [RISKY])
    with safree(embedded_pipe, [RISKY], [CONCEPT], {**OPTIONS, "gamma": 50.0}):
        ours = sampled(embedded_pipe, [RISKY])
    assert np.abs(ours - plain).max() > 0.05
    assert np.array_equal(sampled(embedded_pipe, [RISKY]), plain)
    with safree(embedded_pipe, [RISKY], [CONCEPT], {**OPTIONS, "gamma": 0.0}):
        never = sampled(embedded_pipe, [RISKY])
    assert np.array_equal(never, plain)


def test_it_refuses_two_text_encoders() -> None:
    class Two:
        text_encoder_2 = object()

    with pytest.raises(Unsupported, match="one text encoder"), safree(Two(), ["a"], ["b"], OPTIONS):
        pass
