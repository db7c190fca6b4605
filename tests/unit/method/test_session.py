"""A session proves that the guard ran, and fails closed in every other case."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from plans import blending
from torch import Tensor

from safegen.errors import GuardFailure, InvalidValue, SafeGenError
from safegen.method.session import Call, Session
from safegen.plan import SafetyPlan

PLAN = blending(weight=0.5, tau=0.0)
OWN = PLAN.replace(streams="independent")
ROWS = torch.arange(2 * 4 * 3 * 3, dtype=torch.float32).reshape(2, 4, 3, 3) / 10
SAFE = ROWS.flip(0) + 1


def opened(plan: SafetyPlan = PLAN, guarded: tuple[bool, ...] = (True, True)) -> Session:
    return Session(plan, guarded)


def assert_failed(session: Session, reason: str | None) -> None:
    """The run is lost for good: everything a host could still call says so."""
    call = Call(0, 0.0, (0.5, 0.5), True)
    for later in (
        lambda: session.begin(0.9),
        lambda: session.safe_latent(call, ROWS, 1.0),
        lambda: session.combine(call, ROWS, SAFE),
        session.finish,
        lambda: session.finish(calls_made=1),
    ):
        with pytest.raises(GuardFailure, match=reason):
            later()
    assert session.reason is not None


@contextlib.contextmanager
def failing(session: Session, reason: str | None) -> Iterator[None]:
    """What the block does is refused, and the run is lost."""
    with pytest.raises(GuardFailure, match=reason):
        yield
    assert_failed(session, reason)


def call_once(session: Session, progress: float = 0.5) -> Tensor:
    """One complete call as a good host makes it."""
    call = session.begin(progress)
    if session.independent:
        session.safe_latent(call, ROWS, 2.0 - progress)
    return session.combine(call, ROWS, SAFE if call.evaluate else None)


# ------------------------------------------------------------------ a good run


def test_a_good_run_blends_and_has_a_verdict() -> None:
    session = opened()
    for progress in (0.0, 0.5):
        torch.testing.assert_close(call_once(session, progress), (ROWS + SAFE) / 2)
    verdict = session.finish(calls_made=2)
    assert (verdict.calls, verdict.needed, verdict.guarded, verdict.evaluated) == (2, 2, 2, 2)
    assert (verdict.images, verdict.guarded_images) == (2, 2)
    assert str(verdict) == "guarded 2 of 2 calls that needed it, for 2 of 2 images"
    assert session.finish() == verdict


def test_calls_before_the_threshold_and_after_the_end_send_the_very_original() -> None:
    session = opened(PLAN.replace(tau=0.4, end=0.6))
    for progress, active in ((0.0, False), (0.39, False), (0.5, True), (0.6, False)):
        call = session.begin(progress)
        assert call.active is call.evaluate is active
        assert call.progress == progress
        result = session.combine(call, ROWS, SAFE if active else None)
        assert (result is ROWS) is not active
    verdict = session.finish(calls_made=4)
    assert (verdict.calls, verdict.needed, verdict.guarded) == (4, 1, 1)


def test_calls_are_numbered() -> None:
    session = opened()
    indices = []
    for _ in range(3):
        call = session.begin(0.5)
        indices.append(call.index)
        session.combine(call, ROWS, SAFE)
    assert indices == [0, 1, 2]


def test_a_call_that_needs_nothing_may_stay_open() -> None:
    """A host that sees `active` False may leave the call alone."""
    session = opened(PLAN.replace(tau=0.5))
    session.begin(0.0)
    session.begin(0.1)
    call_once(session, 0.5)
    assert session.finish(calls_made=3).guarded == 1


def test_each_image_has_its_own_weight() -> None:
    session = opened(guarded=(False, True))
    call = session.begin(0.0)
    assert call.weights == (0.0, 0.5)
    poisoned = SAFE.clone()
    poisoned[0] = math.nan
    result = session.combine(call, ROWS, poisoned)
    assert torch.equal(result[0], ROWS[0])
    torch.testing.assert_close(result[1], (ROWS[1] + SAFE[1]) / 2)
    verdict = session.finish()
    assert (verdict.images, verdict.guarded_images) == (2, 1)
    assert "for 1 of 2 images" in str(verdict)


@pytest.mark.parametrize("region", ["everywhere", "disagreement"])
def test_a_benign_image_may_be_anything(region: str) -> None:
    """Its NaN is its own: neither the guard's business nor its neighbour's."""
    session = opened(PLAN.replace(region=region), guarded=(False, True))
    rows = ROWS.clone()
    rows[0] = math.nan
    result = session.combine(session.begin(0.0), rows, SAFE)
    assert result[0].isnan().all()
    clean = opened(PLAN.replace(region=region), guarded=(False, True))
    assert torch.equal(result[1], clean.combine(clean.begin(0.0), ROWS, SAFE)[1])
    assert session.finish().guarded == 1


@pytest.mark.parametrize(
    ("plan", "guarded"),
    [
        (PLAN, (False, False)),
        (PLAN.replace(weight=0.0), (True, True)),
        (PLAN.replace(enabled=False), (True, True)),
    ],
    ids=["benign", "weight 0", "disabled"],
)
def test_with_nothing_to_guard_nothing_is_needed(
    plan: SafetyPlan, guarded: tuple[bool, ...]
) -> None:
    session = opened(plan, guarded)
    for progress in (0.0, 0.5):
        call = session.begin(progress)
        assert not call.active
        assert not call.evaluate
        assert session.safe_latent(call, ROWS, 1.0) is ROWS
        assert session.combine(call, ROWS) is ROWS
    verdict = session.finish()
    assert verdict.needed == verdict.guarded == verdict.evaluated == 0
    assert str(verdict) == "nothing to guard in 2 calls"


def test_rows_near_float16s_maximum_are_guarded() -> None:
    top = torch.full((2, 4, 3, 3), 65504.0).half()
    session = opened(PLAN.replace(weight=0.7))
    result = session.combine(session.begin(0.0), top, -top)
    torch.testing.assert_close(
        result.float(), torch.full((2, 4, 3, 3), -0.4 * 65504), rtol=1e-3, atol=0
    )
    assert session.finish().guarded == 1


def test_a_region_is_where_the_streams_disagree() -> None:
    original = torch.zeros(2, 4, 9, 9)
    safe = original.clone()
    safe[..., 4, 4], safe[..., 0, 0] = 8.0, 0.01
    session = opened(PLAN.replace(region="disagreement"))
    result = session.combine(session.begin(0.0), original, safe)
    assert (result[..., 4, 4] == 4.0).all()
    assert (result[..., 0, 0] == 0).all()
    everywhere = opened()
    assert (everywhere.combine(everywhere.begin(0.0), original, safe)[..., 0, 0] > 0).all()


# ------------------------------------------------------------------ reuse


def test_refresh_says_when_to_evaluate_and_reuses_between() -> None:
    session = opened(PLAN.replace(refresh=3, weight=1.0))
    evaluated, results = [], []
    for i in range(7):
        call = session.begin(i / 7)
        evaluated.append(call.evaluate)
        safe = SAFE + i if call.evaluate else None
        results.append(session.combine(call, ROWS, safe))
    assert evaluated == [True, False, False, True, False, False, True]
    for i, last in enumerate((0, 0, 0, 3, 3, 3, 6)):
        torch.testing.assert_close(results[i], SAFE + last)
    verdict = session.finish()
    assert (verdict.guarded, verdict.evaluated) == (7, 3)


def test_calls_that_need_nothing_do_not_count_for_refresh() -> None:
    session = opened(PLAN.replace(refresh=2, tau=0.3))
    evaluated = []
    for i in range(7):
        call = session.begin(i / 10)
        evaluated.append(call.evaluate)
        session.combine(call, ROWS, SAFE if call.evaluate else None)
    assert evaluated == [False, False, False, True, False, True, False]


def test_a_reused_row_that_leaves_the_dtype_fails() -> None:
    """float16 can hold neither the sum nor what the plan asks for: no silent clipping."""
    low = torch.full((2, 4, 3, 3), -30000.0).half()
    session = opened(PLAN.replace(refresh=2, weight=1.0))
    session.combine(session.begin(0.0), low, -low)
    with failing(session, "not finite"):
        session.combine(session.begin(0.1), -low - low / 2, None)


# ------------------------------------------------------------------ independent streams


def test_an_independent_stream_has_its_own_latent() -> None:
    session = opened(OWN)
    first = session.begin(0.0)
    assert torch.equal(session.safe_latent(first, ROWS, 4.0), ROWS)
    session.combine(first, ROWS, SAFE)
    second = session.begin(0.5)
    moved = session.safe_latent(second, ROWS * 100, 2.0)
    torch.testing.assert_close(moved, SAFE + (ROWS - SAFE) / 2)
    session.combine(second, ROWS, SAFE)
    assert session.finish().guarded == 2


def test_an_independent_stream_forks_at_the_first_active_call() -> None:
    session = opened(OWN.replace(tau=0.5))
    call = session.begin(0.0)
    assert session.safe_latent(call, ROWS, 4.0) is ROWS
    session.combine(call, ROWS)
    fork = session.begin(0.5)
    assert torch.equal(session.safe_latent(fork, ROWS * 3, 2.0), ROWS * 3)


def test_shared_streams_have_one_latent() -> None:
    session = opened()
    assert not session.independent
    call = session.begin(0.0)
    assert session.safe_latent(call, ROWS, 4.0) is ROWS


def test_an_independent_stream_follows_reused_reconstructions_if_asked_at_every_call() -> None:
    session = opened(OWN.replace(refresh=2))
    first = session.begin(0.0)
    session.safe_latent(first, ROWS, 4.0)
    session.combine(first, ROWS, SAFE)
    second = session.begin(0.3)
    assert not second.evaluate
    torch.testing.assert_close(session.safe_latent(second, ROWS, 2.0), SAFE + (ROWS - SAFE) / 2)
    session.combine(second, ROWS + 1)  # the reused reconstruction is SAFE + 1
    third = session.begin(0.6)
    at_2 = SAFE + (ROWS - SAFE) / 2
    moved = session.safe_latent(third, ROWS, 1.0)
    torch.testing.assert_close(moved, SAFE + 1 + (at_2 - SAFE - 1) / 2)


def test_an_independent_stream_leaps_if_asked_only_where_rows_are_evaluated() -> None:
    session = opened(OWN.replace(refresh=2))
    first = session.begin(0.0)
    session.safe_latent(first, ROWS, 4.0)
    session.combine(first, ROWS, SAFE)
    session.combine(session.begin(0.3), ROWS + 1)
    third = session.begin(0.6)
    torch.testing.assert_close(session.safe_latent(third, ROWS, 1.0), SAFE + (ROWS - SAFE) / 4)


def test_an_independent_stream_whose_latent_was_not_asked_for_fails() -> None:
    session = opened(OWN)
    with failing(session, "own latent was not asked for"):
        session.combine(session.begin(0.0), ROWS, SAFE)


def test_each_evaluated_call_asks_for_its_own_latent() -> None:
    session = opened(OWN)
    call_once(session, 0.0)
    with pytest.raises(GuardFailure, match="own latent was not asked for"):
        session.combine(session.begin(0.5), ROWS, SAFE)


@pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf, "high"])
def test_a_noise_level_that_is_none_fails(sigma: Any) -> None:
    session = opened(OWN)
    call_once(session, 0.0)
    call = session.begin(0.5)
    with pytest.raises(GuardFailure):
        session.safe_latent(call, ROWS, sigma)
    assert_failed(session, "sigma|float")


def test_a_latent_of_another_shape_fails() -> None:
    session = opened(OWN)
    call_once(session, 0.0)
    call = session.begin(0.5)
    with failing(session, "latent: shape"):
        session.safe_latent(call, ROWS[:, :, :2], 1.0)


def test_the_safe_latent_of_a_past_call_fails() -> None:
    session = opened(OWN)
    past = session.begin(0.0)
    session.safe_latent(past, ROWS, 2.0)
    session.combine(past, ROWS, SAFE)
    session.begin(0.5)
    with failing(session, "call 0 came out of turn"):
        session.safe_latent(past, ROWS, 1.0)


# ------------------------------------------------------------------ fails closed


def test_a_batch_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match="1 image and more"):
        Session(PLAN, [])


def test_a_call_that_was_never_blended_is_found_at_the_next() -> None:
    session = opened()
    session.begin(0.0)
    with failing(session, "call 0 was never blended"):
        session.begin(0.1)


def test_a_call_that_was_never_blended_is_found_at_the_end() -> None:
    session = opened()
    call_once(session, 0.0)
    session.begin(0.5)
    with failing(session, "call 1 was never blended"):
        session.finish()


def test_a_guard_that_was_never_called_is_found() -> None:
    session = opened()
    with failing(session, "never called"):
        session.finish()


@pytest.mark.parametrize("made", [0, 1, 3])
def test_calls_that_never_reached_the_guard_are_found(made: int) -> None:
    session = opened()
    call_once(session, 0.0)
    call_once(session, 0.5)
    with failing(session, f"called {made} times, the guard saw 2"):
        session.finish(calls_made=made)


def test_a_call_after_the_end_fails_the_finished_run_too() -> None:
    session = opened()
    call_once(session)
    session.finish()
    with failing(session, "after the run had ended"):
        session.begin(0.9)


def test_a_blend_after_the_end_fails() -> None:
    session = opened(PLAN.replace(tau=0.5))
    call_once(session, 0.5)
    call = session.begin(0.0)
    session.finish()
    with pytest.raises(GuardFailure, match="after the run had ended"):
        session.combine(call, ROWS)
    with pytest.raises(GuardFailure, match="after the run had ended"):
        session.safe_latent(call, ROWS, 1.0)


@pytest.mark.parametrize("progress", [-0.1, 1.1, math.nan, math.inf, "half", None, [0.5]])
@pytest.mark.parametrize("guarded", [(True, True), (False, False)], ids=["guarded", "benign"])
def test_progress_that_is_none_fails(progress: Any, guarded: tuple[bool, ...]) -> None:
    session = opened(guarded=guarded)
    with pytest.raises(SafeGenError):
        session.begin(progress)
    assert session.reason
    with pytest.raises(GuardFailure):
        session.finish()


NAN = SAFE.clone()
NAN[1, 3, 2, 2] = math.nan
INFINITE = SAFE.clone()
INFINITE[0, 0, 0, 0] = -math.inf


@pytest.mark.parametrize(
    ("original", "safe", "reason"),
    [
        (ROWS, None, "missing"),
        (ROWS, NAN, "not finite"),
        (ROWS, INFINITE, "not finite"),
        (NAN, SAFE, "not finite"),
        (INFINITE, SAFE, "not finite"),
        (NAN, NAN, "not finite"),
        (ROWS, SAFE[:1], "shape"),
        (ROWS, SAFE[:, :3], "shape"),
        (ROWS, SAFE[..., :1], "shape"),
        (ROWS, SAFE[None], "shape"),
        (ROWS, torch.zeros(()), "shape"),
        (ROWS[:1], SAFE[:1], "1 images in the batch where 2 were planned"),
        (ROWS.repeat(2, 1, 1, 1), SAFE.repeat(2, 1, 1, 1), "4 images in the batch"),
        (ROWS, SAFE.long(), "floating point"),
        (ROWS.long(), SAFE.long(), "floating point"),
        (ROWS, SAFE.to(torch.complex64), "floating point"),
        (ROWS, SAFE.to("meta"), None),
        (ROWS.to("meta"), SAFE, None),
        (ROWS.to("meta"), SAFE.to("meta"), None),
        (ROWS, SAFE.tolist(), None),
        (None, SAFE, None),
        (ROWS[0, 0, 0, 0], SAFE[0, 0, 0, 0], None),
    ],
)
@pytest.mark.parametrize("plan", [PLAN, OWN, PLAN.replace(region="disagreement")])
def test_rows_that_cannot_be_blended_fail(
    plan: SafetyPlan, original: Any, safe: Any, reason: str | None
) -> None:
    session = opened(plan)
    call = session.begin(0.0)
    if session.independent:
        session.safe_latent(call, ROWS, 2.0)
    with failing(session, reason):
        session.combine(call, original, safe)


def test_at_weight_1_a_bad_original_does_not_reach_the_sampler() -> None:
    session = opened(PLAN.replace(weight=1.0))
    result = session.combine(session.begin(0.0), NAN, SAFE)
    assert torch.equal(result, SAFE)


@pytest.mark.parametrize("weight", [1e-9, 1e-60])
def test_a_bad_safe_row_fails_however_small_its_weight(weight: float) -> None:
    session = opened(PLAN.replace(weight=weight))
    with pytest.raises(GuardFailure, match="not finite"):
        session.combine(session.begin(0.0), ROWS, NAN)


@pytest.mark.parametrize("region", ["everywhere", "disagreement"])
def test_a_video_of_one_frame_is_combined_as_a_picture_is(region: str) -> None:
    video, picture = opened(PLAN.replace(region=region)), opened(PLAN.replace(region=region))
    frames = video.combine(video.begin(0.0), ROWS[:, :, None], SAFE[:, :, None])
    torch.testing.assert_close(frames[:, :, 0], picture.combine(picture.begin(0.0), ROWS, SAFE))


def test_rows_that_are_not_due_fail() -> None:
    session = opened(PLAN.replace(refresh=2))
    call_once(session, 0.0)
    with failing(session, "none is due"):
        session.combine(session.begin(0.5), ROWS, SAFE)


def test_a_batch_that_changes_between_reused_rows_fails() -> None:
    session = opened(PLAN.replace(refresh=2))
    call_once(session, 0.0)
    with pytest.raises(GuardFailure, match="shape"):
        session.combine(session.begin(0.5), ROWS[..., :2])


@pytest.mark.parametrize("guarded", [(True, True), (False, False)], ids=["guarded", "benign"])
def test_a_batch_of_another_size_fails_even_where_nothing_is_blended(
    guarded: tuple[bool, ...],
) -> None:
    session = opened(PLAN.replace(tau=0.5), guarded)
    with failing(session, "3 images in the batch where 2 were planned"):
        session.combine(session.begin(0.0), torch.zeros(3, 4, 3, 3))


def test_a_call_is_blended_once() -> None:
    session = opened()
    call = session.begin(0.0)
    session.combine(call, ROWS, SAFE)
    with failing(session, "call 0 was blended out of turn"):
        session.combine(call, ROWS, SAFE)


@pytest.mark.parametrize(
    "make", [lambda c: Call(*vars(c).values()), lambda _: None, lambda _: "call"]
)
def test_a_call_is_the_one_that_was_opened(make: Callable[[Call], Any]) -> None:
    session = opened()
    call = session.begin(0.0)
    with pytest.raises(GuardFailure):
        session.combine(make(call), ROWS, SAFE)
    assert session.reason


def test_a_call_of_another_session_fails() -> None:
    session, other = opened(), opened()
    session.begin(0.0)
    with pytest.raises(GuardFailure, match="out of turn"):
        session.combine(other.begin(0.0), ROWS, SAFE)


def test_an_error_that_a_host_swallows_is_raised_again_at_the_end() -> None:
    session = opened()
    call = session.begin(0.0)
    with contextlib.suppress(Exception):  # what a careless host does
        session.combine(call, ROWS, NAN)
    for progress in (0.3, 0.6):
        with pytest.raises(GuardFailure):
            session.begin(progress)
    with pytest.raises(GuardFailure, match="not finite"):
        session.finish()


def test_a_model_that_raises_between_leaves_the_call_open() -> None:
    session = opened()

    def model() -> None:
        session.begin(0.0)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        model()
    with pytest.raises(GuardFailure, match="never blended"):
        session.finish()


def test_an_interruption_within_a_blend_leaves_the_call_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    session = opened()
    call = session.begin(0.0)
    monkeypatch.setattr("safegen.method.session.blend", interrupt)
    with pytest.raises(KeyboardInterrupt):
        session.combine(call, ROWS, SAFE)
    with pytest.raises(GuardFailure, match="never blended"):
        session.finish()


@pytest.mark.parametrize("error", [RuntimeError("no memory"), AssertionError(), KeyError("x")])
def test_an_error_of_ours_fails_the_run_and_is_kept_as_the_cause(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: Any) -> None:
        raise error

    for name in ("blend", "weight_at"):
        session = opened()
        with monkeypatch.context() as patch:
            patch.setattr(f"safegen.method.session.{name}", broken)
            with pytest.raises(GuardFailure) as caught:
                session.combine(session.begin(0.0), ROWS, SAFE)
        assert caught.value.__cause__ is error
        assert_failed(session, str(error) or type(error).__name__)


@pytest.mark.parametrize("reason", ["the model was swapped", ""])
def test_a_host_can_fail_the_run_and_the_first_reason_stays(reason: str) -> None:
    session = opened()
    with pytest.raises(GuardFailure, match=f"could not guard it: {reason}"):
        session.fail(reason)
    call = Call(0, 0.0, (0.5, 0.5), True)
    for later in (
        lambda: session.begin(0.0),
        lambda: session.combine(call, ROWS, SAFE),
        lambda: session.fail("another one"),
        session.finish,
    ):
        with pytest.raises(GuardFailure, match=reason):
            later()


def test_a_host_s_cause_is_kept() -> None:
    cause = RuntimeError("cond of another checkpoint")
    with pytest.raises(GuardFailure) as caught:
        opened().fail("stale cond", cause)
    assert caught.value.__cause__ is cause


def test_a_failed_session_leaves_others_alone() -> None:
    failed, good = opened(OWN), opened(OWN)
    call_once(good, 0.0)
    with pytest.raises(GuardFailure):
        failed.combine(failed.begin(0.0), ROWS, NAN)
    call_once(good, 0.5)
    assert good.finish().guarded == 2


# ------------------------------------------------------------------ no state left behind


def test_each_call_starts_afresh_after_one_that_needed_nothing() -> None:
    """What an earlier call was given does not stand in for what this one must be."""
    session = opened(OWN.replace(end=0.5, curve="constant"))
    call_once(session, 0.0)
    idle = session.begin(0.5)
    assert session.safe_latent(idle, ROWS, 1.0) is ROWS
    session.combine(idle, ROWS)
    with pytest.raises(GuardFailure, match="own latent was not asked for"):
        session.combine(session.begin(0.4), ROWS, SAFE)


# ---------------------------------------------------------------------- what decides


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), -0.1, 2.0, None, "0.7"])
def test_a_weight_that_is_no_share_of_the_plan_s_fails(
    answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safegen.method.session.weight_at", lambda *_: answer)
    guard = Session(blending(weight=0.7, tau=0.0), [True])
    with pytest.raises(GuardFailure):
        guard.begin(0.0)
    with pytest.raises(GuardFailure):
        guard.finish(0)


@pytest.mark.parametrize(("calls", "steps", "free"), [(8, None, 0), (9, None, 2), (16, 8, 0)])
def test_in_few_steps_no_call_is_free(calls: int, steps: int | None, free: int) -> None:
    guard = Session(blending(weight=0.7, tau=0.2, curve="linear"), [True])
    guard.expect(calls, steps)
    weights = []
    for i in range(calls):
        call = guard.begin(i / calls)
        weights.append(call.weights[0])
        rows = torch.zeros(1, 4, 8, 8)
        guard.combine(call, rows, rows if call.evaluate else None)
    assert sum(weight == 0 for weight in weights) == free
    assert free or set(weights) == {0.7}


def test_a_threshold_behind_the_last_of_few_calls_is_refused() -> None:
    guard = Session(blending(tau=0.95), [True])
    with pytest.raises(InvalidValue) as caught:
        guard.expect(4)
    assert caught.value.field == "tau"
    with pytest.raises(GuardFailure):
        guard.begin(0.0)
