"""Extensions' scripts: loading them, their controls, and their hooks."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from modules import errors, script_callbacks

AlwaysVisible = object()


class PostSampleArgs:
    def __init__(self, samples: Any) -> None:
        self.samples = samples


class PostprocessImageArgs:
    def __init__(self, image: Any) -> None:
        self.image = image


class Script:
    name: str | None = None
    section: str | None = None
    filename = ""
    args_from: int | None = None
    args_to: int | None = None
    alwayson = False
    is_txt2img = is_img2img = False
    infotext_fields: Any = None
    paste_field_names: Any = None
    api_info: Any = None
    controls: Any = None

    def title(self) -> str:
        raise NotImplementedError

    def ui(self, is_img2img: bool) -> Any:
        return None

    def show(self, is_img2img: bool) -> Any:
        return True

    def elem_id(self, item: str) -> str:
        tab = "img2img" if self.is_img2img else "txt2img"
        title = re.sub(r"[^a-z_0-9]", "", re.sub(r"\s", "_", self.title().lower()))
        return f"script_{tab}_{title}_{item}"

    # Hooks; a subclass overrides those that it wants to be called.
    def before_process(self, p: Any, *args: Any) -> None: ...
    def process(self, p: Any, *args: Any) -> None: ...
    def before_process_batch(self, p: Any, *args: Any, **kwargs: Any) -> None: ...
    def process_batch(self, p: Any, *args: Any, **kwargs: Any) -> None: ...
    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None: ...
    def before_hr(self, p: Any, *args: Any) -> None: ...
    def post_sample(self, p: Any, ps: PostSampleArgs, *args: Any) -> None: ...
    def postprocess_batch(self, p: Any, *args: Any, **kwargs: Any) -> None: ...
    def postprocess_image(self, p: Any, pp: PostprocessImageArgs, *args: Any) -> None: ...
    def postprocess(self, p: Any, processed: Any, *args: Any) -> None: ...


@dataclass
class ScriptClassData:
    script_class: type
    path: str
    basedir: str
    module: ModuleType


scripts_data: list[ScriptClassData] = []


def load_module(path: str) -> ModuleType:
    """Run a script under its file's name; it does not enter ``sys.modules``."""
    spec = importlib.util.spec_from_file_location(Path(path).name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_scripts(files: list[tuple[Path, Path]]) -> None:
    """Forget every script and callback, then load ``files``: each a root and a script in it.

    The root is on ``sys.path`` only meanwhile.
    """
    global scripts_img2img, scripts_txt2img
    scripts_data.clear()
    script_callbacks.clear_callbacks()
    kept = sys.path
    for root, path in files:
        try:
            sys.path = [str(root), *kept]
            module = load_module(str(path))
            scripts_data.extend(
                ScriptClassData(value, str(path), str(root), module)
                for value in vars(module).values()
                if isinstance(value, type) and issubclass(value, Script)
            )
        except Exception:
            errors.report(f"Error loading script: {path.name}", exc_info=True)
        finally:
            sys.path = kept
    scripts_txt2img, scripts_img2img = ScriptRunner(), ScriptRunner()


class ScriptRunner:
    """The scripts of one tab; each has a slice of the tab's list of inputs."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.alwayson_scripts: list[Script] = []
        self.selectable_scripts: list[Script] = []
        self.infotext_fields: list[Any] = []
        self.paste_field_names: list[str] = []
        self.inputs: list[Any] = [None]

    def initialize_scripts(self, is_img2img: bool) -> None:
        for entries in (self.scripts, self.alwayson_scripts, self.selectable_scripts):
            entries.clear()
        for data in scripts_data:
            script = data.script_class()
            script.filename = data.path
            script.is_txt2img, script.is_img2img = not is_img2img, is_img2img
            visibility = script.show(is_img2img)
            if visibility is AlwaysVisible:
                script.alwayson = True
                self.alwayson_scripts.append(script)
            elif visibility:
                self.selectable_scripts.append(script)
            self.scripts.append(script)

    def prepare_ui(self) -> None:
        self.inputs = [None]

    def setup_ui(self) -> list[Any]:
        """Build every script's controls; the caller is within a ``gradio.Blocks``."""
        for script in (*self.alwayson_scripts, *self.selectable_scripts):
            script.args_from = script.args_to = len(self.inputs)
            try:
                controls = script.ui(script.is_img2img)
            except Exception:
                errors.report(f"Error calling: {script.filename}/ui", exc_info=True)
                continue
            script.controls = controls
            script.name = script.title().lower()
            if controls is None:
                continue
            self.infotext_fields += script.infotext_fields or []
            self.paste_field_names += script.paste_field_names or []
            self.inputs += controls
            script.args_to = len(self.inputs)
        return self.inputs

    def _run(self, hook: str, *args: Any, p: Any, **kwargs: Any) -> None:
        for script in self.alwayson_scripts:
            if getattr(type(script), hook) is getattr(Script, hook):
                continue
            try:
                own = p.script_args[script.args_from : script.args_to]
                getattr(script, hook)(p, *args, *own, **kwargs)
            except Exception:
                errors.report(f"Error running {hook}: {script.filename}", exc_info=True)

    def before_process(self, p: Any) -> None:
        self._run("before_process", p=p)

    def process(self, p: Any) -> None:
        self._run("process", p=p)

    def before_process_batch(self, p: Any, **kwargs: Any) -> None:
        self._run("before_process_batch", p=p, **kwargs)

    def process_batch(self, p: Any, **kwargs: Any) -> None:
        self._run("process_batch", p=p, **kwargs)

    def process_before_every_sampling(self, p: Any, **kwargs: Any) -> None:
        self._run("process_before_every_sampling", p=p, **kwargs)

    def before_hr(self, p: Any) -> None:
        self._run("before_hr", p=p)

    def post_sample(self, p: Any, ps: PostSampleArgs) -> None:
        self._run("post_sample", ps, p=p)

    def postprocess_batch(self, p: Any, images: Any, **kwargs: Any) -> None:
        self._run("postprocess_batch", p=p, images=images, **kwargs)

    def postprocess_image(self, p: Any, pp: PostprocessImageArgs) -> None:
        self._run("postprocess_image", pp, p=p)

    def postprocess(self, p: Any, processed: Any) -> None:
        self._run("postprocess", processed, p=p)

    def run(self, p: Any, *args: Any) -> Any:
        """The selectable script that ``args[0]`` picks, from 1; ``None`` without one."""
        if not args[0]:
            return None
        script = self.selectable_scripts[args[0] - 1]
        return script.run(p, *args[script.args_from : script.args_to])  # type: ignore[attr-defined]


scripts_txt2img = ScriptRunner()
scripts_img2img = ScriptRunner()
