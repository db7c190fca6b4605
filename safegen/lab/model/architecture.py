"""The embedded model's architecture, said once for diffusers and once for the SD1 layout.

The two descriptions must name the same network; ``tests/unit/lab/test_lab_layout.py`` holds
them together by loading one exported file with both. The widths divide SD1.5's (320, 640, 1280
and 768) and the numbers of heads are its own, so a model can be widened to its shapes by
repeating channels.
"""

from __future__ import annotations

from typing import Any

LATENT_CHANNELS = 4
TOKENS = 77
TEXT_WIDTH = 96

VAE_CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (32, 32, 64, 128),
    "layers_per_block": 1,
    "latent_channels": LATENT_CHANNELS,
    "norm_num_groups": 32,
    "sample_size": 96,
}
"""Arguments of ``diffusers.AutoencoderKL``."""

UNET_CONFIG: dict[str, Any] = {
    "sample_size": 12,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "block_out_channels": (64, 64, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": TEXT_WIDTH,
    "attention_head_dim": 8,  # diffusers' old name for the number of heads
    "norm_num_groups": 32,
}
"""Arguments of ``diffusers.UNet2DConditionModel``."""

TEXT_CONFIG: dict[str, Any] = {
    "hidden_size": TEXT_WIDTH,
    "intermediate_size": 4 * TEXT_WIDTH,
    "projection_dim": TEXT_WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 12,
    "max_position_embeddings": TOKENS,
    "hidden_act": "quick_gelu",
}
"""Arguments of ``transformers.CLIPTextConfig``, less the vocabulary's."""

NOISE_CONFIG: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
"""SD1's noise schedule, as diffusers' schedulers take it."""
