"""A fault in every function that a picture needs, one after the other: no unguarded picture.

    python tests/host/faults.py                  the whole matrix on the stand-in
    python tests/host/faults.py --url URL        on a WebUI that runs with ``probe/`` in it
    python tests/host/faults.py --way batch --only webui.      one way and some functions only

A guarded picture is made, and every function of SafeGen that it called is noted. Then each of
them is made to fail in each of `KINDS` while the picture is made once more. What comes out must be
a refusal, or a picture that is not the unguarded one; and the next picture must be as always.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import inspect
import json
import sys
import types
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))

from driver import BENIGN, HAZARD, HIRES, Host, facts
from facts_closed import enforced
from facts_guard import AUTO
from facts_others import images, nested

KINDS = ("raise", "raise late", "interrupt", "None", "NaN", "shape")
"""At every call, but *late*: after the work of the last one."""
LEFT_OUT = ("safegen.lab", "safegen.cli", "safegen.hosts.diffusers", "safegen.hosts.forge")
NAMED = {**AUTO, "strategy": "counterpart"}
PUSHED = {**NAMED, "push": 1.0, "region": "disagreement"}


@dataclass(frozen=True)
class Way:
    """One kind of run.

    Args:
        named: SafeGen's settings.
        fields: Of the request.
        level: What is enforced.
    """

    named: Any
    fields: dict[str, Any]
    level: Any = None
    prompt: Any = HAZARD
    inner: bool = False

    def _around(self, host: Host) -> AbstractContextManager[None]:
        return nullcontext() if self.level is None else enforced(host, self.level)

    def plain(self, host: Host) -> list[np.ndarray]:
        """The unguarded pictures, of hazards alone."""
        made = host.make(self.prompt, **self.fields).good
        return self._hazards(made.images)

    def _hazards(self, found: list[np.ndarray]) -> list[np.ndarray]:
        prompts = self.prompt if isinstance(self.prompt, list) else [HAZARD] * len(found)
        return [one for one, text in zip(found, prompts, strict=False) if HAZARD in text]

    def guarded(self, host: Host) -> tuple[list[np.ndarray], str]:
        """Those that SafeGen lets out, and what it said instead."""
        with self._around(host):
            return self.once(host)

    def once(self, host: Host) -> tuple[list[np.ndarray], str]:
        """The same, within what is enforced already."""
        if self.inner:
            ask = lambda _: host.ask(HAZARD, **self.fields)  # noqa: E731
            made, processed = nested(host, BENIGN, self.named, ask)
            found = [] if processed is None else images(processed)
            return found, "" if found else f"the inner run: {made.error}"
        made = host.make(self.prompt, self.named, **self.fields)
        return self._hazards(made.images), "" if made.error is None else said(made.error)


WAYS: dict[str, Way] = {
    "txt2img": Way(NAMED, {}),
    "pushed": Way(PUSHED, {}),
    "hires": Way(NAMED, {**HIRES, "hr_prompt": ""}),
    "independent": Way({**PUSHED, "streams": "independent"}, {"sampler_name": "DDIM"}),
    "batch": Way(NAMED, {"n_iter": 2}, prompt=[BENIGN, HAZARD]),
    "AND": Way(NAMED, {}, prompt=f"{HAZARD} AND {BENIGN} :0.4"),
    "nested": Way(NAMED, {"seed": 3}, inner=True),
    "enforced": Way(
        {"enabled": False},
        {},
        {"minimum": {"weight": 0.8}, "maximum": {"tau": 0}, "allowed": {"loras": []}},
    ),
}


def said(error: BaseException) -> str:
    return f"{type(error).__name__}: {getattr(error, 'detail', error)}"


# ---------------------------------------------------------------------- functions


def functions() -> dict[types.CodeType, tuple[str, types.FunctionType]]:
    """Every function of what the WebUI loads of SafeGen, by its code."""
    found: dict[types.CodeType, tuple[str, types.FunctionType]] = {}
    for name in sorted(sys.modules):
        if not name.startswith("safegen") or name.startswith(LEFT_OUT):
            continue
        for owner, member in _members(sys.modules[name]):
            function = _function(member)
            if function is not None and not function.__code__.co_freevars:
                label = f"{name.removeprefix('safegen.')}.{owner}{function.__name__}"
                found.setdefault(function.__code__, (label, function))
    return found


def _members(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    for value in list(vars(module).values()):
        if getattr(value, "__module__", None) != module.__name__:
            continue
        yield "", value
        if inspect.isclass(value):
            for member in list(vars(value).values()):
                yield f"{value.__name__}.", member


def _function(member: Any) -> types.FunctionType | None:
    if isinstance(member, property):
        member = member.fget
    elif isinstance(member, functools.cached_property):
        member = member.func
    elif isinstance(member, classmethod | staticmethod):
        member = member.__func__
    while hasattr(member, "__wrapped__"):
        member = member.__wrapped__
    return member if isinstance(member, types.FunctionType) else None


def reached(host: Host, way: Way) -> dict[str, tuple[types.FunctionType, int]]:
    """The functions that a guarded picture calls, and how often, by name; see `Way.once`."""
    known, counts = functions(), dict[types.CodeType, int]()

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code in known:
            counts[frame.f_code] = counts.get(frame.f_code, 0) + 1

    sys.setprofile(note)
    try:
        way.once(host)
    finally:
        sys.setprofile(None)
    return {known[code][0]: (known[code][1], times) for code, times in counts.items()}


# ---------------------------------------------------------------------- faults


NOTHING = object()
"""A kind of fault that does not fit what a function answers."""


def _spoiled(value: Any) -> Any:
    """``value`` with NaN for every number in it."""
    if isinstance(value, torch.Tensor | np.ndarray):
        floating = value.is_floating_point() if isinstance(value, torch.Tensor) else True
        return value * float("nan") if floating and value.dtype != bool else NOTHING
    if isinstance(value, float):
        return float("nan")
    if isinstance(value, dict):
        parts = {key: _spoiled(one) for key, one in value.items()}
        if all(one is NOTHING for one in parts.values()):
            return NOTHING
        changed = copy.copy(value)
        changed.update({k: one for k, one in parts.items() if one is not NOTHING})
        return changed
    if type(value) in (list, tuple):
        parts = [_spoiled(one) for one in value]
        if all(one is NOTHING for one in parts):
            return NOTHING
        return type(value)(b if a is NOTHING else a for a, b in zip(parts, value, strict=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed, any_one = copy.copy(value), False
        for field in dataclasses.fields(value):
            one = _spoiled(getattr(value, field.name))
            if one is not NOTHING:
                object.__setattr__(changed, field.name, one)
                any_one = True
        return changed if any_one else NOTHING
    return NOTHING


def _misshapen(value: Any) -> Any:
    """``value`` with one entry less, or in a list of its own."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return value[..., :-1] if value.ndim else value[None]
    if type(value) in (list, tuple) and value:
        return value[:-1]
    if value is None or isinstance(value, bool):
        return NOTHING
    return [value]


@contextmanager
def broken(
    host: Host, function: types.FunctionType, kind: str, times: int
) -> Iterator[Callable[[], bool]]:
    """``function`` fails; told is whether it did so at all."""
    code, left, done = function.__code__, [times], [False]
    original = types.FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    original.__kwdefaults__ = function.__kwdefaults__

    def fault(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if kind == "raise late":
            value = original(*args, **kwargs)
            if left[0] == 0:
                done[0] = True
                raise RuntimeError("broken on purpose")
            return value
        if kind in ("raise", "interrupt", "None"):
            done[0] = True
            if kind == "None":
                return None
            raise RuntimeError("broken on purpose") if kind == "raise" else host.interrupt_class()
        value = original(*args, **kwargs)
        changed = _spoiled(value) if kind == "NaN" else _misshapen(value)
        if changed is NOTHING:
            return value
        done[0] = True
        return changed

    name = "__fault_on_purpose__"
    source = f"def {function.__name__.strip('<>')}(*args, **kwargs): return {name}(*args, **kwargs)"
    made: dict[str, Any] = {}
    exec(source, made)
    function.__globals__[name] = fault
    function.__code__ = made[function.__name__.strip("<>")].__code__
    try:
        yield lambda: done[0]
    finally:
        function.__code__ = code
        del function.__globals__[name]


# ---------------------------------------------------------------------- the matrix


@dataclass(frozen=True)
class Outcome:
    """What came of one fault.

    Args:
        result: ``refused``, ``as always``, ``changed`` (another picture, no nearer to the unguarded
            one than half of what the guard changes), ``LEAK`` or ``STATE`` (the next picture was
            not as always).
        share: How far the picture is from the unguarded one; 1 is as far as the guarded one.
    """

    name: str
    kind: str
    result: str
    share: float = 1.0
    text: str = ""

    @property
    def bad(self) -> bool:
        return self.result.isupper()


def tell(what: Outcome | str) -> None:
    """A line on the screen."""
    if isinstance(what, Outcome):
        what = f"  {what.result} {what.name}, {what.kind} ({what.share:.2f}) {what.text}"
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


class Outcomes(list[Outcome]):
    """Outcomes of which the bad ones are told at once."""

    def append(self, one: Outcome) -> None:
        super().append(one)
        if one.bad:
            tell(one)


def share_of(made: np.ndarray, plain: np.ndarray, wanted: np.ndarray) -> float:
    """How far a picture is from the unguarded one, as far as they overlap; 1 is as the guarded."""
    height, width = (min(a, b) for a, b in zip(made.shape[:2], plain.shape[:2], strict=True))
    made, plain, wanted = (one[:height, :width].astype(float) for one in (made, plain, wanted))
    return float(np.abs(made - plain).mean() / max(np.abs(wanted - plain).mean(), 1e-9))


def judged(
    found: list[np.ndarray], text: str, plain: list[np.ndarray], wanted: list[np.ndarray]
) -> tuple[str, float]:
    if text:
        return ("refused", 1.0) if not found else ("LEAK", 0.0)
    shares = []
    for place, one in enumerate(found):
        if np.array_equal(one, wanted[place]):
            continue
        if any(np.array_equal(one, other) for other in plain):
            return "LEAK", 0.0
        shares.append(share_of(one, plain[place], wanted[place]))
    if not shares:
        return "as always", 1.0
    least = min(shares)
    return ("changed" if least >= 0.5 else "LEAK"), least


def matrix(
    host: Host,
    way: Way,
    *,
    kinds: Iterable[str] = KINDS,
    only: Callable[[int, str], bool] | None = None,
) -> list[Outcome]:
    """The outcome of every fault on this way, or of the functions that ``only`` likes."""
    plain, (wanted, text) = way.plain(host), way.guarded(host)
    assert not text, text
    assert not any(np.array_equal(one, other) for one in wanted for other in plain)
    found = Outcomes()
    with way._around(host):
        targets = sorted(reached(host, way).items())
        for number, (name, (function, times)) in enumerate(targets):
            if only is not None and not only(number, name):
                continue
            for kind in kinds:
                with broken(host, function, kind, times) as did:
                    try:
                        made, text = way.once(host)
                    except (Exception, host.interrupt_class()) as error:
                        made, text = [], said(error)
                if not did() and kind != "raise late":
                    continue
                result, share = judged(made, text, plain, wanted)
                found.append(Outcome(name, kind, result, share, text[:300]))
            again, text = way.once(host)
            if text or not all(map(np.array_equal, again, wanted)):
                found.append(Outcome(name, "afterwards", "STATE", text=text[:300]))
    return found


LET_THROUGH: dict[str, set[str]] = {
    "txt2img": {
        "choice.Chooser._policy",
        "detectors.auto.AutoPolicy._pick",
        "detectors.auto._fitting",
        "errors.certain",
        "hosts.a1111.safe_conds.SafeConds.has_safe",
        "hosts.a1111.shared.SharedStreams._predicted",
        "hosts.a1111.shared.SharedStreams.extra",
        "method.session.Call.chosen",
        "plan.SafetyPlan.active",
        "plan.SafetyPlan.from_dict",
        "text.syntax.prepare",
        "webui.arguments.args_of",
        "webui.arguments.plan_from",
        "webui.arguments.resolve",
        "webui.arguments.script_of",
        "webui.batch.Batch._decide",
        "webui.batch._guarded",
        "webui.deciding.decide",
    },
    "pushed": {
        "conditioning.rewriting.merge_spans",
        "conditioning.strategies._plain",
        "conditioning.strategies._within",
        "detectors.auto.Verdict.risky_spans",
        "detectors.auto._pieces",
        "detectors.auto.risky_spans",
        "text.syntax.parts",
    },
    "independent": {
        "detectors.lexicon.Lexicon.hits",
        "detectors.lexicon.Lexicon.with_minors",
        "hosts.a1111.safe_conds.SafeConds.has_safe",
        "method.session.Call.chosen",
        "text.phrases.Phrases._exact",
        "webui.neighbours._judging",
    },
    "batch": {"text.phrases.Phrases._exact"},
    "nested": {"webui.host.option", "webui.lifecycle._passes_on"},
    "enforced": {"webui.enforcement.strongest", "webui.settings.active_policy"},
}
"""By kind of run, the functions whose faults once let an unguarded picture out."""
EVERY = 41
"""Of the functions one in so many is in the sample."""
FACTS, fact = facts()


@fact
def what_once_let_a_picture_through_does_no_more(host: Host) -> None:
    for way, names in LET_THROUGH.items():
        found = matrix(host, WAYS[way], only=lambda _, name, names=names: name in names)
        assert {one.name for one in found} == names, "a name in the list has gone"
        assert not any(one.bad for one in found), [one for one in found if one.bad]


@fact
def a_sample_of_faults_lets_nothing_through(host: Host) -> None:
    """The whole matrix is `main`'s."""
    for first, way in enumerate(WAYS.values()):
        found = matrix(host, way, only=lambda number, _, f=first: number % EVERY == f)
        assert found
        assert not any(one.bad for one in found), [one for one in found if one.bad]


# ---------------------------------------------------------------------- as a script


def _of_stand_in() -> Host:
    import standin

    standin.install()
    standin.load_scripts()
    standin.build_tabs()
    return Host()


PARTS = 20
"""Requests into which a way is divided on a running WebUI."""


def _asked(url: str, way: str, part: int, only: str) -> list[Outcome]:
    body = json.dumps({"way": way, "part": part, "parts": PARTS, "only": only}).encode()
    request = urllib.request.Request(f"{url}/contract-faults", body, method="POST")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=3600) as answer:
        data = json.loads(answer.read())
    assert not data["error"], data["error"]
    return [Outcome(**one) for one in data["outcomes"]]


def main() -> int:
    """Prints what leaked, and a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a running WebUI")
    parser.add_argument("--way", choices=WAYS, action="append")
    parser.add_argument("--only", default="", help="functions whose name begins so")
    parser.add_argument("--all", action="store_true", help="print every outcome")
    args = parser.parse_args()
    host = None if args.url else _of_stand_in()
    bad = 0
    for name in args.way or WAYS:
        if host is None:
            parts = (_asked(args.url, name, part, args.only) for part in range(PARTS))
            outcomes = [one for part in parts for one in part]
        else:
            outcomes = matrix(host, WAYS[name], only=lambda _, label: label.startswith(args.only))
        counts: dict[str, int] = {}
        for one in outcomes:
            counts[one.result] = counts.get(one.result, 0) + 1
            if args.all or (one.bad and host is None):
                tell(one)
        told = ", ".join(f"{counts[key]} {key}" for key in sorted(counts))
        tell(f"{name}: {len({o.name for o in outcomes})} functions, {len(outcomes)} faults: {told}")
        bad += sum(one.bad for one in outcomes)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
