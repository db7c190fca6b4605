"""The SD1 layout: names, shapes and the yaml that a WebUI reads beside the checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file

from safegen.errors import InvalidValue
from safegen.lab.model.architecture import TEXT_CONFIG, UNET_CONFIG, VAE_CONFIG
from safegen.lab.model.denoiser import make_text_encoder
from safegen.lab.model.layout import sd1_yaml, to_sd1, unet_to_sd1, vae_to_sd1
from safegen.lab.model.pipeline import MODEL_NAME, export, install, load_pipeline
from safegen.lab.model.tokenizer import write
from safegen.lab.world.captions import vocabulary


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model, exported."""
    folder = tmp_path_factory.mktemp("model")
    size = write(vocabulary(), folder / "from")
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(**VAE_CONFIG)
    unet = diffusers.UNet2DConditionModel(**UNET_CONFIG)
    export(folder / "from", folder / "to", vae, unet, make_text_encoder(size), 0.25)
    return folder / "to"


@pytest.fixture(scope="module")
def pipe(exported: Path) -> Any:
    return load_pipeline(exported)


def test_the_file_read_back_by_diffusers_is_what_was_written(exported: Path, pipe: Any) -> None:
    """diffusers' own converter reads SD1 names; ours wrote them: each undoes the other."""
    stored = load_file(exported / f"{MODEL_NAME}.safetensors")
    again = to_sd1(pipe.vae.state_dict(), pipe.unet.state_dict(), pipe.text_encoder.state_dict())
    assert again.keys() == stored.keys()
    assert all(torch.equal(again[key], stored[key]) for key in stored)


def test_every_tensor_has_a_place_of_its_own(pipe: Any) -> None:
    unet, vae = pipe.unet.state_dict(), pipe.vae.state_dict()
    assert len(unet_to_sd1(unet)) == len(unet)
    assert len(vae_to_sd1(vae)) == len(vae)


def test_the_yaml_describes_the_same_network() -> None:
    params = yaml.safe_load(sd1_yaml(0.25, "/some/where/text"))["model"]["params"]
    assert params["scale_factor"] == 0.25
    unet = params["unet_config"]["params"]
    widths = [unet["model_channels"] * m for m in unet["channel_mult"]]
    assert widths == list(UNET_CONFIG["block_out_channels"])
    assert unet["num_heads"] == UNET_CONFIG["attention_head_dim"]
    assert unet["context_dim"] == UNET_CONFIG["cross_attention_dim"]
    crossed = ["CrossAttn" in kind for kind in UNET_CONFIG["down_block_types"]]
    assert [2**i in unet["attention_resolutions"] for i in range(len(widths))] == crossed
    vae = params["first_stage_config"]["params"]["ddconfig"]
    assert [vae["ch"] * m for m in vae["ch_mult"]] == list(VAE_CONFIG["block_out_channels"])


def test_widths_and_heads_can_grow_to_sd15s() -> None:
    for width, wide in zip(UNET_CONFIG["block_out_channels"], (320, 640, 1280), strict=True):
        assert wide % width == 0
    assert UNET_CONFIG["attention_head_dim"] == 8
    assert 768 % TEXT_CONFIG["hidden_size"] == 0
    assert TEXT_CONFIG["num_attention_heads"] == 12


def test_install_puts_everything_where_a_webui_looks(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    checkpoint, config, text = install(tmp_path, exported)
    assert checkpoint.read_bytes() == (exported / checkpoint.name).read_bytes()
    params = yaml.safe_load(config.read_text())["model"]["params"]
    assert Path(params["cond_stage_config"]["params"]["version"]) == text.resolve()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(text)
    assert len(tokenizer) == transformers.CLIPTextConfig.from_pretrained(text).vocab_size
    assert len(tokenizer.tokenize("gladiator")) == 1
    assert not list(tmp_path.rglob("*.partial"))


def test_install_where_there_is_no_webui_is_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="models"):
        install(tmp_path, exported)
    assert list(tmp_path.iterdir()) == []
