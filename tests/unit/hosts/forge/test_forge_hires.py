"""The hires pass on Forge and reForge, which has a CFG scale of its own there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fake_host import FakeHost

from safegen.errors import Unsupported
from safegen.hosts.a1111.towards import Guiding, hires_cfg
from safegen.hosts.forge import PassGuard, check_pass
from safegen.plan import SafetyPlan


class _Processing:
    """What the hosts ask for, with a hires pass."""

    def __init__(self, **fields: Any) -> None:
        given = {"prompts": ["a"], "negative_prompts": ["b"], "steps": 4, "sampler_name": "Euler"}
        self.enable_hr, self.cfg_scale, self.hr_cfg = True, 4.0, 4.0
        self.hr_prompts, self.hr_negative_prompts = ["a"], ["b"]
        vars(self).update(given | fields)


class OnForge(_Processing):
    def calculate_hr_conds(self) -> bool:
        return bool(self.hr_cfg == 1)


class OnReforge(_Processing):
    def calculate_hr_conds(self) -> None:
        if self.hr_cfg == 0:
            self.hr_cfg = self.cfg_scale


@pytest.mark.parametrize(
    ("p", "wanted"),
    [
        (OnForge(hr_cfg=7.0), 7.0),
        (OnForge(hr_cfg=0.0), 0.0),
        (OnReforge(hr_cfg=7.0), 7.0),
        (OnReforge(hr_cfg=0), 4.0),
        (OnReforge(hr_cfg=-1.0), -1.0),
        (SimpleNamespace(cfg_scale=4.0), None),
    ],
)
def test_the_scale_is_the_one_that_the_host_will_guide_with(p: Any, wanted: float | None) -> None:
    assert hires_cfg(p) == wanted


def test_reforges_0_is_no_change_of_scale_when_the_host_puts_in_the_first_passs() -> None:
    host, p = FakeHost(), OnReforge(hr_cfg=0)
    before = Guiding.before(host, p, hires=True)
    p.calculate_hr_conds()
    assert Guiding.before(host, p, hires=True) == before
    assert before.cfg == 4.0


def test_the_push_has_its_negative_prompt_where_the_pass_is_guided_by_1() -> None:
    plan = SafetyPlan(push=1.0)

    def texts(p: Any) -> list[str]:
        return [text.text for text in PassGuard.texts_beside(p, plan, hires=True)]

    assert texts(OnReforge(hr_cfg=0, cfg_scale=1.0)) == ["b"]
    assert texts(OnReforge(hr_cfg=0)) == []


@pytest.mark.parametrize("own", [{"hr_prompts": ["c"]}, {"hr_negative_prompts": ["c"]}])
def test_hires_prompts_that_dynamic_clip_skip_passes_over_are_refused(own: dict[str, Any]) -> None:
    sets = {2: "conds of the first pass"}
    with pytest.raises(Unsupported, match="switch dynamic clip skip off"):
        check_pass(FakeHost(), OnReforge(dynamic_clip_skip_sets=sets, **own), None, SafetyPlan())
    check_pass(FakeHost(), OnReforge(dynamic_clip_skip_sets=None, **own), None, SafetyPlan())
    check_pass(FakeHost(), OnReforge(dynamic_clip_skip_sets=sets), None, SafetyPlan())
    without = OnReforge(dynamic_clip_skip_sets=sets, enable_hr=False, **own)
    check_pass(FakeHost(), without, None, SafetyPlan())
