"""Facts about the host's runs that SafeGen relies on: hooks, copies, nesting, infotext."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from driver import HIRES, STEPS, Host, facts, same
from facts_calls import RED, refuse

FACTS, fact = facts()

BEFORE = ["before_process", "process", "before_process_batch", "process_batch"]
SAMPLING = ["process_before_every_sampling"]
AFTER = ["post_sample", "postprocess_batch", "postprocess_image", "postprocess"]


def _recorder(host: Host, calls: list[str], failing: bool = False) -> Any:
    """A runner with a script that writes down its hooks, and raises in each if ``failing``."""

    def hook(name: str) -> Callable[..., None]:
        def called(*_args: Any, **_kwargs: Any) -> None:
            calls.append(name)
            if failing:
                refuse()

        return called

    hooks = {name: hook(name) for name in (*BEFORE, *SAMPLING, "before_hr", *AFTER)}
    return host.bare_runner(host.script_of(**hooks))


@fact
def process_images_inner_is_looked_up_when_called(host: Host) -> None:
    original, calls = host.processing.process_images_inner, []

    def inner(p: Any) -> Any:
        calls.append(p)
        return original(p)

    with mock.patch.object(host.processing, "process_images_inner", inner):
        made = host.make(RED, steps=1)
    assert calls == [made.p]


@fact
def hooks_come_in_this_order(host: Host) -> None:
    calls: list[str] = []
    host.run(host.ask("x", steps=2, **HIRES), runner=_recorder(host, calls))
    assert calls == [*BEFORE, *SAMPLING, "before_hr", *SAMPLING, *AFTER], calls
    calls.clear()
    host.run(host.ask("x", steps=1, n_iter=2), runner=_recorder(host, calls))
    assert calls.count("process") == calls.count("postprocess") == 1
    assert calls.count("process_batch") == calls.count(SAMPLING[0]) == 2


@fact
def what_a_hook_raises_is_swallowed(host: Host) -> None:
    calls: list[str] = []
    made = host.run(host.ask(RED), runner=_recorder(host, calls, failing=True))
    assert same(host.make(RED), made)
    assert calls == [*BEFORE, *SAMPLING, *AFTER]


@fact
def after_a_failed_sampling_no_postprocess_comes(host: Host) -> None:
    calls: list[str] = []
    p = host.ask(RED)
    p.sample = refuse
    host.run(p, runner=_recorder(host, calls))
    assert not [name for name in calls if name.startswith("post")], calls


@fact
def a_copy_shares_its_parameters_and_its_bound_methods(host: Host) -> None:
    p = host.ask(RED)
    p.sample = p.sample
    twin = copy.copy(p)
    assert twin.extra_generation_params is p.extra_generation_params
    assert twin.sample.__self__ is p


@fact
def a_nested_run_without_scripts_reaches_the_callbacks_all_the_same(host: Host) -> None:
    seen: list[Any] = []
    inner: list[Any] = []

    def nest(_self: Any, _p: Any, _pp: Any) -> None:
        if not inner:
            inner.append(host.ask("a blue box", steps=2))
            host.processing.process_images(inner[0])

    runner = host.bare_runner(host.script_of(postprocess_image=nest))
    with host.listening(denoiser=lambda p: seen.append(p.denoiser.p)):
        assert host.run(host.ask(RED, steps=2), runner=runner).good
    assert [p is inner[0] for p in seen] == [False, False, True, True]


@fact
def the_cond_cache_knows_no_polarity(host: Host) -> None:
    p = host.make(RED).p
    cache = [None, None]

    def encoded(negative: bool) -> Any:
        texts = host.prompts.SdConditioning(
            ["a white house"], width=p.width, height=p.height, is_negative_prompt=negative
        )
        function = host.prompts.get_learned_conditioning
        with torch.no_grad():
            return p.get_conds_with_caching(function, texts, STEPS, [cache], p.extra_network_data)

    assert encoded(False) is encoded(True)


@fact
def infotext_values_are_quoted_and_read_back(host: Host) -> None:
    p = host.ask(RED, steps=1)
    p.extra_generation_params.update(
        {
            "Probe text": "blood, gore: none",
            "Probe number": 0.7,
            "Probe none": None,
            "Probe function": lambda p, index, prompt_text, **_: f"{prompt_text} {index}",
            "Probe size": "12x34",
            "Probe same": "Probe same",
        }
    )
    found = host.infotext.parse_generation_parameters(host.run(p).infotexts[0], [])
    assert {k: v for k, v in found.items() if k.startswith("Probe")} == {
        "Probe text": "blood, gore: none",
        "Probe number": "0.7",
        "Probe function": "a red ball 0",
        "Probe size-1": "12",
        "Probe size-2": "34",
    }


@fact
def infotext_functions_count_within_their_batch(host: Host) -> None:
    p = host.ask(RED, steps=1, batch_size=2, n_iter=2)
    p.extra_generation_params["Probe"] = lambda p, index, **_: f"{p.iteration} {index}"
    told = host.run(p).infotexts
    assert all(f"Probe: {i // 2} {i % 2}" in text for i, text in enumerate(told)), told


@fact
def a_restricted_option_can_t_be_overridden_and_others_leak(host: Host) -> None:
    options, seen = host.shared.opts, []
    for name, restricted in (("contract_probe_a", True), ("contract_probe_b", False)):
        info = host.shared.OptionInfo("kept", name, section=("probe", "Probe"))
        info.restrict_api = restricted
        options.add_option(name, info)
        options.data.pop(name, None)
    overridden = {"contract_probe_a": "no", "contract_probe_b": "yes"}
    with host.listening(
        denoiser=lambda _: seen.append((options.contract_probe_a, options.contract_probe_b))
    ):
        host.make("x", steps=1, override_settings=overridden)
    assert seen == [("kept", "yes")], seen
    assert options.data.pop("contract_probe_b", None) == "yes"
    for name in overridden:
        options.data_labels.pop(name)
