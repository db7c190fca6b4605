"""A thousand pictures at random, with errors and interrupts: no leak, drift or stale state."""

from __future__ import annotations

import gc
import random
import threading
from typing import Any

import numpy as np
import pytest
import standin
from driver import BENIGN, HAZARD, HIRES, Host, Made, difference, same
from facts_closed import broken, enforced
from facts_guard import AUTO, ON, OWN_TEXT, ROWS, SAFE_TEXT, poison
from facts_others import nested


def some_settings(rng: random.Random) -> dict[str, Any]:
    return {
        "context": rng.choice(["auto", "violence", "hate"]),
        "weight": rng.choice([0.0, 0.3, 1.0]),
        "tau": rng.choice([0.0, 0.2, 0.5]),
        "curve": rng.choice(["constant", "linear", "cosine"]),
        "streams": rng.choice(["shared", "shared", "independent"]),
        "strategy": rng.choice(["counterpart", "prepend", "context"]),
        "push": rng.choice([0.0, 0.0, 1.0]),
        "region": rng.choice(["everywhere", "disagreement"]),
        "refresh": rng.choice([1, 2]),
        "evidence": rng.random() < 0.2,
    }


def some_fields(host: Host, rng: random.Random) -> dict[str, Any]:
    prompts = [HAZARD, BENIGN, f"{BENIGN} AND {HAZARD} :0.5", "a [green star:bloody ball:0.5]"]
    return {
        "prompt": rng.choice(prompts),
        "negative_prompt": rng.choice(["", "a house", ", ".join(["a red house"] * 30)]),
        "cfg_scale": rng.choice([1.0, 4.0, 7.5, 0.5]),
        "steps": rng.choice([1, 2, 4, 10]),
        "sampler_name": rng.choice(host.samplers),
        "seed": rng.randint(0, 9),
        **rng.choice([{}, {}, {"batch_size": 2}, {"n_iter": 2}, HIRES]),
    }


def one(host: Host, rng: random.Random) -> Made:
    named = rng.choice([None, AUTO, some_settings(rng), some_settings(rng)])
    fields = some_fields(host, rng)
    kind = rng.choice(["well", "well", "well", "error", "NaN", "interrupt", "nested", "enforced"])
    if kind == "error":
        with host.listening(first=True, denoiser=broken):
            return host.make(named=named, **fields)
    if kind == "NaN":
        with host.listening(first=True, denoised=poison):
            return host.make(named=named, **fields)
    if kind == "interrupt":
        with host.stopping(rng.randint(0, 3)):
            return host.make(named=named, **fields)
    if kind == "nested":
        return nested(host, fields["prompt"], named, lambda _: host.ask(**fields))[0]
    if kind == "enforced":
        with enforced(host, rng.choice(["basic", "strict"])):
            return host.make(named=named, **fields)
    return host.make(named=named, **fields)


def alive() -> dict[str, int]:
    """How many objects of a run are still held."""
    from safegen.hosts.a1111.guard import PassGuard
    from safegen.webui.batch import Batch
    from safegen.webui.run import Run

    gc.collect()
    kinds = (PassGuard, Batch, Run)
    return {kind.__name__: sum(type(held) is kind for held in gc.get_objects()) for kind in kinds}


@pytest.mark.slow
def test_a_thousand_pictures(host: Host) -> None:
    from safegen.webui import lifecycle

    wanted = {
        "plain": host.make(HAZARD),
        "guarded": host.make(HAZARD, ROWS),
        "benign": host.make(BENIGN),
    }
    rng, went_well, at_first = random.Random(14), 0, {}
    for number in range(1000):
        went_well += one(host, rng).error is None
        assert lifecycle._current.get() is None, number
        if number % 20 == 19:
            assert same(host.make(HAZARD), wanted["plain"]), number
            assert same(host.make(HAZARD, ROWS), wanted["guarded"]), number
            assert same(host.make(BENIGN, AUTO), wanted["benign"]), number
        if number in (199, 999):
            at_first = at_first or alive()
    assert 300 < went_well < 1000
    assert alive() == at_first, "runs are held after their end"


def test_two_users_at_once(host: Host) -> None:
    """Two threads take turns in the host's queue; neither's settings reach the other's pictures."""
    lock, failed = threading.Lock(), []
    asked = {"guarded": ROWS, "plain": None}
    wanted = {name: host.make(HAZARD, named).image for name, named in asked.items()}

    def use(name: str) -> None:
        for _ in range(10):
            with lock:
                made = host.make(HAZARD, asked[name])
            if made.error is not None or not np.array_equal(made.images[0], wanted[name]):
                failed.append((name, made.error))

    threads = [threading.Thread(target=use, args=(name,)) for name in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_another_checkpoint_between_runs_is_followed(host: Host) -> None:
    first = host.make(SAFE_TEXT)
    assert difference(host.make(HAZARD, OWN_TEXT), first) <= 2
    before = host.shared.sd_model
    host.shared.sd_model = standin.Model(sdxl=True)
    other = host.make(SAFE_TEXT)
    assert not same(first, other)
    assert difference(host.make(HAZARD, OWN_TEXT), other) <= 2
    host.shared.sd_model = before
    assert same(host.make(SAFE_TEXT), first)
    assert not same(host.make(HAZARD, ON), host.make(HAZARD))
