"""Callbacks, scripts and their hooks, and the X/Y/Z plot's axes.

Whatever a callback or a hook raises is printed, and the host goes on.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, partialmethod
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from standin.settings import report

EVENTS = (
    "after_component",
    "app_started",
    "before_ui",
    "cfg_after_cfg",
    "cfg_denoised",
    "cfg_denoiser",
    "script_unloaded",
    "ui_settings",
    "ui_tabs",
)
HOOKS = (
    "before_hr",
    "before_process",
    "before_process_batch",
    "post_sample",
    "postprocess",
    "postprocess_batch",
    "postprocess_image",
    "process",
    "process_batch",
    "process_before_every_sampling",
)

# ---------------------------------------------------------------------- callbacks

callback_map: dict[str, list[Any]] = {f"callbacks_{event}": [] for event in EVENTS}


def listen(event: str, callback: Callable[..., Any]) -> None:
    callback_map[f"callbacks_{event}"].append(SimpleNamespace(callback=callback))


def forget(callback: Callable[..., Any]) -> None:
    for entries in callback_map.values():
        entries[:] = [entry for entry in entries if entry.callback != callback]


def protected(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except Exception as error:
        report(f"{function}: {error!r}", exc_info=True)


def fire(event: str, *args: Any, **kwargs: Any) -> list[Any]:
    """What each callback returns."""
    entries = list(callback_map[f"callbacks_{event}"])
    return [protected(entry.callback, *args, **kwargs) for entry in entries]


REGISTERING = {f"on_{event}": partial(listen, event) for event in EVENTS}

# ---------------------------------------------------------------------- scripts

AlwaysVisible = object()


class Script:
    """What extensions derive theirs from; every hook is there and does nothing."""

    tab = ""
    args_from: int | None = None
    args_to: int | None = None
    controls: list[Any] | None = None
    infotext_fields: list[Any] | None = None
    paste_field_names: list[str] | None = None

    def title(self) -> str:
        raise NotImplementedError

    def show(self, is_img2img: bool) -> Any:
        return True

    def ui(self, is_img2img: bool) -> list[Any]:
        return []

    def elem_id(self, item: str) -> str:
        name = "".join(filter(str.isalnum, self.title().lower()))
        return f"script_{self.tab}_{name}_{item}"


for _hook in HOOKS:
    setattr(Script, _hook, lambda *_args, **_kwargs: None)


class ScriptRunner:
    """The scripts of a tab. All of them are always on here; none is chosen from a list."""

    def __init__(self, tab: str = "") -> None:
        self.tab = tab
        self.empty()

    def empty(self) -> None:
        """Forget every script; the first input belongs to the tab's own choice of a script."""
        vars(self).update({name: [] for name in ("scripts", "alwayson_scripts", "infotext_fields")})
        self.inputs: list[Any] = [None]

    def build(self) -> None:
        """Make every loaded script and its controls, within the page that is being built."""
        self.empty()
        for data in scripts_data:
            script = data.script_class()
            script.tab, script.filename = self.tab, data.path
            is_img2img = self.tab == "img2img"
            if script.show(is_img2img) is not AlwaysVisible:
                continue
            script.controls = script.ui(is_img2img)
            script.args_from = len(self.inputs)
            self.inputs += script.controls
            script.args_to = len(self.inputs)
            self.infotext_fields += script.infotext_fields or []
            self.scripts.append(script)
        self.alwayson_scripts = list(self.scripts)

    def _hooked(self, hook: str, p: Any, *given: Any, **named: Any) -> None:
        for script in self.alwayson_scripts:
            own = p.script_args[script.args_from : script.args_to]
            protected(getattr(script, hook), p, *given, *own, **named)


for _hook in HOOKS:
    setattr(ScriptRunner, _hook, partialmethod(ScriptRunner._hooked, _hook))

RUNNERS = {tab: ScriptRunner(tab) for tab in ("txt2img", "img2img")}
scripts_data: list[Any] = []


def load(path: Path, root: Path) -> None:
    """Run a script file: as ``NAME.py``, known to nobody; ``root`` can be imported meanwhile."""
    spec = importlib.util.spec_from_file_location(path.name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(root))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(root))
    _take(module, path, root)


def _take(module: ModuleType, path: Path, root: Path) -> None:
    for value in list(vars(module).values()):
        if isinstance(value, type) and issubclass(value, Script) and value is not Script:
            given = {"script_class": value, "path": str(path), "basedir": str(root)}
            scripts_data.append(SimpleNamespace(**given, module=module))


# ---------------------------------------------------------------------- axes


@dataclass
class AxisOption:
    """What an X/Y/Z plot can vary."""

    label: str
    type: Any
    apply: Callable[..., None]
    format_value: Callable[..., Any] | None = None
    confirm: Callable[..., None] | None = None
    choices: Callable[[], list[str]] | None = None
    prepare: Callable[[str], list[str]] | None = None


def boolean_choice(reverse: bool = False) -> Callable[[], list[str]]:
    return lambda: ["False", "True"] if reverse else ["True", "False"]


def load_axes() -> None:
    """The X/Y/Z plot, as far as other extensions look for it: a module with a list of axes."""
    module = ModuleType("xyz_grid.py")
    plot = type(
        "Plot", (Script,), {"title": lambda self: "X/Y/Z plot", "__module__": "xyz_grid.py"}
    )
    vars(module).update(
        Plot=plot, AxisOption=AxisOption, axis_options=[], boolean_choice=boolean_choice
    )
    _take(module, Path("xyz_grid.py"), Path())
