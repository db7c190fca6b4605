"""A thousand pictures at random, with errors and interrupts: no leak, drift or stale state.

Told of a host, as the facts are: `test_soak.py` runs it on the stand-in, and
``tests/webui/test_facts_on_the_host.py`` within the real WebUI.
"""

from __future__ import annotations

import gc
import random
from typing import Any

from driver import BENIGN, HAZARD, HIRES, Host, Made, facts, same
from facts_closed import broken, enforced
from facts_guard import AUTO, ROWS, poison
from facts_others import nested

FACTS, fact = facts()


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


@fact
def a_thousand_pictures(host: Host) -> None:
    from safegen.webui import lifecycle

    wanted = {
        "plain": host.make(HAZARD),
        "guarded": host.make(HAZARD, ROWS),
        "benign": host.make(BENIGN),
    }
    rng, went_well = random.Random(14), 0
    at_first: dict[str, int] = {}
    for number in range(1000):
        went_well += one(host, rng).error is None
        assert lifecycle._current.get() is None, number
        if number % 20 == 19:
            assert same(host.make(HAZARD), wanted["plain"]), number
            assert same(host.make(HAZARD, ROWS), wanted["guarded"]), number
            assert same(host.make(BENIGN, AUTO), wanted["benign"]), number
        if number in (199, 999):
            at_first = at_first or alive()
    assert 300 < went_well < 1000, went_well
    assert alive() == at_first, "runs are held after their end"
