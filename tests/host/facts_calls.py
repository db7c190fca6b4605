"""Facts about the host's denoiser calls that SafeGen relies on.

A fact that the real host breaks says that SafeGen's picture of it is wrong; one that the stand-in
alone breaks, that the stand-in has drifted.
"""

from __future__ import annotations

from typing import Any

import torch
from driver import HIRES, STEPS, Host, facts, same

FACTS, fact = facts()

RED = "a red ball"
PARTS = ["a red ball AND a blue box :0.5", "a green star"]


def tokens(cond: Any) -> Any:
    return cond["crossattn"] if isinstance(cond, dict) else cond


def refuse(*_args: Any, **_kwargs: Any) -> Any:
    raise RuntimeError("raised on purpose")


def with_extra_row(params: Any) -> None:
    """Put as many rows as there are cond rows before the uncond rows."""
    count = len(params.text_cond)
    for name in ("x", "sigma", "image_cond"):
        value = getattr(params, name)
        setattr(params, name, torch.cat([value[:count], value[:count], value[count:]]))
    params.text_cond = torch.cat([params.text_cond, 0.5 * params.text_cond])


# ---------------------------------------------------------------------- rows


@fact
def rows_are_image_major_with_uncond_last(host: Host) -> None:
    seen: list[Any] = []
    with host.listening(denoiser=lambda p: seen.append((p.x, p.sigma, p.image_cond, p.text_cond))):
        assert host.make(PARTS).good
    x, sigma, image_cond, text_cond = seen[0]
    assert [len(x), len(sigma), len(image_cond)] == [5, 5, 5]
    assert torch.equal(x[[0, 0, 2]], x[[1, 3, 4]])
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
        host.make(PARTS)
    assert seen[0] == [[1.0, 0.5], [1.0]]


@fact
def extra_rows_before_the_uncond_rows_change_nothing(host: Host) -> None:
    rows: list[int] = []
    for sampler in ("Euler", "DDIM"):
        for batching in (True, False):
            with host.options(batch_cond_uncond=batching):
                fields = {"batch_size": 2, "sampler_name": sampler}
                plain = host.make(RED, **fields)
                with host.listening(
                    denoiser=with_extra_row, denoised=lambda p: rows.append(len(p.x))
                ):
                    more = host.make(RED, **fields)
            for one, other in zip(plain.images, more.images, strict=True):
                assert abs(one.astype(int) - other).max() <= 1, (sampler, batching)
    assert set(rows) == {6}


@fact
def guidance_adds_each_part_by_its_weight(host: Host) -> None:
    seen: list[Any] = []
    look = lambda p: seen.append(p.x.clone())  # noqa: E731
    with host.listening(denoised=look, after_cfg=lambda p: look(p)):
        host.make(PARTS[0], cfg_scale=3.0, steps=2)
    rows, result = seen[0], seen[1]
    wanted = rows[2] + 3.0 * ((rows[0] - rows[2]) + 0.5 * (rows[1] - rows[2]))
    torch.testing.assert_close(result[0], wanted)


@fact
def only_the_first_callback_names_its_denoiser(host: Host) -> None:
    seen: list[Any] = []
    with host.listening(
        denoiser=seen.append, denoised=lambda p: seen.append(p), after_cfg=lambda p: seen.append(p)
    ):
        made = host.make(RED, steps=2)
    before, denoised, after = seen[:3]
    assert before.denoiser.p is made.p
    assert denoised.inner_model is before.denoiser.inner_model
    assert not hasattr(denoised, "denoiser")
    assert not hasattr(after, "denoiser")


@fact
def k_diffusion_rows_are_x0_and_timestep_rows_are_eps(host: Host) -> None:
    for sampler, steps in (("Euler", False), ("Euler a", False), ("DDIM", True), ("UniPC", True)):
        seen: list[Any] = []
        with host.listening(denoiser=seen.append, denoised=lambda p, seen=seen: seen.append(p)):
            host.make(RED, sampler_name=sampler)
        first, rows = seen[0], seen[1].x
        denoiser, level = first.denoiser, first.sigma
        assert (getattr(denoiser, "alphas", None) is not None) == steps, sampler
        assert (float(level[0]) > 100) == steps, (sampler, float(level[0]))
        wanted = rows
        if steps:
            a = denoiser.alphas[level.long()][:, None, None, None]
            wanted = (first.x - (1 - a).sqrt() * rows) / a.sqrt()
        torch.testing.assert_close(denoiser.get_pred_x0(first.x, rows, level), wanted)


# ---------------------------------------------------------------------- callbacks


@fact
def what_a_callback_raises_is_swallowed(host: Host) -> None:
    plain = host.make(RED)
    for name in ("denoiser", "denoised", "after_cfg"):
        with host.listening(**{name: refuse}):
            assert same(plain, host.make(RED)), name


@fact
def what_counts_of_what_a_callback_does(host: Host) -> None:
    """What was assigned before an exception, writing in place, and ``x`` after guidance."""

    def half(params: Any) -> None:
        params.text_cond = torch.zeros_like(params.text_cond)
        refuse()

    def assign(params: Any) -> None:
        params.x = torch.zeros_like(params.x)

    def write(params: Any) -> None:
        params.x[:1] = params.x[-1:]

    def shift(params: Any) -> None:
        params.x = params.x + 0.5

    plain = host.make(RED)
    for name, function, counts in (
        ("denoiser", half, True),
        ("denoised", assign, False),
        ("denoised", write, True),
        ("after_cfg", shift, True),
    ):
        with host.listening(**{name: function}):
            assert same(plain, host.make(RED)) is not counts, function


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
        host.make(RED, batch_size=2)
    for (latent, preview), own in zip(kept, rows, strict=True):
        assert torch.equal(latent, own[:2])
        assert torch.equal(preview, latent)


@fact
def an_exception_from_what_is_called_directly_reaches_the_caller(host: Host) -> None:
    def wrap(params: Any) -> None:
        params.denoiser.combine_denoised = refuse

    with host.listening(denoiser=wrap):
        host.make(RED).refused("on purpose")
    p = host.ask(RED)
    p.sample = refuse
    host.run(p).refused("on purpose")


# ---------------------------------------------------------------------- steps


def _denoisers(host: Host, prompt: str = RED, **fields: Any) -> list[tuple[int, int]]:
    """Step and expected steps at every call."""
    seen: list[tuple[int, int]] = []
    with host.listening(denoiser=lambda p: seen.append((p.denoiser.step, p.denoiser.total_steps))):
        assert host.make(prompt, **fields).good
    return seen


@fact
def the_denoiser_counts_calls_and_knows_how_many_are_expected(host: Host) -> None:
    """Two a step of second order. DDIM makes one less, or more where 1000 is no multiple.

    img2img expects one more than its share, int(0.6 · 5) + 1.
    """
    from PIL import Image

    image = Image.new("RGB", (64, 64), "blue")
    for fields, calls, total in (
        ({}, 4, 4),
        ({"sampler_name": "Heun"}, 7, 8),
        ({"sampler_name": "DDIM"}, 3, 4),
        ({"sampler_name": "DDIM", "steps": 6}, 6, 6),
        ({"sampler_name": "DDIM", "steps": 60}, 62, 60),
        ({"steps": 5, "image": image}, None, 4),
        ({"steps": 5, "image": image, "sampler_name": "DDIM"}, None, 4),
    ):
        seen = _denoisers(host, **fields)
        assert [step for step, _ in seen] == list(range(calls or len(seen))), (fields, seen)
        assert {expected for _, expected in seen} == {total}, (fields, seen)


@fact
def sampling_step_lags_behind_the_calls(host: Host) -> None:
    seen: list[int] = []
    with host.listening(denoiser=lambda p: seen.append(p.sampling_step)):
        host.make(RED)
    assert seen == [0, 0, 1, 2], seen


@fact
def a_second_pass_has_a_denoiser_of_its_own(host: Host) -> None:
    seen: list[Any] = []

    def look(params: Any) -> None:
        own = params.denoiser
        seen.append((own, own.step, own.p.is_hr_pass, params.x.shape[-1]))

    with host.listening(denoiser=look):
        assert host.make(RED, **HIRES).good
    first = [entry for entry in seen if not entry[2]]
    second = [entry for entry in seen if entry[2]]
    assert len(first) == len(second) == STEPS  # whatever the denoising strength
    assert first[0][0] is not second[0][0]
    assert (second[0][1], second[0][3]) == (0, first[0][3] * 3 // 2)


@fact
def an_interrupt_hands_on_the_last_latent(host: Host) -> None:
    latents: list[Any] = []
    denoisers: list[Any] = []
    kept: list[Any] = []
    p = host.ask(RED)
    original = p.sample

    def sample(*args: Any, **kwargs: Any) -> Any:
        kept.append(original(*args, **kwargs))
        return kept[0]

    p.sample = sample
    with (
        host.stopping(1),
        host.listening(
            denoiser=lambda p: denoisers.append(p.denoiser),
            after_cfg=lambda _: latents.append(denoisers[0].sampler.last_latent.clone()),
        ),
    ):
        assert host.run(p).good
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
        host.make(PARTS, s_min_uncond=1000.0)
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
        made = host.make(RED)
    assert skipped == [True, True, False, False], skipped
    assert "Skip Early CFG: 0.3" in made.infotexts[0]


@fact
def extra_rows_survive_skipping(host: Host) -> None:
    rows: list[Any] = []
    with host.options(s_min_uncond_all=True):
        plain = host.make(RED, s_min_uncond=1000.0)
        with host.listening(denoiser=with_extra_row, denoised=lambda p: rows.append(p.x.clone())):
            made = host.make(RED, s_min_uncond=1000.0)
    assert abs(plain.image.astype(int) - made.image).max() <= 1
    for own in rows:
        assert len(own) == 3
        assert torch.equal(own[2], own[0])
        assert not torch.equal(own[1], own[0])


@fact
def texts_of_other_lengths_are_told_by_their_tokens(host: Host) -> None:
    for options, key in (
        ({}, ""),
        ({"pad_cond_uncond": True}, "Pad conds: True"),
        ({"pad_cond_uncond_v0": True}, "Pad conds v0: True"),
    ):
        seen: set[Any] = set()

        def look(params: Any, seen: set[Any] = seen) -> None:
            seen.add((tokens(params.text_cond).shape[1], tokens(params.text_uncond).shape[1]))

        with (
            host.options(**options),
            host.listening(denoiser=look, denoised=lambda p, seen=seen: seen.add(len(p.x))),
        ):
            made = host.make(", ".join([f"{RED} on the beach"] * 14), steps=2).good
        assert seen == {(154, 77), 2}, seen
        assert key in made.infotexts[0]


@fact
def an_edited_prompt_changes_its_rows_in_the_middle(host: Host) -> None:
    seen: list[Any] = []
    with host.listening(denoiser=lambda p: seen.append(tokens(p.text_cond)[0].clone())):
        host.make("a [red ball:blue box:0.5]")
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[-1])
