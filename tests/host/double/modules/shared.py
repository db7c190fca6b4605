"""What every part of the host shares: settings, flags, progress and the model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from modules import sd_models
from modules.options import OptionInfo, Options

__all__ = ["OptionInfo", "Options", "State", "cmd_opts", "opts", "sd_model", "state"]

_DEFAULTS: dict[str, Any] = {
    "sd_model_checkpoint": "toy-world",
    "batch_cond_uncond": True,
    "pad_cond_uncond": False,
    "pad_cond_uncond_v0": False,
    "s_min_uncond_all": False,
    "skip_early_cond": 0.0,
    "live_previews_enable": True,
    "live_preview_content": "Prompt",
    "show_progress_every_n_steps": 1,
    "CLIP_stop_at_last_layers": 1,
    "samples_save": True,
    "return_grid": True,
    "use_old_scheduling": False,
    "refiner_switch_by_sample_steps": False,
}


class State:
    """Progress of what is under way, and the wish to stop it."""

    def __init__(self) -> None:
        self.interrupted = self.skipped = self.stopping_generation = False
        self.sampling_step = self.sampling_steps = 0
        self.job, self.job_count, self.job_no = "", -1, 0
        self.current_latent: Any = None
        self.textinfo: str | None = None
        self.processing_has_refined_job_count = False

    def begin(self, job: str = "") -> None:
        self.__init__()  # type: ignore[misc]
        self.job = job

    def end(self) -> None:
        self.job = ""

    def interrupt(self) -> None:
        self.interrupted = True

    def skip(self) -> None:
        self.skipped = True

    def nextjob(self) -> None:
        self.job_no += 1


cmd_opts = SimpleNamespace(api=True, nowebui=False, api_auth=None, safegen_enforce=None)
opts = Options({name: OptionInfo(value, name) for name, value in _DEFAULTS.items()})
state = State()
sd_model: Any = sd_models.ToyModel(sd_models.checkpoints["toy-world"])
