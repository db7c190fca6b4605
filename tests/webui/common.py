"""Prompts and settings that the tests on the real WebUI share."""

from __future__ import annotations

from typing import Any

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
REPEATABLE = {"Repeatable": {"args": [True]}}
"""The host encodes a picture with noise from torch's own generator, which it does not seed: two
equal requests differ. The script seeds it, for the run with and for the run without SafeGen."""
