"""Checkpoints of the other families, made from the embedded model: SD2, SDXL, unCLIP, depth.

Each is in the layout that the WebUI has for its family, with a configuration beside it, and runs
through the WebUI's own classes. The UNet is the embedded model's. So is the text encoder of the
SD2 kinds, its words put where open_clip's tokenizer has them, so that a prompt means the same;
SDXL has it as its first encoder and a second one of random weights, whose tokens and pooled
vector the UNet sees as well. Pictures of all of them but the SDXL refiner are pictures of
something.

Run by the WebUI's own Python, which has open_clip: ``python families.py FOLDER``.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Weights = dict[str, Tensor]

WORLD = "safegen-world"
UNET = "model.diffusion_model."
TEXT = "cond_stage_model.transformer.text_model."
WIDTH = 96
SIZE_WIDTH = 16
VECTOR = WIDTH + 3 * 2 * SIZE_WIDTH
"""SDXL's pooled vector: the second encoder's, and six numbers about the picture's size."""
IMAGE_VECTOR = 2 * WIDTH
"""unCLIP's: the picture's embedding, and how much noise was added to it."""
TIME_WIDTH = 256

NAMES = (
    "world-sd2",
    "world-sd2-v",
    "world-sd2-inpainting",
    "world-unclip",
    "world-depth",
    "world-xl",
    "world-xl-v",
    "world-xl-inpainting",
    "world-xl-refiner",
)


def made(folder: Path) -> bool:
    """Whether they are there."""
    return all((folder / f"{name}.yaml").exists() for name in NAMES)


def make(folder: Path) -> None:
    """Put them beside the embedded model in ``folder``."""
    weights = load_file(folder / f"{WORLD}.safetensors")
    config = (folder / f"{WORLD}.yaml").read_text()
    random = torch.Generator().manual_seed(2)
    unet = {k: v.float() for k, v in weights.items() if k.startswith(UNET)}
    vae = {k: v for k, v in weights.items() if k.startswith("first_stage_model.")}
    own_text = {k: v for k, v in weights.items() if k.startswith(TEXT)}
    own_folder = folder.parent / f"{WORLD}-text"
    vocabulary = json.loads((own_folder / "vocab.json").read_text(encoding="utf-8"))
    open_text = _open_clip_text(own_text, vocabulary)
    xl_folder = folder.parent / f"{WORLD}-xl-text"
    _xl_tokenizer(own_folder, xl_folder)

    def save(name: str, parts: list[Weights], text: str) -> None:
        whole = {k: v.half().contiguous() for part in parts for k, v in part.items()}
        save_file(whole, folder / f"{name}.safetensors")
        (folder / f"{name}.yaml").write_text(text)  # last: says that the weights are there

    sd2 = _sd2_config(config)
    sd2_text = _renamed(open_text, "cond_stage_model.model.")
    save("world-sd2", [unet, vae, sd2_text], sd2)
    velocity = "safegen_test_models.Velocity"
    save(
        "world-sd2-v",
        [unet, vae, sd2_text],
        sd2.replace("  params:\n", '  params:\n    parameterization: "v"\n', 1).replace(
            "ldm.modules.diffusionmodules.openaimodel.UNetModel", velocity
        ),
    )
    save(
        "world-sd2-inpainting",
        [_channels(unet, 9), vae, sd2_text],
        sd2.replace("ddpm.LatentDiffusion", "ddpm.LatentInpaintDiffusion")
        .replace("conditioning_key: crossattn", "conditioning_key: hybrid\n    finetune_keys: null")
        .replace("in_channels: 4", "in_channels: 9"),
    )
    save(
        "world-depth",
        [_channels(unet, 5), vae, sd2_text],
        sd2.replace("ddpm.LatentDiffusion", "ddpm.LatentDepth2ImageDiffusion")
        .replace(
            "conditioning_key: crossattn",
            "conditioning_key: hybrid\n    finetune_keys: null\n    depth_stage_config:\n"
            "      target: safegen_test_models.Depth",
        )
        .replace("in_channels: 4", "in_channels: 5"),
    )
    save(
        "world-unclip",
        [
            unet,
            vae,
            sd2_text,
            _vector_input(IMAGE_VECTOR, random),
            _renamed(_open_clip_picture(random), "embedder.model."),
        ],
        _unclip_config(sd2),
    )

    second = _second_encoder(open_text, random)
    table = f"{TEXT}embeddings.token_embedding.weight"
    first = {**own_text, table: open_text["token_embedding.weight"]}
    xl = [
        _second_context(unet, random),
        vae,
        _renamed({k.removeprefix("cond_stage_model."): v for k, v in first.items()}, _XL_0),
        _renamed(second, _XL_1),
        _vector_input(VECTOR, random),
    ]
    save("world-xl", xl, _xl_config(config, xl_folder))
    save(
        "world-xl-v",
        xl,
        _xl_config(config, xl_folder)
        .replace("sgm.modules.diffusionmodules.openaimodel.UNetModel", velocity + "XL")
        .replace("EpsScaling", "VScaling")
        .replace("EpsWeighting", "VWeighting"),
    )
    save(
        "world-xl-inpainting",
        [_channels(xl[0], 9), *xl[1:]],
        _xl_config(config, xl_folder).replace("in_channels: 4", "in_channels: 9"),
    )
    save(
        "world-xl-refiner",
        [
            _tamed(unet),
            vae,
            _renamed(second, _XL_0 + "model."),
            _vector_input(WIDTH + 5 * SIZE_WIDTH, random),
        ],
        _xl_refiner_config(config),
    )


# ---------------------------------------------------------------------- weights

_XL_0, _XL_1 = "conditioner.embedders.0.", "conditioner.embedders.1.model."


def _renamed(weights: Weights, prefix: str) -> Weights:
    return {prefix + key: value for key, value in weights.items()}


def _normal(random: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=random)


def _channels(unet: Weights, count: int) -> Weights:
    """More input channels, which count for little: whoever swaps them is found out."""
    name = f"{UNET}input_blocks.0.0.weight"
    first = unet[name]
    wide = first.new_zeros(len(first), count, *first.shape[2:])
    wide[:, :4] = first
    wide[:, 4:] = 0.02 * first.std()
    return {**unet, name: wide}


def _second_context(unet: Weights, random: torch.Generator) -> Weights:
    """Room for the second encoder's tokens beside the first one's."""
    found = dict(unet)
    for key, value in unet.items():
        if key.endswith(("attn2.to_k.weight", "attn2.to_v.weight")):
            more = 0.1 * value.std() * _normal(random, len(value), WIDTH)
            found[key] = torch.cat([value, more], dim=1)
    return found


def _tamed(unet: Weights) -> Weights:
    """For the refiner, which sees tokens before their last layer and norm: large ones."""
    return {
        key: 0.1 * value if key.endswith(("attn2.to_k.weight", "attn2.to_v.weight")) else value
        for key, value in unet.items()
    }


def _vector_input(width: int, random: torch.Generator) -> Weights:
    """What turns a vector into a little something added to the embedding of time."""
    return {
        f"{UNET}label_emb.0.0.weight": _normal(random, TIME_WIDTH, width) / width**0.5,
        f"{UNET}label_emb.0.0.bias": torch.zeros(TIME_WIDTH),
        f"{UNET}label_emb.0.2.weight": 0.3 * _normal(random, TIME_WIDTH, TIME_WIDTH) / 16,
        f"{UNET}label_emb.0.2.bias": torch.zeros(TIME_WIDTH),
    }


def _open_clip_merges() -> list[str]:
    """What open_clip's tokenizer is made of, from the list that it ships."""
    spec = importlib.util.find_spec("open_clip")
    assert spec is not None
    assert spec.origin is not None
    merges = Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz"
    return gzip.decompress(merges.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]


def _open_clip_vocabulary() -> dict[str, int]:
    """open_clip's tokens."""
    single = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(code) for code in single] + [chr(256 + n) for n in range(256 - len(single))]
    words = [
        *letters,
        *(letter + "</w>" for letter in letters),
        *("".join(line.split()) for line in _open_clip_merges()),
        "<start_of_text>",
        "<end_of_text>",
    ]
    return {word: number for number, word in enumerate(words)}


def _xl_tokenizer(own: Path, target: Path) -> None:
    """SDXL's two encoders have the same tokens: open_clip's, for the first one too."""
    target.mkdir(exist_ok=True)
    words = {
        word.replace("<start_of_text>", "<|startoftext|>").replace(
            "<end_of_text>", "<|endoftext|>"
        ): number
        for word, number in _open_clip_vocabulary().items()
    }
    (target / "vocab.json").write_text(json.dumps(words), encoding="utf-8")
    merges = "\n".join(["#version: 0.2", *_open_clip_merges(), ""])
    (target / "merges.txt").write_text(merges, encoding="utf-8")
    tokenizer = (own / "tokenizer_config.json").read_text(encoding="utf-8")
    (target / "tokenizer_config.json").write_text(tokenizer, encoding="utf-8")
    config = json.loads((own / "config.json").read_text(encoding="utf-8"))
    config |= {"vocab_size": len(words)}
    config |= {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1}
    config["pad_token_id"] = config["eos_token_id"]
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")


def _open_clip_text(weights: Weights, own: dict[str, int]) -> Weights:
    """The embedded text encoder in open_clip's layout and for open_clip's tokenizer.

    Words that the embedded one doesn't have mean the average word. It pads with its closing
    mark, SD2 with token 0.
    """
    text = {key.removeprefix(TEXT): value.float() for key, value in weights.items()}
    table = text["embeddings.token_embedding.weight"]
    assert len(table) == len(own)
    theirs = _open_clip_vocabulary()
    tokens = table.mean(0).repeat(len(theirs), 1)
    for word, number in own.items():
        if word in theirs:
            tokens[theirs[word]] = table[number]
    tokens[theirs["<start_of_text>"]] = table[own["<|startoftext|>"]]
    tokens[theirs["<end_of_text>"]] = tokens[0] = table[own["<|endoftext|>"]]
    found = {
        "token_embedding.weight": tokens,
        "positional_embedding": text["embeddings.position_embedding.weight"],
        "text_projection": torch.eye(WIDTH),
        "logit_scale": torch.zeros(()),
    }
    names = {
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }
    for kind in ("weight", "bias"):
        found[f"ln_final.{kind}"] = text[f"final_layer_norm.{kind}"]
        for layer in range(2):
            source, target = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
            for own_name, their_name in names.items():
                found[f"{target}.{their_name}.{kind}"] = text[f"{source}.{own_name}.{kind}"]
            found[f"{target}.attn.in_proj_{kind}"] = torch.cat(
                [text[f"{source}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            )
    return found


def _second_encoder(text: Weights, random: torch.Generator) -> Weights:
    """Another encoder of that layout, to which words mean something else."""
    tokens = text["token_embedding.weight"]
    return {**text, "token_embedding.weight": tokens.std() * _normal(random, *tokens.shape)}


def _open_clip_picture(random: torch.Generator) -> Weights:
    """open_clip's encoder of pictures, as ``safegen-tiny.json`` describes it, of random weights."""
    width, patch, places = 32, 56, 17
    block = "visual.transformer.resblocks.0."
    found = {
        "visual.class_embedding": _normal(random, width),
        "visual.positional_embedding": _normal(random, places, width),
        "visual.proj": _normal(random, width, WIDTH),
        "visual.conv1.weight": _normal(random, width, 3, patch, patch) / patch,
        f"{block}attn.in_proj_weight": _normal(random, 3 * width, width) / width**0.5,
        f"{block}attn.in_proj_bias": torch.zeros(3 * width),
        f"{block}attn.out_proj.weight": _normal(random, width, width) / width**0.5,
        f"{block}attn.out_proj.bias": torch.zeros(width),
        f"{block}mlp.c_fc.weight": _normal(random, 4 * width, width) / width**0.5,
        f"{block}mlp.c_fc.bias": torch.zeros(4 * width),
        f"{block}mlp.c_proj.weight": _normal(random, width, 4 * width) / width**0.5,
        f"{block}mlp.c_proj.bias": torch.zeros(width),
    }
    for name in ("visual.ln_pre", "visual.ln_post", f"{block}ln_1", f"{block}ln_2"):
        found |= {f"{name}.weight": torch.ones(width), f"{name}.bias": torch.zeros(width)}
    return found


# ---------------------------------------------------------------------- configurations


def _section(config: str, name: str) -> str:
    """One part of the embedded model's configuration, with its own indentation."""
    match = re.search(rf"^    {name}:\n(?:      .*\n?)+", config, re.MULTILINE)
    assert match is not None, name
    return match.group(0)


def _value(config: str, name: str) -> str:
    match = re.search(rf"^    {name}: (.+)$", config, re.MULTILINE)
    assert match is not None, name
    return match.group(1)


def _sd2_config(config: str) -> str:
    return config.replace(
        _section(config, "cond_stage_config"),
        "    cond_stage_config:\n"
        "      target: ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder\n"
        "      params:\n"
        "        arch: safegen-tiny\n"
        "        version: none\n"
        "        layer: last\n",
    )


def _unclip_config(sd2: str) -> str:
    return (
        sd2.replace("ddpm.LatentDiffusion", "ddpm.ImageEmbeddingConditionedLatentDiffusion")
        .replace(
            "conditioning_key: crossattn",
            "conditioning_key: crossattn-adm\n"
            "    embedding_dropout: 0.25\n"
            "    embedder_config:\n"
            "      target: ldm.modules.encoders.modules.FrozenOpenCLIPImageEmbedder\n"
            "      params: {arch: safegen-tiny, version: none}\n"
            "    noise_aug_config:\n"
            "      target: ldm.modules.encoders.modules.CLIPEmbeddingNoiseAugmentation\n"
            "      params:\n"
            f"        timestep_dim: {WIDTH}\n"
            "        noise_schedule_config:\n"
            "          timesteps: 1000\n"
            "          beta_schedule: squaredcos_cap_v2",
        )
        .replace(
            "        in_channels: 4",
            f"        num_classes: sequential\n        adm_in_channels: {IMAGE_VECTOR}\n"
            "        in_channels: 4",
        )
    )


_SIZES = "".join(
    f"""\
          - is_trainable: False
            input_key: {{{number}}}
            target: sgm.modules.encoders.modules.ConcatTimestepEmbedderND
            params: {{{{outdim: {SIZE_WIDTH}}}}}
"""
    for number in range(3)
)
_OPEN_CLIP = """\
          - is_trainable: False
            input_key: txt
            target: sgm.modules.encoders.modules.FrozenOpenCLIPEmbedder2
            params:
              arch: safegen-tiny
              version: none
              layer: penultimate
              always_return_pooled: True
              legacy: False
"""


def _xl_layout(config: str, context: int, vector: int, embedders: str) -> str:
    network = (
        _section(config, "unet_config")
        .replace("unet_config", "network_config")
        .replace("ldm.modules", "sgm.modules")
        .replace(f"context_dim: {WIDTH}", f"context_dim: {context}")
        .replace("        image_size: 12\n", "")
    )
    first_stage = _section(config, "first_stage_config").replace(
        "ldm.models.autoencoder.AutoencoderKL",
        "sgm.models.autoencoder.AutoencoderKLInferenceWrapper",
    )
    parts = "sgm.modules.diffusionmodules"
    return f"""\
model:
  target: sgm.models.diffusion.DiffusionEngine
  params:
    scale_factor: {_value(config, "scale_factor")}
    disable_first_stage_autocast: True
    denoiser_config:
      target: {parts}.denoiser.DiscreteDenoiser
      params:
        num_idx: 1000
        weighting_config:
          target: {parts}.denoiser_weighting.EpsWeighting
        scaling_config:
          target: {parts}.denoiser_scaling.EpsScaling
        discretization_config:
          target: {parts}.discretizer.LegacyDDPMDiscretization
{network}        adm_in_channels: {vector}
        num_classes: sequential
        spatial_transformer_attn_type: softmax
{first_stage}    conditioner_config:
      target: sgm.modules.GeneralConditioner
      params:
        emb_models:
{embedders}"""


def _xl_config(config: str, text: Path) -> str:
    first = f"""\
          - is_trainable: False
            input_key: txt
            target: sgm.modules.encoders.modules.FrozenCLIPEmbedder
            params:
              version: {text}
              layer: last
"""
    sizes = _SIZES.format("original_size_as_tuple", "crop_coords_top_left", "target_size_as_tuple")
    return _xl_layout(config, 2 * WIDTH, VECTOR, first + _OPEN_CLIP + sizes)


def _xl_refiner_config(config: str) -> str:
    sizes = _SIZES.format("original_size_as_tuple", "crop_coords_top_left", "aesthetic_score")
    return _xl_layout(config, WIDTH, WIDTH + 5 * SIZE_WIDTH, _OPEN_CLIP + sizes)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
