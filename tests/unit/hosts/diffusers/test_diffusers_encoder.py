"""A diffusers pipeline's text encoders as an `Encoder`, and learning in them end to end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from tiny_pipelines import tiny_text_model

from safegen.cli import main
from safegen.cli.models import load_encoder
from safegen.errors import Unsupported
from safegen.hosts.diffusers import PipelineEncoder
from safegen.hosts.diffusers.encoding import encode_safe
from safegen.lab.embedded import FOLDER as MODEL_FOLDER
from safegen.lab.embedded import load_pipeline
from safegen.learned.encoder import Encoder
from safegen.learned.store import LearnedStore, NotLearned, learn_from_pairs

PAIRS = [(f"a bloody {c} ball", f"a clean {c} ball") for c in ("red", "blue", "green", "white")]


@pytest.fixture(scope="module")
def double(embedded_pipe: Any) -> Any:
    """SDXL's two text encoders in small."""
    from diffusers import StableDiffusionXLPipeline

    return StableDiffusionXLPipeline(
        vae=None,
        unet=None,
        scheduler=None,
        text_encoder=tiny_text_model(transformers.CLIPTextModel, 12, 1),
        text_encoder_2=tiny_text_model(transformers.CLIPTextModelWithProjection, 20, 2),
        tokenizer=embedded_pipe.tokenizer,
        tokenizer_2=embedded_pipe.tokenizer,
    )


def test_gives_what_the_denoiser_is_conditioned_on(embedded_pipe: Any) -> None:
    from safegen.conditioning.strategies import SafeConditioning

    encoder = PipelineEncoder(embedded_pipe)
    assert isinstance(encoder, Encoder)
    texts = ["a red ball", "a bloody cup on the beach"]
    states, mask = encoder.encode(texts)
    expected = encode_safe(embedded_pipe, [SafeConditioning("prepend", text) for text in texts])
    assert torch.equal(states, expected.states)
    assert states.shape == (2, 77, encoder.width)
    # start mark, three words, closing mark, padding
    assert mask[0].int().tolist() == [0, 1, 1, 1, 1] + [0] * 72
    assert mask[1].sum() == 7


def test_identity_tells_weights_and_layers_apart(embedded_pipe: Any) -> None:
    known = PipelineEncoder(embedded_pipe).identity
    assert PipelineEncoder(load_pipeline()).identity == known
    assert PipelineEncoder(embedded_pipe, clip_skip=1).identity != known
    other = load_pipeline()
    with torch.no_grad():
        next(other.text_encoder.parameters()).mul_(1.5)
    assert PipelineEncoder(other).identity != known


def test_two_encoders_are_one_space_with_both_identities(double: Any) -> None:
    encoder = PipelineEncoder(double)
    assert encoder.width == 32
    assert "CLIPTextModel:" in encoder.identity
    assert "+CLIPTextModelWithProjection:" in encoder.identity
    found = learn_from_pairs(PAIRS, encoder)
    assert found.direction.shape == (32,)
    states, _ = encoder.encode([PAIRS[0][0]])
    from safegen.conditioning.edits import MoveAlong

    moved = MoveAlong(found.direction, 1.0, found.start)(states)
    assert torch.equal(moved[:, 0], states[:, 0])  # the start mark of both encoders
    assert not torch.isclose(moved[:, 1:], states[:, 1:]).all(-1).any()
    # A change in either encoder makes it another space.
    with torch.no_grad():
        next(double.text_encoder_2.parameters()).mul_(1.5)
    assert PipelineEncoder(double).identity != encoder.identity


def test_a_pipeline_without_a_text_encoder_is_refused() -> None:
    with pytest.raises(Unsupported):
        PipelineEncoder(SimpleNamespace(text_encoder=None))


def test_learn_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], embedded_pipe: Any
) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("unsafe,safe\n" + "".join(f"{u},{s}\n" for u, s in PAIRS))
    command = ["contexts", "--folder", str(tmp_path / "own"), "learn"]
    assert main([*command, "violence", "--pairs", str(pairs), "--rank", "2"]) == 0
    assert "from 4 pairs, rank " in capsys.readouterr().out
    store, identity = LearnedStore(tmp_path / "own"), PipelineEncoder(embedded_pipe).identity
    first = store.get("violence", identity)
    assert main([*command, "violence", "--clip-skip", "1"]) == 0  # from the kept pairs
    assert store.get("violence", PipelineEncoder(embedded_pipe, 1).identity).digest == first.digest
    with pytest.raises(NotLearned):
        store.get("violence", "another")
    for wrong in (
        ["nothing"],
        ["violence", "--model", str(tmp_path / "missing")],
        ["violence", "--model", str(tmp_path)],
        ["violence", "--pairs", str(tmp_path / "missing.csv")],
        ["violence", "--rank", "0"],
    ):
        assert main([*command, *wrong]) == 2


def test_a_folder_is_loaded_without_its_unet(embedded_pipe: Any, tmp_path: Path) -> None:
    for name in ("tokenizer", "text_encoder"):
        getattr(embedded_pipe, name).save_pretrained(tmp_path / name)
    (tmp_path / "model_index.json").write_text(
        '{"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.36.0",'
        ' "text_encoder": ["transformers", "CLIPTextModel"],'
        ' "tokenizer": ["transformers", "CLIPTokenizer"],'
        ' "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],'
        ' "scheduler": ["diffusers", "DDIMScheduler"]}'
    )
    assert load_encoder(str(tmp_path)).identity == PipelineEncoder(embedded_pipe).identity


def test_files_that_can_hold_programs_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"\x80\x04")
    with pytest.raises(Unsupported, match="programs"):
        load_encoder(str(tmp_path / "model.ckpt"))
    assert MODEL_FOLDER.is_dir()
