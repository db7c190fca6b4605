"""Facts about the host that SafeGen relies on. Each runs within a host's process.

A fact that the real host breaks says that SafeGen's picture of it is wrong; one that the double
alone breaks, that the double has drifted.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from driver import STEPS, Host, difference

FACTS: dict[str, Callable[[Host], None]] = {}


def fact(function: Callable[[Host], None]) -> Callable[[Host], None]:
    FACTS[function.__name__] = function
    return function


def tokens(cond: Any) -> Any:
    return cond["crossattn"] if isinstance(cond, dict) else cond


# ---------------------------------------------------------------------- rows


@fact
def rows_are_image_major_with_uncond_last(host: Host) -> None:
    seen: list[Any] = []
    texts = ["a red ball AND a blue box", "a green star"]
    with host.listening(denoiser=lambda p: seen.append((p.x, p.sigma, p.image_cond, p.text_cond))):
        made = host.run(host.txt2img(texts, batch_size=2))
    assert made.error is None, made.error
    x, sigma, image_cond, text_cond = seen[0]
    assert [len(x), len(sigma), len(image_cond)] == [5, 5, 5]
    assert torch.equal(x[0], x[1])
    assert torch.equal(x[3], x[0])
    assert torch.equal(x[4], x[2])
    assert not torch.equal(x[0], x[2])
    wanted = [tokens(host.encoded(t)) for t in ("a red ball", "a blue box", "a green star")]
    for row, own in zip(tokens(text_cond), wanted, strict=True):
        torch.testing.assert_close(row, own)


@fact
def layout_is_in_the_sampler_s_arguments(host: Host) -> None:
    seen: list[Any] = []

    def look(params: Any) -> None:
        batch = params.denoiser.sampler.sampler_extra_args["cond"].batch
        seen.append([[part.weight for part in parts] for parts in batch])

    with host.listening(denoiser=look):
        host.run(host.txt2img(["a red ball AND a blue box :0.5", "x"], batch_size=2))
    assert seen[0] == [[1.0, 0.5], [1.0]]


@fact
def extra_rows_before_the_uncond_rows_change_nothing(host: Host) -> None:
    rows: list[int] = []

    def insert(params: Any) -> None:
        count = len(params.text_cond)
        for name in ("x", "sigma", "image_cond"):
            value = getattr(params, name)
            setattr(params, name, torch.cat([value[:count], value[:count], value[count:]]))
        params.text_cond = torch.cat([params.text_cond, 0.5 * params.text_cond])

    for sampler in ("Euler", "DDIM"):
        for batching in (True, False):
            with host.options(batch_cond_uncond=batching):
                plain = host.make("a red ball", batch_size=2, sampler_name=sampler)
                with host.listening(denoiser=insert, denoised=lambda p: rows.append(len(p.x))):
                    more = host.make("a red ball", batch_size=2, sampler_name=sampler)
            assert difference(plain.image, more.image) <= 1, (sampler, batching)
            assert difference(plain.images[1], more.images[1]) <= 1
    assert set(rows) == {6}


@fact
def guidance_adds_each_part_by_its_weight(host: Host) -> None:
    seen: list[Any] = []
    with host.listening(
        denoised=lambda p: seen.append(p.x.clone()), after_cfg=lambda p: seen.append(p.x.clone())
    ):
        host.make("a red ball AND a blue box :0.5", cfg_scale=3.0, steps=2)
    rows, result = seen[0], seen[1]
    wanted = rows[2] + 3.0 * ((rows[0] - rows[2]) + 0.5 * (rows[1] - rows[2]))
    torch.testing.assert_close(result[0], wanted)


@fact
def only_the_first_callback_names_its_denoiser(host: Host) -> None:
    seen: list[Any] = []
    with host.listening(denoiser=seen.append, denoised=seen.append, after_cfg=seen.append):
        made = host.make("a red ball", steps=2)
    before, denoised, after = seen[:3]
    assert before.denoiser.p is made.p
    assert not hasattr(denoised, "denoiser")
    assert denoised.inner_model is before.denoiser.inner_model
    assert not hasattr(after, "denoiser")


@fact
def k_diffusion_rows_are_x0_and_timestep_rows_are_eps(host: Host) -> None:
    for sampler, steps in (("Euler", False), ("Euler a", False), ("DDIM", True), ("UniPC", True)):
        seen: list[Any] = []
        with host.listening(
            denoiser=lambda p, seen=seen: seen.append(p),
            denoised=lambda p, seen=seen: seen.append(p),
        ):
            host.make("a red ball", sampler_name=sampler)
        first, rows = seen[0], seen[1].x
        denoiser, level = first.denoiser, first.sigma
        assert (getattr(denoiser, "alphas", None) is not None) == steps, sampler
        assert (float(level[0]) > 100) == steps, (sampler, float(level[0]))
        predicted = denoiser.get_pred_x0(first.x, rows, level)
        if not steps:
            assert torch.equal(predicted, rows)
            continue
        a = denoiser.alphas[level.long()][:, None, None, None]
        wanted = (first.x - (1 - a).sqrt() * rows) / a.sqrt()
        torch.testing.assert_close(predicted, wanted)


# ---------------------------------------------------------------------- callbacks


@fact
def what_a_callback_raises_is_swallowed(host: Host) -> None:
    def refuse(_params: Any) -> None:
        raise RuntimeError("raised on purpose by the contract test")

    plain = host.make("a red ball")
    for name in ("denoiser", "denoised", "after_cfg"):
        with host.listening(**{name: refuse}):
            made = host.make("a red ball")
        assert difference(plain.image, made.image) == 0, name


@fact
def what_was_assigned_before_the_exception_stays(host: Host) -> None:
    def half(params: Any) -> None:
        params.text_cond = torch.zeros_like(params.text_cond)
        raise RuntimeError("raised on purpose by the contract test")

    plain = host.make("a red ball")
    with host.listening(denoiser=half):
        made = host.make("a red ball")
    assert difference(plain.image, made.image) > 0


@fact
def in_cfg_denoised_only_writes_in_place_count(host: Host) -> None:
    def assign(params: Any) -> None:
        params.x = torch.zeros_like(params.x)

    def write(params: Any) -> None:
        params.x[:1] = params.x[-1:]

    plain = host.make("a red ball")
    with host.listening(denoised=assign):
        assigned = host.make("a red ball")
    with host.listening(denoised=write):
        written = host.make("a red ball")
    assert difference(plain.image, assigned.image) == 0
    assert difference(plain.image, written.image) > 0


@fact
def after_cfg_is_read_back(host: Host) -> None:
    def shift(params: Any) -> None:
        params.x = params.x + 0.5

    plain = host.make("a red ball")
    with host.listening(after_cfg=shift):
        made = host.make("a red ball")
    assert difference(plain.image, made.image) > 0


@fact
def last_latent_and_preview_come_from_the_cond_rows_before_after_cfg(host: Host) -> None:
    kept: list[Any] = []
    rows: list[Any] = []
    denoisers: list[Any] = []

    def after(params: Any) -> None:
        kept.append((denoisers[0].sampler.last_latent.clone(), host.shared.state.current_latent))
        params.x = params.x + 1.0

    with (
        host.options(live_preview_content="Prompt"),
        host.listening(
            denoiser=lambda p: denoisers.append(p.denoiser),
            denoised=lambda p: rows.append(p.x.clone()),
            after_cfg=after,
        ),
    ):
        host.make("a red ball", batch_size=2)
    for (latent, preview), own in zip(kept, rows, strict=True):
        assert torch.equal(latent, own[:2])
        assert torch.equal(preview, latent)


@fact
def an_exception_from_combine_denoised_reaches_the_caller(host: Host) -> None:
    def wrap(params: Any) -> None:
        def refuse(*_args: Any, **_kwargs: Any) -> Any:
            raise RuntimeError("from the denoiser itself")

        params.denoiser.combine_denoised = refuse

    with host.listening(denoiser=wrap):
        made = host.make("a red ball")
    assert isinstance(made.error, RuntimeError)
    assert "from the denoiser itself" in str(made.error)


@fact
def a_wrapper_on_the_object_s_sample_is_called(host: Host) -> None:
    p = host.txt2img("a red ball")

    def refuse(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("instead of sampling")

    p.sample = refuse
    made = host.run(p)
    assert "instead of sampling" in str(made.error)


@fact
def process_images_inner_is_looked_up_when_called(host: Host) -> None:
    original = host.processing.process_images_inner
    calls: list[Any] = []

    def inner(p: Any) -> Any:
        calls.append(p)
        return original(p)

    host.processing.process_images_inner = inner
    try:
        made = host.make("a red ball", steps=1)
    finally:
        host.processing.process_images_inner = original
    assert calls == [made.p]


# ---------------------------------------------------------------------- steps


@fact
def the_denoiser_counts_calls_and_expects_two_a_step_of_second_order(host: Host) -> None:
    for sampler, calls, total in (("Euler", 4, 4), ("Heun", 7, 8)):
        seen: list[tuple[int, int]] = []

        def look(params: Any, seen: list[tuple[int, int]] = seen) -> None:
            seen.append((params.denoiser.step, params.denoiser.total_steps))

        with host.listening(denoiser=look):
            host.make("a red ball", sampler_name=sampler)
        assert [step for step, _ in seen] == list(range(calls)), (sampler, seen)
        assert {t for _, t in seen} == {total}, (sampler, seen)


@fact
def ddim_makes_other_numbers_of_calls_than_its_steps(host: Host) -> None:
    """One call less, or more where 1000 is no multiple: progress by count can pass 1."""
    for steps, calls in ((4, 3), (6, 6), (60, 62)):
        seen: list[int] = []

        def look(params: Any, seen: list[int] = seen) -> None:
            seen.append(params.denoiser.total_steps)

        with host.listening(denoiser=look):
            host.make("a red ball", sampler_name="DDIM", steps=steps)
        assert len(seen) == calls, (steps, len(seen))
        assert set(seen) == {steps}


@fact
def img2img_expects_one_call_more_than_its_share(host: Host) -> None:
    image = _picture(host)
    for sampler in ("Euler", "DDIM"):
        seen: list[int] = []

        def look(params: Any, seen: list[int] = seen) -> None:
            seen.append(params.denoiser.total_steps)

        with host.listening(denoiser=look):
            made = host.run(host.img2img("a red ball", image, steps=5, sampler_name=sampler))
        assert made.error is None, made.error
        assert set(seen) == {4}, (sampler, seen)  # int(0.6 * 5) + 1


def _picture(host: Host) -> Any:
    from PIL import Image

    return Image.fromarray(host.make("a blue box").image)


@fact
def sampling_step_lags_behind_the_calls(host: Host) -> None:
    seen: list[int] = []
    with host.listening(denoiser=lambda p: seen.append(p.sampling_step)):
        host.make("a red ball")
    assert seen == [0, 0, 1, 2], seen


@fact
def a_second_pass_has_a_denoiser_of_its_own(host: Host) -> None:
    seen: list[Any] = []
    with host.listening(
        denoiser=lambda p: seen.append(
            (p.denoiser, p.denoiser.step, p.denoiser.p.is_hr_pass, p.x.shape[-1])
        )
    ):
        made = host.make(
            "a red ball", enable_hr=True, hr_scale=1.5, denoising_strength=0.6, hr_upscaler="Latent"
        )
    assert made.error is None, made.error
    first = [entry for entry in seen if not entry[2]]
    second = [entry for entry in seen if entry[2]]
    assert len(first) == STEPS
    assert len(second) == STEPS  # whatever the denoising strength
    assert first[0][0] is not second[0][0]
    assert second[0][1] == 0
    assert second[0][3] == first[0][3] * 3 // 2


@fact
def an_interrupt_hands_on_the_last_latent(host: Host) -> None:
    latents: list[Any] = []
    denoisers: list[Any] = []

    def stop(_params: Any) -> None:
        latents.append(denoisers[0].sampler.last_latent.clone())
        if len(latents) == 2:
            host.shared.state.interrupt()

    p = host.txt2img("a red ball")
    kept: list[Any] = []
    original = p.sample

    def sample(*args: Any, **kwargs: Any) -> Any:
        kept.append(original(*args, **kwargs))
        return kept[0]

    p.sample = sample
    with host.listening(denoiser=lambda p: denoisers.append(p.denoiser), after_cfg=stop):
        made = host.run(p)
    assert made.error is None
    assert len(latents) == 2
    assert torch.equal(kept[0], latents[1])


# ---------------------------------------------------------------------- skipping and padding


@fact
def skipped_uncond_rows_are_copies_of_the_first_cond_rows(host: Host) -> None:
    rows: list[Any] = []
    given: list[int] = []
    with (
        host.options(s_min_uncond_all=True),
        host.listening(
            denoiser=lambda p: given.append(len(p.x)), denoised=lambda p: rows.append(p.x.clone())
        ),
    ):
        host.run(
            host.txt2img(["a red ball AND a blue box", "x"], batch_size=2, s_min_uncond=1000.0)
        )
    assert set(given) == {5}
    for own in rows:
        assert len(own) == 5
        assert torch.equal(own[3:], own[[0, 2]])


@fact
def early_guidance_can_be_skipped(host: Host) -> None:
    skipped: list[bool] = []
    with (
        host.options(skip_early_cond=0.3),
        host.listening(denoised=lambda p: skipped.append(torch.equal(p.x[-1], p.x[0]))),
    ):
        made = host.make("a red ball")
    assert skipped == [True, True, False, False], skipped
    assert "Skip Early CFG: 0.3" in made.infotexts[0]


@fact
def extra_rows_survive_skipping(host: Host) -> None:
    def insert(params: Any) -> None:
        for name in ("x", "sigma", "image_cond"):
            value = getattr(params, name)
            setattr(params, name, torch.cat([value[:1], value[:1], value[1:]]))
        params.text_cond = torch.cat([params.text_cond, 0.5 * params.text_cond])

    rows: list[Any] = []
    with host.options(s_min_uncond_all=True):
        plain = host.make("a red ball", s_min_uncond=1000.0)
        with host.listening(denoiser=insert, denoised=lambda p: rows.append(p.x.clone())):
            made = host.make("a red ball", s_min_uncond=1000.0)
    assert difference(plain.image, made.image) <= 1
    for own in rows:
        assert len(own) == 3
        assert torch.equal(own[2], own[0])
        assert not torch.equal(own[1], own[0])


LONG = ", ".join(["a red ball on the beach"] * 14)


@fact
def texts_of_other_lengths_are_told_by_their_tokens(host: Host) -> None:
    for options, key in (
        ({}, None),
        ({"pad_cond_uncond": True}, "Pad conds"),
        ({"pad_cond_uncond_v0": True}, "Pad conds v0"),
    ):
        shapes: list[Any] = []
        rows: list[int] = []
        with (
            host.options(**options),
            host.listening(
                denoiser=lambda p, shapes=shapes: shapes.append(
                    (tokens(p.text_cond).shape[1], tokens(p.text_uncond).shape[1])
                ),
                denoised=lambda p, rows=rows: rows.append(len(p.x)),
            ),
        ):
            made = host.make(LONG, steps=2)
        assert made.error is None, made.error
        assert set(shapes) == {(154, 77)}, shapes
        assert set(rows) == {2}
        if key:
            assert f"{key}: True" in made.infotexts[0]


@fact
def an_edited_prompt_changes_its_rows_in_the_middle(host: Host) -> None:
    seen: list[Any] = []
    with host.listening(denoiser=lambda p: seen.append(tokens(p.text_cond)[0].clone())):
        host.make("a [red ball:blue box:0.5]")
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[-1])


# ---------------------------------------------------------------------- text encoding


@fact
def the_cond_cache_knows_no_polarity(host: Host) -> None:
    p = host.txt2img("a red ball")
    host.run(p)
    cache = [None, None]

    def encoded(negative: bool) -> Any:
        texts = host.prompts.SdConditioning(
            ["a white house"], width=p.width, height=p.height, is_negative_prompt=negative
        )
        with torch.no_grad():
            return p.get_conds_with_caching(
                host.prompts.get_learned_conditioning, texts, STEPS, [cache], p.extra_network_data
            )

    assert encoded(False) is encoded(True)


# ---------------------------------------------------------------------- scripts


def _recorder(host: Host, calls: list[str], failing: bool = False) -> Any:
    """A script that writes down its hooks, and raises in each if ``failing``."""
    hooks = (
        "before_process",
        "process",
        "before_process_batch",
        "process_batch",
        "process_before_every_sampling",
        "before_hr",
        "post_sample",
        "postprocess_batch",
        "postprocess_image",
        "postprocess",
    )

    def hook(name: str) -> Callable[..., None]:
        def called(*_args: Any, **_kwargs: Any) -> None:
            calls.append(name)
            if failing:
                raise RuntimeError("raised on purpose by the contract test")

        return called

    body = {name: hook(name) for name in hooks}
    return type("Recorder", (host.scripts.Script,), {**body, "title": lambda self: "Recorder"})()


@fact
def hooks_come_in_this_order(host: Host) -> None:
    calls: list[str] = []
    host.run(
        host.txt2img(
            "x", steps=2, enable_hr=True, hr_scale=1.5, hr_upscaler="Latent", denoising_strength=0.6
        ),
        runner=host.bare_runner(_recorder(host, calls)),
    )
    assert calls == [
        "before_process",
        "process",
        "before_process_batch",
        "process_batch",
        "process_before_every_sampling",
        "before_hr",
        "process_before_every_sampling",
        "post_sample",
        "postprocess_batch",
        "postprocess_image",
        "postprocess",
    ], calls


@fact
def batch_hooks_come_for_every_batch(host: Host) -> None:
    calls: list[str] = []
    host.run(host.txt2img("x", steps=1, n_iter=2), runner=host.bare_runner(_recorder(host, calls)))
    assert calls.count("process") == calls.count("postprocess") == 1
    assert calls.count("process_batch") == calls.count("process_before_every_sampling") == 2


@fact
def what_a_hook_raises_is_swallowed(host: Host) -> None:
    calls: list[str] = []
    plain = host.make("a red ball")
    made = host.run(
        host.txt2img("a red ball"), runner=host.bare_runner(_recorder(host, calls, failing=True))
    )
    assert difference(plain.image, made.image) == 0
    assert len(calls) == 9


@fact
def after_a_failed_sampling_no_postprocess_comes(host: Host) -> None:
    calls: list[str] = []
    p = host.txt2img("a red ball")

    def refuse(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("instead of sampling")

    p.sample = refuse
    host.run(p, runner=host.bare_runner(_recorder(host, calls)))
    assert not [name for name in calls if name.startswith("post")], calls


@fact
def a_copy_shares_its_parameters_and_its_bound_methods(host: Host) -> None:
    p = host.txt2img("a red ball")
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
            inner.append(host.txt2img("a blue box", steps=2))
            host.processing.process_images(inner[0])

    script = type(
        "Nest", (host.scripts.Script,), {"postprocess_image": nest, "title": lambda self: "Nest"}
    )()
    with host.listening(denoiser=lambda p: seen.append(p.denoiser.p)):
        made = host.run(host.txt2img("a red ball", steps=2), runner=host.bare_runner(script))
    assert made.error is None
    assert [p is inner[0] for p in seen] == [False, False, True, True]


# ---------------------------------------------------------------------- infotext and settings


@fact
def infotext_values_are_quoted_and_read_back(host: Host) -> None:
    values: dict[str, Any] = {
        "Probe text": "blood, gore: none",
        "Probe number": 0.7,
        "Probe none": None,
        "Probe function": lambda p, index, prompt_text, **_: f"{prompt_text} {index}",
        "Probe size": "12x34",
        "Probe same": "Probe same",
    }
    p = host.txt2img("a red ball", steps=1)
    p.extra_generation_params.update(values)
    made = host.run(p)
    found = host.infotext.parse_generation_parameters(made.infotexts[0], [])
    assert found["Probe text"] == "blood, gore: none"
    assert found["Probe number"] == "0.7"
    assert found["Probe function"] == "a red ball 0"
    assert (found["Probe size-1"], found["Probe size-2"]) == ("12", "34")
    for name in ("Probe none", "Probe size", "Probe same"):
        assert name not in found, name


@fact
def a_restricted_option_can_t_be_overridden_and_others_leak(host: Host) -> None:
    options = host.shared.opts
    for name, restricted in (("contract_probe_a", True), ("contract_probe_b", False)):
        options.add_option(
            name,
            host.shared.OptionInfo(
                "kept", name, section=("probe", "Probe"), restrict_api=restricted
            ),
        )
        options.data.pop(name, None)
    seen: list[Any] = []
    with host.listening(
        denoiser=lambda _: seen.append((options.contract_probe_a, options.contract_probe_b))
    ):
        host.make(
            "x", steps=1, override_settings={"contract_probe_a": "no", "contract_probe_b": "yes"}
        )
    assert seen == [("kept", "yes")], seen
    leaked = options.data.pop("contract_probe_b", None)
    assert leaked == "yes"
    for name in ("contract_probe_a", "contract_probe_b"):
        options.data_labels.pop(name)
