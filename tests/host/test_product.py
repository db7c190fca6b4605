"""SafeGen's script on the double: what it does there, and what the double alone can show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from driver import HAZARD, STEPS, SafeGen, difference
from product import FACTS, ON, ROWS, everything_is_registered_once, refused


@pytest.mark.parametrize("name", FACTS)
def test_fact(double: Any, name: str) -> None:
    FACTS[name](double)


def test_reload_ui_twice_leaves_one_registration(
    double: Any, reload_double: Callable[[], None]
) -> None:
    plain = double.make(HAZARD)
    wanted = SafeGen(double).make(HAZARD, ON)
    reload_double()
    reload_double()
    everything_is_registered_once(double)
    made = SafeGen(double).make(HAZARD, ON)
    assert np.array_equal(made.image, wanted.image)
    assert difference(made.image, plain.image) > 0


@pytest.mark.parametrize("streams", ["shared", "independent"])
def test_dict_conds_of_sdxl(double: Any, streams: str) -> None:
    from modules import sd_models, shared

    shared.sd_model = sd_models.ToyModel(sd_models.checkpoints["toy-world"], sdxl=True)
    kinds = set()
    with double.listening(denoiser=lambda p: kinds.add(type(p.text_cond).__name__)):
        plain = double.make(HAZARD)
        made = SafeGen(double).make(HAZARD, {**ON, "streams": streams})
    assert difference(plain.image, made.image) > 0
    assert kinds == {"DictWithShape"}


def test_a_refiner_is_followed_with_fresh_conds(double: Any) -> None:
    """At weight 1 from the start the picture is the safe text's own, refiner and all."""
    text = "a green cup in the snow"
    fields = {"refiner_checkpoint": "toy-other", "refiner_switch_at": 0.5}
    named = {
        **ON,
        "context": "custom",
        "safe_text": text,
        "unsafe_text": "bloody",
        "strategy": "context",
    }
    wanted = double.make(text, **fields)
    unrefined = double.make(text)
    made = SafeGen(double).make(HAZARD, named, **fields)
    assert difference(wanted.image, unrefined.image) > 2
    assert difference(made.image, wanted.image) <= 2


def test_a_hires_checkpoint_is_followed(double: Any) -> None:
    fields = {
        "enable_hr": True,
        "hr_scale": 1.5,
        "hr_upscaler": "Latent",
        "hr_checkpoint_name": "toy-other",
    }
    plain = double.make(HAZARD, **fields)
    made = SafeGen(double).make(HAZARD, ON, **fields)
    assert difference(made.image, plain.image) > 0


def test_an_edit_model_is_refused_with_its_image_scale(double: Any) -> None:
    from modules import shared
    from PIL import Image

    shared.sd_model.cond_stage_key = "edit"
    image = Image.new("RGB", (64, 64))
    p = double.img2img(HAZARD, image, image_cfg_scale=1.5)
    made = SafeGen(double).run(p, ON, is_img2img=True)
    refused(made, "InstructPix2Pix", "1.5")


def test_rows_are_counted_where_the_model_sees_them(double: Any) -> None:
    from modules import shared

    shared.sd_model.rows_seen.clear()
    SafeGen(double).make(HAZARD, {**ON, "tau": 0.5})
    assert shared.sd_model.rows_seen == [2, 2, 3, 3]
    shared.sd_model.rows_seen.clear()
    SafeGen(double).make(HAZARD, {**ON, "refresh": 2})
    assert shared.sd_model.rows_seen == [3, 2] * (STEPS // 2)


HYPERTILE = """
from functools import wraps

def hooked(forward):
    @wraps(forward)
    def wrapper(*args):
        return forward(*args)
    return wrapper
"""


@pytest.mark.parametrize("other", ["none", "inside", "outside", "elsewhere"])
def test_hypertile_s_hooks_don_t_count_but_another_extension_s_do(double: Any, other: str) -> None:
    """Also where another one is beneath Hypertile's, on top of it, or in another layer."""
    hypertile: dict[str, Any] = {"__name__": "hypertile"}
    exec(HYPERTILE, hypertile)
    unet = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    layer, another = unet
    if other == "inside":
        layer.forward = lambda x: x
    layer.forward = hypertile["hooked"](layer.forward)
    if other == "outside":
        inner = layer.forward
        layer.forward = lambda x: inner(x)
    if other == "elsewhere":
        another.forward = lambda x: x
    double.shared.sd_model.model.diffusion_model = unet
    seen = double.shared.sd_model.rows_seen
    seen.clear()
    assert SafeGen(double).make(HAZARD, ROWS).error is None
    assert set(seen) == ({3} if other == "none" else {2})


def test_nothing_is_saved_of_a_failed_picture(double: Any, tmp_path: Any) -> None:
    def poison(params: Any) -> None:
        params.x[:] = float("nan")

    guard = SafeGen(double)
    fields = {"do_not_save_samples": False, "outpath_samples": tmp_path, "n_iter": 2}
    with double.listening(denoised=poison):
        refused(guard.run(double.txt2img(HAZARD, **fields), ON))
    assert not list(tmp_path.iterdir())
    assert guard.run(double.txt2img(HAZARD, **fields), ON).error is None
    assert len(list(tmp_path.iterdir())) == 2
