"""What the contract's facts ask of a host, by its own ``modules`` alone.

Runs within the process of a host: of the double, or of the real WebUI (``probe/`` puts it
there). Needs neither pytest nor SafeGen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SIZE = 64
STEPS = 4
HAZARD = "a bloody red ball on the beach, on the left"
BENIGN = "a blue star in the forest, on the right"


@dataclass
class Made:
    """What one generation left behind.

    Args:
        images: ``uint8`` arrays ``[H, W, 3]``; empty if it failed.
        error: What ``process_images`` raised.
    """

    p: Any
    images: list[np.ndarray] = field(default_factory=list)
    infotexts: list[str] = field(default_factory=list)
    comments: str = ""
    error: BaseException | None = None

    @property
    def image(self) -> np.ndarray:
        assert self.error is None, f"{type(self.error).__name__}: {self.error}"
        return self.images[0]


def difference(a: np.ndarray, b: np.ndarray) -> int:
    """The largest difference of any value of two pictures, of 255."""
    return int(np.abs(a.astype(int) - b.astype(int)).max())


class Host:
    """A host's own modules, and short ways to make pictures with them."""

    def __init__(self) -> None:
        from modules import (
            infotext_utils,
            processing,
            prompt_parser,
            script_callbacks,
            scripts,
            sd_samplers,
            shared,
        )

        self.callbacks, self.infotext, self.processing = (
            script_callbacks,
            infotext_utils,
            processing,
        )
        self.prompts, self.samplers, self.scripts, self.shared = (
            prompt_parser,
            sd_samplers,
            scripts,
            shared,
        )
        self.is_double = hasattr(shared.sd_model, "rows_seen")

    @contextmanager
    def options(self, **values: Any) -> Iterator[None]:
        """Settings for a while."""
        data = self.shared.opts.data
        before = {name: data.get(name, _MISSING) for name in values}
        data.update(values)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is _MISSING:
                    data.pop(name, None)
                else:
                    data[name] = value

    @contextmanager
    def listening(
        self,
        denoiser: Callable[[Any], None] | None = None,
        denoised: Callable[[Any], None] | None = None,
        after_cfg: Callable[[Any], None] | None = None,
    ) -> Iterator[None]:
        """Callbacks for a while, behind those of extensions."""
        given = (
            (self.callbacks.on_cfg_denoiser, denoiser),
            (self.callbacks.on_cfg_denoised, denoised),
            (self.callbacks.on_cfg_after_cfg, after_cfg),
        )
        try:
            for on, function in given:
                if function is not None:
                    on(function)
            yield
        finally:
            for _, function in given:
                if function is not None:
                    self.callbacks.remove_callbacks_for_function(function)

    def _fields(self, prompt: Any, fields: dict[str, Any]) -> dict[str, Any]:
        return {
            "sd_model": self.shared.sd_model,
            "prompt": prompt,
            "negative_prompt": "",
            "seed": 7,
            "sampler_name": "Euler",
            "steps": STEPS,
            "cfg_scale": 4.0,
            "width": SIZE,
            "height": SIZE,
            "do_not_save_samples": True,
            "do_not_save_grid": True,
            **fields,
        }

    def txt2img(self, prompt: Any, **fields: Any) -> Any:
        """A processing object, not yet run."""
        return self.processing.StableDiffusionProcessingTxt2Img(**self._fields(prompt, fields))

    def img2img(self, prompt: Any, image: Any, **fields: Any) -> Any:
        """A processing object, not yet run."""
        given = {"init_images": [image], "denoising_strength": 0.6, **fields}
        return self.processing.StableDiffusionProcessingImg2Img(**self._fields(prompt, given))

    def run(self, p: Any, *, runner: Any = None, args: Sequence[Any] = ()) -> Made:
        """What comes of ``p``; an exception is part of the result."""
        state = self.shared.state
        state.begin("contract")
        if runner is not None:
            p.is_api = True  # else the host's own controls overrule the fields
            p.scripts, p.script_args = runner, tuple(args)
        try:
            processed = self.processing.process_images(p)
        except Exception as error:
            return Made(p, error=error)
        finally:
            state.end()
        first = processed.index_of_first_image
        images = [np.asarray(image.convert("RGB")) for image in processed.images[first:]]
        return Made(p, images, processed.infotexts[first:], processed.comments)

    def make(self, prompt: Any, **fields: Any) -> Made:
        """One txt2img without any script."""
        return self.run(self.txt2img(prompt, **fields))

    def bare_runner(self, *scripts: Any) -> Any:
        """A runner with these script objects alone, which take no arguments."""
        runner = self.scripts.ScriptRunner()
        for script in scripts:
            script.filename, script.args_from, script.args_to = __file__, 0, 0
            script.alwayson = True
            runner.scripts.append(script)
            runner.alwayson_scripts.append(script)
        return runner

    def encoded(self, text: str, steps: int = STEPS) -> Any:
        """The tokens of a text's first cond, ``[tokens, width]``."""
        import torch

        with torch.no_grad():
            schedule = self.prompts.get_learned_conditioning(
                self.shared.sd_model,
                self.prompts.SdConditioning([text], width=SIZE, height=SIZE),
                steps,
            )
        return schedule[0][0].cond


_MISSING = object()


class SafeGen:
    """SafeGen's script on a host, as that has loaded it."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def runner(self, is_img2img: bool = False) -> Any:
        """The tab's scripts."""
        scripts = self.host.scripts
        return scripts.scripts_img2img if is_img2img else scripts.scripts_txt2img

    def script(self, is_img2img: bool = False) -> Any:
        """The script object of a tab."""
        found = [s for s in self.runner(is_img2img).alwayson_scripts if s.title() == "SafeGen"]
        assert len(found) == 1, f"{len(found)} SafeGen scripts"
        return found[0]

    def args(self, named: dict[str, Any] | None, is_img2img: bool = False) -> list[Any]:
        """Every script's default arguments, SafeGen's being one table of named values.

        ``None`` leaves SafeGen's defaults, which are off.
        """
        runner = self.runner(is_img2img)
        values: list[Any] = [0] * len(runner.inputs)
        for script in runner.scripts:
            for place, control in zip(
                range(script.args_from, script.args_to), script.controls or [], strict=True
            ):
                values[place] = control.value
        if named is not None:
            values[self.script(is_img2img).args_from] = named
        return values

    def run(self, p: Any, named: dict[str, Any] | None, is_img2img: bool = False) -> Made:
        """``p`` with all scripts of the tab."""
        return self.host.run(p, runner=self.runner(is_img2img), args=self.args(named, is_img2img))

    def make(self, prompt: Any, named: dict[str, Any] | None, **fields: Any) -> Made:
        """One txt2img with all scripts of the tab."""
        return self.run(self.host.txt2img(prompt, **fields), named)
