"""The embedded model in Stable Diffusion 1.5's shapes draws what the small one draws."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from safegen.cli import main
from safegen.errors import InvalidValue
from safegen.lab.model.pipeline import MODEL_FOLDER, MODEL_NAME
from safegen.lab.model.sd15 import checkpoint, words
from safegen.lab.model.sd15.autoencoder import widen_autoencoder
from safegen.lab.model.sd15.text import CONFIG, widen_text
from safegen.lab.model.tokenizer import write_merges

STEPS, GUIDANCE = 12, 2.5


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary as large as CLIP's: this world's merges, then pairs of bytes to fill it."""
    path = tmp_path_factory.mktemp("clip") / words.FILE
    own = (MODEL_FOLDER / "tokenizer" / "merges.txt").read_text(encoding="utf-8").split("\n")[1:]
    merges = [line for line in own if line]
    known = {"".join(line.split()) for line in merges}
    symbols = list(transformers.models.clip.tokenization_clip.bytes_to_unicode().values())
    pairs = (f"{a} {b}" for a, b in itertools.product(symbols, repeat=2) if a + b not in known)
    merges += itertools.islice(pairs, words.MERGES - len(merges))
    path.write_bytes(gzip.compress("\n".join(["#version", *merges]).encode()))
    return path


@pytest.fixture(scope="module")
def clip(vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_merges(words.read_merges(vocabulary), folder)
    return transformers.CLIPTokenizer.from_pretrained(folder, model_max_length=77)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return load_file(MODEL_FOLDER / f"{MODEL_NAME}.safetensors")


def test_the_tokenizer_is_as_large_as_clips(clip: Any) -> None:
    assert len(clip) == words.SIZE
    assert (clip.bos_token_id, clip.eos_token_id) == (words.START, words.END)


@torch.no_grad()
def test_the_text_encoder_says_the_same(
    clip: Any, embedded_pipe: Any, weights: dict[str, Any]
) -> None:
    key = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
    wide = widen_text(weights, words.embeddings(weights[key], embedded_pipe.tokenizer, clip))
    model = transformers.CLIPTextModel(transformers.CLIPTextConfig(**CONFIG)).eval()
    start = len("cond_stage_model.transformer.")
    missing, unknown = model.load_state_dict(
        {
            name[start:]: weight.float()
            for name, weight in wide.items()
            if weight.dtype != torch.long
        },
        strict=False,
    )
    assert not missing
    assert not unknown
    prompts = ["", "a bloody red ball on the beach, on the left", "a burning house with a skull"]

    def encoded(tokenizer: Any, encoder: Any) -> torch.Tensor:
        ids = tokenizer(prompts, padding="max_length", max_length=77, return_tensors="pt")
        return encoder(ids.input_ids).last_hidden_state

    narrow = encoded(embedded_pipe.tokenizer, embedded_pipe.text_encoder)
    broad = encoded(clip, model)
    torch.testing.assert_close(broad, narrow.repeat_interleave(8, -1), atol=2e-3, rtol=1e-3)


def test_a_word_of_several_tokens_is_carried_by_its_first(clip: Any, embedded_pipe: Any) -> None:
    """A vocabulary that has never heard of one word of the world."""

    class Stranger:
        def get_vocab(self) -> dict[str, int]:
            return clip.get_vocab()

        def tokenize(self, text: str) -> list[str]:
            return ["sk", "u", "l", "l</w>"] if text == "skull" else clip.tokenize(text)

    table = embedded_pipe.text_encoder.get_input_embeddings().weight.detach()
    known, numbers = embedded_pipe.tokenizer.get_vocab(), clip.get_vocab()
    wide = words.embeddings(table, embedded_pipe.tokenizer, Stranger())
    assert torch.equal(wide[numbers["sk"]], table[known["skull</w>"]])
    for piece in ("u", "l", "l</w>"):
        assert torch.equal(wide[numbers[piece]], table[known["picture</w>"]])
    assert torch.equal(wide[numbers["ball</w>"]], table[known["ball</w>"]])


@torch.no_grad()
def test_the_autoencoder_does_the_same(embedded_pipe: Any, weights: dict[str, Any]) -> None:
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    scale = embedded_pipe.vae.config.scaling_factor
    config = {k: v for k, v in checkpoint._VAE.items() if not k.startswith("_")}
    wide = diffusers.AutoencoderKL(**config).eval()
    converted = convert_ldm_vae_checkpoint(widen_autoencoder(weights, scale), config)
    wide.load_state_dict({name: weight.float() for name, weight in converted.items()})
    from safegen.lab.model.data import picture_seed, sample_of, to_tensor
    from safegen.lab.world.picture import render

    drawn = [np.asarray(render(sample_of(i).scene, picture_seed(i))) for i in (3, 11)]
    pixels = to_tensor(np.stack(drawn).astype(np.uint8))
    narrow = embedded_pipe.vae.encode(pixels).latent_dist.mean * scale
    broad = wide.encode(pixels).latent_dist.mean * 0.18215
    torch.testing.assert_close(broad, narrow, atol=0.01, rtol=0.01)
    one = embedded_pipe.vae.decode(narrow / scale).sample
    other = wide.decode(narrow / 0.18215).sample
    assert (one - other).abs().max() * 127.5 < 1


@pytest.mark.slow
def test_same_prompt_same_seed_same_picture(
    vocabulary: Path, embedded_pipe: Any, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    arguments = ["demo", "install", str(tmp_path), "--sd15", "--clip-vocabulary", str(vocabulary)]
    assert main(arguments) == 0
    models = tmp_path / "models"
    wide = diffusers.StableDiffusionPipeline.from_single_file(
        str(models / "Stable-diffusion" / f"{checkpoint.NAME}.safetensors"),
        config=str(models / checkpoint.NAME),
        local_files_only=True,
        safety_checker=None,
    )
    wide.set_progress_bar_config(disable=True)
    shapes = {name: tuple(p.shape) for name, p in wide.unet.named_parameters()}
    assert shapes["conv_in.weight"] == (320, 4, 3, 3)
    assert wide.text_encoder.config.hidden_size == 768

    def pictures(pipe: Any) -> Any:
        made = pipe(
            ["a bloody red ball on the beach, on the left", "a cup beside a campfire"],
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            height=96,
            width=96,
            generator=[torch.Generator().manual_seed(seed) for seed in (7, 8)],
            output_type="np",
        )
        return np.round(made.images * 255)

    one, other = pictures(embedded_pipe), pictures(wide)
    assert np.ptp(one[0]) > 100  # there is something to see
    assert np.abs(one[0] - one[1]).mean() > 10  # and not the same thing twice
    assert np.abs(one - other).max() <= 2


def test_a_vocabulary_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="bpe_simple_vocab"):
        words.find_vocabulary(tmp_path, tmp_path / "nothing.gz")
    other = tmp_path / "other.gz"
    other.write_bytes(gzip.compress(b"#version\na b\n"))
    with pytest.raises(InvalidValue, match="48894 merges"):
        words.read_merges(other)
    other.write_text("no gzip")
    with pytest.raises(InvalidValue, match="gzip"):
        words.read_merges(other)


def test_the_hosts_own_environment_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "PACKAGES", ())
    folder = tmp_path / "venv" / "lib" / "python3.10" / "site-packages" / "open_clip"
    with pytest.raises(InvalidValue, match="open_clip_torch"):
        words.find_vocabulary(tmp_path)
    folder.mkdir(parents=True)
    (folder / words.FILE).write_bytes(b"")
    assert words.find_vocabulary(tmp_path) == folder / words.FILE
