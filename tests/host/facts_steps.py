"""Facts about SafeGen on a host: in few steps the guard acts from the first call on."""

from __future__ import annotations

from driver import HAZARD, Host, facts, same
from facts_closed import enforced
from facts_guard import ON, ROWS, rows

FACTS, fact = facts()


@fact
def in_few_steps_no_call_is_free(host: Host) -> None:
    """Whatever the threshold and the curve; under strict no call ever is."""
    rising = {**ROWS, "tau": 0.2, "curve": "linear"}
    for sampler, steps, calls in (
        ("Euler", 1, 1),
        ("Euler", 2, 2),
        ("Euler", 5, 5),
        ("Euler", 8, 8),
        ("Heun", 5, 9),
        ("DDIM", 4, 3),
    ):
        for named in (rising, {**ROWS, "tau": 0.5}):
            if (steps, named["tau"]) == (1, 0.5):
                continue
            found = rows(host, named, sampler_name=sampler, steps=steps)
            assert found == [3] * calls, (sampler, steps, named)
    assert rows(host, rising, steps=9) == [2] * 2 + [3] * 7
    made = host.make(HAZARD, {**ROWS, "tau": 0.2})
    assert same(made, host.make(HAZARD, ROWS))
    assert "from the first on" in made.infotexts[0]
    assert "from the first on" not in host.make(HAZARD, ROWS).infotexts[0]
    with enforced(host, "strict"):
        for steps in (1, 2, 9, 20):
            assert rows(host, {"enabled": False}, steps=steps) == [3] * steps


@fact
def a_threshold_behind_the_last_call_is_refused_by_name(host: Host) -> None:
    from safegen.webui.errors import DETAILS

    for named, steps in (({"tau": 0.95}, 4), ({"tau": 0.8}, 3), ({"tau": 0.95}, 12)):
        # A real page has controls of its own, which overrule the steps.
        for is_api in (True, False) if host.is_stand_in else (True,):
            made = host.make(HAZARD, {**ON, **named}, steps=steps, is_api=is_api)
            made.refused("SafeGen", "nothing would be guarded")
            assert getattr(made.error, "status_code", 422) == 422
            # A control's own fault is said as it is, and not behind the operator's sentence.
            assert is_api or DETAILS not in str(made.error)
            with host.options(safegen_on_failure="Black picture and a message"):
                host.make(HAZARD, {**ON, **named}, steps=steps).refused("tau")
