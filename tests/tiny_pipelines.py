"""Pipelines of diffusers in small, of random weights: for tests of what is done with them."""

from __future__ import annotations

from typing import Any

import torch

from safegen.lab.model.architecture import NOISE_CONFIG
from safegen.lab.model.pipeline import MODEL_FOLDER


def tiny_text_model(kind: Any, width: int, seed: int, words: int = 1000, end: int = 2) -> Any:
    """A CLIP text encoder of random weights that tells texts well apart.

    Args:
        words: Size of the vocabulary.
        end: The closing mark, at which the pooled vector is read.
    """
    from transformers import CLIPTextConfig

    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=words, hidden_size=width, intermediate_size=2 * width, projection_dim=width,
        num_hidden_layers=3, num_attention_heads=2, max_position_embeddings=77, eos_token_id=end,
    )  # fmt: skip
    model = kind(config).eval()
    with torch.no_grad():
        model.text_model.embeddings.token_embedding.weight.mul_(50)
        for layer in model.text_model.encoder.layers:
            layer.self_attn.v_proj.weight.mul_(20)
            layer.self_attn.out_proj.weight.mul_(20)
    return model


def tiny_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(MODEL_FOLDER / "tokenizer", model_max_length=77)


def tiny_unet(width: int, in_channels: int = 4, **more: Any) -> Any:
    """A UNet of random weights that heeds the text as much as a trained one does.

    Args:
        width: Numbers per token.
    """
    from diffusers import UNet2DConditionModel

    torch.manual_seed(3)
    unet = UNet2DConditionModel(
        sample_size=12, in_channels=in_channels, out_channels=4, block_out_channels=(16, 32),
        layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), transformer_layers_per_block=(1, 1),
        attention_head_dim=(2, 4), use_linear_projection=True, cross_attention_dim=width, **more,
    ).eval()  # fmt: skip
    with torch.no_grad():
        for name, weight in unet.named_parameters():
            if "attn2.to_out.0.weight" in name or "add_embedding" in name:
                weight.mul_(8)
    return unet


def tiny_vae() -> Any:
    from diffusers import AutoencoderKL

    torch.manual_seed(4)
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1, norm_num_groups=8,
        latent_channels=4, sample_size=96,
    ).eval()  # fmt: skip


def tiny_sd() -> Any:
    """Stable Diffusion 1's parts in small, of random weights, with DDIM."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline
    from transformers import CLIPTextModel

    tokenizer = tiny_tokenizer()
    pipeline = StableDiffusionPipeline(
        vae=tiny_vae(),
        unet=tiny_unet(16),
        text_encoder=tiny_text_model(CLIPTextModel, 16, 1, len(tokenizer), tokenizer.eos_token_id),
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(
            **NOISE_CONFIG, clip_sample=False, set_alpha_to_one=False, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tiny_sdxl(in_channels: int = 4) -> Any:
    """SDXL's parts in small, of random weights: a ``StableDiffusionXLPipeline``.

    Args:
        in_channels: 4, or 9 for the UNet of an inpainting model.
    """
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = tiny_tokenizer()
    words, end = len(tokenizer), tokenizer.eos_token_id
    pipeline = StableDiffusionXLPipeline(
        vae=tiny_vae(),
        unet=tiny_unet(
            16 + 32, in_channels, addition_embed_type="text_time", addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 32,
        ),
        text_encoder=tiny_text_model(CLIPTextModel, 16, 1, words, end),
        text_encoder_2=tiny_text_model(CLIPTextModelWithProjection, 32, 2, words, end),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
        ),
        add_watermarker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
