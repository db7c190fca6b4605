"""`guard` as a user meets it: reads, chooses, repeats, nests, restores, and fails closed."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
from diffusers_support import BENIGN, CALM, RISKY, TOLD, Told, near, plain, settings
from plans import blending
from tiny_pipelines import tiny_sd

import safegen
from safegen.conditioning.edits import MoveAlong
from safegen.contexts.library import ContextError
from safegen.errors import GuardFailure, InvalidValue, Unsupported
from safegen.hosts.diffusers import PipelineEncoder, guard, replaced_forward
from safegen.learned.store import LearnedStore, learn_from_pairs


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny_sd()


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("SAFEGEN_CONTEXTS", str(tmp_path))


def quick(images: int = 1, **changes: Any) -> dict[str, Any]:
    return settings(images, **{"num_inference_steps": 3, **changes})


def is_plain(pipe: Any) -> bool:
    return type(pipe) is diffusers.StableDiffusionPipeline and "forward" not in vars(pipe.unet)


# --------------------------------------------------------------------------- reading


def test_reads_chooses_and_tells(pipe: Any) -> None:
    with safegen.guard(pipe, weight=0.7, tau=0.0) as run:
        pictures = pipe([RISKY, BENIGN], **quick(2)).images
    assert str(run.verdict) == "guarded 3 of 3 calls that needed it, for 1 of 2 images"
    assert [c.context and c.context.name for c in run.choices] == ["violence", None]
    before = plain(pipe, [RISKY, BENIGN], **quick(2))
    assert torch.equal(pictures[1], before[1])
    assert not torch.equal(pictures[0], before[0])


@pytest.mark.parametrize("how", ["positional", "keyword", "list", "tuple out"])
def test_a_prompt_in_any_form(pipe: Any, how: str) -> None:
    with guard(pipe, blending(weight=1.0, tau=0.0), chooser=TOLD) as run:
        if how == "positional":
            picture = pipe(RISKY, **quick()).images
        elif how == "keyword":
            picture = pipe(prompt=RISKY, negative_prompt="grey", **quick()).images
        elif how == "list":
            picture = pipe(prompt=[RISKY], **quick()).images
        else:
            picture = pipe(prompt=RISKY, return_dict=False, **quick())[0]
    assert run.verdict.guarded == run.verdict.calls == 3
    negative = {"negative_prompt": "grey"} if how == "keyword" else {}
    swapped = pipe(CALM, **negative, **quick()).images
    assert near(picture, swapped)


def test_a_prompt_that_is_no_text_is_refused(pipe: Any) -> None:
    with guard(pipe, chooser=TOLD), pytest.raises(InvalidValue, match="prompt"):
        pipe(prompt=[RISKY, 3], **quick())
    with guard(pipe, chooser=TOLD), pytest.raises(InvalidValue, match="prompt"):
        pipe(**quick())


def test_prompt_embeds_need_a_context_and_a_strategy_that_need_not_read(pipe: Any) -> None:
    states, _ = pipe.encode_prompt([RISKY], "cpu", 1, False)
    for how in ({}, {"context": "violence"}, {"strategy": "context"}):
        with guard(pipe, **how), pytest.raises(Unsupported, match="prompt_embeds can't be read"):
            pipe(prompt_embeds=states, **quick())
    plan = blending(weight=1.0, tau=0.0, context="custom", safe_text=CALM, strategy="context")
    with guard(pipe, plan) as run:
        picture = pipe(prompt_embeds=states, num_images_per_prompt=2, **quick(2)).images
    assert run.verdict.guarded_images == 2
    swapped = plain(pipe, [CALM, CALM], **quick(2))
    assert near(picture, swapped)


def test_prompt_embeds_are_edited_by_what_was_learned(pipe: Any) -> None:
    pairs = [(f"a bloody {c} ball", f"a clean {c} ball") for c in ("red", "blue")]
    learned = learn_from_pairs(pairs, PipelineEncoder(pipe))
    plan = blending(weight=1.0, tau=0.0, context="violence", strategy="direction")
    states, _ = pipe.encode_prompt([RISKY], "cpu", 1, False)
    with guard(pipe, plan, learned=learned):
        ours = pipe(prompt_embeds=states, **quick()).images
        read = pipe(RISKY, **quick()).images
    moved = MoveAlong(learned.direction, 1.0, learned.start)(states)
    theirs = pipe(prompt_embeds=moved, **quick()).images
    assert near(ours, theirs)
    assert near(read, theirs)


@pytest.mark.slow
def test_a_context_is_learned_with_the_first_picture_that_needs_it(
    pipe: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = blending(weight=1.0, tau=0.0, context="violence", strategy="direction")
    made = []
    for _ in range(2):
        with guard(pipe, plan):
            made.append(pipe(RISKY, **quick()).images)
        assert ("learns Violence" in capsys.readouterr().err) == (len(made) == 1)
    assert torch.equal(*made)
    assert LearnedStore(tmp_path).get("violence", PipelineEncoder(pipe).identity)


def test_what_the_command_line_learned_is_found(pipe: Any, tmp_path: Any) -> None:
    pairs = [("a bloody ball", "a clean ball")]
    plan = blending(weight=1.0, tau=0.0, context="violence", strategy="direction")
    store, encoder = LearnedStore(tmp_path), PipelineEncoder(pipe)
    learned = store.learn(TOLD.library.get("violence"), encoder, pairs)
    with guard(pipe, plan):
        found = pipe(RISKY, **quick()).images
    with guard(pipe, plan, learned=learned):
        given = pipe(RISKY, **quick()).images
    assert torch.equal(found, given)


# --------------------------------------------------------------------------- settings


def test_settings_are_validated_at_once(pipe: Any) -> None:
    for wrong in ({"weight": 1.5}, {"wait": 0.5}, {"context": "custom"}, {"tau": "early"}):
        with pytest.raises(InvalidValue), guard(pipe, **wrong):
            pytest.fail("the block was entered")
    with pytest.raises(ContextError), guard(pipe, context="unknown"):
        pytest.fail("the block was entered")
    assert is_plain(pipe)


def test_settings_go_before_the_plans(pipe: Any) -> None:
    with guard(pipe, blending(weight=0.2, tau=0.1), weight=0.9) as run:
        assert (run.plan.weight, run.plan.tau) == (0.9, 0.1)


@pytest.mark.parametrize("off", [{"enabled": False}, {"weight": 0.0}])
def test_off_reads_nothing_and_changes_nothing(pipe: Any, off: Any) -> None:
    class Never(Told):
        def choose(self, *_: Any, **__: Any) -> Any:
            raise AssertionError("a prompt was read")

    with guard(pipe, chooser=Never({}), **off) as run:
        picture = pipe(RISKY, **quick()).images
    assert torch.equal(picture, plain(pipe, [RISKY], **quick()))
    assert run.choices == ()
    assert str(run.verdict) == "nothing to guard in 0 calls"


# --------------------------------------------------------------------------- many calls


def test_works_repeatedly_and_tells_of_the_latest_call(pipe: Any) -> None:
    with guard(pipe, tau=0.0) as run:
        first = pipe(RISKY, **quick()).images
        assert run.verdict.guarded_images == 1
        pipe(BENIGN, **quick())
        assert str(run.verdict) == "nothing to guard in 3 calls"
        assert run.choices[0].context is None
        again = pipe(RISKY, **quick()).images
    assert torch.equal(first, again)
    assert is_plain(pipe)


def test_the_innermost_guard_counts_and_the_outer_one_resumes(pipe: Any) -> None:
    before = plain(pipe, [RISKY], **quick())
    whole = {"chooser": TOLD, "tau": 0.0, "region": "everywhere"}
    with guard(pipe, weight=1.0, **whole) as outer:
        with guard(pipe, weight=0.3, **whole) as inner:
            weak = pipe(RISKY, **quick()).images
            assert inner.verdict.guarded == 3
            with pytest.raises(GuardFailure, match="no picture has been made"):
                _ = outer.verdict
        full = pipe(RISKY, **quick()).images
        assert outer.verdict.guarded == 3
    assert near(full, plain(pipe, [CALM], **quick()))
    assert (weak - before).abs().max() < (full - before).abs().max()
    assert is_plain(pipe)


def test_guards_that_end_out_of_order_leave_no_gap(pipe: Any) -> None:
    first, second = guard(pipe, tau=0.0), guard(pipe, tau=0.0)
    first.__enter__()
    run = second.__enter__()
    first.__exit__(None, None, None)
    pipe(RISKY, **quick())
    assert run.verdict.guarded == 3
    second.__exit__(None, None, None)
    assert is_plain(pipe)


def test_another_pipeline_of_the_class_is_left_alone(pipe: Any) -> None:
    other = diffusers.StableDiffusionPipeline(**pipe.components, requires_safety_checker=False)
    with guard(pipe, tau=0.0):
        assert is_plain(other)
        assert isinstance(pipe, diffusers.StableDiffusionPipeline)
        assert type(pipe).__name__ == "StableDiffusionPipeline"


# --------------------------------------------------------------------------- failing closed


def test_an_error_of_a_callback_leaves_nothing_half_guarded(pipe: Any) -> None:
    before = plain(pipe, [RISKY], **quick())

    def explode(*_: Any) -> Any:
        raise RuntimeError("a callback of the user's")

    with guard(pipe, tau=0.0) as run:
        with pytest.raises(RuntimeError, match="a callback"):
            pipe(RISKY, callback_on_step_end=explode, **quick())
        assert "forward" not in vars(pipe.unet)
        with pytest.raises(GuardFailure, match=r"a callback of the user's"):
            _ = run.verdict
        after = pipe(RISKY, **quick()).images
        assert run.verdict.guarded == 3
    with guard(pipe, tau=0.0):
        assert torch.equal(after, pipe(RISKY, **quick()).images)
    assert is_plain(pipe)
    assert torch.equal(before, plain(pipe, [RISKY], **quick()))


def test_a_unet_that_is_never_called_gives_no_picture(pipe: Any) -> None:
    class Elsewhere(diffusers.StableDiffusionPipeline):
        def __call__(self, prompt: Any) -> Any:  # noqa: ARG002
            return type("Output", (), {"images": ["a picture from elsewhere"]})

    other = Elsewhere(**pipe.components, requires_safety_checker=False)
    with guard(other) as run, pytest.raises(GuardFailure, match="never called"):
        other(prompt=RISKY)
    with pytest.raises(GuardFailure, match="never called"):
        _ = run.verdict


def test_a_call_past_the_guard_gives_no_picture(pipe: Any) -> None:
    """Someone takes the guard off the UNet after the first step."""

    def remove(pipe: Any, step: int, _t: Any, state: Any) -> Any:
        if step == 0:
            vars(pipe.unet).pop("forward")
        return state

    with guard(pipe, tau=0.0), pytest.raises(GuardFailure, match="3 times, the guard saw 1"):
        pipe(RISKY, callback_on_step_end=remove, **quick())
    assert is_plain(pipe)


def test_a_callback_cannot_bring_in_another_prompt(pipe: Any) -> None:
    other, _ = pipe.encode_prompt([RISKY], "cpu", 1, False)

    def swap(_pipe: Any, _step: int, _t: Any, state: Any) -> Any:
        state["prompt_embeds"] = torch.cat([state["prompt_embeds"][:1], other])
        return state

    how = {"callback_on_step_end": swap, "callback_on_step_end_tensor_inputs": ["prompt_embeds"]}
    with guard(pipe), pytest.raises(GuardFailure, match="encoding was changed"):
        pipe(BENIGN, **how, **quick())


def test_a_callback_may_switch_guidance_off(pipe: Any) -> None:
    """The way that diffusers' documentation gives for it."""

    def off(pipe: Any, step: int, _t: Any, state: Any) -> Any:
        if step == 1:
            state["prompt_embeds"] = state["prompt_embeds"].chunk(2)[-1]
            pipe._guidance_scale = 0.0
        return state

    how = {"callback_on_step_end": off, "callback_on_step_end_tensor_inputs": ["prompt_embeds"]}
    with guard(pipe, chooser=TOLD, weight=1.0, tau=0.0, region="everywhere") as run:
        ours = pipe(RISKY, **how, **quick()).images
    assert run.verdict.guarded == 3
    assert near(ours, pipe(CALM, **how, **quick()).images)


def test_an_interrupted_picture_is_one_that_was_guarded_so_far(pipe: Any) -> None:
    def stop(after: int) -> Any:
        def callback(pipe: Any, step: int, _t: Any, state: Any) -> Any:
            pipe._interrupt = step == after
            return state

        return callback

    how = quick(num_inference_steps=12)
    with guard(pipe, tau=0.5) as run:
        pipe(RISKY, callback_on_step_end=stop(6), **how)
        assert (run.verdict.calls, run.verdict.guarded) == (7, 2)
        with pytest.raises(GuardFailure, match="interrupted before it"):
            pipe(RISKY, callback_on_step_end=stop(1), **how)


def test_a_pipeline_of_another_kind_is_refused(pipe: Any) -> None:
    with pytest.raises(Unsupported, match="object can't be guarded"), guard(object()):
        pass
    plan = blending(streams="independent")
    with guard(pipe, plan), pytest.raises(Unsupported, match="guidance_rescale"):
        pipe(RISKY, guidance_rescale=0.5, **quick())


def test_rows_of_another_number_stop_the_picture(pipe: Any) -> None:
    def doubled(forward: Any) -> Any:
        def call(sample: Any, t: Any, encoder_hidden_states: Any, **kwargs: Any) -> Any:
            both = [torch.cat([rows, rows]) for rows in (sample, encoder_hidden_states)]
            return (forward(both[0], t, encoder_hidden_states=both[1], **kwargs)[0][:2],)

        return call

    class Doubling(diffusers.StableDiffusionPipeline):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            with replaced_forward(self.unet, doubled):
                return super().__call__(*args, **kwargs)

    other = Doubling(**pipe.components, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    with guard(other, tau=0.0), pytest.raises(GuardFailure, match="4 UNet rows for 1 images"):
        other(RISKY, **quick())
