"""The SD1 layout: names, shapes and the yaml that a WebUI reads beside the checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

diffusers = pytest.importorskip("diffusers")
yaml = pytest.importorskip("yaml")

from safetensors.torch import load_file  # noqa: E402

from safegen.errors import InvalidValue  # noqa: E402
from safegen.lab.demo.architecture import UNET_CONFIG, VAE_CONFIG  # noqa: E402
from safegen.lab.demo.layout import sd1_yaml, to_sd1, unet_to_sd1, vae_to_sd1  # noqa: E402
from safegen.lab.demo.model import MODEL_FOLDER, MODEL_NAME, install  # noqa: E402


def test_the_file_read_back_by_diffusers_is_what_was_written(embedded_pipe: Any) -> None:
    """diffusers' own converter reads SD1 names; ours wrote them: each undoes the other."""
    stored = load_file(MODEL_FOLDER / f"{MODEL_NAME}.safetensors")
    pipe = embedded_pipe
    again = to_sd1(pipe.vae.state_dict(), pipe.unet.state_dict(), pipe.text_encoder.state_dict())
    assert again.keys() == stored.keys()
    assert all(torch.equal(again[key], stored[key]) for key in stored)


def test_every_tensor_has_a_place_of_its_own() -> None:
    unet = diffusers.UNet2DConditionModel(**UNET_CONFIG).state_dict()
    vae = diffusers.AutoencoderKL(**VAE_CONFIG).state_dict()
    assert len(unet_to_sd1(unet)) == len(unet)
    assert len(vae_to_sd1(vae)) == len(vae)


def test_names_are_those_of_sd1() -> None:
    names = set(load_file(MODEL_FOLDER / f"{MODEL_NAME}.safetensors"))
    for name in (
        "model.diffusion_model.input_blocks.0.0.weight",
        "model.diffusion_model.time_embed.0.weight",
        "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight",
        "model.diffusion_model.out.2.weight",
        "first_stage_model.encoder.down.0.block.0.conv1.weight",
        "first_stage_model.decoder.up.3.block.0.conv1.weight",
        "first_stage_model.decoder.mid.attn_1.q.weight",
        "first_stage_model.quant_conv.weight",
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
    ):
        assert name in names, name


def test_the_yaml_describes_the_same_network() -> None:
    params = yaml.safe_load(sd1_yaml(0.25, "/some/where/text"))["model"]["params"]
    assert params["scale_factor"] == 0.25
    unet = params["unet_config"]["params"]
    widths = [unet["model_channels"] * m for m in unet["channel_mult"]]
    assert widths == list(UNET_CONFIG["block_out_channels"])
    assert unet["context_dim"] == UNET_CONFIG["cross_attention_dim"]
    # attention_resolutions are downsampling factors: 1, 2, 4 for the three levels
    crossed = ["CrossAttn" in kind for kind in UNET_CONFIG["down_block_types"]]
    assert [2**i in unet["attention_resolutions"] for i in range(len(widths))] == crossed
    vae = params["first_stage_config"]["params"]["ddconfig"]
    assert [vae["ch"] * m for m in vae["ch_mult"]] == list(VAE_CONFIG["block_out_channels"])
    assert params["cond_stage_config"]["params"]["version"] == "/some/where/text"


def test_the_committed_model_is_small() -> None:
    total = sum(path.stat().st_size for path in MODEL_FOLDER.rglob("*") if path.is_file())
    assert total <= 16 * 2**20


def test_install_puts_everything_where_a_webui_looks(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    checkpoint, config, text = install(tmp_path)
    assert checkpoint == tmp_path / "models/Stable-diffusion/safegen-world.safetensors"
    assert checkpoint.read_bytes() == (MODEL_FOLDER / checkpoint.name).read_bytes()
    params = yaml.safe_load(config.read_text())["model"]["params"]
    assert Path(params["cond_stage_config"]["params"]["version"]) == text.resolve()
    from transformers import CLIPTextConfig, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(text)
    assert len(tokenizer) == CLIPTextConfig.from_pretrained(text).vocab_size
    assert not list(tmp_path.rglob("*.partial"))


def test_install_where_there_is_no_webui_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="models"):
        install(tmp_path)
    assert list(tmp_path.iterdir()) == []
