"""The facts on the stand-in; ``tests/webui/test_facts_on_the_host.py`` runs them on a real host."""

from __future__ import annotations

import facts_attacks
import facts_beside
import facts_calls
import facts_closed
import facts_guard
import facts_neighbours
import facts_others
import facts_runs
import facts_steps
import facts_told
import facts_towards
import faults
import pytest
from driver import Fact, Host

MODULES = (
    facts_calls,
    facts_runs,
    facts_guard,
    facts_closed,
    facts_told,
    facts_others,
    facts_towards,
    facts_beside,
    facts_steps,
    facts_attacks,
    facts_neighbours,
    faults,
)


@pytest.mark.parametrize(
    "fact", [f for module in MODULES for f in module.FACTS.values()], ids=lambda f: f.__name__
)
def test_fact(host: Host, fact: Fact) -> None:
    fact(host)
