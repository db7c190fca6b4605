"""What the host keeps for all of its parts: settings, flags, progress, the loaded checkpoint."""

from __future__ import annotations

import threading
import traceback
from argparse import Namespace
from types import ModuleType, SimpleNamespace
from typing import Any

from standin.model import Model

BUILT_IN = {
    "batch_cond_uncond": True,
    "CLIP_stop_at_last_layers": 1,
    "disable_all_extensions": "none",
    "disabled_extensions": [],
    "hidden_tabs": [],
    "live_preview_content": "Prompt",
    "pad_cond_uncond": False,
    "pad_cond_uncond_v0": False,
    "s_min_uncond_all": False,
    "skip_early_cond": 0.0,
}
FLAGS = {
    "safegen_enforce": None,
    "api": False,
    "nowebui": False,
    "api_auth": None,
    "freeze_settings": False,
}


class OptionInfo(SimpleNamespace):
    """One setting, as extensions describe it."""

    def __init__(self, default: Any = None, label: str = "", *given: Any, **more: Any) -> None:
        names = ("component", "component_args", "onchange", "section")
        super().__init__(default=default, label=label, **dict(zip(names, given, strict=False)))
        vars(self).update({"restrict_api": False, "onchange": None, **more})

    def info(self, _text: str) -> OptionInfo:
        return self

    needs_reload_ui = lambda self: self  # noqa: E731


class Options:
    """Settings: what was set, else the default of whoever added them."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.data_labels = {name: OptionInfo(value) for name, value in BUILT_IN.items()}

    def __getattr__(self, name: str) -> Any:
        if name in self.data:
            return self.data[name]
        if name in self.data_labels:
            return self.data_labels[name].default
        raise AttributeError(name)

    def add_option(self, name: str, option: OptionInfo) -> None:
        self.data_labels[name] = option

    def set(self, name: str, value: Any) -> bool:
        assert not shared.cmd_opts.freeze_settings, "changing settings is disabled"
        self.data[name] = value
        return True

    def save(self, _file: str) -> None:
        """Into a file, which nobody reads here."""

    def override(self, values: dict[str, Any]) -> dict[str, Any]:
        """Set what a request may set; what to put back is only what had been set before."""
        allowed = {k: v for k, v in values.items() if not self.data_labels[k].restrict_api}
        before = {name: self.data[name] for name in allowed if name in self.data}
        self.data.update(allowed)
        return before


class State:
    """What is under way."""

    def __init__(self) -> None:
        self.begin()

    def begin(self, job: str = "") -> None:
        self.job, self.textinfo, self.current_latent = job, None, None
        self.interrupted = self.skipped = self.processing_has_refined_job_count = False
        self.sampling_step = self.job_count = self.jobs_done = 0

    def end(self) -> None:
        self.job = ""

    def interrupt(self) -> None:
        self.interrupted = True

    @property
    def stopping(self) -> bool:
        return self.interrupted or self.skipped


def report(message: str, *, exc_info: bool = False) -> None:
    """Into the host's log."""
    print(message)  # noqa: T201
    if exc_info:
        traceback.print_exc()


CHECKPOINTS: dict[str, Model] = {}


def checkpoint(name: str) -> Model:
    """A checkpoint by name, loaded once."""
    return CHECKPOINTS.setdefault(name, Model(name))


queue = threading.Lock()
shared = ModuleType("modules.shared")
shared.__dict__.update(
    opts=Options(),
    config_filename="config.json",
    cmd_opts=Namespace(**FLAGS),
    state=State(),
    OptionInfo=OptionInfo,
    sd_model=checkpoint("toy-world"),
)


class ModelData:
    """Where the product asks what is loaded without loading it."""

    @property
    def sd_model(self) -> Model:
        return shared.sd_model
