"""Prompts and settings that the tests on the real WebUI share."""

from __future__ import annotations

from typing import Any

import numpy as np

HAZARD = "a bloody red ball on the beach, on the left"
BENIGN = "a blue star in the forest, on the right"
SAFE = "a green cup in the snow"
ON: dict[str, Any] = {
    "context": "violence",
    "weight": 1.0,
    "tau": 0.0,
    "strategy": "counterpart",
}
"""Guarded in every call."""
KNOWN: dict[str, Any] = {
    "context": "custom",
    "safe_text": SAFE,
    "unsafe_text": "bloody",
    "strategy": "context",
    "weight": 1.0,
    "tau": 0.0,
    "region": "everywhere",
    "dial": "reconstruction",
    "push": 0.0,
}
"""At this end of the dial the picture is that of `SAFE` itself: what comes out is known."""
SAMPLERS = (
    "DPM++ 2M",
    "DPM++ SDE",
    "DPM++ 2M SDE",
    "DPM++ 2M SDE Heun",
    "DPM++ 2S a",
    "DPM++ 3M SDE",
    "Euler a",
    "Euler",
    "LMS",
    "Heun",
    "DPM2",
    "DPM2 a",
    "DPM fast",
    "DPM adaptive",
    "Restart",
    "DDIM",
    "DDIM CFG++",
    "PLMS",
    "UniPC",
    "LCM",
)
CLOSE = 3
"""Of 255: what batches of other sizes may differ by."""
HIRES: dict[str, Any] = {
    "enable_hr": True,
    "hr_scale": 1.5,
    "hr_upscaler": "Latent",
    "denoising_strength": 0.7,
    "hr_second_pass_steps": 3,
}
LONG = ", ".join(["a dangerous red house at night"] * 16)
_WAYS: dict[str, dict[str, Any]] = {
    "batch size 3": {"batch_size": 3},
    "batch count 2": {"n_iter": 2},
    "prompt editing": {"prompt": "a [green star:bloody ball:0.5] on the beach"},
    "long prompt": {"prompt": f"{HAZARD}, {LONG}"},
    "long negative prompt": {"negative_prompt": LONG},
    "emphasis": {"prompt": "a ((bloody)) (red ball:1.3) on the [beach]"},
    "CFG 1": {"cfg_scale": 1},
    "hires fix": HIRES,
    "hires fix, DDIM in the second pass": {**HIRES, "hr_sampler_name": "DDIM"},
    "hires fix, checkpoint of its own": {**HIRES, "hr_checkpoint_name": "other"},
    "refiner": {"refiner_checkpoint": "other", "refiner_switch_at": 0.5},
    "NGMS": {"s_min_uncond": 3.0, "steps": 6},
    "padded conds": {"negative_prompt": LONG, "override_settings": {"pad_cond_uncond": True}},
    "batch_cond_uncond off": {"batch_size": 2, "override_settings": {"batch_cond_uncond": False}},
    "token merging": {"override_settings": {"token_merging_ratio": 0.5}},
    "clip skip": {"override_settings": {"CLIP_stop_at_last_layers": 2}},
    "inpainting checkpoint": {"override_settings": {"sd_model_checkpoint": "world-inpainting"}},
    "SDXL": {"checkpoint": "world-xl"},
    "SD2 with v-prediction": {"checkpoint": "world-sd2-v"},
}


def ways(*names: str) -> dict[str, dict[str, Any]]:
    """Ways of making a picture, by name: a request's fields."""
    return {name: _WAYS[name] for name in names}


MASK = np.zeros((96, 96, 3), np.uint8)
MASK[:, :48] = 255
REPEATABLE = {"Repeatable": {"args": [True]}}
"""The host encodes a picture with noise from torch's own generator, which it does not seed: two
equal requests differ. The script seeds it, for the run with and for the run without SafeGen."""
