"""What the stand-in alone can show of SafeGen: other models, and what is on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import standin
import torch
from driver import HAZARD, HIRES, Host, difference, same
from facts_guard import MANY, ON, OWN_TEXT, ROWS, SAFE_TEXT, poison
from facts_others import everything_is_registered_once


def test_reload_ui_twice_leaves_one_registration(host: Host) -> None:
    wanted = host.make(HAZARD, ON)
    standin.reload()
    standin.reload()
    everything_is_registered_once(host)
    assert same(host.make(HAZARD, ON), wanted)
    assert not same(host.make(HAZARD), wanted)


@pytest.mark.parametrize("streams", ["shared", "independent"])
def test_dict_conds_of_sdxl(host: Host, streams: str) -> None:
    host.shared.sd_model = standin.Model(sdxl=True)
    kinds = set()
    with host.listening(denoiser=lambda p: kinds.add(type(p.text_cond).__name__)):
        made = host.make(HAZARD, {**ON, "streams": streams})
    assert not same(host.make(HAZARD), made)
    assert kinds == {"DictWithShape"}


def test_a_refiner_is_followed_with_fresh_conds(host: Host) -> None:
    """At weight 1 from the start the picture is the safe text's own, refiner and all."""
    fields = {"refiner_checkpoint": "toy-other", "refiner_switch_at": 0.5}
    wanted = host.make(SAFE_TEXT, **fields)
    assert difference(wanted, host.make(SAFE_TEXT)) > 2
    assert difference(host.make(HAZARD, OWN_TEXT, **fields), wanted) <= 2


def test_a_hires_checkpoint_is_followed(host: Host) -> None:
    fields = {**HIRES, "hr_checkpoint_name": "toy-other"}
    wanted = host.make(SAFE_TEXT, **fields)
    assert difference(wanted, host.make(SAFE_TEXT, **HIRES)) > 2
    assert difference(host.make(HAZARD, OWN_TEXT, **fields), wanted) <= 2


@pytest.mark.parametrize("strategy", ["direction", "projection"])
@pytest.mark.parametrize(
    "fields",
    [
        {"refiner_checkpoint": "toy-other", "refiner_switch_at": 0.5},
        {**HIRES, "hr_checkpoint_name": "toy-other"},
    ],
    ids=["refiner", "hires"],
)
def test_what_is_learned_follows_another_checkpoint(
    host: Host, own_folder: Path, strategy: str, fields: dict[str, Any]
) -> None:
    """Each encoder has its own, learned in this run; the next run makes the same picture."""
    asked = {**ON, "strategy": strategy}
    made = host.make(HAZARD, asked, **fields).good
    assert len(list(own_folder.glob("learned/violence/*.safetensors"))) == 2
    assert not same(made, host.make(HAZARD, **fields))
    assert same(made, host.make(HAZARD, asked, **fields))


def test_an_edit_model_is_refused_with_its_image_scale(host: Host) -> None:
    host.shared.sd_model.cond_stage_key = "edit"
    made = host.make(HAZARD, ON, image=host.picture(), image_cfg_scale=1.5)
    made.refused("InstructPix2Pix", "1.5")


def test_rows_are_counted_where_the_model_sees_them(host: Host) -> None:
    seen = host.shared.sd_model.rows_seen
    for named, wanted in (({"tau": 0.5}, [2] * 5 + [3] * 5), ({"refresh": 2}, [3, 2] * 5)):
        seen.clear()
        host.make(HAZARD, {**ON, **named}, steps=MANY)
        assert seen == wanted


def test_nothing_is_saved_of_a_failed_picture(host: Host, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "do_not_save_samples": False,
        "outpath_samples": tmp_path,
        "n_iter": 2,
    }
    with host.listening(denoised=poison):
        host.make(HAZARD, ON, **fields).refused()
    assert not list(tmp_path.iterdir())
    assert host.make(HAZARD, ON, **fields).good
    assert len(list(tmp_path.iterdir())) == 2


HYPERTILE = """
from functools import wraps

def hooked(forward):
    @wraps(forward)
    def wrapper(*args):
        return forward(*args)
    return wrapper
"""


@pytest.mark.parametrize("other", ["none", "inside", "outside", "elsewhere"])
def test_hypertile_s_hooks_don_t_count_but_another_extension_s_do(host: Host, other: str) -> None:
    """Also where another one is beneath Hypertile's, on top of it, or in another layer."""
    hypertile: dict[str, Any] = {"__name__": "hypertile"}
    exec(HYPERTILE, hypertile)
    layer, another = unet = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    if other == "inside":
        layer.forward = lambda x: x
    layer.forward = inner = hypertile["hooked"](layer.forward)
    if other == "outside":
        layer.forward = lambda x: inner(x)
    if other == "elsewhere":
        another.forward = lambda x: x
    model = host.shared.sd_model
    model.model.diffusion_model = unet
    model.rows_seen.clear()
    assert host.make(HAZARD, ROWS).good
    assert set(model.rows_seen) == ({3} if other == "none" else {2})
