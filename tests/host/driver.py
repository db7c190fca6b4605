"""A host's own modules, with short ways to make pictures, for facts that are told of a host.

A fact is a function of a `Host`. It runs within the process of a host: of the stand-in, or of the
real WebUI (``probe/`` puts it there), so neither this nor a fact may need pytest.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

SIZE, STEPS = 64, 4
HAZARD = "a bloody red ball on the beach, on the left"
BENIGN = "a blue star in the forest, on the right"
HIRES: dict[str, Any] = {
    "enable_hr": True,
    "hr_scale": 1.5,
    "hr_upscaler": "Latent",
    "denoising_strength": 0.7,
}
BARE = object()
"""No scripts at all, in place of SafeGen's arguments."""

Fact = Callable[["Host"], None]


def facts() -> tuple[dict[str, Fact], Callable[[Fact], Fact]]:
    """A module's facts by name, and the decorator that puts one there."""
    found: dict[str, Fact] = {}

    def fact(function: Fact) -> Fact:
        found[function.__name__] = function
        return function

    return found, fact


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
        return self.good.images[0]

    @property
    def good(self) -> Made:
        """Itself, if it did not fail."""
        assert self.error is None, f"{type(self.error).__name__}: {self.error}"
        return self

    def refused(self, *words: str) -> None:
        """It failed, and the message names each of ``words``."""
        assert self.error is not None, "an unguarded picture came out"
        kind = type(self.error).__name__
        text = f"{kind}: {self.error} {getattr(self.error, 'detail', '')}"
        for word in words:
            assert word.lower() in text.lower(), text


def difference(a: Any, b: Any) -> int:
    """The largest difference of any value of two pictures, of 255."""
    one, other = (made.image if isinstance(made, Made) else made for made in (a, b))
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def same(a: Any, b: Any) -> bool:
    """Whether two pictures are equal bit for bit."""
    return difference(a, b) == 0


class Host:
    """What the facts use of a host."""

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
        self.prompts, self.scripts, self.shared = prompt_parser, scripts, shared
        self.is_stand_in = hasattr(shared.sd_model, "rows_seen")
        self.samplers = ["Euler a", "Heun", "DPM++ 2M", "DDIM", "DDIM CFG++", "UniPC"]
        if self.is_stand_in:
            self.samplers = [sampler.name for sampler in sd_samplers.all_samplers]

    @property
    def facts_belong_to(self) -> str:
        """What is blamed for callbacks of the facts: on a real host SafeGen's own folder."""
        return "driver" if self.is_stand_in else "safegen"

    # ------------------------------------------------------------------ for a while

    @contextmanager
    def options(self, **values: Any) -> Iterator[None]:
        """Settings for a while."""
        data = self.shared.opts.data
        before = dict(data)
        data.update(values)
        try:
            yield
        finally:
            data.clear()
            data.update(before)

    @contextmanager
    def listening(
        self, *, first: bool = False, counting: bool = False, **functions: Callable[[Any], Any]
    ) -> Iterator[None]:
        """Callbacks for a while: ``denoiser=``, ``denoised=``, ``after_cfg=``.

        They come behind those of extensions, or before them if ``first``. Those that are not
        ``counting`` say that they cope with rows of SafeGen's.
        """
        functions = {name: partial(function) for name, function in functions.items()}
        try:
            for name, function in functions.items():
                function.__module__ = __name__
                if not counting:
                    function.safegen_rows = True  # type: ignore[attr-defined]
                getattr(self.callbacks, f"on_cfg_{name}")(function)
                if first:
                    entries = self.callbacks.callback_map[f"callbacks_cfg_{name}"]
                    entries.insert(0, entries.pop())
            self.forget_order()
            yield
        finally:
            for function in functions.values():
                self.callbacks.remove_callbacks_for_function(function)
            self.forget_order()

    def forget_order(self) -> None:
        """The real host keeps the order in which callbacks run."""
        getattr(self.callbacks, "ordered_callbacks_map", {}).clear()

    def interrupt_class(self) -> type[BaseException]:
        """What the host raises to end a run at the user's wish."""
        if self.is_stand_in:
            from standin.sampling import Stopped

            return Stopped
        from modules.sd_samplers_common import InterruptedException

        return InterruptedException

    def stopping(self, at: int, event: str = "after_cfg") -> Any:
        """Within it, a run is interrupted at its denoiser call ``at`` (from 0)."""
        left = [at]

        def stop(_params: Any) -> None:
            if left[0] == 0:
                self.shared.state.interrupt()
            left[0] -= 1

        return self.listening(**{event: stop})

    # ------------------------------------------------------------------ pictures

    def ask(self, prompt: Any, *, image: Any = None, **fields: Any) -> Any:
        """A processing object, not yet run; img2img if there is an ``image``."""
        given = {
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
            **({"batch_size": len(prompt)} if isinstance(prompt, list) else {}),
        }
        if image is None:
            return self.processing.StableDiffusionProcessingTxt2Img(**{**given, **fields})
        given.update(init_images=[image], denoising_strength=0.6)
        return self.processing.StableDiffusionProcessingImg2Img(**{**given, **fields})

    def run(
        self, p: Any, *, runner: Any = None, args: Sequence[Any] = (), is_api: bool = True
    ) -> Made:
        """What comes of ``p``, asked for by the API or the page; an exception is part of it."""
        self.shared.state.begin("contract")
        if runner is not None:
            p.is_api = is_api  # on the page the host's own controls overrule the fields
            p.scripts, p.script_args = runner, tuple(args)
        try:
            processed = self.processing.process_images(p)
        except (Exception, self.interrupt_class()) as error:
            return Made(p, error=error)
        finally:
            self.shared.state.end()
        first = processed.index_of_first_image
        images = [np.asarray(image.convert("RGB")) for image in processed.images[first:]]
        return Made(p, images, processed.infotexts[first:], processed.comments)

    def make(
        self,
        prompt: Any,
        named: Any = BARE,
        *,
        image: Any = None,
        is_api: bool = True,
        **fields: Any,
    ) -> Made:
        """A picture without scripts, or with a tab's and these settings of SafeGen's."""
        p = self.ask(prompt, image=image, **fields)
        if named is BARE:
            return self.run(p)
        tab = "txt2img" if image is None else "img2img"
        return self.run(p, runner=self.runner(tab), args=self.args(named, tab), is_api=is_api)

    def bare_runner(self, *scripts: Any) -> Any:
        """A runner with these script objects alone, which take no arguments."""
        runner = self.scripts.ScriptRunner()
        for script in scripts:
            script.filename, script.args_from, script.args_to = __file__, 0, 0
            script.alwayson = True
        runner.scripts, runner.alwayson_scripts = list(scripts), list(scripts)
        return runner

    def script_of(self, **hooks: Callable[..., Any]) -> Any:
        """A script of another extension, with these hooks."""
        return type("Other", (self.scripts.Script,), {**hooks, "title": lambda self: "Other"})()

    def picture(self, prompt: str = "a blue box") -> Any:
        """A PIL image to start from."""
        from PIL import Image

        return Image.fromarray(self.make(prompt).image)

    def encoded(self, text: str, steps: int = STEPS) -> Any:
        """The tokens of a text's first cond, ``[tokens, width]``."""
        import torch

        texts = self.prompts.SdConditioning([text], width=SIZE, height=SIZE)
        with torch.no_grad():
            found = self.prompts.get_learned_conditioning(self.shared.sd_model, texts, steps)
        return found[0][0].cond

    # ------------------------------------------------------------------ SafeGen's script

    def runner(self, tab: str = "txt2img") -> Any:
        """The tab's scripts."""
        return getattr(self.scripts, f"scripts_{tab}")

    def script(self, tab: str = "txt2img") -> Any:
        """SafeGen's script object in a tab."""
        (found,) = (s for s in self.runner(tab).alwayson_scripts if s.title() == "SafeGen")
        return found

    def args(self, named: Any = None, tab: str = "txt2img") -> list[Any]:
        """Every script's default arguments, SafeGen's being one table of named values.

        ``None`` leaves SafeGen's defaults, which are off.
        """
        runner = self.runner(tab)
        values: list[Any] = [0] * len(runner.inputs)
        for script in runner.scripts:
            if script.controls:
                own = [control.value for control in script.controls]
                values[script.args_from : script.args_to] = own
        if named is not None:
            values[self.script(tab).args_from] = named
        return values

    def beside(self, *others: Any, before: bool = False) -> Any:
        """The tab's runner with SafeGen's script and others, behind it or ``before`` it."""
        runner = copy.copy(self.runner())
        for script in others:
            script.filename, script.args_from, script.args_to = __file__, 0, 0
        own = [self.script()]
        runner.alwayson_scripts = [*others, *own] if before else [*own, *others]
        if hasattr(runner, "callback_map"):
            runner.callback_map = {}
        return runner

    def make_beside(self, other: Any, prompt: Any, named: Any, **fields: Any) -> Made:
        """A guarded picture with another extension's script."""
        p = self.ask(prompt, **fields)
        return self.run(p, runner=self.beside(other), args=self.args(named))

    def pasted(self, infotext: str) -> list[Any]:
        """The value of each of SafeGen's controls after an infotext was pasted."""
        parameters = self.infotext.parse_generation_parameters(infotext, [])
        # The script's own list is of its last ui(), which the API calls once more for defaults.
        fields = {id(component): target for component, target in self.runner().infotext_fields}
        values = []
        for control in self.script().controls:
            target = fields[id(control)]
            value = target(parameters) if callable(target) else parameters.get(target)
            values.append(control.value if value is None else value)
        return values
