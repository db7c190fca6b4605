"""Many pictures, two users and another checkpoint: no leak, drift or stale state."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import soak
import standin
from driver import HAZARD, Host, difference, same
from facts_guard import ON, OWN_TEXT, ROWS, SAFE_TEXT


@pytest.mark.slow
def test_a_thousand_pictures(host: Host) -> None:
    soak.a_thousand_pictures(host)


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
